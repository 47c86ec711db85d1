"""Publishing an order: its lines become prices from its first day on.

A new price ends where the next one already known begins, and the price before it ends where it begins; so orders for
the future may be published in any order, and no day between the first price and a withdrawal is without a price.
A price with the very same first day is replaced only by an order that names the other one in `corrects`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from uuid import UUID

from psycopg import errors as pg

from catalog import price_orders
from catalog.price_orders import Order
from catalog.ranks import NONE
from clinic import db, errors, ids
from clinic.command import Change
from clinic.errors import Conflict, Fault, InvalidInput

errors.describe(
    {
        "effective_date_passed": (
            "Приказ не может действовать с прошедшего дня: {day} уже прошло.",
            "An order cannot take effect in the past: {day} is over.",
        )
    }
)


class PricesOverlap(Conflict):
    """A price of another order begins on the same day.

    The members `article` and `doctor_rank` name it, `order` is the other order's id: name that in `corrects` to
    replace its price."""

    ru = (
        "Цена по другому приказу начинается в тот же день\n\n"
        "Её называют `article` и `doctor_rank`; `order` — другой приказ: укажите его в `corrects`, чтобы заменить цену."
    )


@dataclass(frozen=True)
class _Target:
    """One price to be made, and what is known around its first day."""

    position: int
    service_id: UUID
    article: str
    priced_by_rank: bool
    doctor_rank: str
    kind: str
    amount: Decimal | None
    same_day: UUID | None
    same_day_order: UUID | None
    before: UUID | None
    next_from: date | None


def publish(change: Change, order_id: UUID) -> Order:
    """Make the prices of a draft known; from now on it is frozen.

    Raises:
        NotFound, OrderNotDraft: there is no such draft.
        InvalidInput: its first day has passed, or a service has become priced in another way since it was written.
        PricesOverlap: a price of an order that this one does not correct has the same first day.
    """
    order = price_orders.locked(change.conn, order_id)
    targets = _targets(change.conn, order)
    if faults := _faults(order, targets, change.today):
        raise InvalidInput(faults)
    _refuse_overlaps(order, targets)
    _correct(change.conn, order, [each.same_day for each in targets if each.same_day])
    _end(change.conn, order, [each.before for each in targets if each.before])
    _begin(change.conn, order, targets)
    _freeze(change, order)
    change.record(
        "price_order.published", order.id, number=order.number, price_list=order.price_list,
        effective_from=order.effective_from, prices=len(targets), corrects=order.corrects,
    )  # fmt: skip
    _check(change.conn)
    return price_orders.get(change.conn, order_id)


def _targets(conn: db.Connection, order: Order) -> list[_Target]:
    # Nobody turns «priced by rank» over while its prices are made. A statement of its own: one that waits for a lock
    # goes on with the joins it made before it waited.
    conn.execute(
        """
        SELECT FROM medical_service
         WHERE id IN (SELECT service_id FROM price_order_line WHERE order_id = %(order)s::uuid)
         ORDER BY id
           FOR SHARE
        """,
        {"order": order.id},
    )
    return db.many(
        conn,
        _Target,
        """
        SELECT line.position, service.id AS service_id, service.article, service.priced_by_rank,
               rank.code AS doctor_rank, line.kind, line.amount,
               around.same_day, around.same_day_order, around.before, around.next_from
          FROM price_order_line AS line
          JOIN medical_service AS service ON service.id = line.service_id
          JOIN doctor_rank AS rank
            ON rank.code = line.doctor_rank
            OR (line.doctor_rank IS NULL AND (service.priced_by_rank OR rank.code = 'none'))
          LEFT JOIN LATERAL (
            SELECT (array_agg(id) FILTER (WHERE lower(valid) = %(day)s::date))[1] AS same_day,
                   (array_agg(order_id) FILTER (WHERE lower(valid) = %(day)s::date))[1] AS same_day_order,
                   (array_agg(id) FILTER (WHERE lower(valid) < %(day)s::date AND valid @> %(day)s::date))[1] AS before,
                   min(lower(valid)) FILTER (WHERE lower(valid) > %(day)s::date) AS next_from
              FROM price
             WHERE service_id = service.id AND price_list = %(list)s::text AND doctor_rank = rank.code
               AND corrected_by IS NULL) AS around ON true
         WHERE line.order_id = %(order)s::uuid
         ORDER BY line.position, rank.position
        """,
        {"order": order.id, "list": order.price_list, "day": order.effective_from},
    )


def _faults(order: Order, targets: Sequence[_Target], today: date) -> list[Fault]:
    faults = []
    if order.effective_from < today:
        named = (("day", order.effective_from.isoformat()),)
        faults.append(Fault("/effective_from", "effective_date_passed", named))
    for each in targets:
        if not each.priced_by_rank and each.doctor_rank != NONE:
            where = f"/lines/{each.position - 1}/doctor_rank"
            faults.append(Fault(where, "rank_not_applicable", (("article", each.article),)))
    return faults


def _refuse_overlaps(order: Order, targets: Sequence[_Target]) -> None:
    for each in targets:
        if each.same_day and each.same_day_order != order.corrects:
            raise PricesOverlap(article=each.article, doctor_rank=each.doctor_rank, order=each.same_day_order)


def _correct(conn: db.Connection, order: Order, prices: list[UUID]) -> None:
    conn.execute(
        "UPDATE price SET corrected_by = %(order)s::uuid WHERE id = ANY (%(prices)s::uuid[])",
        {"order": order.id, "prices": prices},
    )


def _end(conn: db.Connection, order: Order, prices: list[UUID]) -> None:
    conn.execute(
        """
        UPDATE price SET valid = daterange(lower(valid), %(day)s::date) WHERE id = ANY (%(prices)s::uuid[])
        """,
        {"day": order.effective_from, "prices": prices},
    )


def _begin(conn: db.Connection, order: Order, targets: Sequence[_Target]) -> None:
    conn.execute(
        """
        INSERT INTO price (id, service_id, doctor_rank, price_list, kind, amount, valid, order_id)
        SELECT id, service_id, doctor_rank, %(list)s::text, kind, amount,
               daterange(%(day)s::date, next_from), %(order)s::uuid
          FROM unnest(%(ids)s::uuid[], %(services)s::uuid[], %(ranks)s::text[], %(kinds)s::text[],
                      %(amounts)s::numeric[], %(next)s::date[])
            AS wanted (id, service_id, doctor_rank, kind, amount, next_from)
        """,
        {
            "list": order.price_list,
            "day": order.effective_from,
            "order": order.id,
            "ids": [ids.new() for _ in targets],
            "services": [each.service_id for each in targets],
            "ranks": [each.doctor_rank for each in targets],
            "kinds": [each.kind for each in targets],
            "amounts": [each.amount for each in targets],
            "next": [each.next_from for each in targets],
        },
    )


def _freeze(change: Change, order: Order) -> None:
    change.conn.execute(
        """
        UPDATE price_order
           SET status = 'published', published_by = %(by)s, published_at = %(now)s, updated_at = %(now)s,
               row_version = row_version + 1
         WHERE id = %(id)s
        """,
        {"by": change.actor.label, "now": change.at, "id": order.id},
    )


def _check(conn: db.Connection) -> None:
    """Let the database check now what it would check at COMMIT, where an error has no place."""
    try:
        conn.execute("SET CONSTRAINTS price_no_overlap IMMEDIATE")
    except pg.ExclusionViolation as exc:
        raise PricesOverlap() from exc
