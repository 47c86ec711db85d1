"""Opens one workbook and prints its rows as JSON; a program of its own, run by `tables`.

What is in the file is nobody's friend: it may unpack to gigabytes, or name a cell at the far end of a sheet, for which
the reading library would make room at once. So sizes are looked at first, and the process has bounds of memory and time
that end it, and nothing else, when they were not enough.
"""

from __future__ import annotations

import io
import re
import resource
import sys
import zipfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from datetime import date, datetime
from typing import Any

import orjson
import python_calamine
from defusedxml.ElementTree import ParseError, fromstring

from catalog import old_workbooks, tables
from catalog.tables import Look, Unreadable

_MEMORY = 768 * 2**20
_CPU_SECONDS = 20
_MOST_PARTS = 2000
_MOST_TIMES = 200
"""How many times its size a part may unpack to: sheets do to some thirty."""
_SMALL = 2**20
"""Bytes of a part that may unpack to more times its size."""
_MOST_SHEETS = 100
_HEAD = 4096
"""Bytes within which a part's element has begun."""
_MOST_CELLS = 1_000_000
# No part reads on over a `<`, or over the cell's own end: a cell that never ends would be looked for to the end of the
# file, and so would the next one.
_CELL = re.compile(
    rb"<(?:\w+:)?(?:row\b([^<>]*)>|c\b([^<>]*?)(?:/>|>([^<]*(?:<(?!/?(?:\w+:)?c\b)[^<]*)*)</(?:\w+:)?c>))"
)
_BEGINS = re.compile(r"\ufeff?\s*(?:<\?[^>]*\?>\s*|<!--.*?-->\s*)*<[^!?]", re.DOTALL)
"""How a part of a workbook begins: with its element, and never with a DTD (ECMA-376, part 2, «XML Usage»)."""
_REF = re.compile(rb"""\br=["']([A-Z]{0,3})([0-9]{1,7})["']""")
_TYPE = re.compile(rb"""\bt=["'](\w+)["']""")
_HIDDEN = re.compile(rb"""\bhidden=["'](?:1|true)["']""")
_VALUE = re.compile(rb"<(?:\w+:)?v(?:\s[^<>]*)?>([^<]+)<")


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    with suppress(ValueError, OSError):  # not every system bounds memory in this way
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    columns = orjson.loads(sys.argv[1])
    try:
        answer = orjson.dumps(read(sys.stdin.buffer.read(), columns))
    except Unreadable as refused:
        answer = orjson.dumps({"refused": refused.code, "values": dict(refused.values_)})
    except MemoryError:
        answer = orjson.dumps({"refused": "workbook_too_heavy", "values": {}})
    sys.stdout.buffer.write(answer)


def read(raw: bytes, columns: Mapping[str, str]) -> dict[str, Any]:
    """The visible sheet whose header names most columns: its rows, and which of them are hidden.

    Raises:
        Unreadable: there is none, or the workbook is not to be read.
    """
    looks = _looks_of_new(raw) if raw.startswith(b"PK") else old_workbooks.looks(raw)
    try:
        book = python_calamine.load_workbook(io.BytesIO(raw))
    except python_calamine.PasswordError as exc:
        raise Unreadable("protected_file") from exc
    except Exception as exc:
        raise Unreadable("unreadable_file") from exc
    best: dict[str, Any] | None = None
    most, oversized = 0, None
    visible = [
        sheet.name
        for sheet in book.sheets_metadata
        if sheet.typ == python_calamine.SheetTypeEnum.WorkSheet
        and sheet.visible == python_calamine.SheetVisibleEnum.Visible
    ]
    for name in visible[:_MOST_SHEETS]:
        look = looks.get(name, Look())
        if look.too_large:
            oversized = oversized or look
            continue
        rows = _rows(book, name, look)
        found = tables.place_of_header([(n, cells) for n, cells in rows if any(cells)], columns)[1]
        if best is None or found > most:
            hidden = [each + 1 for each in look.hidden]
            best, most = {"sheet": name, "sheets": len(visible), "rows": rows, "hidden": hidden}, found
    if oversized and most == 0:
        oversized.refuse()
    if best is None or (most == 0 and len(visible) > 1):
        raise Unreadable("no_header")
    return best


def _rows(book: Any, name: str, look: Look) -> list[tuple[int, list[Any]]]:
    try:
        sheet = book.get_sheet_by_name(name)
        rows = [[_json(value) for value in row] for row in sheet.to_python(skip_empty_area=False)]
        merged = sheet.merged_cell_ranges or []
    except MemoryError:
        raise
    # What the library does not foresee it tells by a panic, which is no Exception.
    except BaseException as exc:
        raise Unreadable("unreadable_file") from exc
    for (row, column), value in look.odd.items():
        if row < len(rows) and column < len(rows[row]):
            rows[row][column] = value
    for (top, left), (bottom, right) in merged:
        # A category or an article merged over several rows is meant for each of them.
        if left == right:
            for row in range(top + 1, min(bottom + 1, len(rows))):
                if left < len(rows[row]) and rows[row][left] == "":
                    rows[row][left] = rows[top][left]
    hidden = set(look.hidden)
    look.hidden = [row for row in range(len(rows)) if row in hidden and any(each != "" for each in rows[row])]
    return [(number, row) for number, row in enumerate(rows, start=1) if any(each != "" for each in row)]


