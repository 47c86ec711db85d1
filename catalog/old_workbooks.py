"""A look at an XLS workbook before it is opened: how large its sheets are, and what the reading library leaves out.

A compound file (MS-CFB) holds the stream `Workbook` of BIFF8 records (MS-XLS): type and length, 16 bits each, and data.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from catalog.tables import Look, Unreadable

_BOF, _EOF, _FILEPASS, _BOUNDSHEET, _ROW, _FORMULA, _BOOLERR = 0x809, 0x0A, 0x2F, 0x85, 0x208, 0x06, 0x205
_CELLS = {0x203, 0x27E, 0xBD, 0xFD, 0x204, _FORMULA, _BOOLERR, 0x201, 0xBE, 0xD6}
_BLANK = {0x201, 0xBE}
_LAST_SECTORS = 0xFFFFFFFA
_MOST_PLACES = 8_000_000
_ERRORS = {0: "#NULL!", 7: "#DIV/0!", 15: "#VALUE!", 23: "#REF!", 29: "#NAME?", 36: "#NUM!", 42: "#N/A"}


def looks(raw: bytes) -> dict[str, Look]:
    """By the name of each sheet.

    Raises:
        Unreadable: it is no XLS of Excel 97 or newer, it has macros or a password, or it is cut short or too large.
    """
    try:
        streams = _streams(raw)
        if "EncryptedPackage" in streams:
            raise Unreadable("protected_file")
        if "_VBA_PROJECT_CUR" in streams:
            raise Unreadable("macro_file")
        if "Workbook" not in streams:
            raise Unreadable("other_format", format="DOC" if "WordDocument" in streams else "OLE")
        found = _sheets(streams["Workbook"])
    except (struct.error, IndexError, UnicodeDecodeError, ValueError) as exc:
        raise Unreadable("unreadable_file") from exc
    # The library makes room for all sheets at once, full or not.
    if sum((each.last_row + 1) * (each.last_column + 1) for each in found.values()) > _MOST_PLACES:
        max(found.values(), key=lambda each: each.last_row * each.last_column).refuse()
    return found


def _streams(raw: bytes) -> dict[str, bytes]:
    """The workbook's stream, and the names alone of all others."""
    shift, first_directory = struct.unpack_from("<H", raw, 30)[0], struct.unpack_from("<I", raw, 48)[0]
    if shift not in (9, 12):
        raise ValueError("a sector has 512 or 4096 bytes")
    size = 1 << shift

    def sector(number: int) -> bytes:
        return raw[(number + 1) * size : (number + 2) * size]

    table: list[int] = []
    for number in _fat_sectors(raw, size):
        table += struct.unpack_from(f"<{size // 4}I", sector(number))

    def chain(number: int) -> bytes:
        parts, seen = [], 0
        while number < _LAST_SECTORS and seen <= len(table):
            parts.append(sector(number))
            number = table[number]
            seen += 1
        return b"".join(parts)

    found = {}
    directory = chain(first_directory)
    for at in range(0, len(directory) - 127, 128):
        length = struct.unpack_from("<H", directory, at + 64)[0]
        name = directory[at : at + max(length - 2, 0)].decode("utf-16-le")
        start, extent = struct.unpack_from("<II", directory, at + 116)
        found[name] = chain(start)[:extent] if name == "Workbook" else b""
    return found


def _fat_sectors(raw: bytes, size: int) -> Iterator[int]:
    for number in struct.unpack_from("<109I", raw, 76):
        if number < _LAST_SECTORS:
            yield number
    following, left = struct.unpack_from("<II", raw, 68)
    while following < _LAST_SECTORS and left:
        numbers = struct.unpack_from(f"<{size // 4}I", raw, (following + 1) * size)
        yield from (number for number in numbers[:-1] if number < _LAST_SECTORS)
        following, left = numbers[-1], left - 1


def _records(stream: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    """The records of one substream: from its BOF to its EOF."""
    depth = 0
    while at + 4 <= len(stream):
        kind, length = struct.unpack_from("<HH", stream, at)
        yield kind, stream[at + 4 : at + 4 + length]
        depth += (kind == _BOF) - (kind == _EOF)
        if depth <= 0:
            return
        at += 4 + length
    raise ValueError("the stream is cut short")


def _sheets(stream: bytes) -> dict[str, Look]:
    starts: dict[str, int] = {}
    for kind, data in _records(stream, 0):
        if kind == _FILEPASS:
            raise Unreadable("protected_file")
        if kind == _BOUNDSHEET:
            start, length, wide = struct.unpack_from("<I", data)[0], data[6], data[7] & 1
            name = data[8 : 8 + length * (1 + wide)].decode("utf-16-le" if wide else "latin-1")
            starts[name] = start
    return {name: _look(stream, start) for name, start in starts.items()}


def _look(stream: bytes, start: int) -> Look:
    look = Look()
    for kind, data in _records(stream, start):
        if kind == _ROW and len(data) >= 16 and struct.unpack_from("<H", data, 12)[0] & 0x20:
            look.hidden.append(struct.unpack_from("<H", data)[0])
        if kind not in _CELLS or kind in _BLANK:
            continue
        row, column = struct.unpack_from("<HH", data)
        last = struct.unpack_from("<H", data, len(data) - 2)[0] if kind == 0xBD else column
        look.fill(row, max(column, last))
        if kind == _BOOLERR and data[7]:
            look.odd[row, column] = {"kind": "error", "text": _ERRORS.get(data[6], "#?")}
        if kind == _FORMULA and data[12:14] == b"\xff\xff" and data[6] == 2:
            look.odd[row, column] = {"kind": "error", "text": _ERRORS.get(data[8], "#?")}
    return look
