"""Reading a price list as an accountant sends it: a CSV file into checked rows, with every wrong cell named.

UTF-8 with or without a mark, UTF-16 or windows-1251; semicolons, commas or tabs; decimal comma or point; any kind of
space between thousands. What could mean two things is refused, never guessed.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from catalog import services, vat
from clinic import errors
from clinic.errors import Fault

NEEDED = ("article", "name_ru", "name_en", "category_ru", "price")
KINDS = ("fixed", "from", "on_request", "withdrawn")
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_CYRILLIC = re.compile(r"[А-Яа-яЁё]")
_SPACES = "\u0020\u00a0\u202f\u2009"
_MONEY = re.compile(rf"([0-9]{{1,13}}|[0-9]{{1,3}}(?:[{_SPACES}][0-9]{{3}}){{1,4}})(?:[.,]([0-9]{{1,2}}))?", re.ASCII)
_TWO_WAYS = re.compile(r"[0-9]{1,3}[.,][0-9]{3}", re.ASCII)
_FORMULA = re.compile(r"[=+\-@\t\r]")

errors.describe(
    {
        "unreadable_file": (
            "Файл не читается: нужен CSV в UTF-8 или windows-1251.",
            "The file cannot be read: a CSV file in UTF-8 or windows-1251 is needed.",
        ),
        "no_rows": ("В файле нет строк с ценами.", "The file has no rows with prices."),
        "missing_column": ("Нет столбца «{column}».", "The column {column} is missing."),
        "unknown_column": ("Столбца «{column}» здесь не знают.", "The column {column} is not known here."),
        "repeated_column": ("Столбец «{column}» указан дважды.", "The column {column} is there twice."),
        "too_many_cells": ("В строке больше ячеек, чем столбцов.", "The row has more cells than there are columns."),
        "empty_cell": ("Ячейка пуста.", "The cell is empty."),
        "wrong_article": (
            "Артикул — до 32 знаков: заглавные латинские буквы, цифры, точка, дефис, подчёркивание.",
            "An article has up to 32 characters: capital Latin letters, digits, point, hyphen, underscore.",
        ),
        "look_alike_letters": (
            "Русские буквы вместо латинских: {letters}.",
            "Cyrillic letters in place of Latin ones: {letters}.",
        ),
        "ambiguous_money": (
            "«{text}» можно прочесть двояко: уберите разделитель тысяч или допишите копейки.",
            "{text} can be read in two ways: leave out the thousands' mark, or write the kopecks.",
        ),
        "wrong_price": (
            "Нужна цена вида 67200,00 или 67 200,00.",
            "A price such as 67200,00 or 67 200,00 is needed.",
        ),
        "price_missing": ("Нет цены; если она по запросу, укажите on_request.", "No price: say on_request if so."),
        "price_not_expected": ("При таком виде цены сумма не указывается.", "This kind of price has no amount."),
        "wrong_choice": ("Нужно одно из: {choices}.", "One of these is needed: {choices}."),
    }
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """A problem or a warning: the row as a spreadsheet counts it, the column, a fault code and its values."""

    row: int
    column: str | None
    code: str
    values: tuple[tuple[str, str], ...] = ()

    def as_json(self, lang: str) -> dict[str, Any]:
        message = Fault("", self.code, self.values).message(lang)
        return {"row": self.row, "column": self.column, "code": self.code, "message": message}


@dataclass(frozen=True)
class Row:
    """A row of a price list. A rank of None means that the price does not depend on it; `amount` is in rubles."""

    number: int
    article: str
    name_ru: str
    name_en: str
    category_ru: str
    nomenclature_codes: list[str]
    unit: str
    doctor_rank: str | None
    kind: str
    amount: Decimal | None
    vat_category: str
    tax_deduction_code: str


@dataclass
class Sheet:
    """A file as it was read: how many rows, those without a fault, and what is wrong."""

    count: int = 0
    rows: list[Row] = field(default_factory=list)
    problems: list[Finding] = field(default_factory=list)


class _Wrong(Exception):
    def __init__(self, code: str, **values: str) -> None:
        super().__init__(code)
        self.code = code
        self.values_ = tuple(values.items())


Watch = Callable[[list[tuple[int, list[str]]]], Iterable[tuple[int, list[str]]]]


def read(raw: bytes, watch: Watch = iter) -> Sheet:
    """The rows of a file; `watch` sees each one pass, to show how far the reading is."""
    sheet = Sheet()
    try:
        table = [(number, cells) for number, cells in _table(_text(raw)) if any(cells)]
    except (UnicodeDecodeError, csv.Error):
        sheet.problems.append(Finding(1, None, "unreadable_file"))
        return sheet
    header = [name.lower() for name in table[0][1]] if table else []
    sheet.count = max(len(table) - 1, 0)
    sheet.problems += _wrong_header(header) if header else []
    if not sheet.problems and not sheet.count:
        sheet.problems.append(Finding(1, None, "no_rows"))
    if not sheet.problems:
        for number, cells in watch(table[1:]):
            _read_row(sheet, header, number, cells)
    return sheet


def _text(raw: bytes) -> str:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("cp1251")


def _table(text: str) -> Iterator[tuple[int, list[str]]]:
    first, _, rest = text.partition("\n")
    if first.startswith("sep="):  # a hint to spreadsheet programs, which do not count it as a row
        text, first = rest, rest.partition("\n")[0]
    delimiter = max(";,\t", key=first.count)
    for number, cells in enumerate(
        csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), start=1
    ):
        yield number, [_plain(cell) for cell in cells]


def _plain(cell: str) -> str:
    # An apostrophe before = + - @ keeps a spreadsheet from computing the cell; it is no part of the text.
    cell = cell.strip()
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell[1:]) else cell


def guarded(cell: str) -> str:
    """`cell` so that no spreadsheet takes it for a formula; reading undoes it."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def _wrong_header(header: list[str]) -> list[Finding]:
    found = [Finding(1, name, "missing_column", (("column", name),)) for name in NEEDED if name not in header]
    for place, name in enumerate(header):
        if name and name not in _COLUMNS and name != "category_en":
            found.append(Finding(1, name, "unknown_column", (("column", name),)))
        elif name and name in header[:place]:
            found.append(Finding(1, name, "repeated_column", (("column", name),)))
    return found


