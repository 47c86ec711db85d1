"""Comparing: variants of a quote side by side, nothing kept.

Each variant is priced as a preview of a quote is, today; a quote that is kept stands before its variants at the prices
it has. Lines that stand for each other are one row: those of the same service, and what came in the place of another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import marshmallow as ma

from billing import quote_codes, quotes, quoting
from billing.lines import Line, LineDoctorOut, NamesOut, Sums, shown_quantity
from billing.pricing import catalog_faults
from billing.quotes import Quote, QuoteDocumentOut, QuoteLine
from billing.quoting import QuoteIn
from clinic import clock, db, fields, money
from clinic.auth import Actor
from clinic.errors import Fault, InvalidInput
from clinic.money import ZERO

MOST = 5
"""Columns that are compared."""


class VariantIn(QuoteIn):
    """A wanted quote, as one column of a comparison."""

    name = fields.Text(100, load_default=None, allow_none=True, metadata={"description": "what the column is called"})


class CompareIn(fields.Shape):
    """Quotes that could be made: what does the one cost, and what the other?"""

    variants = fields.Many(fields.Nested(VariantIn), least=2, most=MOST, required=True)

    def beyond(self, raw: Any) -> list[Fault]:
        given = raw.get("variants") if isinstance(raw, dict) else None
        if not isinstance(given, list):
            return []
        today = clock.today()
        return [
            fault
            for number, each in enumerate(given[:MOST])
            for fault in inside(number, catalog_faults(each, today))
        ]  # fmt: skip


class ComparedQuoteOut(ma.Schema):
    """The quote that is kept."""

    id = ma.fields.UUID(required=True)
    code = ma.fields.String(required=True)
    revision = ma.fields.Integer(required=True)
    status = ma.fields.String(required=True)


class VariantOut(QuoteDocumentOut):
    """A column; `difference` is what its total is above the first one's, in rubles."""

    name = ma.fields.String(required=True, allow_none=True)
    quote = ma.fields.Nested(ComparedQuoteOut, required=True, allow_none=True)
    difference = ma.fields.String(required=True, metadata={"example": "-5160.00"})


class CellOut(ma.Schema):
    """A line of one column, in short; `difference` is what it costs above the first column's line of the row."""

    position = ma.fields.Integer(required=True)
    article = ma.fields.String(required=True)
    name = ma.fields.Nested(NamesOut, required=True)
    doctor_rank = ma.fields.String(required=True)
    rank_name = ma.fields.Nested(NamesOut, required=True, allow_none=True)
    doctor = ma.fields.Nested(LineDoctorOut, required=True, allow_none=True)
    quantity = ma.fields.String(required=True)
    unit_price = ma.fields.String(required=True)
    amount = ma.fields.String(required=True)
    difference = ma.fields.String(required=True)


class RowOut(ma.Schema):
    """Lines that stand for each other, one of each column; null where a column has none."""

    cells = ma.fields.List(ma.fields.Nested(CellOut, allow_none=True), required=True)
    differs = ma.fields.Boolean(required=True)


class ComparisonOut(ma.Schema):
    """Variants side by side: `cells` of the rows stand in the order of `variants`."""

    currency = ma.fields.String(required=True)
    variants = ma.fields.List(ma.fields.Nested(VariantOut), required=True)
    rows = ma.fields.List(ma.fields.Nested(RowOut), required=True)


@dataclass(frozen=True)
class Column:
    """One of the compared: a quote that is kept, or a variant."""

    name: str | None
    quote: Quote
    lines: Sequence[QuoteLine]
    kept: bool = False

    @property
    def total(self) -> Decimal:
        return Sums.of(self.lines).total

    def as_json(self, first: Column) -> dict[str, Any]:
        kept = {
            "id": self.quote.id,
            "code": quote_codes.shown(self.quote.code),
            "revision": self.quote.revision,
            "status": self.quote.status,
        }
        return {
            **quotes.document_json(self.quote, self.lines),
            "name": self.name,
            "quote": kept if self.kept else None,
            "difference": money.text(self.total - first.total),
        }


