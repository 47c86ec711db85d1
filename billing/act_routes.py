"""JSON of acts of rendered services."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response

from billing import acts, rendering
from billing.acts import Act, ActLine, ActOut
from billing.invoices import InvoiceNotIssued
from billing.numbering import NumberDateOrder
from billing.rendering import ActCancelled, ActIn, CancelActIn, NothingToRender
from clinic import access_log, db, errors, fields, http, lists
from clinic.command import Change

bp = http.Blueprint("acts", __name__, url_prefix="/v1", description="Acts of rendered services")


class ActFilter(lists.Page):
    invoice = fields.Uuid(load_default=None)
    status = fields.Choice("issued", "cancelled", load_default=None)
    since = fields.Day(load_default=None)
    until = fields.Day(load_default=None)


class ActsOut(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(ActOut), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)


@bp.post("/invoices/<uuid:invoice_id>/acts")
@bp.contract(
    may="invoices:issue", takes=ActIn, gives={201: ActOut}, key="required",
    refuses=(errors.NotFound, InvoiceNotIssued, NothingToRender, NumberDateOrder),
    example={"lines": [{"position": 1, "service_date": "2026-11-23"}]},
)  # fmt: skip
def issue_act(wanted: dict[str, Any], invoice_id: UUID) -> Response:
    """Say what of an invoice was done

    An act with a number of its own, frozen at once. Without `lines` it is of all that is not rendered yet; a line may
    be rendered in pieces. The VAT rate is that of the day of the service."""
    with http.change() as change:
        return _answer(change, 201, *rendering.render(change, invoice_id, wanted))


@bp.get("/acts")
@bp.contract(may="invoices:read", query=ActFilter, gives={200: ActsOut}, refuses=(errors.BadCursor,))
def list_acts(wanted: dict[str, Any]) -> Response:
    """List acts, newest first

    `since` and `until` are days of the acts, both included."""
    behind = lists.place_of("acts", lists.filters_of(wanted), wanted["cursor"])
    with db.transaction() as conn:
        rows = acts.page(conn, http.actor(), wanted, behind)
        found, cursor = lists.page_of("acts", wanted, rows, lambda act: [act.date.isoformat(), str(act.id)])
        lines = acts.lines_of(conn, [act.id for act in found])
        _note(conn, "list", [act.id for act in found])
    return http.reply({"items": [acts.as_json(act, lines[act.id]) for act in found], "next_cursor": cursor})


@bp.get("/acts/<uuid:act_id>")
@bp.contract(may="invoices:read", gives={200: ActOut}, refuses=(errors.NotFound,))
def get_act(act_id: UUID) -> Response:
    """Read an act"""
    with db.transaction() as conn:
        act = acts.get(conn, http.actor(), act_id)
        lines = acts.lines_of(conn, [act_id])[act_id]
        _note(conn, "read", [act_id])
    return http.reply(acts.as_json(act, lines))


@bp.post("/acts/<uuid:act_id>/cancel")
@bp.contract(
    may="invoices:cancel", takes=CancelActIn, gives={200: ActOut}, key="required",
    refuses=(errors.NotFound, ActCancelled), example={"reason": "Ошибка в дате услуги"},
)  # fmt: skip
def cancel_act(wanted: dict[str, Any], act_id: UUID) -> Response:
    """Take an act back

    Its services can be put on another one; its number stays and is not used again."""
    with http.change() as change:
        return _answer(change, 200, *rendering.cancel(change, act_id, wanted["reason"]))


def _answer(change: Change, status: int, act: Act, lines: list[ActLine]) -> Response:
    headers = {"Location": f"/v1/acts/{act.id}"} if status == 201 else {}
    return http.shown(change.give(status, acts.as_json(act, lines), headers=headers, names=act.names()))


def _note(conn: db.Connection, action: str, ids: list[UUID]) -> None:
    access_log.note(conn, http.actor().label, action, "act", ids, http.request_id())
