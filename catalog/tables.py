"""Files of rows as people send them: CSV text or an Excel workbook becomes numbered rows of cell texts.

What a file is, its content says, not its name. The header is looked for: above it there may be a title, an order's
number, empty rows. Rows keep the numbers that a spreadsheet shows. A workbook is opened by a process of its own, which
may break on it without harm to ours (`workbooks`).
"""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import orjson

from clinic import errors

LARGEST_FILE = 16 * 2**20
LARGEST_UNPACKED = 256 * 2**20
MOST_ROWS = 100_000
MOST_COLUMNS = 200
_MOST_PLACES = 2_000_000
_SECONDS = 30
_HEADER_WITHIN = 50
_ROOT = Path(__file__).parents[1]
_UNSEEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_FORMULA = re.compile(r"'+[=+\-@\t\r]")
_ERROR = re.compile(
    r"#(?:N/A|REF!|VALUE!|DIV/0!|NAME\?|NULL!|NUM!|Н/Д|ССЫЛКА!|ЗНАЧ!|ДЕЛ/0!|ИМЯ\?|ПУСТО!|ЧИСЛО!)", re.IGNORECASE
)

errors.describe(
    {
        "unreadable_file": (
            "Файл не читается: нужна книга Excel (.xlsx, .xls) или CSV в UTF-8, UTF-16 или windows-1251.",
            "The file cannot be read: it is no Excel workbook (.xlsx, .xls), nor CSV in UTF-8, UTF-16 or windows-1251.",
        ),
        "broken_quotes": (
            "Кавычки расставлены так, что границы ячеек не найти: удвойте кавычки внутри ячейки или сохраните в .xlsx.",
            "The quotes do not show where cells end: double those inside a cell, or save the file as .xlsx.",
        ),
        "file_too_large": (
            "Файл слишком велик: не больше {megabytes} МБ, распакованный — не больше {unpacked} МБ.",
            "The file is too large: at most {megabytes} MB, unpacked at most {unpacked} MB.",
        ),
        "table_too_large": (
            "Лист слишком велик: занята ячейка {cell}, а читается не больше {rows} строк и {columns} столбцов.",
            "The sheet is too large: {cell} is filled, and at most {rows} rows and {columns} columns are read.",
        ),
        "workbook_too_heavy": (
            "Книгу не удалось разобрать за отведённые время и память: оставьте в ней только прейскурант.",
            "The workbook needs too much time or memory to open: leave only the price list in it.",
        ),
        "protected_file": (
            "Книга защищена паролем: снимите пароль и сохраните её снова.",
            "The workbook has a password: take it off and save the workbook again.",
        ),
        "macro_file": (
            "В книге есть макросы: сохраните её как «Книга Excel (.xlsx)».",
            "The workbook has macros: save it as a plain Excel workbook (.xlsx).",
        ),
        "other_format": (
            "Это {format}: сохраните таблицу как «Книга Excel (.xlsx)» или CSV.",
            "This is {format}: save the table as an Excel workbook (.xlsx) or as CSV.",
        ),
        "no_header": (
            "Не найдена строка с заголовками столбцов ни на одном из видимых листов.",
            "No visible sheet has a row with the columns' headings.",
        ),
    }
)  # fmt: skip


class Unreadable(Exception):
    """A file that is no table; one problem that says why. `row` is 1 unless the row is known."""

    def __init__(self, code: str, row: int = 1, **values: str) -> None:
        super().__init__(code)
        self.code = code
        self.row = row
        self.values_ = tuple(values.items())


class Number(str):
    """Text of a cell that holds a number: exact, with a decimal point, never with an exponent."""


class Odd(str):
    """Text of a cell that holds no text and no number; `kind` is `date`, `flag`, `error` or `formula`."""

    kind: str

    def __new__(cls, kind: str, text: str) -> Odd:
        made = super().__new__(cls, text)
        made.kind = kind
        return made


Row = tuple[int, list[str]]


@dataclass
class Table:
    """The rows below the header with their numbers, none of them empty; `sheet` is None for CSV."""

    header: list[str]
    header_row: int
    rows: list[Row]
    sheet: str | None = None
    sheets: int = 1
    hidden: list[int] = field(default_factory=list)


def heading(text: str) -> str:
    """A heading as it is compared: «Цена, руб.» is «цена руб»."""
    return " ".join(re.sub(r"[^\w%№/]", " ", text.lower().replace("ё", "е")).split())