@dataclass
class Row:
    """Lines that stand for each other, by column."""

    cells: list[Line | None]

    def has(self, line: Line, *, of_rank: bool) -> bool:
        """Whether the service of `line` is in this row, by a doctor of the same rank where that is asked for."""
        return any(
            cell is not None
            and (cell.article, cell.package_code) == (line.article, line.package_code)
            and (not of_rank or cell.doctor_rank == line.doctor_rank)
            for cell in self.cells
        )

    @property
    def differs(self) -> bool:
        """Whether the columns say different things here."""
        return len({cell and (cell.article, cell.doctor_rank, cell.quantity, cell.amount) for cell in self.cells}) > 1

    def differences(self) -> list[Decimal]:
        """What each column costs above the first one here; what is not there costs nothing."""
        amounts = [cell.amount if cell else ZERO for cell in self.cells]
        return [amount - amounts[0] for amount in amounts]

    def as_json(self) -> dict[str, Any]:
        pairs = zip(self.cells, self.differences(), strict=True)
        return {"cells": [cell and _cell_json(cell, more) for cell, more in pairs], "differs": self.differs}


def _cell_json(line: Line, difference: Decimal) -> dict[str, Any]:
    said = line.as_json()
    names = ("position", "article", "name", "doctor_rank", "rank_name", "doctor", "unit_price", "amount")
    return {name: said[name] for name in names} | {
        "quantity": shown_quantity(line.quantity),
        "difference": money.text(difference),
    }


def compared(columns: Sequence[Column]) -> dict[str, Any]:
    """The columns side by side, as JSON."""
    return {
        "currency": "RUB",
        "variants": [each.as_json(columns[0]) for each in columns],
        "rows": [row.as_json() for row in rows([each.lines for each in columns])],
    }


def priced(
    conn: db.Connection, actor: Actor, at: datetime, valid_days: int, variants: Iterable[dict[str, Any]]
) -> list[Column]:
    """Each variant at the prices of the clinic's day at `at`.

    Raises:
        InvalidInput: names every wrong place of every variant.
    """
    columns: list[Column] = []
    faults: list[Fault] = []
    for number, wanted in enumerate(variants):
        try:
            columns.append(Column(wanted["name"], *quoting.work_out(conn, actor, at, valid_days, wanted)))
        except InvalidInput as wrong:
            faults += inside(number, wrong.faults)
    if faults:
        raise InvalidInput(faults)
    return columns


def inside(number: int, faults: Iterable[Fault]) -> list[Fault]:
    """The faults of a variant with their places in the whole."""
    return [replace(fault, pointer=f"/variants/{number}{fault.pointer}") for fault in faults]


def rows(columns: Sequence[Sequence[Line]]) -> list[Row]:
    """The lines of all columns in rows, in the order of the first column and then of the others."""
    found = [Row([line]) for line in columns[0]]
    for number, lines in enumerate(columns[1:], 1):
        _add(found, number, lines)
    return found


def _add(found: list[Row], number: int, lines: Sequence[Line]) -> None:
    places = _same_services(found, lines)
    before: Row | None = None
    for line in lines:
        row = places.get(line.position) or _beside(found, places, before)
        if row is None:
            row = Row([None] * number)
            found.insert(_behind(found, before), row)
        places[line.position] = before = row
        row.cells.append(line)
    for row in found:
        if len(row.cells) == number:
            row.cells.append(None)


def _same_services(found: Sequence[Row], lines: Sequence[Line]) -> dict[int, Row]:
    """By positions, the rows that have the services of these lines already; each row once, ranks alike first."""
    places: dict[int, Row] = {}
    for of_rank in (True, False):
        free = [row for row in found if not _is_among(row, places)]
        for line in lines:
            if line.position in places:
                continue
            row = next((each for each in free if each.has(line, of_rank=of_rank)), None)
            if row is not None:
                places[line.position] = row
                free = [each for each in free if each is not row]
    return places


def _beside(found: Sequence[Row], places: dict[int, Row], before: Row | None) -> Row | None:
    """The row behind `before`, when this column has nothing there: what came in the place of another service."""
    at = _behind(found, before)
    return found[at] if at < len(found) and not _is_among(found[at], places) else None


def _behind(found: Sequence[Row], before: Row | None) -> int:
    return 0 if before is None else 1 + next(at for at, row in enumerate(found) if row is before)


def _is_among(row: Row, places: dict[int, Row]) -> bool:
    return any(each is row for each in places.values())
