"""The state's register of medical services (Order 804n; federal reference data, OID 1.2.643.5.1.13.13.11.1070).

It is loaded from the file the registry publishes, with the columns ID, S_CODE, NAME, REL and DATEOUT. The form of a
code is always checked (`services.NOMENCLATURE`); whether there is such a code only once the register is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from catalog import services, tables
from catalog.price_rows import Finding, Watch
from catalog.tables import Number, Odd, Unreadable
from clinic import db, errors, ids
from clinic.command import Change
from clinic.errors import Fault

COLUMNS = ("id", "s_code", "name", "rel", "dateout")
_HEADINGS = {**{name: name for name in COLUMNS}, "код услуги": "s_code", "наименование услуги": "name"}
_SECTION = re.compile(r"[AB]|[AB][0-9]{2}|A[0-9]{2}\.[0-9]{2}|B[0-9]{2}\.[0-9]{3}", re.ASCII)
_CYRILLIC = re.compile(r"[А-Яа-яЁё]")
_DAY = re.compile(r"(?:([0-9]{4})-([0-9]{2})-([0-9]{2})|([0-9]{2})\.([0-9]{2})\.([0-9]{4}))(?:[ T][0-9:.]*)?", re.ASCII)

errors.describe(
    {
        "code_unknown": (
            "Кода {code} нет в номенклатуре 804н.", "The code {code} is not in the nomenclature of Order 804n.",
        ),
        "code_withdrawn": (
            "Код {code} исключён из номенклатуры 804н{day}.",
            "The code {code} is withdrawn from the nomenclature of Order 804n{day}.",
        ),
        "not_in_force_flag": ("В REL нужно 1 (действует) или 0.", "REL is 1 (in force) or 0."),
        "not_a_day": ("Нужна дата: 2026-11-23 или 23.11.2026.", "A day such as 2026-11-23 or 23.11.2026 is needed."),
        "code_passed_over": (
            "Код {code} не вида A06.30.005 или B01.027.001; строка пропущена.",
            "The code {code} is not of the form A06.30.005 or B01.027.001; the row was passed over.",
        ),
    }
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """A code of the register. It may have an end and be in force until then."""

    code: str
    official_id: str
    name: str
    in_force: bool
    ended_on: date | None


@dataclass(frozen=True)
class Report:
    """What became of a register's file; with any problem nothing was changed. `codes` is how many codes it has."""

    rows: int
    problems: Sequence[Finding]
    warnings: Sequence[Finding] = ()
    codes: int = 0
    in_force: int = 0
    added: int = 0
    withdrawn: int = 0

    def as_json(self, lang: str) -> dict[str, Any]:
        return {
            **vars(self),
            "problems": [each.as_json(lang) for each in self.problems],
            "warnings": [each.as_json(lang) for each in self.warnings],
        }


@dataclass
class _Read:
    rows: int = 0
    entries: dict[str, Entry] = field(default_factory=dict)
    problems: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)


# ---- What the register says of services ----


def warnings(conn: db.Connection, day: date, codes_by_article: Mapping[str, Sequence[str]]) -> dict[str, list[Fault]]:
    """What is worth a look about the codes of each article on `day`, by one statement; [] where nothing is.

    `code_missing` always; `code_unknown` and `code_withdrawn` once the register is loaded.
    """
    asked = sorted({code for codes in codes_by_article.values() for code in codes})
    known = _known(conn, asked) if asked else None
    return {article: list(_faults(codes, known, day)) for article, codes in codes_by_article.items()}


def _faults(codes: Sequence[str], known: Mapping[str, Entry] | None, day: date) -> Iterable[Fault]:
    if not codes:
        yield Fault("", "code_missing")
    if known is None:
        return
    for code in codes:
        entry = known.get(code)
        if entry is None:
            yield Fault("", "code_unknown", (("code", code),))
        elif not entry.in_force or (entry.ended_on is not None and entry.ended_on <= day):
            ended = f" ({entry.ended_on:%d.%m.%Y})" if entry.ended_on else ""
            yield Fault("", "code_withdrawn", (("code", code), ("day", ended)))