def read(raw: bytes, columns: Mapping[str, str]) -> Table:
    """The table in a file.

    Args:
        columns: heading, folded by `heading` -> column, by which the header is known.

    Raises:
        Unreadable: it is none, or too large.
    """
    if len(raw) > LARGEST_FILE:
        raise too_large()
    if raw.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")):
        return _of_workbook(raw, columns)
    return _laid_out(_of_text(_text(raw), columns), columns)


def too_large() -> Unreadable:
    return Unreadable("file_too_large", megabytes=str(LARGEST_FILE >> 20), unpacked=str(LARGEST_UNPACKED >> 20))


def place_of_header(rows: Sequence[Row], columns: Mapping[str, str]) -> tuple[int, int]:
    """Which of the rows is the header, and how many different columns it names; (0, 0) when none names two."""
    best, most = 0, 1
    for place, (_, cells) in enumerate(rows[:_HEADER_WITHIN]):
        found = len(_named(cells, columns))
        if found > most:
            best, most = place, found
    return (best, most) if most > 1 else (0, 0)


def _named(cells: Sequence[str], columns: Mapping[str, str]) -> set[str]:
    return {columns[known] for cell in cells if isinstance(cell, str) and (known := heading(cell)) in columns}


def _laid_out(rows: list[Row], columns: Mapping[str, str]) -> Table:
    rows = [(number, trimmed) for number, cells in rows if (trimmed := _trimmed(cells))]
    if not rows:
        return Table([], 1, [])
    place, _ = place_of_header(rows, columns)
    number, header = rows[place]
    rest = rows[place + 1 :]
    if rest and rest[0][0] == number + 1 and _completes(rest[0][1], columns):
        below = rest.pop(0)[1]
        width = max(len(header), len(below))
        header = [low or high for high, low in zip(_padded(header, width), _padded(below, width), strict=True)]
    if rest and _counts(rest[0][1]):
        rest.pop(0)
    return Table(list(header), number, rest)


def _completes(below: Sequence[str], columns: Mapping[str, str]) -> bool:
    """Whether the row below a header is its second half: merged headings have their parts there."""
    filled = [cell for cell in below if cell]
    return bool(filled) and all(heading(cell) in columns for cell in filled)


def _counts(cells: Sequence[str]) -> bool:
    """Whether this is the row «1 2 3 …» that forms have below their header."""
    return len(cells) > 1 and list(cells) == [str(number) for number in range(1, len(cells) + 1)]


def _padded(cells: Sequence[str], width: int) -> list[str]:
    return [*cells, *[""] * (width - len(cells))]


def _trimmed(cells: list[str]) -> list[str]:
    """Without the empty cells at the end."""
    end = len(cells)
    while end and not cells[end - 1]:
        end -= 1
    return cells[:end]


# ---- Text ----


def _text(raw: bytes) -> str:
    for mark, name in _OTHER_FORMATS:
        if raw.startswith(mark):
            raise Unreadable("other_format", format=name) if name else Unreadable("unreadable_file")
    try:
        text = _decoded(raw)
    except UnicodeDecodeError as exc:
        raise Unreadable("unreadable_file") from exc
    if _UNSEEN.search(text, 0, 4096):
        raise Unreadable("unreadable_file")
    return text


def _decoded(raw: bytes) -> str:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16")
    if b"\0" in raw[:64]:  # UTF-16 without its mark
        return raw.decode("utf-16-le" if raw[1:2] in (b"\0", b"\4") else "utf-16-be")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("cp1251")


_OTHER_FORMATS = (
    (b"%PDF", "PDF"),
    (b"Rar!", "RAR"),
    (b"7z\xbc\xaf", "7z"),
    (b"\x1f\x8b", "gzip"),
    (b"{\\rtf", "RTF"),
    (b"<", "HTML/XML"),
    (b"\xef\xbb\xbf<", "HTML/XML"),
    (b"\x89PNG", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF8", "GIF"),
)


def _of_text(text: str, columns: Mapping[str, str]) -> list[Row]:
    """The rows, with the delimiter by which the header is best understood."""
    start = 0
    if hint := re.match(r"sep=.?(?:\r\n?|\n)", text):  # for spreadsheet programs, which do not count it as a row
        start = hint.end()
    body = text[start:]

    def understood(delimiter: str) -> tuple[int, int]:
        rows: list[Row] = []
        widest = 0
        try:
            for row in islice(_split(body, delimiter), _HEADER_WITHIN):
                rows.append(row)
                widest = max(widest, len(_trimmed(row[1])))
        except Unreadable as wide:
            widest = MOST_COLUMNS + 1 if wide.code == "table_too_large" else widest
        return place_of_header(rows, columns)[1], widest

    return list(_split(body, max(";\t,", key=understood)))


def _split(text: str, delimiter: str) -> Iterator[Row]:
    number = 0
    try:
        for number, cells in enumerate(
            csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), start=1
        ):
            if number > MOST_ROWS or len(_trimmed(cells)) > MOST_COLUMNS:
                raise _oversized(number, len(cells))
            yield number, [_plain(cell) for cell in cells]
    except csv.Error as exc:
        raise Unreadable("broken_quotes", row=number + 1) from exc


