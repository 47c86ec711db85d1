"""Workbooks made to break who opens them: refused before they are unpacked, or while they are, within bounds."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
import python_calamine

from catalog import tables, workbooks
from catalog.tables import Unreadable
from clinic.embedded import CHECKOUT
from tests import books, given
from tests.test_hostile_json import body_of
from tests.test_matrix import ROUTES

MIB = 2**20
GOOD = books.xlsx(["article", "name_ru", "price"], ["MRI-1", "МРТ", 1])
NAMED = {each: each for each in ("article", "name_ru", "price")}


def packed(parts: dict[str, bytes | Callable[[bytes], bytes]]) -> bytes:
    return books.repacked(GOOD, parts)


def many_parts() -> bytes:
    return packed({f"xl/media/{each}.xml": b"x" for each in range(2001)})


def many_large_parts() -> bytes:
    return packed({f"xl/media/{each}.xml": bytes(10 * MIB) for each in range(30)})


BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "half a gigabyte of strings": (books.bomb, "file_too_large"),
    "too many rows": (lambda: packed({books.SHEET: bytes(257 * MIB)}), "file_too_large"),
    "too many styles": (lambda: packed({"xl/styles.xml": bytes(257 * MIB)}), "file_too_large"),
    "too much that no sheet names": (lambda: packed({"xl/other.bin": bytes(257 * MIB)}), "file_too_large"),
    "many parts together": (many_large_parts, "file_too_large"),
    "two thousand parts": (many_parts, "file_too_large"),
    "a thousand times its size": (lambda: packed({"xl/sharedStrings.xml": bytes(20 * MIB)}), "workbook_too_heavy"),
}
"""Told by the directory of the file: no part is unpacked."""


@pytest.mark.parametrize("name", BOMBS)
def test_s22_a_bomb_is_refused_before_it_is_read(name, monkeypatch):
    make, code = BOMBS[name]
    raw = make()

    def must_not(*_: Any, **__: Any) -> Any:
        raise AssertionError("a part was unpacked")

    monkeypatch.setattr(zipfile.ZipFile, "open", must_not)
    monkeypatch.setattr(python_calamine, "load_workbook", must_not)
    with pytest.raises(Unreadable) as refused:
        workbooks.read(raw, NAMED)
    assert refused.value.code == code


def lying(part: str, content: bytes) -> bytes:
    """A book whose directory says of one part that it unpacks to a hundred bytes."""
    raw = packed({part: content})
    with zipfile.ZipFile(io.BytesIO(raw)) as book:
        size = book.getinfo(part).file_size
    return raw.replace(struct.pack("<I", size), struct.pack("<I", 100))


def symlink(part: str, target: str) -> bytes:
    """A book one of whose parts is a symbolic link."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(GOOD)) as old, zipfile.ZipFile(made, "w") as new:
        for name in old.namelist():
            info = zipfile.ZipInfo(name)
            info.create_system = 3
            info.external_attr = (0o120777 if name == part else 0o100644) << 16
            new.writestr(info, target.encode() if name == part else old.read(name))
    return made.getvalue()


def leading_out(part: bytes) -> bytes:
    return part.replace(b"worksheets/sheet1.xml", b"worksheets/../../../../../../etc/passwd")


def many_cells() -> bytes:
    row = "".join(f'<c r="{tables.cell_name(1, each)}"><v>1</v></c>' for each in range(1, 201)).encode()
    rows = b"".join(
        b'<row r="%d">' % each + row.replace(b'1"><v>', b'%d"><v>' % each) + b"</row>" for each in range(1, 6000)
    )
    return packed({books.SHEET: b"<worksheet><sheetData>" + rows + b"</sheetData></worksheet>"})


def ring(at: int, value: int) -> bytes:
    """An XLS whose header or table of sectors leads back to where it came from."""
    raw = bytearray(books.xls(["article", "name_ru"], ["MRI-1", "МРТ"]))
    raw[at : at + 4] = struct.pack("<I", value)
    return bytes(raw)


def endless_table() -> bytes:
    """An XLS whose list of tables is a ring of four thousand million sectors."""
    raw = bytearray(books.xls(["article", "name_ru"], ["MRI-1", "МРТ"]))
    raw += bytes(-(len(raw)) % 512)
    sector = len(raw) // 512 - 1
    raw += struct.pack("<128I", *[0] * 127, sector)
    raw[68:76] = struct.pack("<II", sector, 0xFFFFFFFF)
    return bytes(raw)


