"""The lines of price orders: what an order says of each service, and what can be wrong with that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

import marshmallow as ma

from catalog import ranks, services
from catalog.price_rows import KINDS
from catalog.ranks import NONE
from clinic import db, errors, fields, money
from clinic.errors import Fault

MOST = 2_000
"""Lines that fit into a request's body whatever they name; a longer order comes as a file."""
WITH_AMOUNT = ("fixed", "from")

errors.describe(
    {
        "duplicate_line": (
            "Цена услуги {article} для этого звания в приказе указана дважды.",
            "The order prices {article} twice for this rank.",
        ),
    }
)


class OrderLineIn(fields.Shape):
    """What an order says of a service. `fixed` and `from` need an amount, the other kinds have none."""

    article = fields.Form(services.ARTICLE, required=True, metadata={"example": "CT-ABD-RP"})
    doctor_rank = fields.Form(
        ranks.FORM, load_default=None, allow_none=True,
        metadata={
            "example": "none",
            "description": "needed where the service is priced by rank; without it `withdrawn` means every rank",
        },
    )  # fmt: skip
    kind = fields.Choice(*KINDS, required=True)
    amount = fields.Money(load_default=None, allow_none=True)


class OrderLineOut(ma.Schema):
    """A line as it was written. A rank of null: withdrawn for every rank."""

    article = ma.fields.String(required=True)
    doctor_rank = ma.fields.String(required=True, allow_none=True)
    kind = ma.fields.String(required=True, metadata={"enum": list(KINDS)})
    amount = ma.fields.String(required=True, allow_none=True)


@dataclass(frozen=True)
class Line:
    """What an order says of a service. A rank of None means `none`, or every rank when `kind` is `withdrawn`."""

    article: str
    doctor_rank: str | None
    kind: str
    amount: Decimal | None

    @property
    def rank(self) -> str | None:
        """The rank that is meant; None is every rank."""
        return self.doctor_rank if self.doctor_rank or self.kind == "withdrawn" else NONE

    def as_json(self) -> dict[str, Any]:
        return {
            "article": self.article,
            "doctor_rank": self.doctor_rank,
            "kind": self.kind,
            "amount": money.text_or_none(self.amount),
        }


@dataclass(frozen=True)
class _Known:
    service_id: UUID | None
    priced_by_rank: bool | None
    rank_known: bool


def checked(conn: db.Connection, lines: Sequence[Line]) -> tuple[list[UUID | None], list[Fault]]:
    """The ids of the services that `lines` name, and everything that is wrong with the lines, by one statement."""
    numbered = dict(enumerate(lines))
    known = _known(conn, numbered)
    return [each.service_id for each in known.values()], _faults(numbered, known)


def faults_of(conn: db.Connection, raw: Any) -> list[Fault]:
    """What only the database knows of the readable parts of the lines of a body that is wrong elsewhere."""
    lines, wrong = _readable(raw if isinstance(raw, list) else [])
    unsure = {place for place, members in wrong.items() if members}
    faults = _faults(lines, _known(conn, lines), unsure) if lines else []
    # A member that is wrong in itself is named once.
    named = {f"/lines/{place}/{member}" for place, members in wrong.items() for member in members}
    return [each for each in faults if each.pointer not in named]


def _readable(raw: list[Any]) -> tuple[dict[int, Line], dict[int, set[str]]]:
    """Lines that name a service at least, by their place, and which members of them are wrong in themselves."""
    shape, lines, wrong = OrderLineIn(), {}, {}
    for place, each in enumerate(raw[:MOST]):
        try:
            found, bad = shape.load(each), set()
        except ma.ValidationError as exc:
            found, bad = exc.valid_data, set(exc.messages_dict)
        if isinstance(found, dict) and "article" in found:
            # Of a kind that is not known it cannot be told what else the line needs.
            wrong[place] = bad | ({"amount"} if "kind" in bad else set())
            kind = found.get("kind", "withdrawn")
            lines[place] = Line(found["article"], found.get("doctor_rank"), kind, found.get("amount"))
    return lines, wrong


