"""Price orders: the only way a price comes into being, changes or ends.

An order is written as a draft and published once; from then on it is frozen. A draft that is put away gives its
number back. What it says of services is in `order_lines`, how a draft is edited in `drafting`; see also
`previewing` and `publishing`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date as Date
from datetime import datetime
from typing import Any, NoReturn
from uuid import UUID

import marshmallow as ma
from psycopg import errors as pg

from catalog import order_lines, price_lists
from catalog.order_lines import Line as Line
from catalog.order_lines import OrderLineOut
from clinic import db, errors, ids
from clinic.command import Change
from clinic.errors import Conflict, Fault, InvalidInput, NotFound

STATUSES = ("draft", "published", "discarded")

errors.describe(
    {
        "unknown_order": (
            "Такого опубликованного приказа в этом прейскуранте нет.",
            "There is no such published order in this price list.",
        ),
        "effective_date_passed": (
            "Приказ не может действовать с прошедшего дня: {day} уже прошло.",
            "An order cannot take effect in the past: {day} is over.",
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
    """The order is no draft any more.

    The member `state` says whether it is published or discarded. A mistake in a published order is put right by a
    further order that names this one in `corrects`."""

    ru = (
        "Приказ уже не черновик\n\n"
        "Поле `state` говорит, опубликован он или отложен. Ошибку в опубликованном приказе исправляет следующий "
        "приказ, который называет этот в поле `corrects`."
    )


class PriceOrderHeadOut(ma.Schema):
    """An order without its lines."""

    id = ma.fields.UUID(required=True)
    number = ma.fields.String(required=True)
    status = ma.fields.String(required=True, metadata={"enum": list(STATUSES)})
    date = ma.fields.Date(required=True)
    effective_from = ma.fields.Date(required=True)
    price_list = ma.fields.String(required=True)
    note = ma.fields.String(required=True, allow_none=True)
    corrects = ma.fields.UUID(required=True, allow_none=True)
    corrects_number = ma.fields.String(required=True, allow_none=True)
    corrects_date = ma.fields.Date(required=True, allow_none=True)
    author = ma.fields.String(required=True)
    published_by = ma.fields.String(required=True, allow_none=True)
    published_at = ma.fields.DateTime(required=True, allow_none=True)
    line_count = ma.fields.Integer(required=True)
    created_at = ma.fields.DateTime(required=True)
    updated_at = ma.fields.DateTime(required=True)


class PriceOrderOut(PriceOrderHeadOut):
    """A price order."""

    lines = ma.fields.List(ma.fields.Nested(OrderLineOut), required=True)


@dataclass(frozen=True)
class Wanted:
    """A new order. Without `number` it gets the next free one of its list and year."""

    effective_from: Date
    date: Date
    price_list: str = price_lists.BASE
    number: str | None = None
    note: str | None = None
    corrects: UUID | None = None
    id: UUID | None = None


@dataclass(frozen=True)
class Order:
    id: UUID
    number: str
    effective_from: Date
    date: Date
    price_list: str
    status: str
    author: str
    published_by: str | None
    published_at: datetime | None
    note: str | None
    corrects: UUID | None
    corrects_number: str | None
    corrects_date: Date | None
    line_count: int
    row_version: int
    created_at: datetime
    updated_at: datetime

    def as_json(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "row_version"}

    def must_be_draft(self) -> None:
        """Raises OrderNotDraft when it is none."""
        if self.status != "draft":
            raise OrderNotDraft(order=self.id, number=self.number, state=self.status)


def create(change: Change, wanted: Wanted, lines: Sequence[Line]) -> Order:
    """Write a draft.

    Raises:
        InvalidInput: the list, the first day, the order to correct, or anything of the lines; all faults at once.
        OrderNumberTaken: the number is used in this list and year.
        UniqueViolation: there is an order of the id that was given.
    """
    service_ids, of_lines = order_lines.checked(change.conn, lines)
    if wrong := faults(change.conn, change.today, wanted.price_list, vars(wanted)) + of_lines:
        raise InvalidInput(wrong)
    price_lists.lock(change.conn, wanted.price_list)
    order_id, number = wanted.id or ids.new(), wanted.number or _next_number(change.conn, wanted)
    _insert(change, replace(wanted, id=order_id, number=number))
    order_lines.add(change.conn, order_id, lines, service_ids)
    change.record(
        "price_order.created", order_id, number=number, price_list=wanted.price_list, lines=len(lines),
        effective_from=wanted.effective_from,
    )  # fmt: skip
    return get(change.conn, order_id)


def faults(conn: db.Connection, today: Date, price_list: str | None, wanted: Mapping[str, Any]) -> list[Fault]:
    """What is wrong with those members of `wanted` that are there; without a list any list will do."""
    found: list[Fault] = []
    if price_list is not None and not price_lists.exists(conn, price_list):
        found += price_lists.unknown().faults
    if corrects := wanted.get("corrects"):
        found += [] if _published(conn, corrects, price_list) else [Fault("/corrects", "unknown_order")]
    if first_day := wanted.get("effective_from"):
        found += passed(first_day, today)
    return found


def passed(first_day: Date, today: Date) -> list[Fault]:
    """The fault of an order whose first day is over."""
    if first_day >= today:
        return []
    return [Fault("/effective_from", "effective_date_passed", (("day", first_day.isoformat()),))]


def _published(conn: db.Connection, order_id: UUID, price_list: str | None) -> bool:
    return bool(
        db.value(
            conn,
            """
            SELECT true FROM price_order
             WHERE id = %(id)s::uuid AND status = 'published'
               AND (%(list)s::text IS NULL OR price_list = %(list)s::text)
            """,
            {"id": order_id, "list": price_list},
        )
    )


def _next_number(conn: db.Connection, wanted: Wanted) -> str:
    """One more than the largest plain number of the list and year; the list is locked, so nobody takes it meanwhile."""
    highest = db.value(
        conn,
        """
        SELECT max(number::bigint) FROM price_order
         WHERE price_list = %(list)s::text
           AND extract(year FROM date)::integer = %(year)s::integer
           AND status <> 'discarded'
           AND number ~ '^[0-9]{1,15}$'
        """,
        {"list": wanted.price_list, "year": wanted.date.year},
    )
    return str((highest or 0) + 1)


def _insert(change: Change, wanted: Wanted) -> None:
    try:
        change.conn.execute(
            """
            INSERT INTO price_order (id, number, date, price_list, effective_from, author, note, corrects, created_at,
                                     updated_at)
            VALUES (%(id)s, %(number)s, %(date)s, %(price_list)s, %(effective_from)s, %(by)s, %(note)s, %(corrects)s,
                    %(now)s, %(now)s)
            """,
            {**vars(wanted), "by": change.actor.label, "now": change.at},
        )
    except pg.UniqueViolation as exc:
        refuse_number(exc, str(wanted.number))


def refuse_number(exc: pg.UniqueViolation, number: str) -> NoReturn:
    """Name what the database refused: the number, or else the id."""
    if exc.diag.constraint_name == "price_order_number":
        raise OrderNumberTaken(number=number) from exc
    raise exc


_SELECT = """
SELECT price_order.id, price_order.number, price_order.effective_from, price_order.date, price_order.price_list,
       price_order.status, price_order.author, price_order.published_by, price_order.published_at, price_order.note,
       price_order.corrects, corrected.number AS corrects_number, corrected.date AS corrects_date,
       (SELECT count(*) FROM price_order_line WHERE order_id = price_order.id) AS line_count,
       price_order.row_version, price_order.created_at, price_order.updated_at
  FROM price_order
  LEFT JOIN price_order AS corrected ON corrected.id = price_order.corrects
