"""How accountants call what a price list's file holds: headings, kinds of prices, VAT, ranks; docs/files.md shows it.

Each column goes by its own name, which our exports write, and by Russian headings. The first of them heads the
template. A heading that could mean two columns, such as «Код» alone, is not taken.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from catalog.search import folded
from catalog.tables import heading

HEADINGS: Mapping[str, tuple[str, ...]] = {
    "article": ("Артикул", "Артикул услуги", "Внутренний код"),
    "name_ru": ("Наименование", "Наименование услуги", "Наименование медицинской услуги", "Название", "Название услуги",
                "Услуга", "Наименование (рус.)"),
    "name_en": ("Наименование (англ.)", "Название (англ.)", "Наименование на английском", "Название на английском"),
    "category_ru": ("Категория", "Категория услуги", "Раздел", "Раздел прейскуранта"),
    "category_en": ("Категория (англ.)", "Раздел (англ.)"),
    "nomenclature_codes": ("Код услуги (номенклатура)", "Коды услуги (номенклатура)", "Код номенклатуры",
                           "Код по номенклатуре", "Номенклатура", "Код по приказу 804н", "Код 804н"),
    "doctor_rank": ("Звание врача", "Звание", "Учёная степень врача", "Учёная степень"),
    "price_kind": ("Вид цены", "Тип цены"),
    "price": ("Цена", "Цена, руб.", "Цена, ₽", "Цена в рублях", "Цена услуги", "Стоимость", "Стоимость, руб.",
              "Стоимость, ₽", "Стоимость услуги", "Стоимость услуги, руб."),
    "vat_category": ("НДС", "Категория НДС", "Ставка НДС"),
    "tax_deduction_code": ("Код для вычета", "Код налогового вычета", "Код вычета"),
    "unit": ("Единица", "Единица измерения", "Ед. изм.", "Ед."),
}  # fmt: skip
NUMBERING = ("№", "№ п/п", "№ п.п.", "п/п", "N п/п", "Номер по порядку")
"""Columns of row numbers, which mean nothing."""
PASSED_OVER = "#"
KINDS: Mapping[str, tuple[str, ...]] = {
    "fixed": ("фиксированная", "твёрдая", "точная"),
    "from": ("от", "от суммы", "начиная с"),
    "on_request": ("по запросу", "договорная", "по договорённости"),
    "withdrawn": ("снята", "снять", "исключена", "исключить", "не оказывается"),
}
VAT: Mapping[str, tuple[str, ...]] = {
    "exempt_medical": ("без НДС", "не облагается", "освобождено", "НДС не облагается", "освобождено от НДС"),
    "standard": ("общая", "общая ставка", "основная ставка"),
    "reduced": ("пониженная", "пониженная ставка", "льготная ставка"),
    "zero": ("нулевая", "нулевая ставка", "НДС 0 %", "НДС 0%"),
    "not_payer": ("не плательщик", "неплательщик НДС", "не плательщик НДС"),
}
RANKS: Mapping[str, tuple[str, ...]] = {
    "none": ("без степени", "врач без степени"),
    "candidate": ("кандидат наук", "кандидат медицинских наук", "канд. мед. наук"),
    "doctor": ("доктор наук", "доктор медицинских наук", "докт. мед. наук", "д-р мед. наук"),
    "professor": ("проф.",),
}
"""Besides a rank's code and its names in the catalog."""

BY_HEADING: Mapping[str, str] = {
    **{heading(word): column for column, words in HEADINGS.items() for word in (column, *words)},
    **{heading(word): PASSED_OVER for word in NUMBERING},
}


def by_word(words: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Code by each of its words, folded by `word`, and by itself."""
    return {word(text): code for code, texts in words.items() for text in (code, *texts)}


def word(text: str) -> str:
    """A word of a cell as it is compared: «К. м. н.» is «кмн»."""
    return re.sub(r"[\s.]", "", folded(text))