HOSTILE: dict[str, tuple[Callable[[], bytes], set[str]]] = {
    "strings of a lying directory": (books.liar, {"unreadable_file", "workbook_too_heavy"}),
    "rows of a lying directory": (lambda: lying(books.SHEET, bytes(64 * MIB)), {"unreadable_file"}),
    "a book of a lying directory": (lambda: lying("xl/workbook.xml", bytes(64 * MIB)), {"unreadable_file"}),
    "styles of a lying directory": (
        lambda: lying("xl/styles.xml", b"<styleSheet>" + b"<xf/>" * 10 * MIB), {"unreadable_file", "workbook_too_heavy"}
    ),
    "a symbolic link for a sheet": (lambda: symlink(books.SHEET, "/etc/passwd"), {"unreadable_file"}),
    "a symbolic link for the book": (lambda: symlink("xl/workbook.xml", "/etc/passwd"), {"unreadable_file"}),
    "a sheet that leads out": (lambda: packed({"xl/_rels/workbook.xml.rels": leading_out}), {"unreadable_file"}),
    "a book in a book": (lambda: packed({"xl/workbook.xml": GOOD}), {"unreadable_file"}),
    "a cell at the far end": (books.far_cell, {"table_too_large"}),
    "a row beyond the last": (
        lambda: packed({books.SHEET: lambda part: part.replace(b'r="A2"', b'r="A999999"')}), {"table_too_large"},
    ),
    "16,384 columns": (lambda: books.xlsx(["x"] * 16_384), {"table_too_large"}),
    "more than a million cells": (many_cells, {"table_too_large"}),
    "cells that never end": (
        lambda: packed({books.SHEET: b"".join(b'<row r="%d"><c r="A%d" ' % (each, each) for each in range(300_000))}),
        {"unreadable_file"},
    ),
    "elements a million deep": (
        lambda: packed({"xl/workbook.xml": b"<a>" * MIB}), {"unreadable_file", "workbook_too_heavy"},
    ),
    "an XLS whose directory is a ring": (lambda: ring(512 + 4, 1), {"unreadable_file", "workbook_too_heavy"}),
    "an XLS whose list of tables is a ring": (endless_table, {"workbook_too_heavy", "unreadable_file"}),
    "an XLS of a sector of one byte": (lambda: ring(30, 0), {"unreadable_file"}),
}  # fmt: skip
"""Found out while the file is read, by a process of its own that has bounds."""


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict[str, Any]:
    """What each file is read as, by an interpreter that has no other children: their memory would be counted too."""
    folder = tmp_path_factory.mktemp("hostile")
    files = [folder / str(number) for number in range(len(HOSTILE))]
    for file, (make, _) in zip(files, HOSTILE.values(), strict=True):
        file.write_bytes(make())
    done = subprocess.run([sys.executable, "-c", READ, *files], cwd=CHECKOUT, capture_output=True, check=True)
    return dict(zip(HOSTILE, map(json.loads, done.stdout.splitlines()), strict=True))


READ = """
import json, resource, sys, time
from pathlib import Path
from catalog import price_rows

for each in sys.argv[1:]:
    began = time.monotonic()
    sheet = price_rows.read(Path(each).read_bytes())
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(json.dumps([[each.code for each in sheet.problems], len(sheet.rows), time.monotonic() - began, memory]))
"""


@pytest.mark.parametrize("name", HOSTILE)
def test_s22_what_lies_is_found_out_within_bounds_of_time_and_memory(name, found):
    problems, rows, seconds, memory = found[name]
    assert set(problems) <= HOSTILE[name][1]
    assert (len(problems), rows) == (1, 0)
    assert seconds < tables._SECONDS
    assert memory < workbooks._MEMORY


TAKE_FILES = [each for each in ROUTES if "multipart/form-data" in body_of(each)]


@pytest.mark.parametrize("route", TAKE_FILES, ids=lambda each: f"{each.method} {each.rule}")
@pytest.mark.parametrize("bomb", [books.bomb, books.liar, books.far_cell, many_parts])
def test_s22_every_route_that_takes_a_file_refuses_bombs_by_a_name(route, bomb, clinic):
    parts = {"file": bomb(), **({"effective_from": given.LATER} if "price-orders" in route.rule else {})}
    answer = clinic.upload(route.path(), **parts)
    problem = answer.get_json()
    assert (answer.status_code, problem["code"]) == (422, "rows_refused")
    assert [each["code"] for each in problem["problems"]] in (
        ["file_too_large"], ["unreadable_file"], ["table_too_large"], ["workbook_too_heavy"],
    )  # fmt: skip


def test_s22_the_routes_that_take_files_are_known():
    assert [each.rule for each in TAKE_FILES] == ["/v1/nomenclature/imports", "/v1/price-orders/imports"]