def _known(conn: db.Connection, lines: Mapping[int, Line]) -> dict[int, _Known]:
    found = db.many(
        conn,
        _Known,
        """
        SELECT service.id AS service_id, service.priced_by_rank,
               wanted.doctor_rank IS NULL OR rank.code IS NOT NULL AS rank_known
          FROM unnest(%(articles)s::text[], %(ranks)s::text[]) WITH ORDINALITY AS wanted (article, doctor_rank, place)
          LEFT JOIN medical_service AS service ON service.article = wanted.article
          LEFT JOIN doctor_rank AS rank ON rank.code = wanted.doctor_rank
         ORDER BY wanted.place
        """,
        {
            "articles": [each.article for each in lines.values()],
            "ranks": [each.doctor_rank for each in lines.values()],
        },
    )
    return dict(zip(lines, found, strict=True))


def _faults(
    lines: Mapping[int, Line], known: Mapping[int, _Known], unsure: Collection[int] = frozenset()
) -> list[Fault]:
    times = Counter((line.article, line.rank) for place, line in lines.items() if place not in unsure)
    faults = []
    for place, line in lines.items():
        # «Withdrawn for every rank» says something of each rank that another line names.
        twice = times[line.article, line.rank] > 1 or (line.rank is not None and times[line.article, None] > 0)
        found = _service_fault(line, known[place], twice and place not in unsure)
        for member, code in (found, _amount_fault(line)):
            if code:
                named = ("doctor_rank", str(line.doctor_rank)) if code == "unknown_rank" else ("article", line.article)
                faults.append(Fault(f"/lines/{place}/{member}", code, (named,)))
    return faults


def _service_fault(line: Line, known: _Known, twice: bool) -> tuple[str, str | None]:
    if known.service_id is None:
        return "article", "unknown_article"
    if not known.rank_known:
        return "doctor_rank", "unknown_rank"
    if known.priced_by_rank and line.rank == NONE and line.doctor_rank is None:
        return "doctor_rank", "rank_required"
    if not known.priced_by_rank and line.doctor_rank not in (None, NONE):
        return "doctor_rank", "rank_not_applicable"
    return "article", "duplicate_line" if twice else None


def _amount_fault(line: Line) -> tuple[str, str | None]:
    if line.kind in WITH_AMOUNT:
        return "amount", "price_missing" if line.amount is None else None
    return "amount", None if line.amount is None else "price_not_expected"


def put(conn: db.Connection, order_id: UUID, lines: Sequence[Line], service_ids: Sequence[UUID | None]) -> None:
    """Make `lines`, which were checked, the lines of a draft in place of those it has."""
    conn.execute("DELETE FROM price_order_line WHERE order_id = %s::uuid", (order_id,))
    add(conn, order_id, lines, service_ids)


def add(conn: db.Connection, order_id: UUID, lines: Sequence[Line], service_ids: Sequence[UUID | None]) -> None:
    """Write `lines`, which were checked, into a draft that has none."""
    if not lines:
        return
    conn.execute(
        """
        INSERT INTO price_order_line (order_id, position, service_id, doctor_rank, kind, amount)
        SELECT %(order)s::uuid, position, service_id, doctor_rank, kind, amount
          FROM unnest(%(services)s::uuid[], %(ranks)s::text[], %(kinds)s::text[], %(amounts)s::numeric[])
               WITH ORDINALITY AS wanted (service_id, doctor_rank, kind, amount, position)
        """,
        {
            "order": order_id,
            "services": list(service_ids),
            "ranks": [each.rank for each in lines],
            "kinds": [each.kind for each in lines],
            "amounts": [each.amount for each in lines],
        },
    )


def of(conn: db.Connection, order_id: UUID) -> list[Line]:
    """The lines of an order as they were written."""
    return db.many(
        conn,
        Line,
        """
        SELECT service.article, line.doctor_rank, line.kind, line.amount
          FROM price_order_line AS line
          JOIN medical_service AS service ON service.id = line.service_id
         WHERE line.order_id = %(id)s::uuid
         ORDER BY line.position
        """,
        {"id": order_id},
    )
