"""Publishing an order: its lines become prices from its first day on.

A new price ends where the next one already known begins, and the price before it ends where it begins; so orders for
the future may be published in any order, and no day between the first price and a withdrawal is without a price.
A price with the very same first day is replaced only by an order that names the other one in `corrects`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

from psycopg import errors as pg

from catalog import price_orders
from catalog.price_orders import Order
from catalog.ranks import NONE
from clinic import db, ids
from clinic.command import Change
from clinic.errors import Conflict, Fault, InvalidInput, Problem


class OrderEmpty(Conflict):
    """The order has no lines.

    Write its lines first: an order that says nothing of any service cannot be published."""

    ru = "В приказе нет строк\n\nСначала впишите строки: приказ, в котором ни слова об услугах, опубликовать нельзя."


class PricesOverlap(Conflict):
    """A price of another order begins on the same day.

    The members `article` and `doctor_rank` name it, `order` is the other order's id: name that in `corrects` to
    replace its price. The list `overlaps` has all such prices."""

    ru = (
        "Цена по другому приказу начинается в тот же день\n\n"
        "Её называют `article` и `doctor_rank`; `order` — другой приказ: чтобы заменить цену, укажите его в "
        "`corrects`. Все такие цены перечислены в `overlaps`."
    )


@dataclass(frozen=True)
class Target:
    """One price that an order makes, and what its list knows around the first day: a price that begins on that very
    day with its order, the price that ends there, and the day on which the next one takes over."""

    position: int
    service_id: UUID
    article: str
    priced_by_rank: bool
    doctor_rank: str
    kind: str
    amount: Decimal | None
    same_day: UUID | None
    same_day_order: UUID | None
    same_day_number: str | None
    same_day_date: date | None
    same_day_corrects: bool
    before: UUID | None
    next_from: date | None
    next_order: UUID | None
    next_number: str | None

    def overlaps(self, order: Order) -> bool:
        """Whether the price would stand beside one of the same first day that `order` does not correct."""
        return self.same_day is not None and self.same_day_order != order.corrects

    def rival(self) -> dict[str, Any]:
        """The price of the same first day, for programs."""
        return {
            "article": self.article,
            "doctor_rank": self.doctor_rank,
            "order": self.same_day_order,
            "order_number": self.same_day_number,
            "order_date": self.same_day_date,
        }


def publish(change: Change, order_id: UUID) -> Order:
    """Make the prices of a draft known; from now on it is frozen.

    Raises:
        NotFound, OrderNotDraft: there is no such draft.
        InvalidInput: its first day has passed, or a service has become priced in another way since it was written.
        OrderEmpty: it has no lines.
        PricesOverlap: a price of an order that this one does not correct has the same first day.
    """
    order = price_orders.locked(change.conn, order_id)
    _hold_services(change.conn, order)
    targets = targets_of(change.conn, order)
    for refusal in refusals(order, targets, change.today):
        raise refusal
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


def _hold_services(conn: db.Connection, order: Order) -> None:
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


def targets_of(conn: db.Connection, order: Order) -> list[Target]:
    """The prices that publishing `order` makes: a line that withdraws a service for every rank makes one for each."""
    return db.many(
        conn,
        Target,
        """
        SELECT line.position, service.id AS service_id, service.article, service.priced_by_rank,
               rank.code AS doctor_rank, line.kind, line.amount,
               same.id AS same_day, same.order_id AS same_day_order, same_order.number AS same_day_number,
               same_order.date AS same_day_date, same_order.corrects IS NOT NULL AS same_day_corrects,
               around.before, lower(next.valid) AS next_from, next.order_id AS next_order,
               next_order.number AS next_number
          FROM price_order_line AS line
          JOIN medical_service AS service ON service.id = line.service_id
          JOIN doctor_rank AS rank
            ON rank.code = line.doctor_rank
            OR (line.doctor_rank IS NULL AND (service.priced_by_rank OR rank.code = 'none'))
          LEFT JOIN LATERAL (
            SELECT (array_agg(id) FILTER (WHERE lower(valid) = %(day)s::date))[1] AS same_day,
                   (array_agg(id) FILTER (WHERE lower(valid) < %(day)s::date AND valid @> %(day)s::date))[1] AS before,
                   (array_agg(id ORDER BY lower(valid)) FILTER (WHERE lower(valid) > %(day)s::date))[1] AS next
              FROM price
             WHERE service_id = service.id AND price_list = %(list)s::text AND doctor_rank = rank.code
               AND corrected_by IS NULL) AS around ON true
          LEFT JOIN price AS same ON same.id = around.same_day
          LEFT JOIN price_order AS same_order ON same_order.id = same.order_id
          LEFT JOIN price AS next ON next.id = around.next
          LEFT JOIN price_order AS next_order ON next_order.id = next.order_id
         WHERE line.order_id = %(order)s::uuid
         ORDER BY line.position, rank.position
        """,
        {"order": order.id, "list": order.price_list, "day": order.effective_from},
    )


def refusals(order: Order, targets: Sequence[Target], today: date) -> Iterator[Problem]:
    """Why `order` cannot be published today, the first reason first; nothing when it can."""
    faults = price_orders.passed(order.effective_from, today)
    for each in targets:
        if not each.priced_by_rank and each.doctor_rank != NONE:
            where = f"/lines/{each.position - 1}/doctor_rank"
            faults.append(Fault(where, "rank_not_applicable", (("article", each.article),)))
    if faults:
        yield InvalidInput(faults)
    if not targets:
        yield OrderEmpty(order=order.id, number=order.number)
    if rivals := [each.rival() for each in targets if each.overlaps(order)]:
        yield PricesOverlap(**rivals[0], overlaps=rivals)


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


def _begin(conn: db.Connection, order: Order, targets: Sequence[Target]) -> None:
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
