"""Workbooks for tests: good ones, and the worst that an accountant, or a stranger, may send."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import openpyxl

BOF_GLOBALS = struct.pack("<HHHH", 0x0600, 0x0005, 0, 0) + bytes(8)
BOF_SHEET = struct.pack("<HHHH", 0x0600, 0x0010, 0, 0) + bytes(8)


def xlsx(*rows: Sequence[Any], change: Callable[[Any], None] | None = None) -> bytes:
    """A workbook of one sheet, which `change` may do further things to."""
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(list(row))
    if change:
        change(book)
    made = io.BytesIO()
    book.save(made)
    return made.getvalue()


def repacked(raw: bytes, parts: dict[str, bytes | Callable[[bytes], bytes]]) -> bytes:
    """The workbook with parts added, or changed by a function."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
        for name in [*old.namelist(), *(name for name in parts if name not in old.namelist())]:
            part = parts.get(name)
            content = part if isinstance(part, bytes) else old.read(name)
            new.writestr(name, part(content) if callable(part) else content)
    return made.getvalue()


SHEET = "xl/worksheets/sheet1.xml"


def bomb() -> bytes:
    """Half a megabyte that unpacks to half a gigabyte."""
    return repacked(xlsx(["article"]), {"xl/sharedStrings.xml": bytes(512 * 2**20)})


def liar() -> bytes:
    """The same, and its directory says that it unpacks to a hundred bytes."""
    raw = bytearray(bomb())
    with zipfile.ZipFile(io.BytesIO(raw)) as packed:
        part = packed.getinfo("xl/sharedStrings.xml")
    true, small = struct.pack("<I", part.file_size), struct.pack("<I", 100)
    return bytes(raw).replace(true, small)


def far_cell() -> bytes:
    """A sheet whose second cell is the last that Excel has."""
    return xlsx(["article", "name_ru", "price"], change=lambda book: book.active.__setitem__("XFD1048576", "x"))


# ---- XLS: a compound file with one stream of BIFF8 records ----


def xls(*rows: Sequence[Any], errors: dict[tuple[int, int], int] | None = None, hidden: Sequence[int] = ()) -> bytes:
    """A workbook of Excel 97; `errors` are codes by (row, column), from 0."""
    cells = [_record(0x208, struct.pack("<HHHHHHI", row, 0, 9, 255, 0, 0, 0x20)) for row in hidden]
    for row, values in enumerate(rows):
        for column, value in enumerate(values):
            place = struct.pack("<HHH", row, column, 15)
            if isinstance(value, str) and value:
                cells.append(_record(0x204, place + struct.pack("<HB", len(value), 1) + value.encode("utf-16-le")))
            elif isinstance(value, int | float):
                cells.append(_record(0x203, place + struct.pack("<d", value)))
    for (row, column), code in (errors or {}).items():
        cells.append(_record(0x205, struct.pack("<HHHBB", row, column, 15, code, 1)))
    sheet = _record(0x809, BOF_SHEET) + b"".join(cells) + _record(0x0A, b"")
    name = "Лист1"
    listed = struct.pack("<HBB", 0, len(name), 1) + name.encode("utf-16-le")
    start = len(_record(0x809, BOF_GLOBALS)) + len(_record(0x85, bytes(4) + listed)) + len(_record(0x0A, b""))
    globals_ = _record(0x809, BOF_GLOBALS) + _record(0x85, struct.pack("<I", start) + listed) + _record(0x0A, b"")
    return compound({"Workbook": globals_ + sheet})


def _record(kind: int, data: bytes) -> bytes:
    return struct.pack("<HH", kind, len(data)) + data


def compound(streams: dict[str, bytes]) -> bytes:
    """A compound file; each stream stands in sectors of its own, behind the tables."""
    end, free, fat_sector = 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFD
    bodies, entries, table = b"", [_entry("Root Entry", 5, end, 0)], [fat_sector, end]
    for name, content in streams.items():
        padded = content + bytes(-len(content) % 512 if len(content) >= 4096 else 4096 - len(content))
        first, count = len(table), len(padded) // 512
        table += [*range(first + 1, first + count), end]
        entries.append(_entry(name, 2, first, len(padded)))
        bodies += padded
    assert len(table) <= 128 and len(entries) <= 4, "one sector each for the table and the directory"
    table += [free] * (128 - len(table))
    header = (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(10)
        + struct.pack("<IIIIIIIII", 1, 1, 0, 4096, end, 0, end, 0, 0) + struct.pack("<I", free) * 108
    )  # fmt: skip
    directory = b"".join(entries) + bytes(512 - 128 * len(entries))
    return header + struct.pack("<128I", *table) + directory + bodies


def _entry(name: str, kind: int, start: int, size: int) -> bytes:
    written = name.encode("utf-16-le")
    links = struct.pack("<III", 0xFFFFFFFF, 0xFFFFFFFF, 1 if kind == 5 else 0xFFFFFFFF)
    return (
        written.ljust(64, b"\0") + struct.pack("<HBB", len(written) + 2, kind, 1) + links + bytes(36)
        + struct.pack("<IQ", start, size)
    )  # fmt: skip