def _read_row(sheet: Sheet, header: list[str], number: int, cells: list[str]) -> None:
    problems: list[Finding] = []
    values: dict[str, Any] = {}
    if any(cells[len(header) :]):
        problems.append(Finding(number, None, "too_many_cells"))
    named = dict(zip(header, cells, strict=False))
    for column, reader in _COLUMNS.items():
        try:
            values[column] = reader(named.get(column, ""))
        except _Wrong as wrong:
            problems.append(Finding(number, column, wrong.code, wrong.values_))
    if not problems:
        try:
            values["kind"], values["amount"] = _kind(values.pop("price_kind"), values.pop("price"))
        except _Wrong as wrong:
            problems.append(Finding(number, "price", wrong.code, wrong.values_))
    if problems:
        sheet.problems += problems
    else:
        sheet.rows.append(Row(number=number, **values))


def _kind(kind: str, amount: Decimal | None) -> tuple[str, Decimal | None]:
    kind = kind or "fixed"
    if kind in ("fixed", "from") and amount is None:
        raise _Wrong("price_missing")
    if kind not in ("fixed", "from") and amount is not None:
        raise _Wrong("price_not_expected")
    return kind, amount


def _article(cell: str) -> str:
    _refuse_look_alikes(cell)
    if not re.fullmatch(services.ARTICLE, cell, re.ASCII):
        raise _Wrong("wrong_article" if cell else "empty_cell")
    return cell


def _refuse_look_alikes(cell: str) -> None:
    if letters := _CYRILLIC.findall(cell):
        raise _Wrong("look_alike_letters", letters=", ".join(dict.fromkeys(letters)))


def _words(most: int, default: str | None = None) -> Callable[[str], str]:
    def read_words(cell: str) -> str:
        if not cell and default is not None:
            return default
        if not cell:
            raise _Wrong("empty_cell")
        if _CONTROLS.search(cell):
            raise _Wrong("not_text")
        if len(cell) > most:
            raise _Wrong("wrong_length")
        return " ".join(cell.split())

    return read_words


def _codes(cell: str) -> list[str]:
    codes = [code for code in re.split(r"[,;\s]+", cell) if code]
    for code in codes:
        _refuse_look_alikes(code)
        if not re.fullmatch(services.NOMENCLATURE, code, re.ASCII):
            raise _Wrong("wrong_nomenclature_code")
    if len(set(codes)) < len(codes):
        raise _Wrong("repeated_code")
    return codes


def _choice(choices: Iterable[str], default: str) -> Callable[[str], str]:
    allowed = tuple(choices)

    def read_choice(cell: str) -> str:
        if cell and cell not in allowed:
            raise _Wrong("wrong_choice", choices=", ".join(allowed))
        return cell or default

    return read_choice


def price(cell: str) -> Decimal | None:
    """A price in rubles as people write it: «67 200,00», «67200.5»; None for an empty cell."""
    if not cell:
        return None
    if _TWO_WAYS.fullmatch(cell):
        raise _Wrong("ambiguous_money", text=cell)
    if not (written := _MONEY.fullmatch(cell)):
        raise _Wrong("wrong_price")
    whole = re.sub(f"[{_SPACES}]", "", written[1])
    return Decimal(f"{whole}.{written[2] or 0}").quantize(Decimal("0.01"))


_COLUMNS: dict[str, Callable[[str], Any]] = {
    "article": _article,
    "name_ru": _words(500),
    "name_en": _words(500),
    "category_ru": _words(500),
    "nomenclature_codes": _codes,
    "unit": _words(32, services.UNIT),
    "doctor_rank": lambda cell: cell or None,
    "price_kind": _choice(KINDS, ""),
    "price": price,
    "vat_category": _choice(vat.CATEGORIES, "exempt_medical"),
    "tax_deduction_code": _choice(vat.TAX_DEDUCTION_CODES, "1"),
}