def _known(conn: db.Connection, codes: Sequence[str]) -> dict[str, Entry] | None:
    """Those of `codes` that the register has; None while none is loaded."""
    found = db.many(
        conn,
        Entry,
        """
        SELECT code, official_id, name, in_force, ended_on FROM nomenclature WHERE code = ANY (%(codes)s::text[])
        """,
        {"codes": list(codes)},
    )
    if not found and not db.value(conn, "SELECT EXISTS (SELECT FROM nomenclature)"):
        return None
    return {each.code: each for each in found}


@dataclass(frozen=True)
class _Coded:
    article: str
    nomenclature_codes: list[str]


def check(conn: db.Connection, day: date, *, missing: bool = False) -> list[tuple[str, Fault]]:
    """Article and fault of every service on sale whose code is unknown or withdrawn on `day`, or also `missing`."""
    rows = db.many(
        conn,
        _Coded,
        """
        SELECT article, nomenclature_codes FROM medical_service
         WHERE active AND (%(missing)s::boolean OR nomenclature_codes <> '{}')
         ORDER BY article COLLATE "C"
        """,
        {"missing": missing},
    )
    told = warnings(conn, day, {each.article: each.nomenclature_codes for each in rows})
    return [(article, fault) for article, faults in told.items() for fault in faults]


def is_loaded(conn: db.Connection) -> bool:
    return bool(db.value(conn, "SELECT EXISTS (SELECT FROM nomenclature)"))


@dataclass(frozen=True)
class Stock:
    """How many codes are loaded, and how many of them are in force."""

    codes: int
    in_force: int


def stock(conn: db.Connection) -> Stock:
    """What is loaded of the register."""
    found = db.find(
        conn, Stock, "SELECT count(*) AS codes, count(*) FILTER (WHERE in_force) AS in_force FROM nomenclature"
    )
    return found or Stock(0, 0)


# ---- Loading ----


def load(change: Change, raw: bytes, *, dry_run: bool = False, watch: Watch = iter) -> Report:
    """Take over the register, whole or not at all. Codes that the file lacks cease to be in force."""
    read = _read(raw, watch)
    if read.problems:
        return Report(read.rows, sorted(read.problems, key=lambda each: each.row), read.warnings)
    entries = list(read.entries.values())
    before: dict[str, bool] = dict(
        change.conn.execute("SELECT code, in_force FROM nomenclature FOR NO KEY UPDATE").fetchall()
    )
    report = Report(
        read.rows,
        [],
        read.warnings,
        codes=len(entries),
        in_force=sum(each.in_force for each in entries),
        added=sum(each.code not in before for each in entries),
        withdrawn=sum(
            was and not (code in read.entries and read.entries[code].in_force) for code, was in before.items()
        ),
    )
    if not dry_run:
        _store(change.conn, entries)
        change.record(
            "nomenclature.loaded", ids.new(), codes=report.codes, added=report.added, withdrawn=report.withdrawn
        )
    return report


def rows_of(raw: bytes) -> int:
    """How many rows a register's file has; 0 when it cannot be read."""
    return _read(raw, lambda _: ()).rows


def _store(conn: db.Connection, entries: Sequence[Entry]) -> None:
    conn.execute(
        """
        WITH wanted AS (
          SELECT code, official_id, name, in_force, ended_on
            FROM unnest(%(codes)s::text[], %(ids)s::text[], %(names)s::text[], %(in_force)s::boolean[],
                        %(ended)s::date[]) AS row (code, official_id, name, in_force, ended_on)),
        gone AS (
          UPDATE nomenclature SET in_force = false
           WHERE in_force AND NOT EXISTS (SELECT FROM wanted WHERE wanted.code = nomenclature.code))
        INSERT INTO nomenclature (code, official_id, name, in_force, ended_on)
        SELECT code, official_id, name, in_force, ended_on FROM wanted
            ON CONFLICT (code) DO UPDATE
           SET official_id = excluded.official_id, name = excluded.name, in_force = excluded.in_force,
               ended_on = excluded.ended_on
        """,
        {
            "codes": [each.code for each in entries],
            "ids": [each.official_id for each in entries],
            "names": [each.name for each in entries],
            "in_force": [each.in_force for each in entries],
            "ended": [each.ended_on for each in entries],
        },
    )