def _oversized(row: int, column: int) -> Unreadable:
    return Unreadable("table_too_large", cell=cell_name(row, column), rows=str(MOST_ROWS), columns=str(MOST_COLUMNS))


def cell_name(row: int, column: int) -> str:
    """«C7», both counted from 1."""
    letters = ""
    while column:
        column, rest = divmod(column - 1, 26)
        letters = chr(65 + rest) + letters
    return f"{letters}{row}"


def _plain(cell: str) -> str:
    # An apostrophe before = + - @ keeps a spreadsheet from computing the cell; it is no part of the text.
    cell = cell.strip()
    if _FORMULA.match(cell):
        cell = cell[1:]
    return Odd("error", cell) if is_error(cell) else cell


def is_error(text: str) -> bool:
    """Whether a cell with this text is a spreadsheet's error, such as #N/A or #Н/Д."""
    return text.startswith("#") and _ERROR.fullmatch(text) is not None


def guarded(cell: str) -> str:
    """`cell` so that no spreadsheet takes it for a formula when it opens a CSV; reading undoes it."""
    return f"'{cell}" if _FORMULA.match("'" + cell) else cell


def marked(cell: str) -> str:
    """`cell` as a workbook holds it: only what reading would take for a guard is guarded."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


# ---- Workbooks ----


@dataclass
class Look:
    """What a sheet's text says beyond its values. Rows and columns are counted from 0."""

    last_row: int = -1
    last_column: int = -1
    hidden: list[int] = field(default_factory=list)
    odd: dict[tuple[int, int], dict[str, str]] = field(default_factory=dict)

    def fill(self, row: int, column: int) -> None:
        self.last_row, self.last_column = max(self.last_row, row), max(self.last_column, column)

    @property
    def too_large(self) -> bool:
        places = (self.last_row + 1) * (self.last_column + 1)
        return self.last_row >= MOST_ROWS or self.last_column >= MOST_COLUMNS or places > _MOST_PLACES

    def refuse(self) -> NoReturn:
        raise _oversized(self.last_row + 1, self.last_column + 1)


def _of_workbook(raw: bytes, columns: Mapping[str, str]) -> Table:
    """Raises:
    Unreadable: the workbook is broken, protected, too large, or a header stands nowhere.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", "catalog.workbooks", orjson.dumps(dict(columns)).decode()],
            input=raw,
            capture_output=True,
            timeout=_SECONDS,
            cwd=_ROOT,
        )
    except subprocess.TimeoutExpired as exc:
        raise Unreadable("workbook_too_heavy") from exc
    if done.returncode < 0:  # stopped at its bound of memory or time
        raise Unreadable("workbook_too_heavy")
    if done.returncode:
        raise Unreadable("unreadable_file")
    answer: dict[str, Any] = orjson.loads(done.stdout)
    if "refused" in answer:
        raise Unreadable(answer["refused"], **answer["values"])
    rows = [(number, [_cell(value) for value in cells]) for number, cells in answer["rows"]]
    table = _laid_out(rows, columns)
    table.sheet, table.sheets = answer["sheet"], answer["sheets"]
    table.hidden = [number for number in answer["hidden"] if number > table.header_row]
    return table


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return _plain(value)
    if isinstance(value, bool):
        return Odd("flag", "TRUE" if value else "FALSE")
    if isinstance(value, int | float):
        return Number(_exact(value))
    return Odd(value["kind"], value["text"])


def _exact(number: float) -> str:
    # Fifteen digits are what Excel keeps and shows: 14000 × 1.1 is 15400 there, not 15400.000000000002.
    return f"{Decimal(format(number, '.15g')):f}"
