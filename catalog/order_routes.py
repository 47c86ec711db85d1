"""JSON of price orders: draft, look at what it will change, publish."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response

from catalog import drafting, examples, order_lines, previewing, price_lists, price_orders, publishing, repricing
from catalog.drafting import OrderLinesIn, PriceOrderIn, PriceOrderPatch
from catalog.order_lines import Line
from catalog.previewing import PreviewOut
from catalog.price_orders import Order, OrderNotDraft, OrderNumberTaken, PriceOrderHeadOut, PriceOrderOut
from catalog.publishing import OrderEmpty, PricesOverlap
from catalog.repricing import PriceOrderBulkIn, PriceOrderBulkOut
from clinic import clock, db, errors, fields, http, lists

bp = http.Blueprint("price-orders", __name__, url_prefix="/v1", description="Price orders: how prices come about")

_ORDER_AT = "/price-orders/<uuid:order_id>"


class PriceOrdersQuery(lists.Page):
    status = fields.Choice(*price_orders.STATUSES, load_default=None)
    price_list = fields.Form(price_lists.FORM, load_default=None)
    since = fields.Day(load_default=None)
    until = fields.Day(load_default=None)


class PriceOrdersOut(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(PriceOrderHeadOut), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)


def _etag(order: Order) -> str:
    return http.etag(order.id, order.row_version)


def _lines(wanted: dict[str, Any]) -> list[Line]:
    return [Line(**each) for each in wanted["lines"]]


def _body(order: Order, lines: list[Line]) -> dict[str, Any]:
    return {**order.as_json(), "lines": [each.as_json() for each in lines]}


@bp.post("/price-orders")
@bp.contract(
    may="catalog:write",
    takes=PriceOrderIn,
    gives={201: PriceOrderOut},
    refuses=(OrderNumberTaken, errors.AlreadyExists),
    key="optional",
    example=examples.ORDER_IN,
    answers=examples.ORDER,
)
def create_order(wanted: dict[str, Any]) -> Response:
    """Draft a price order

    Up to 2000 lines; a longer order comes as a file. Nothing has another price before the order is published."""
    lines = _lines(wanted)
    rest = {member: value for member, value in wanted.items() if member != "lines"}
    with http.change() as change:
        rest["date"] = rest["date"] or change.today
        order = price_orders.create(change, price_orders.Wanted(**rest), lines)
        headers = {"ETag": _etag(order), "Location": f"/v1/price-orders/{order.id}"}
        answer = change.give(201, _body(order, order_lines.of(change.conn, order.id)), headers=headers)
    return http.shown(answer)


@bp.get("/price-orders")
@bp.contract(may="catalog:read", query=PriceOrdersQuery, gives={200: PriceOrdersOut}, refuses=(errors.BadCursor,))
def list_orders(wanted: dict[str, Any]) -> Response:
    """List price orders, newest first

    `since` and `until` are days on which the orders were signed, both included. How many lines they have, not which."""
    behind = lists.place_of("price-orders", lists.filters_of(wanted), wanted["cursor"])
    with db.reading() as conn:
        rows = price_orders.page(conn, wanted, behind)
    rows, cursor = lists.page_of("price-orders", wanted, rows, lambda order: [order.date.isoformat(), str(order.id)])
    return http.reply({"items": [each.as_json() for each in rows], "next_cursor": cursor})


@bp.get(_ORDER_AT)
@bp.contract(may="catalog:read", gives={200: PriceOrderOut}, refuses=(errors.NotFound,), answers=examples.ORDER)
def read_order(order_id: UUID) -> Response:
    """Read a price order"""
    with db.moment() as conn:
        order = price_orders.get(conn, order_id)
        lines = order_lines.of(conn, order_id)
    return http.reply(_body(order, lines), headers={"ETag": _etag(order)})


# ---- A draft ----


@bp.patch(_ORDER_AT)
@bp.contract(
    may="catalog:write",
    takes=PriceOrderPatch,
    gives={200: PriceOrderOut},
    refuses=(errors.NotFound, OrderNotDraft, OrderNumberTaken),
    match=True,
    example={"effective_from": "2026-12-15", "note": "Перенесён на две недели"},
    answers=examples.ORDER,
)
def change_order(wanted: dict[str, Any], order_id: UUID) -> Response:
    """Change a draft

    Members left out stay as they are; the price list of an order never changes."""
    with http.change() as change:
        order = price_orders.locked(change.conn, order_id)
        http.must_match(_etag(order))
        order = drafting.edit(change, order, wanted)
        lines = order_lines.of(change.conn, order_id)
    return http.reply(_body(order, lines), headers={"ETag": _etag(order)})


@bp.put(f"{_ORDER_AT}/lines")
@bp.contract(
    may="catalog:write",
    takes=OrderLinesIn,
    gives={200: PriceOrderOut},
    refuses=(errors.NotFound, OrderNotDraft),
    match=True,
    example={"lines": examples.ORDER_IN["lines"]},
    answers=examples.ORDER,
)
def put_order_lines(wanted: dict[str, Any], order_id: UUID) -> Response:
    """Write the lines of a draft

    All of them: what the list does not name is no longer in the order."""
    lines = _lines(wanted)
    with http.change() as change:
        order = price_orders.locked(change.conn, order_id)
        http.must_match(_etag(order))
        order = drafting.put_lines(change, order, lines)
        written = order_lines.of(change.conn, order_id)
    return http.reply(_body(order, written), headers={"ETag": _etag(order)})


@bp.post(f"{_ORDER_AT}/bulk")
@bp.contract(
    may="catalog:write",
    takes=PriceOrderBulkIn,
    gives={200: PriceOrderBulkOut},
    refuses=(errors.NotFound, OrderNotDraft),
    key="optional",
    match=True,
    example=examples.BULK_IN,
    answers=examples.BULK,
)
def move_prices(wanted: dict[str, Any], order_id: UUID) -> Response:
    """Move many prices at once

    Makes lines of a draft from the prices of its list that are in force on its first day, by percent or by an amount.
    Lines that the draft already has for the same service and rank are replaced, so it can be done again with another
    percentage; services that the draft withdraws or puts on request are left alone, as are services on request."""
    with http.change() as change:
        order = price_orders.locked(change.conn, order_id)
        http.must_match(_etag(order))
        moved = repricing.move(change, order, wanted)
        answer = change.give(200, moved.as_json(), headers={"ETag": _etag(moved.order)})
    return http.shown(answer)


@bp.post(f"{_ORDER_AT}/discard")
@bp.contract(may="catalog:write", gives={200: PriceOrderOut}, refuses=(errors.NotFound, OrderNotDraft), key="optional")
def discard_order(order_id: UUID) -> Response:
    """Put a draft away

    Its number can be given again."""
    with http.change() as change:
        order = drafting.discard(change, order_id)
        body = _body(order, order_lines.of(change.conn, order_id))
        answer = change.give(200, body, headers={"ETag": _etag(order)})
    return http.shown(answer)


# ---- What it will change, and that it does ----


@bp.get(f"{_ORDER_AT}/preview")
@bp.contract(
    may="catalog:read", gives={200: PreviewOut}, refuses=(errors.NotFound, OrderNotDraft), answers=examples.PREVIEW
)
def preview_order(order_id: UUID) -> Response:
    """See what a draft will change

    Every price that publishing makes beside the one in force on that day without it, with what is worth a look.
    `publishable` tells whether it would be published now; `reasons` tell why not."""
    with db.moment() as conn:
        preview = previewing.of(conn, price_orders.get(conn, order_id), clock.today())
    return http.reply(preview.as_json(http.lang()), headers={"ETag": _etag(preview.order)})


@bp.post(f"{_ORDER_AT}/publish")
@bp.contract(
    may="prices:publish",
    gives={200: PriceOrderOut},
    refuses=(errors.NotFound, OrderNotDraft, OrderEmpty, PricesOverlap),
    key="required",
)
def publish_order(order_id: UUID) -> Response:
    """Publish a draft

    Its prices are known from now on and in force from its first day. A published order is frozen."""
    with http.change() as change:
        order = publishing.publish(change, order_id)
        body = _body(order, order_lines.of(change.conn, order_id))
        answer = change.give(200, body, headers={"ETag": _etag(order)})
    return http.shown(answer)