def _json(value: Any) -> Any:
    if isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, date | datetime):
        return {"kind": "date", "text": value.isoformat()[:10]}
    return {"kind": "date", "text": str(value)}


# ---- XLSX ----


def _looks_of_new(raw: bytes) -> dict[str, Look]:
    """Raises:
    Unreadable: it is no XLSX, it has macros or a password, it unpacks to too much, or is cut short.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as packed:
            _check(packed)
            _must_have_no_dtd(packed)
            return {name: _look(packed.read(part)) for name, part in _sheets(packed).items()}
    except (zipfile.BadZipFile, zlib.error, ParseError, KeyError, EOFError, OSError, ValueError) as exc:
        raise Unreadable("unreadable_file") from exc
    except (NotImplementedError, RuntimeError) as exc:  # packed in a way no Excel does, or encrypted by the packer
        raise Unreadable("unreadable_file") from exc


def _check(packed: zipfile.ZipFile) -> None:
    parts = packed.infolist()
    names = {part.filename for part in parts}
    if sum(part.file_size for part in parts) > tables.LARGEST_UNPACKED or len(parts) > _MOST_PARTS:
        raise tables.too_large()
    if any(part.file_size > max(_SMALL, _MOST_TIMES * part.compress_size) for part in parts):
        raise Unreadable("workbook_too_heavy")
    if any(name.endswith("vbaProject.bin") for name in names):
        raise Unreadable("macro_file")
    if "xl/workbook.bin" in names:
        raise Unreadable("other_format", format="XLSB")
    if "mimetype" in names:
        raise Unreadable("other_format", format="ODS")
    if "word/document.xml" in names:
        raise Unreadable("other_format", format="DOCX")
    if "xl/workbook.xml" not in names:
        raise Unreadable("other_format", format="ZIP")


def _must_have_no_dtd(packed: zipfile.ZipFile) -> None:
    """Not all that read a workbook refuse one, and what it declares nobody asked for."""
    for name in packed.namelist():
        if name.lower().endswith((".xml", ".rels")):
            with packed.open(name) as part:
                head = part.read(_HEAD)
            if head and not _BEGINS.match(_text(head)):
                raise Unreadable("unreadable_file")


def _text(head: bytes) -> str:
    # XML in UTF-16 begins with a mark, or shows itself by the zeros of its first `<`.
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return head.decode("utf-16", "replace")
    encoding = {0: "utf-16-be", 1: "utf-16-le"}.get(head[:2].find(b"\0"), "utf-8")
    return head.decode(encoding, "replace")


def _sheets(packed: zipfile.ZipFile) -> dict[str, str]:
    """Name of each sheet -> its part."""
    targets = {
        each.get("Id", ""): each.get("Target", "") for each in fromstring(packed.read("xl/_rels/workbook.xml.rels"))
    }
    found = {}
    for element in fromstring(packed.read("xl/workbook.xml")).iter():
        if element.tag.rpartition("}")[2] == "sheet":
            relation = next((text for name, text in element.attrib.items() if name.endswith("}id")), "")
            target = targets.get(relation, "")
            if "worksheets/" in target:
                found[element.get("name", "")] = target[1:] if target.startswith("/") else f"xl/{target}"
    return found


def _look(text: bytes) -> Look:
    look = Look()
    row, column, cells = -1, -1, 0
    for found in _CELL.finditer(text):
        of_row, of_cell, content = found.groups()
        if of_row is not None:
            ref = _REF.search(of_row)
            row, column = int(ref[2]) - 1 if ref else row + 1, -1
            if _HIDDEN.search(of_row):
                look.hidden.append(row)
            continue
        ref = _REF.search(of_cell)
        column = _column(ref[1]) if ref else column + 1
        if not content:
            continue
        cells += 1
        look.fill(int(ref[2]) - 1 if ref else row, column)
        if cells > _MOST_CELLS:
            look.refuse()
        if odd := _odd(of_cell, content):
            look.odd[row, column] = odd
    return look


def _odd(attributes: bytes, content: bytes) -> dict[str, str] | None:
    """What the reading library would show as an empty cell without a word."""
    kind = _TYPE.search(attributes)
    value = _VALUE.search(content)
    if kind and kind[1] == b"e":
        return {"kind": "error", "text": value[1].decode(errors="replace") if value else "#?"}
    if value is None and re.search(rb"<(?:\w+:)?f\b", content) and not (kind and kind[1] == b"str"):
        return {"kind": "formula", "text": "="}
    return None


def _column(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - 64
    return number - 1


if __name__ == "__main__":
    main()
