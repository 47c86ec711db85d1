"""Drafts of price orders: what the JSON contract takes, and how a draft is edited until it is published or put away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast
from uuid import UUID

import marshmallow as ma
from psycopg import errors as pg

from catalog import order_lines, price_lists, price_orders
from catalog.order_lines import Line, OrderLineIn
from catalog.price_orders import Order
from clinic import clock, db, fields
from clinic.command import Change
from clinic.errors import Fault, InvalidInput


class PriceOrderPatch(fields.Shape):
    """What may change of a draft; its lines have an address of their own."""

    number = fields.Text(32, metadata={"example": "2"})
    date = fields.Day(metadata={"description": "the day on which the order was signed"})
    effective_from = fields.Day(
        metadata={"example": "2026-12-01", "description": "the first day of its prices; today or later"}
    )
    note = fields.Text(1000, allow_none=True)
    corrects = fields.Uuid(
        allow_none=True,
        metadata={"description": "the published order whose prices of the same first day this one replaces"},
    )

    def beyond(self, raw: Any) -> list[Fault]:
        if not isinstance(raw, dict):
            return []
        found = self._readable(raw)
        with db.reading() as conn:
            faults = price_orders.faults(conn, clock.today(), found.get("price_list"), found)
            return faults + (order_lines.faults_of(conn, raw.get("lines")) if "lines" in self.fields else [])

    def _readable(self, raw: dict[str, Any]) -> dict[str, Any]:
        """Those members that say where and when, as far as they can be read."""
        asked = type(self)(only=self.fields.keys() & {"price_list", "effective_from", "corrects"}, unknown=ma.EXCLUDE)
        try:
            return cast(dict[str, Any], asked.load(raw))
        except ma.ValidationError as wrong:
            return cast(dict[str, Any], wrong.valid_data)


class PriceOrderIn(PriceOrderPatch):
    """A new order; all but `effective_from` may be left out. Lines may also be written later."""

    id = fields.Uuid(load_default=None, allow_none=True, metadata={"description": "the order's id, if you give it"})
    number = fields.Text(
        32, load_default=None, allow_none=True,
        metadata={"example": "2", "description": "by default the next free one of the list and year"},
    )  # fmt: skip
    date = fields.Day(load_default=None, allow_none=True, metadata={"description": "by default today"})
    price_list = fields.Form(price_lists.FORM, load_default=price_lists.BASE, metadata={"example": "base"})
    effective_from = fields.Day(required=True, metadata={"example": "2026-12-01"})
    note = fields.Text(1000, load_default=None, allow_none=True)
    corrects = fields.Uuid(load_default=None, allow_none=True)
    lines = fields.Many(fields.Nested(OrderLineIn), most=order_lines.MOST, load_default=list)


class OrderLinesIn(fields.Shape):
    """All lines of a draft."""

    lines = fields.Many(fields.Nested(OrderLineIn), most=order_lines.MOST, required=True)

    def beyond(self, raw: Any) -> list[Fault]:
        with db.reading() as conn:
            return order_lines.faults_of(conn, raw.get("lines") if isinstance(raw, dict) else None)


def edit(change: Change, order: Order, wanted: Mapping[str, Any]) -> Order:
    """Change a draft that was read under its lock; members that are not in `wanted` stay as they are.

    Raises:
        InvalidInput: the first day or the order to correct; both at once.
        OrderNumberTaken: the number is used in this list and year.
    """
    changed = {member: value for member, value in wanted.items() if value != getattr(order, member)}
    if faults := price_orders.faults(change.conn, change.today, order.price_list, changed):
        raise InvalidInput(faults)
    if not changed:
        return order
    after = replace(order, **changed)
    try:
        change.conn.execute(
            """
            UPDATE price_order
               SET number = %(number)s, date = %(date)s, effective_from = %(effective_from)s, note = %(note)s,
                   corrects = %(corrects)s, row_version = row_version + 1, updated_at = %(now)s
             WHERE id = %(id)s
            """,
            {**vars(after), "now": change.at},
        )
    except pg.UniqueViolation as exc:
        price_orders.refuse_number(exc, after.number)
    return price_orders.get(change.conn, order.id)


def put_lines(change: Change, order: Order, lines: Sequence[Line]) -> Order:
    """Make `lines` all lines of a draft that was read under its lock.

    Raises:
        InvalidInput: names everything that is wrong with them.
    """
    service_ids, faults = order_lines.checked(change.conn, lines)
    if faults:
        raise InvalidInput(faults)
    order_lines.put(change.conn, order.id, lines, service_ids)
    change.conn.execute(
        "UPDATE price_order SET row_version = row_version + 1, updated_at = %(now)s WHERE id = %(id)s::uuid",
        {"id": order.id, "now": change.at},
    )
    return price_orders.get(change.conn, order.id)


def discard(change: Change, order_id: UUID) -> Order:
    """Put a draft away; its number can be given again.

    Raises:
        NotFound, OrderNotDraft: there is no such draft.
    """
    order = price_orders.locked(change.conn, order_id)
    change.conn.execute(
        """
        UPDATE price_order
           SET status = 'discarded', row_version = row_version + 1, updated_at = %(now)s
         WHERE id = %(id)s::uuid
        """,
        {"id": order.id, "now": change.at},
    )
    change.record("price_order.discarded", order.id, number=order.number, price_list=order.price_list)
    return price_orders.get(change.conn, order.id)