"""


def get(conn: db.Connection, order_id: UUID) -> Order:
    """The order with this id.

    Raises:
        NotFound: there is none.
    """
    order = db.find(conn, Order, _SELECT + "WHERE price_order.id = %(id)s::uuid", {"id": order_id})
    if order is None:
        raise NotFound()
    return order


def locked(conn: db.Connection, order_id: UUID) -> Order:
    """The draft with this id and its price list, locked in the order everybody locks them in.

    Raises:
        NotFound: there is none.
        OrderNotDraft: it is published or discarded.
    """
    # The list of an order never changes, so it can be read before the lock.
    price_lists.lock(conn, get(conn, order_id).price_list)
    conn.execute("SELECT FROM price_order WHERE id = %s::uuid FOR UPDATE", (order_id,))
    order = get(conn, order_id)
    order.must_be_draft()
    return order


def page(conn: db.Connection, wanted: Mapping[str, Any], behind: Sequence[str] | None) -> list[Order]:
    """Orders, newest date first: one more than `limit`, so that the caller sees whether there is a next page."""
    return db.filtered(
        conn,
        Order,
        _SELECT
        + """
         WHERE (%(status)s::text IS NULL OR price_order.status = %(status)s::text)
           AND (%(price_list)s::text IS NULL OR price_order.price_list = %(price_list)s::text)
           AND (%(since)s::date IS NULL OR price_order.date >= %(since)s::date)
           AND (%(until)s::date IS NULL OR price_order.date <= %(until)s::date)
           AND (%(day)s::date IS NULL OR (price_order.date, price_order.id) < (%(day)s::date, %(id)s::uuid))
         ORDER BY price_order.date DESC, price_order.id DESC
         LIMIT %(limit)s::int
        """,
        {
            "status": wanted.get("status"),
            "price_list": wanted.get("price_list"),
            "since": wanted.get("since"),
            "until": wanted.get("until"),
            "day": behind and behind[0],
            "id": behind and behind[1],
            "limit": wanted["limit"] + 1,
        },
    )
