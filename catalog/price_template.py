"""The empty form of a price list for accountants: headings, lists to choose from, and a page that explains them."""

from __future__ import annotations

import io
from datetime import date
from typing import Any

from catalog import categories, price_columns, price_rows, price_writing, ranks, vat
from catalog.price_columns import HEADINGS
from catalog.price_writing import COLUMNS, File
from clinic import db

FORMATS = ("csv", "xlsx")
_MADE_ON = date(2026, 1, 1)
"""A template has no day of its own; its bytes must be the same on all of them."""
_FORM_ROWS = 20_000
_FORM = "Прейскурант"
_HELP = "Как заполнять"
_LISTS = "Списки"
_MEANINGS = {
    "article": (
        "Обязательно. Артикул клиники: до 32 знаков, заглавные латинские буквы, цифры, точка, дефис, подчёркивание. "
        "Не меняется и не отдаётся другой услуге. Строка на каждое звание врача, артикул один.",
        "Required. The clinic's own article: up to 32 capital Latin letters, digits, points, hyphens, underscores. It "
        "never changes. One row for each rank, under the same article.",
    ),
    "name_ru": ("Обязательно. Название услуги по-русски.", "Required. Name of the service in Russian."),
    "name_en": ("Нужно для новой услуги. Название по-английски.", "Needed for a new service. Name in English."),
    "category_ru": (
        "Нужно для новой услуги. Категория из списка, как в каталоге. Без этого столбца категорией служит строка, "
        "в которой заполнена одна ячейка.",
        "Needed for a new service. A category of the catalog, by its Russian name. Without this column a row with one "
        "filled cell begins a section and names its category.",
    ),
    "category_en": ("Не читается, для сведения.", "Not read; for information."),
    "nomenclature_codes": (
        "Коды номенклатуры 804н через запятую, буквы латинские: A06.30.005.002. Можно оставить пустым.",
        "Codes of Order 804n, with commas between, Latin letters: A06.30.005.002. May be empty.",
    ),
    "doctor_rank": (
        "Пусто: цена не зависит от звания. Иначе звание из списка; «none» — врач без степени.",
        "Empty: the price does not depend on the rank. Else a rank of the list; none is a doctor without a degree.",
    ),
    "price_kind": (
        "Пусто или fixed — точная, from — «от», on_request — по запросу, withdrawn — снята с прейскуранта.",
        "Empty or fixed: exact; from: at least; on_request: no amount; withdrawn: no longer in the list.",
    ),
    "price": (
        "Рубли: 67200,00 или 67 200,00. Пусто для «по запросу» и снятых. «67.200» не читается: это и 67 200, и 67,2.",
        "Rubles: 67200,00 or 67 200,00. Empty for on_request and withdrawn. 67.200 is refused: it may be two sums.",
    ),
    "vat_category": (
        "Пусто или exempt_medical — медицинская услуга без НДС. Ставку не пишут: она меняется по закону.",
        "Empty or exempt_medical: a medical service without VAT. No rate: the law changes it.",
    ),
    "tax_deduction_code": (
        "1 — обычное лечение (и если пусто), 2 — дорогостоящее.",
        "1, also when empty: usual treatment; 2: expensive treatment.",
    ),
    "unit": ("Единица измерения; пусто — «услуга».", "Unit; empty means услуга."),
}


def made(conn: db.Connection, format: str) -> File:
    """The form as a CSV of one row, the header, or as a workbook with lists of the catalog's ranks and categories."""
    if format == "csv":
        content = price_writing.as_csv([COLUMNS]).encode("utf-8-sig")
        return File("price-list-template.csv", content, price_writing.TYPES["csv"])
    choices = {
        "doctor_rank": [each.code for each in ranks.every(conn)],
        "price_kind": list(price_rows.KINDS),
        "vat_category": list(vat.CATEGORIES),
        "tax_deduction_code": list(vat.TAX_DEDUCTION_CODES),
        "category_ru": [each.name_ru for each in categories.every(conn)],
    }
    return File("price-list-template.xlsx", _workbook(choices), price_writing.TYPES["xlsx"])


def _workbook(choices: dict[str, list[str]]) -> bytes:
    made = io.BytesIO()
    with price_writing.workbook(made, _MADE_ON) as book:
        _form(book, choices)
        _help(book, choices)
        page = book.add_worksheet(_LISTS)
        page.hide()
        for place, words in enumerate(choices.values()):
            page.write_column(0, place, words)
    return made.getvalue()


def _form(book: Any, choices: dict[str, list[str]]) -> None:
    page = book.add_worksheet(_FORM)
    head = book.add_format({"bold": True, "text_wrap": True, "valign": "top", "bg_color": "#E8E8E8", "bottom": 1})
    text = book.add_format({"num_format": "@"})
    amount = book.add_format({"num_format": "#,##0.00"})
    for place, (column, width) in enumerate(zip(COLUMNS, price_writing.WIDTHS, strict=True)):
        # Text cells: Excel makes no dates and numbers of codes there.
        page.set_column(place, place, width, amount if column == "price" else text)
        page.write_string(0, place, HEADINGS[column][0], head)
        if words := choices.get(column):
            letter = chr(ord("A") + list(choices).index(column))
            source = f"='{_LISTS}'!${letter}$1:${letter}${len(words)}"
            page.data_validation(1, place, _FORM_ROWS, place, {"validate": "list", "source": source})
    page.freeze_panes(1, 1)
    page.repeat_rows(0)


def _help(book: Any, choices: dict[str, list[str]]) -> None:
    page = book.add_worksheet(_HELP)
    bold = book.add_format({"bold": True, "bg_color": "#E8E8E8", "valign": "top"})
    wrapped = book.add_format({"text_wrap": True, "valign": "top"})
    page.set_column(0, 1, 24, wrapped)
    page.set_column(2, 3, 60, wrapped)
    page.set_column(4, 5, 44, wrapped)
    titles = ("В файле / In the file", "Заголовки / Headings", "Что писать", "What to write", "Выбор", "Choices")
    for place, title in enumerate(titles):
        page.write_string(0, place, title, bold)
    for row, column in enumerate(COLUMNS, start=1):
        ru, en = _MEANINGS[column]
        cells = (
            column,
            "; ".join(HEADINGS[column]),
            ru,
            en,
            _words(column, choices),
            "; ".join(choices.get(column, [])),
        )
        for place, cell in enumerate(cells):
            page.write_string(row, place, cell, wrapped)
    page.freeze_panes(1, 0)


def _words(column: str, choices: dict[str, list[str]]) -> str:
    """The choices with the Russian words that are read in their place."""
    said = {
        "price_kind": price_columns.KINDS,
        "vat_category": price_columns.VAT,
        "doctor_rank": price_columns.RANKS,
    }.get(column, {})
    return "\n".join(f"{code}: {'; '.join(said[code])}" if code in said else code for code in choices.get(column, []))
