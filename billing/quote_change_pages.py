"""Pages that change a quote: its form, today's prices beside the old ones, a later last day, cancelling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast
from uuid import UUID

from flask import Blueprint, Response, current_app, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from billing import (
    desk_page,
    quote_codes,
    quote_edits,
    quote_page,
    quote_revisions,
    quote_validity,
    quotes,
)
from billing.desk import SAID, Desk, Editing
from billing.quote_edits import QuotePatch
from billing.quote_page import InvoiceForm
from billing.quote_revisions import CancelQuoteIn
from billing.quote_validity import ExtendIn
from clinic import clock, db, fields, forms, html, http
from clinic.command import Change
from clinic.errors import Fault, IdempotencyKeyReused, InvalidInput, NotFound, PreconditionFailed, Problem
from clinic.money import ZERO
from clinic.settings import Settings

bp = Blueprint("quote_change_pages", __name__, template_folder="templates")


def _valid_days() -> int:
    return cast(Settings, current_app.config["CLINIC"]).quote_days


# ---- The form ----


@bp.get("/desk/quotes/<uuid:quote_id>/edit")
@html.page(may="quotes:write")
def edit_quote(quote_id: UUID) -> Response:
    editing = _editing(quote_id)
    return desk_page.shown(Desk.of_quote(forms.new_key(), editing.quote, editing.lines), editing=editing)


@bp.post("/desk/quotes/<uuid:quote_id>/edit")
@html.page(may="quotes:write")
def edit_sent(quote_id: UUID) -> AnyResponse:
    desk, editing = Desk.read(request.form), _editing(quote_id)
    if request.form.get("do") != "save" or not desk.rows:
        return desk_page.shown(desk, editing=editing)
    raw = desk.wanted()
    try:
        wanted = forms.loaded(QuotePatch(), raw)
        forms.once(desk.key, raw, lambda change: _changed(change, quote_id, wanted))
    except InvalidInput as wrong:
        return desk_page.shown(desk, wrong.faults, editing=editing, status=422)
    except NotFound:
        raise
    except IdempotencyKeyReused:
        return desk_page.shown(desk.with_key(forms.new_key()), editing=editing, sent_before=True, status=409)
    except Problem as refusal:
        # What was typed stays; what it is typed over is shown as it is by now.
        return desk_page.shown(desk, editing=_editing(quote_id), refusal=refusal)
    return redirect(f"/desk/quotes/{quote_id}", 303)


def _changed(change: Change, quote_id: UUID, wanted: dict[str, Any]) -> UUID:
    """The draft edited in place; of what is out a further revision."""
    quote = quotes.locked(change.conn, change.actor, quote_id)
    if quote.revision != quote_page.revision_seen():
        raise PreconditionFailed()
    if quote.state_on(change.today) != "draft":
        return quote_revisions.revise(change, _valid_days(), quote_id, {"revision": quote.revision} | wanted)[0].id
    forms.must_have_seen(quote.row_version)
    lines = quotes.lines_of(change.conn, [quote])[quote.id]
    return quote_edits.edit(change, _valid_days(), quote, lines, wanted)[0].id


def _editing(quote_id: UUID) -> Editing:
    with db.transaction() as conn:
        return Editing(*quote_page.read(conn, http.actor(), quote_id, "read"))


# ---- Today's prices ----


@bp.get("/desk/quotes/<uuid:quote_id>/reprice")
@html.page(may="quotes:write")
def todays_prices(quote_id: UUID) -> Response:
    return _todays_prices(quote_id)


@bp.post("/desk/quotes/<uuid:quote_id>/reprice")
@html.page(may="quotes:write")
def reprice(quote_id: UUID) -> AnyResponse:
    wanted = {"revision": quote_page.revision_seen(), "valid_until": None}
    try:
        with forms.change() as change:
            quote_revisions.reprice(change, _valid_days(), quote_id, wanted)
    except NotFound:
        raise
    except InvalidInput:
        return _todays_prices(quote_id)  # which names them
    except Problem as refusal:
        return _todays_prices(quote_id, refusal)
    return redirect(f"/desk/quotes/{quote_id}", 303)


def _todays_prices(quote_id: UUID, refusal: Problem | None = None) -> Response:
    actor, faults = http.actor(), list[Fault]()
    with db.transaction() as conn:
        quote, lines = quote_page.read(conn, actor, quote_id, "read")
        try:
            changes = quote_revisions.at_todays_prices(conn, actor, clock.today(), _valid_days(), quote)
        except InvalidInput as wrong:
            changes, faults = [], wrong.faults
    page = render_template(
        "quote_prices.html",
        quote=quote,
        code=quote_codes.shown(quote.code),
        lines=lines,
        changes=changes,
        difference=sum((each.difference for each in changes), ZERO),
        faults=forms.by_field(faults, SAID),
        refusal=forms.told(refusal),
    )
    return Response(page, refusal.status if refusal else 422 if faults else 200)


# ---- The last day, and the end ----

_MOVES: dict[str, tuple[type[fields.Shape], Callable[[Change, UUID, dict[str, Any]], object]]] = {
    "extend": (ExtendIn, quote_validity.extend),
    "cancel": (CancelQuoteIn, quote_revisions.cancel),
}


@bp.post("/desk/quotes/<uuid:quote_id>/extend")
@html.page(may="quotes:extend")
def extend(quote_id: UUID) -> AnyResponse:
    return _moved(quote_id, "extend", "valid_until", "reason")


@bp.post("/desk/quotes/<uuid:quote_id>/cancel")
@html.page(may="quotes:write")
def cancel(quote_id: UUID) -> AnyResponse:
    return _moved(quote_id, "cancel", "reason")


def _moved(quote_id: UUID, move: str, *names: str) -> AnyResponse:
    shape, work = _MOVES[move]
    typed = {name: request.form.get(f"{move}-{name}", "").strip() for name in names}
    try:
        wanted = forms.loaded(shape(), forms.given({name: value or None for name, value in typed.items()}))
        with forms.change() as change:
            work(change, quote_id, wanted | {"revision": quote_page.revision_seen()})
    except NotFound:
        raise
    except InvalidInput as wrong:
        return quote_page.shown(quote_id, InvoiceForm(forms.new_key()), wrong=(move, wrong.faults), status=422)
    except Problem as refusal:
        return quote_page.shown(quote_id, InvoiceForm(forms.new_key()), refusal=refusal)
    return redirect(f"/desk/quotes/{quote_id}", 303)
