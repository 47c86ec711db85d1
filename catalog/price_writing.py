"""A price list as a file: CSV and XLSX that `price_files.load` reads again, JSON for programs, PDF for people."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import xlsxwriter

from catalog import services, tables, vat
from catalog.price_columns import HEADINGS
from catalog.price_sheets import Entry, PriceSheet
from clinic import dates, http, money, pdf

TYPES = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "json": "application/json",
    "pdf": "application/pdf",
}
FORMATS = tuple(TYPES)
ENCODINGS = ("utf-8", "cp1251")
COLUMNS = (
    "article", "name_ru", "name_en", "category_ru", "category_en", "nomenclature_codes", "doctor_rank", "price_kind",
    "price", "vat_category", "tax_deduction_code", "unit",
)  # fmt: skip
WIDTHS = (18, 60, 48, 28, 24, 22, 14, 14, 14, 18, 12, 12)
_MONEY_FORMAT = "#,##0.00"  # which a Russian Excel shows as «67 200,00»
_PAPER = Path(__file__).parent / "papers" / "price_list.typ"
# No XML can hold these two.
_NO_XML = re.compile("[\ufffe\uffff]")


@dataclass(frozen=True)
class File:
    """A finished file."""

    name: str
    content: bytes
    type: str


def written(sheet: PriceSheet, format: str, lang: str = "ru", encoding: str = "utf-8") -> File:
    """The list as a file of `format`. Takes seconds for a large PDF: call it outside any transaction."""
    kind = TYPES[format]
    match format:
        case "csv":
            content = _csv(sheet, encoding)
            kind = kind if encoding == "utf-8" else "text/csv; charset=windows-1251"
        case "xlsx":
            content = _xlsx(sheet, lang)
        case "json":
            content = http.dumped(sheet.as_json(lang))
        case _:
            content = pdf.render(_PAPER, _paper(sheet, lang), lang, sheet.on)
    return File(f"price-list-{sheet.price_list.code}-{sheet.on}.{format}", content, kind)


# ---- CSV ----


def _csv(sheet: PriceSheet, encoding: str) -> bytes:
    text = as_csv([COLUMNS, *map(_cells, sheet.own)])
    return text.encode("utf-8-sig") if encoding == "utf-8" else in_cp1251(text)


def _cells(entry: Entry) -> Sequence[str]:
    amount = "" if entry.amount is None else money.text(entry.amount).replace(".", ",")
    return (
        entry.article, entry.name_ru, entry.name_en, entry.category_ru, entry.category_en,
        ",".join(entry.nomenclature_codes), entry.doctor_rank if entry.priced_by_rank else "", entry.kind, amount,
        entry.vat_category, entry.tax_deduction_code, entry.unit,
    )  # fmt: skip


def as_csv(rows: Iterable[Sequence[str]]) -> str:
    """As spreadsheets of this country read it: semicolons, CRLF, no cell that would be computed."""
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=";").writerows([tables.guarded(cell) for cell in row] for row in rows)
    return text.getvalue()


def in_cp1251(text: str) -> bytes:
    """`text` in windows-1251. «₽» becomes «руб.», thin spaces NBSP, accents go; what is left over becomes «?»."""
    text = text.replace("₽", "руб.").translate({0x202F: "\u00a0", 0x2009: "\u00a0"})
    return "".join(map(_near, text)).encode("cp1251", errors="replace")


def _near(character: str) -> str:
    try:
        character.encode("cp1251")
    except UnicodeEncodeError:
        return "".join(each for each in unicodedata.normalize("NFKD", character) if not unicodedata.combining(each))
    return character


# ---- XLSX ----


def _xlsx(sheet: PriceSheet, lang: str) -> bytes:
    made = io.BytesIO()
    with workbook(made, sheet.on) as book:
        page = book.add_worksheet("Прейскурант" if lang == "ru" else "Price list")
        bold = book.add_format({"bold": True, "font_size": 14})
        head = book.add_format({"bold": True, "text_wrap": True, "valign": "top", "bg_color": "#E8E8E8", "bottom": 1})
        text = book.add_format({"num_format": "@", "text_wrap": True, "valign": "top"})
        amount = book.add_format({"num_format": _MONEY_FORMAT, "valign": "top"})
        page.write_string(0, 0, _fit(_title(sheet, lang)), bold)
        page.write_string(1, 0, _fit(" ".join(_approved(sheet, lang))))
        for place, (column, width) in enumerate(zip(COLUMNS, WIDTHS, strict=True)):
            page.set_column(place, place, width)
            page.write_string(3, place, HEADINGS[column][0] if lang == "ru" else column, head)
        price = COLUMNS.index("price")
        for row, entry in enumerate(sheet.own, start=4):
            for place, cell in enumerate(_cells(entry)):
                if place != price:
                    page.write_string(row, place, _fit(cell), text)
                elif entry.amount is not None:
                    page.write_number(row, place, entry.amount, amount)
        page.freeze_panes(4, 1)
        page.autofilter(3, 0, 3 + len(sheet.own), len(COLUMNS) - 1)
        page.repeat_rows(3)
        page.set_landscape()
        page.set_paper(9)
        page.fit_to_pages(1, 0)
        page.set_footer("&R&P / &N")
    return made.getvalue()


def workbook(made: io.BytesIO, on: date) -> Any:
    """A workbook whose bytes depend on nothing but its content and `on`; text in it is never a formula or a link."""
    book = xlsxwriter.Workbook(
        made, {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
    )
    book.set_properties({"created": datetime(on.year, on.month, on.day, tzinfo=UTC).replace(tzinfo=None)})
    return book


def _fit(text: str) -> str:
    return tables.marked(_NO_XML.sub("", text))


# ---- PDF ----


def _title(sheet: PriceSheet, lang: str) -> str:
    name = sheet.price_list.name_ru if lang == "ru" else sheet.price_list.name_en
    if lang == "ru":
        return f"{name} на {dates.long(sheet.on, lang)}"
    return f"{name} on {dates.long(sheet.on, lang)}"


def _approved(sheet: PriceSheet, lang: str) -> list[str]:
    order = sheet.order
    if order is None and lang == "ru":
        return ["На этот день прейскурант не утверждён."]
    if order is None:
        return ["No price list of its own is in force on this day."]
    dated, since = dates.short(order.date, lang), dates.short(order.effective_from, lang)
    if lang == "ru":
        return [f"Прейскурант утверждён приказом № {order.number} от {dated}, действует с {since}."]
    return [f"Approved by order No. {order.number} of {dated}, in force from {since}."]


def _paper(sheet: PriceSheet, lang: str) -> dict[str, Any]:
    """Every word of the paper."""
    russian = lang == "ru"
    requisites = sheet.requisites or {}
    vats = {vat.mark(each.vat_rate, lang) for each in sheet.own}
    one_vat = next(iter(vats)) if len(vats) == 1 else None
    clinic = requisites.get("name") or sheet.clinic
    return {
        "title": _title(sheet, lang),
        "clinic": clinic,
        "short": requisites.get("short_name") or clinic,
        "requisites": _requisites(requisites, russian=russian),
        "sample": None if requisites else _no_requisites(russian=russian),
        "approved": [*_approved(sheet, lang), _rubles(one_vat, russian=russian)],
        "running": _title(sheet, lang),
        "foot": " ".join(_approved(sheet, lang)),
        "page_word": "стр." if russian else "page",
        "of_word": "из" if russian else "of",
        "columns": (
            ["Артикул", "Услуга", "Код услуги", "Врач", "Цена, ₽"]
            if russian
            else ["Article", "Service", "Code of Order 804n", "Doctor", "Price, ₽"]
        ),
        "sections": [
            _section(list(of_one), one_vat, lang) for _, of_one in groupby(sheet.own, lambda each: each.category)
        ],
        "empty": "Услуг с ценами нет." if russian else "There are no services with prices.",
        "footnotes": list(_footnotes(sheet, russian=russian)),
    }


def _requisites(requisites: dict[str, Any], *, russian: bool) -> list[str]:
    words = {
        "address": ("Адрес: {}", "Address: {}"),
        "inn": ("ИНН {}", "INN {}"),
        "kpp": ("КПП {}", "KPP {}"),
        "ogrn": ("ОГРН {}", "OGRN {}"),
        "licence": ("Лицензия: {}", "Licence: {}"),
        "phone": ("Тел. {}", "Phone {}"),
        "email": ("{}", "{}"),
    }
    said = {name: words[name][0 if russian else 1].format(requisites[name]) for name in words if requisites.get(name)}
    lines = (("address",), ("inn", "kpp", "ogrn"), ("licence",), ("phone", "email"))
    return [", ".join(said[name] for name in line if name in said) for line in lines if said.keys() & set(line)]


def _no_requisites(*, russian: bool) -> str:
    if russian:
        return "ОБРАЗЕЦ: реквизиты клиники не заполнены, этот прейскурант не для посетителей."
    return "SAMPLE: the clinic's requisites are not set; this price list is not for visitors."


def _rubles(one_vat: str | None, *, russian: bool) -> str:
    said = "Цены в рублях" if russian else "Prices are in rubles"
    return f"{said}. {one_vat[0].upper()}{one_vat[1:]}." if one_vat else f"{said}."


def _section(entries: Sequence[Entry], one_vat: str | None, lang: str) -> dict[str, Any]:
    first, ranked = entries[0], any(each.priced_by_rank for each in entries)
    return {
        "name": first.category_ru if lang == "ru" else first.category_en,
        "ranked": ranked,
        "items": [_item(list(of_one), one_vat, lang) for _, of_one in groupby(entries, lambda each: each.article)],
    }


def _item(entries: Sequence[Entry], one_vat: str | None, lang: str) -> dict[str, Any]:
    service, russian = entries[0], lang == "ru"
    notes = [] if service.unit == services.UNIT else [f"{'Единица' if russian else 'Unit'}: {service.unit}"]
    notes += [service.note] if service.note else []
    notes += [] if one_vat else [vat.mark(service.vat_rate, lang)]
    return {
        "article": _breakable(service.article),
        "name": service.name_ru if russian else service.name_en,
        "codes": ", ".join(service.nomenclature_codes) or "—",
        "notes": notes,
        "prices": [_price(each, lang) for each in entries],
    }


def _breakable(article: str) -> str:
    """A long article may go over into a second line behind its eighteenth character."""
    return article if len(article) <= 18 or "-" in article else f"{article[:18]}\u200b{article[18:]}"


def _price(entry: Entry, lang: str) -> dict[str, Any]:
    rank = (entry.rank_ru if lang == "ru" else entry.rank_en) if entry.priced_by_rank else ""
    end = entry.valid_until and dates.short(entry.valid_until - timedelta(days=1), lang)
    said = {"rank": rank, "text": _said(entry, lang)}
    return said | ({"note": f"{'по' if lang == 'ru' else 'until'} {end}"} if end else {})


def _said(entry: Entry, lang: str) -> str:
    """The price in words: «67 200,00», «от 67 200,00», «по запросу»."""
    if entry.amount is None:
        return "по запросу" if lang == "ru" else "on request"
    amount = money.display(entry.amount).removesuffix(f"{money.NBSP}₽")
    if entry.kind == "from":
        return f"{'от' if lang == 'ru' else 'from'}{money.NBSP}{amount}"
    return amount


def _footnotes(sheet: PriceSheet, *, russian: bool) -> Iterable[str]:
    if any(each.kind == "from" for each in sheet.own):
        yield (
            "«От»: окончательная цена — по смете, не ниже указанной."
            if russian
            else "From: the final price is by estimate and not below the one shown."
        )
    if sheet.fallback is not None:
        name = sheet.fallback.name_ru if russian else sheet.fallback.name_en
        yield (
            f"Услуги, которых здесь нет, — по прейскуранту «{name}»."
            if russian
            else f"Services not listed here are priced by the list {name}."
        )