def _read(raw: bytes, watch: Watch) -> _Read:
    read = _Read()
    try:
        table = tables.read(raw, _HEADINGS)
    except Unreadable as refused:
        read.problems.append(Finding(refused.row, None, refused.code, refused.values_))
        return read
    header = [_HEADINGS.get(tables.heading(name), "") for name in table.header]
    read.rows = len(table.rows)
    for column in COLUMNS:
        if header.count(column) != 1:
            code = "repeated_column" if column in header else "missing_column"
            values = (("column", column.upper()), ("heading", column.upper()))
            read.problems.append(Finding(table.header_row, column.upper(), code, values))
    if not read.problems and not table.rows:
        read.problems.append(Finding(table.header_row, None, "no_rows"))
    if not read.problems:
        for number, cells in watch(table.rows):
            _read_row(read, number, dict(zip(header, cells, strict=False)))
    return read


def _read_row(read: _Read, number: int, cells: Mapping[str, str]) -> None:
    values: dict[str, Any] = {}
    wrong = False
    for column, reader in _READERS.items():
        cell = cells.get(column, "")
        found = reader(cell)
        if isinstance(found, Fault):
            read.problems.append(Finding(number, column.upper(), found.code, found.values))
            wrong = True
        values[column] = found
    code = values["s_code"]
    if wrong or _SECTION.fullmatch(code):
        return
    if not re.fullmatch(services.NOMENCLATURE, code, re.ASCII):
        # No service can have such a code, so it is nothing to stop for.
        read.warnings.append(Finding(number, "S_CODE", "code_passed_over", (("code", code),)))
        return
    entry = Entry(code, values["id"], values["name"], values["rel"], values["dateout"])
    if code not in read.entries or _outranks(entry, read.entries[code]):
        read.entries[code] = entry


def _outranks(entry: Entry, other: Entry) -> bool:
    """Of two rows of one code the one in force counts; of two that are not, the one that ended last."""
    return (entry.in_force, entry.ended_on or date.min) > (other.in_force, other.ended_on or date.min)


def _text(cell: str) -> str | Fault:
    if isinstance(cell, Odd):
        return Fault("", f"cell_is_{cell.kind}", (("text", str(cell)),))
    squeezed = " ".join(cell.split())
    return squeezed if squeezed else Fault("", "empty_cell")


def _code(cell: str) -> str | Fault:
    if letters := _CYRILLIC.findall(cell):
        return Fault("", "look_alike_letters", (("letters", ", ".join(dict.fromkeys(letters))),))
    return _text(cell)


def _rel(cell: str) -> bool | Fault:
    if isinstance(cell, Odd) and cell.kind == "flag":
        return cell == "TRUE"
    return cell == "1" if cell in ("0", "1") else Fault("", "not_in_force_flag")


def _day(cell: str) -> date | Fault | None:
    if not cell:
        return None
    written = None if isinstance(cell, Number) else _DAY.fullmatch(cell)
    try:
        if written:
            year, month, day = (written[1], written[2], written[3]) if written[1] else written.group(6, 5, 4)
            return date(int(year), int(month), int(day))
    except ValueError:
        pass
    return Fault("", "not_a_day")


_READERS: dict[str, Callable[[str], Any]] = {
    "id": _text,
    "s_code": _code,
    "name": _text,
    "rel": _rel,
    "dateout": _day,
}
