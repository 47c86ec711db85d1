"""Pages of acts: what of an invoice is left to render, the form that renders it, the act on paper."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import Blueprint, Response, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from billing import acts, invoices, rendering
from billing.lines import MOST
from clinic import access_log, clock, db, forms, html, http
from clinic.command import Change
from clinic.errors import Fault, InvalidInput, NotFound, Problem

bp = Blueprint("act_pages", __name__, template_folder="templates")
_SAID = {
    "not_quantity": (
        "Нужно количество: число, не больше трёх знаков после запятой.",
        "A quantity is needed: a number of at most three decimals.",
    ),
    "wrong_length": ("Укажите причину.", "Give a reason."),
}


@bp.get("/desk/invoices/<uuid:invoice_id>/acts")
@html.page(may="invoices:read")
def acts_of_invoice(invoice_id: UUID) -> Response:
    return _page(invoice_id, forms.new_key(), {})


@bp.post("/desk/invoices/<uuid:invoice_id>/acts")
@html.page(may="invoices:issue")
def render_invoice(invoice_id: UUID) -> AnyResponse:
    key, typed = forms.known_key(request.form.get("key")), request.form.to_dict()
    raw = {"lines": _lines(typed)}
    try:
        if not raw["lines"]:
            raise InvalidInput([Fault("/lines", "wrong_count")])
        wanted = forms.loaded(rendering.ActIn(), raw)
        forms.once(key, raw, lambda change: _render(change, invoice_id, wanted))
    except InvalidInput as wrong:
        return _page(invoice_id, key, typed, faults=_by_position(wrong.faults, raw["lines"]), status=422)
    except NotFound:
        raise
    except Problem as refusal:
        return _page(invoice_id, forms.new_key(), typed, refusal=refusal, status=refusal.status)
    return redirect(f"/desk/invoices/{invoice_id}/acts", 303)


def _lines(typed: dict[str, str]) -> list[dict[str, Any]]:
    return [
        {
            "position": position,
            "quantity": forms.plain_number(typed.get(f"quantity-{position}", "")) or None,
            "service_date": typed.get(f"service_date-{position}") or None,
        }
        for position in range(1, MOST + 1)
        if f"done-{position}" in typed
    ]


def _by_position(faults: list[Fault], lines: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Faults by the form's fields, which are named by the invoice's positions and not by their place in the request."""
    named = []
    for fault in faults:
        _, _, rest = fault.pointer.partition("/lines/")
        place, _, member = rest.partition("/")
        pointer = f"/{member}-{lines[int(place)]['position']}" if member else "/lines"
        named.append(Fault(pointer, fault.code, fault.values))
    return forms.by_field(named, _SAID)


def _render(change: Change, invoice_id: UUID, wanted: dict[str, Any]) -> UUID:
    act, _ = rendering.render(change, invoice_id, wanted)
    return act.id


def _page(
    invoice_id: UUID,
    key: str,
    typed: dict[str, str],
    *,
    cancelling: dict[UUID, str] | None = None,
    faults: dict[str, list[str]] | None = None,
    refusal: Problem | None = None,
    status: int = 200,
) -> Response:
    """The page; `cancelling` has the reason that was typed for cancelling an act, by the act's id."""
    actor = http.actor()
    with db.transaction() as conn:
        invoice = invoices.get(conn, actor, invoice_id)
        access_log.note(conn, actor.label, "read", "invoice", [invoice_id], http.request_id())
        lines = invoices.lines_of(conn, [invoice_id])[invoice_id]
        made = acts.page(conn, actor, {"invoice": invoice_id, "limit": 100}, None)
        left = rendering.left(conn, invoice_id, lines)
    shown = render_template(
        "acts.html",
        invoice=invoice,
        lines=[line for line in lines if left[line.position]],
        left=left,
        acts=made,
        today=clock.today(),
        key=key,
        typed=typed,
        faults=faults or {},
        refusal=forms.told(refusal),
        cancelling=cancelling or {},
    )
    return Response(shown, status)


@bp.post("/desk/acts/<uuid:act_id>/cancel")
@html.page(may="invoices:cancel")
def cancel_act(act_id: UUID) -> AnyResponse:
    reason = request.form.get("reason", "")
    with db.reading() as conn:
        invoice_id = acts.get(conn, http.actor(), act_id).invoice_id
    try:
        wanted = forms.loaded(rendering.CancelActIn(), {"reason": reason})
        with forms.change() as change:
            rendering.cancel(change, act_id, wanted["reason"])
    except InvalidInput as wrong:
        faults = {f"{name}-{act_id}": said for name, said in forms.by_field(wrong.faults, _SAID).items()}
        return _page(invoice_id, forms.new_key(), {}, cancelling={act_id: reason}, faults=faults, status=422)
    except Problem as refusal:
        return _page(
            invoice_id, forms.new_key(), {}, cancelling={act_id: reason}, refusal=refusal, status=refusal.status
        )
    return redirect(f"/desk/invoices/{invoice_id}/acts", 303)


@bp.get("/desk/acts/<uuid:act_id>/print")
@html.page(may="invoices:read")
def print_act(act_id: UUID) -> str:
    actor = http.actor()
    with db.transaction() as conn:
        act = acts.get(conn, actor, act_id)
        lines = acts.lines_of(conn, [act_id])[act_id]
        access_log.note(conn, actor.label, "print", "act", [act_id], http.request_id())
    return render_template("act_print.html", document=acts.as_json(act, lines), requisites=act.supplier["requisites"])
