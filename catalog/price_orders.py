"""Price orders: the only way a price comes into being, changes or ends.

An order is written as a draft and published once; from then on it is frozen. Publishing is in `publishing`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from psycopg import errors as pg

from catalog import price_lists
from catalog.ranks import NONE
from clinic import db, errors, ids, money
from clinic.command import Change
from clinic.errors import Conflict, Fault, InvalidInput, NotFound

errors.describe(
    {
        "unknown_order": (
            "Такого опубликованного приказа в этом прейскуранте нет.",
            "There is no such published order in this price list.",
        ),
        "duplicate_line": (
            "Цена услуги {article} для этого звания в приказе указана дважды.",
            "The order prices {article} twice for this rank.",
        ),
    }
)


class OrderNumberTaken(Conflict):
    """An order of this number exists in this price list and year.

    Take another number, or none: then the next free one is given."""

    ru = (
        "Приказ с таким номером в этом прейскуранте и году уже есть\n\n"
        "Возьмите другой номер или не указывайте его: будет дан следующий свободный."
    )


class OrderNotDraft(Conflict):
    """The order is published and can no longer be changed.

    A mistake is put right by a further order that names this one in `corrects`."""

    ru = (
        "Приказ опубликован, изменить его нельзя\n\n"
        "Ошибку исправляет следующий приказ, который называет этот в поле `corrects`."
    )


@dataclass(frozen=True)
class Line:
    """What an order says of a service. A rank of None means `none`, or every rank when `kind` is `withdrawn`."""

    article: str
    doctor_rank: str | None
    kind: str
    amount: Decimal | None

    def as_json(self) -> dict[str, Any]:
        return {
            "article": self.article,
            "doctor_rank": self.doctor_rank,
            "kind": self.kind,
            "amount": None if self.amount is None else money.text(self.amount),
        }


@dataclass(frozen=True)
class Wanted:
    """A new order. Without `number` it gets the next free one of its list and year."""

    effective_from: date
    date: date
    price_list: str = price_lists.BASE
    number: str | None = None
    note: str | None = None
    corrects: UUID | None = None


@dataclass(frozen=True)
class Order:
    id: UUID
    number: str
    effective_from: date
    date: date
    price_list: str
    status: str
    author: str
    published_by: str | None
    published_at: datetime | None
    note: str | None
    corrects: UUID | None
    row_version: int


@dataclass(frozen=True)
class _Known:
    service_id: UUID | None
    priced_by_rank: bool | None
    rank_known: bool


def create(change: Change, wanted: Wanted, lines: Sequence[Line]) -> Order:
    """Write a draft.

    Raises:
        InvalidInput: the list, the order to correct, or services and ranks of lines; all faults at once.
        OrderNumberTaken: the number is used in this list and year.
    """
    price_lists.lock(change.conn, wanted.price_list)
    known = _known(change.conn, lines)
    faults = _faults(lines, known)
    if wanted.corrects is not None and not _published(change.conn, wanted.corrects, wanted.price_list):
        faults.append(Fault("/corrects", "unknown_order"))
    if faults:
        raise InvalidInput(faults)
    order = _add(change, wanted)
    _add_lines(change.conn, order.id, lines, known)
    change.record(
        "price_order.created", order.id, number=order.number, price_list=order.price_list, lines=len(lines),
        effective_from=order.effective_from,
    )  # fmt: skip
    return order


def _known(conn: db.Connection, lines: Sequence[Line]) -> list[_Known]:
    return db.many(
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
        {"articles": [each.article for each in lines], "ranks": [each.doctor_rank for each in lines]},
    )


def _faults(lines: Sequence[Line], known: Sequence[_Known]) -> list[Fault]:
    if not lines:
        return [Fault("/lines", "wrong_count")]
    times = Counter((each.article, _rank(each)) for each in lines)
    faults = []
    for place, (line, found) in enumerate(zip(lines, known, strict=True)):
        # «Withdrawn for every rank» says something of each rank that another line names.
        twice = times[line.article, _rank(line)] > 1 or (_rank(line) is not None and times[line.article, None] > 0)
        if fault := _fault(line, found, twice):
            member, code = fault
            named = ("doctor_rank", str(line.doctor_rank)) if code == "unknown_rank" else ("article", line.article)
            faults.append(Fault(f"/lines/{place}/{member}", code, (named,)))
    return faults


def _fault(line: Line, known: _Known, twice: bool) -> tuple[str, str] | None:
    if known.service_id is None:
        return "article", "unknown_article"
    if not known.rank_known:
        return "doctor_rank", "unknown_rank"
    if known.priced_by_rank and line.doctor_rank is None and line.kind != "withdrawn":
        return "doctor_rank", "rank_required"
    if not known.priced_by_rank and line.doctor_rank not in (None, NONE):
        return "doctor_rank", "rank_not_applicable"
    return ("article", "duplicate_line") if twice else None


def _rank(line: Line) -> str | None:
    return line.doctor_rank if line.doctor_rank or line.kind == "withdrawn" else NONE


def _published(conn: db.Connection, order_id: UUID, price_list: str) -> bool:
    return bool(
        db.value(
            conn,
            """
            SELECT true FROM price_order
             WHERE id = %(id)s::uuid AND price_list = %(list)s::text AND status = 'published'
            """,
            {"id": order_id, "list": price_list},
        )
    )


def _add(change: Change, wanted: Wanted) -> Order:
    number = wanted.number or _next_number(change.conn, wanted.price_list, wanted.date)
    order = Order(
        ids.new(), number, wanted.effective_from, wanted.date, wanted.price_list, "draft", change.actor.label,
        None, None, wanted.note, wanted.corrects, 1,
    )  # fmt: skip
    try:
        change.conn.execute(
            """
            INSERT INTO price_order (id, number, date, price_list, effective_from, author, note, corrects, created_at,
                                     updated_at)
            VALUES (%(id)s, %(number)s, %(date)s, %(price_list)s, %(effective_from)s, %(author)s, %(note)s,
                    %(corrects)s, %(now)s, %(now)s)
            """,
            {**vars(order), "now": change.at},
        )
    except pg.UniqueViolation as exc:
        raise OrderNumberTaken(number=number) from exc
    return order


def _next_number(conn: db.Connection, price_list: str, day: date) -> str:
    """One more than the largest plain number of the list and year; the list is locked, so nobody takes it meanwhile."""
    highest = db.value(
        conn,
        """
        SELECT max(number::bigint) FROM price_order
         WHERE price_list = %(list)s::text
           AND extract(year FROM date)::integer = %(year)s::integer
           AND number ~ '^[0-9]{1,15}$'
        """,
        {"list": price_list, "year": day.year},
    )
    return str((highest or 0) + 1)


def _add_lines(conn: db.Connection, order_id: UUID, lines: Sequence[Line], known: Sequence[_Known]) -> None:
    conn.execute(
        """
        INSERT INTO price_order_line (order_id, position, service_id, doctor_rank, kind, amount)
        SELECT %(order)s::uuid, position, service_id, doctor_rank, kind, amount
          FROM unnest(%(services)s::uuid[], %(ranks)s::text[], %(kinds)s::text[], %(amounts)s::numeric[])
               WITH ORDINALITY AS wanted (service_id, doctor_rank, kind, amount, position)
        """,
        {
            "order": order_id,
            "services": [each.service_id for each in known],
            "ranks": [_rank(each) for each in lines],
            "kinds": [each.kind for each in lines],
            "amounts": [each.amount for each in lines],
        },
    )


def get(conn: db.Connection, order_id: UUID) -> Order:
    """The order with this id.

    Raises:
        NotFound: there is none.
    """
    order = db.find(
        conn,
        Order,
        """
        SELECT id, number, date, price_list, effective_from, status, author, published_by, published_at, note, corrects,
               row_version
          FROM price_order
         WHERE id = %(id)s::uuid
        """,
        {"id": order_id},
    )
    if order is None:
        raise NotFound()
    return order


def locked(conn: db.Connection, order_id: UUID) -> Order:
    """The draft with this id and its price list, locked in the order everybody locks them in.

    Raises:
        NotFound: there is none.
        OrderNotDraft: it is published.
    """
    # The list of an order never changes, so it can be read before the lock.
    price_lists.lock(conn, get(conn, order_id).price_list)
    conn.execute("SELECT FROM price_order WHERE id = %s::uuid FOR UPDATE", (order_id,))
    order = get(conn, order_id)
    if order.status != "draft":
        raise OrderNotDraft(order=order.id, number=order.number)
    return order


def lines_of(conn: db.Connection, order_id: UUID) -> list[Line]:
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
