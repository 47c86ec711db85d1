"""Reading a price list as an accountant sends it: a file's rows, checked cell by cell, with every wrong cell named.

Decimal comma or point, any kind of space between thousands, «от 67 200 руб.» and «по запросу» in the price itself.
What could mean two things is refused, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from catalog import price_columns, services, tables, vat
from catalog.price_columns import word
from catalog.tables import Number, Odd, Table, Unreadable
from clinic import errors
from clinic.errors import Fault

NEEDED = ("article", "name_ru", "price")
KINDS = ("fixed", "from", "on_request", "withdrawn")
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_CYRILLIC = re.compile(r"[А-Яа-яЁё]")
_SPACES = "\u0020\u00a0\u202f\u2009"
_MONEY = re.compile(
    rf"([0-9]{{1,13}}|[0-9]{{1,3}}(?:[{_SPACES}][0-9]{{3}}){{1,4}})(?:[.,]([0-9]{{1,2}}))?(?:[{_SPACES}]?(?:₽|руб\.?|р\.))?",
    re.ASCII,
)
_FINER = re.compile(r"[0-9]{1,13}\.[0-9]{3,}", re.ASCII)
_FROM = re.compile(rf"от[{_SPACES}]+(.+)", re.IGNORECASE)
_TWO_WAYS = re.compile(r"[0-9]{1,3}[.,][0-9]{3}", re.ASCII)
_ARTICLE_NUMBER = re.compile(r"[0-9]{1,15}", re.ASCII)
_KIND_WORDS = price_columns.by_word(price_columns.KINDS)
_VAT_WORDS = price_columns.by_word(price_columns.VAT)

errors.describe(
    {
        "no_rows": ("В файле нет строк с ценами.", "The file has no rows with prices."),
        "missing_column": ("Нет столбца «{column}» ({heading}).", "The column {column} is missing ({heading})."),
        "unknown_column": ("Столбца «{column}» здесь не знают.", "The column {column} is not known here."),
        "nameless_column": (
            "В столбце {letter} есть данные, но нет заголовка.", "The column {letter} has cells but no heading.",
        ),
        "repeated_column": ("Столбец «{column}» указан дважды.", "The column {column} is there twice."),
        "too_many_cells": ("В строке больше ячеек, чем столбцов.", "The row has more cells than there are columns."),
        "empty_cell": ("Ячейка пуста.", "The cell is empty."),
        "cell_is_date": (
            "В ячейке дата {text}. Если это код, Excel принял его за дату: задайте ячейке формат «Текстовый».",
            "The cell holds the date {text}. If that was a code, Excel took it for one: format the cell as text.",
        ),
        "cell_is_flag": ("В ячейке логическое значение {text}.", "The cell holds the truth value {text}."),
        "cell_is_error": ("В ячейке ошибка {text}.", "The cell holds the error {text}."),
        "cell_is_formula": (
            "В ячейке формула без вычисленного значения: откройте книгу в Excel и сохраните.",
            "The cell holds a formula that was never computed: open the workbook in Excel and save it.",
        ),
        "cell_is_number": (
            "В ячейке число {text}, а не код: Excel мог потерять нули. Задайте ячейке формат «Текстовый».",
            "The cell holds the number {text}, not a code: Excel may have lost zeros. Format the cell as text.",
        ),
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
        "finer_than_kopecks": (
            "В ячейке {text}, хотя показано может быть меньше знаков: округлите цену до копеек.",
            "The cell holds {text}, though it may show fewer digits: round the price to kopecks.",
        ),
        "wrong_price": (
            "Нужна цена вида 67200,00 или 67 200,00.",
            "A price such as 67200,00 or 67 200,00 is needed.",
        ),
        "kinds_disagree": (
            "В цене сказано «{text}», а вид цены другой.", "The price says {text}, and the kind of price another.",
        ),
        "price_missing": ("Нет цены; если она по запросу, укажите on_request.", "No price: say on_request if so."),
        "price_not_expected": ("При таком виде цены сумма не указывается.", "This kind of price has no amount."),
        "wrong_choice": ("Нужно одно из: {choices}.", "One of these is needed: {choices}."),
        "hidden_row": ("Строка скрыта, но прочитана.", "The row is hidden, and was read all the same."),
        "read_from_sheet": (
            "Листов несколько; прочитан «{sheet}».", "There are several sheets; the one read is {sheet}.",
        ),
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
    """A row of a price list, `amount` in rubles. A rank of None means that the price does not depend on it.

    What else is None the row does not say: it is as in the catalog, or as in the article's first row.
    """

    number: int
    article: str
    name_ru: str
    name_en: str | None
    category_ru: str | None
    nomenclature_codes: list[str] | None
    unit: str | None
    doctor_rank: str | None
    kind: str
    amount: Decimal | None
    vat_category: str | None
    tax_deduction_code: str | None
    article_was_number: bool = False


@dataclass
class Sheet:
    """A file as it was read: how many rows, those without a fault, and what is wrong or worth a look.

    A problem in `header_row`, or above it, is one of the whole file.
    """

    count: int = 0
    rows: list[Row] = field(default_factory=list)
    problems: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    header_row: int = 1


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
        table = tables.read(raw, price_columns.BY_HEADING)
    except Unreadable as refused:
        sheet.problems.append(Finding(refused.row, None, refused.code, refused.values_))
        sheet.header_row = refused.row
        return sheet
    sheet.header_row = table.header_row
    header = [price_columns.BY_HEADING.get(tables.heading(name), "") for name in table.header]
    by_sections = "category_ru" not in header
    sheet.count = len(table.rows)
    sheet.problems += _wrong_header(table, header) if any(table.header) else []
    if not sheet.problems and not sheet.count:
        sheet.problems.append(Finding(table.header_row, None, "no_rows"))
    if sheet.problems:
        return sheet
    if table.sheets > 1:
        sheet.warnings.append(Finding(table.header_row, None, "read_from_sheet", (("sheet", str(table.sheet)),)))
    sheet.warnings += [Finding(number, None, "hidden_row") for number in table.hidden]
    section = None
    for number, cells in watch(table.rows):
        if by_sections and (title := _only_cell(cells)):
            section = title
            sheet.count -= 1
        else:
            _read_row(sheet, header, number, cells, section)
    return sheet


def _only_cell(cells: list[str]) -> str | None:
    """The text of a row that has one filled cell: in a list without categories it begins a section."""
    filled = [cell for cell in cells if cell]
    return filled[0] if len(filled) == 1 and not isinstance(filled[0], Number | Odd) else None


def _wrong_header(table: Table, header: list[str]) -> list[Finding]:
    row = table.header_row
    found = []
    for name in NEEDED:
        if name not in header:
            values = (("column", name), ("heading", price_columns.HEADINGS[name][0]))
            found.append(Finding(row, name, "missing_column", values))
    filled = {place for _, cells in table.rows for place, cell in enumerate(cells[: len(header)]) if cell}
    for place, (written, column) in enumerate(zip(table.header, header, strict=True)):
        if written and not column:
            found.append(Finding(row, written[:64], "unknown_column", (("column", written[:64]),)))
        elif not written and place in filled:
            letter = tables.cell_name(row, place + 1).rstrip("0123456789")
            found.append(Finding(row, None, "nameless_column", (("letter", letter),)))
        elif column and column != price_columns.PASSED_OVER and column in header[:place]:
            found.append(Finding(row, column, "repeated_column", (("column", column),)))
    return found


def _read_row(sheet: Sheet, header: list[str], number: int, cells: list[str], section: str | None) -> None:
    problems: list[Finding] = []
    values: dict[str, Any] = {}
    if any(cells[len(header) :]):
        problems.append(Finding(number, None, "too_many_cells"))
    named = dict(zip(header, cells, strict=False))
    for column, reader in _COLUMNS.items():
        try:
            cell = named.get(column, "")
            values[column] = reader(_ordinary(cell)) if cell or column in header else None
        except _Wrong as wrong:
            problems.append(Finding(number, column, wrong.code, wrong.values_))
    if not problems:
        try:
            values["kind"], values["amount"] = _kind(values.pop("price_kind"), *values.pop("price"))
        except _Wrong as wrong:
            problems.append(Finding(number, "price", wrong.code, wrong.values_))
    if problems:
        sheet.problems += problems
        return
    if section is not None:
        values["category_ru"] = section
    sheet.rows.append(Row(number=number, article_was_number=isinstance(named["article"], Number), **values))


def _ordinary(cell: str) -> str:
    if isinstance(cell, Odd):
        raise _Wrong(f"cell_is_{cell.kind}", **({} if cell.kind == "formula" else {"text": str(cell)}))
    return cell


def _kind(kind: str | None, said: str | None, amount: Decimal | None) -> tuple[str, Decimal | None]:
    if kind and said and kind != said:
        raise _Wrong("kinds_disagree", text=price_columns.KINDS[said][0])
    kind = kind or said or "fixed"
    if kind in ("fixed", "from") and amount is None:
        raise _Wrong("price_missing")
    if kind not in ("fixed", "from") and amount is not None:
        raise _Wrong("price_not_expected")
    return kind, amount


def _article(cell: str) -> str:
    _refuse_look_alikes(cell)
    if isinstance(cell, Number) and not _ARTICLE_NUMBER.fullmatch(cell):
        raise _Wrong("cell_is_number", text=str(cell))
    if not re.fullmatch(services.ARTICLE, cell, re.ASCII):
        raise _Wrong("wrong_article" if cell else "empty_cell")
    return str(cell)


def _refuse_look_alikes(cell: str) -> None:
    if letters := _CYRILLIC.findall(cell):
        raise _Wrong("look_alike_letters", letters=", ".join(dict.fromkeys(letters)))


def _words(most: int) -> Callable[[str], str | None]:
    def read_words(cell: str) -> str | None:
        if _CONTROLS.search(cell):
            raise _Wrong("not_text")
        squeezed = " ".join(cell.split())
        if len(squeezed) > most:
            raise _Wrong("wrong_length")
        return squeezed or None

    return read_words


def _needed_words(most: int) -> Callable[[str], str]:
    read_words = _words(most)

    def read_needed(cell: str) -> str:
        if (words := read_words(cell)) is None:
            raise _Wrong("empty_cell")
        return words

    return read_needed


def _codes(cell: str) -> list[str]:
    codes = [code for code in re.split(r"[,;\s]+", cell) if code]
    for code in codes:
        _refuse_look_alikes(code)
        if not re.fullmatch(services.NOMENCLATURE, code, re.ASCII):
            raise _Wrong("wrong_nomenclature_code")
    if len(set(codes)) < len(codes):
        raise _Wrong("repeated_code")
    return codes


def _choice(choices: Iterable[str], words: Mapping[str, str]) -> Callable[[str], str | None]:
    allowed = tuple(choices)

    def read_choice(cell: str) -> str | None:
        chosen = words.get(word(cell), cell)
        if chosen and chosen not in allowed:
            raise _Wrong("wrong_choice", choices=", ".join(allowed))
        return chosen or None

    return read_choice


def _price(cell: str) -> tuple[str | None, Decimal | None]:
    """The kind of price that the cell says in words, and its amount."""
    if not isinstance(cell, Number):
        if (kind := _KIND_WORDS.get(word(cell))) in ("on_request", "withdrawn"):
            return kind, None
        if written := _FROM.fullmatch(cell):
            return "from", price(written[1])
    return None, price(cell)


def price(cell: str) -> Decimal | None:
    """A price in rubles as people write it: «67 200,00», «67200.5», «67 200 руб.»; None for an empty cell."""
    if not cell:
        return None
    if isinstance(cell, Number):
        if _FINER.fullmatch(cell):
            raise _Wrong("finer_than_kopecks", text=cell.replace(".", ","))
    elif _TWO_WAYS.fullmatch(cell):
        raise _Wrong("ambiguous_money", text=cell)
    if not (written := _MONEY.fullmatch(cell)):
        raise _Wrong("wrong_price")
    whole = re.sub(f"[{_SPACES}]", "", written[1])
    return Decimal(f"{whole}.{written[2] or 0}").quantize(Decimal("0.01"))


_COLUMNS: dict[str, Callable[[str], Any]] = {
    "article": _article,
    "name_ru": _needed_words(500),
    "name_en": _words(500),
    "category_ru": _words(500),
    "nomenclature_codes": _codes,
    "unit": _words(32),
    "doctor_rank": _words(64),
    "price_kind": _choice(KINDS, _KIND_WORDS),
    "price": _price,
    "vat_category": _choice(vat.CATEGORIES, _VAT_WORDS),
    "tax_deduction_code": _choice(vat.TAX_DEDUCTION_CODES, {}),
}
