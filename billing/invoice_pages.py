"""Pages of an invoice: reading, issuing or putting away a draft, taking money for what is issued, the paper."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from flask import Blueprint, Response, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from billing import invoice_page, invoices, invoicing, issuing, receiving
from billing.invoice_page import ConfirmedIn, DraftForm
from billing.issuing import IssueIn
from billing.till import PaymentForm
from clinic import db, forms, html, http
from clinic.command import Change
from clinic.errors import IdempotencyKeyReused, InvalidInput, NotFound, PreconditionFailed, Problem

bp = Blueprint("invoice_pages", __name__, template_folder="templates")


@bp.get("/desk/invoices/<uuid:invoice_id>")
@html.page(may="invoices:read")
def invoice(invoice_id: UUID) -> Response:
    return invoice_page.shown(invoice_id)


@bp.get("/desk/invoices/<uuid:invoice_id>/print")
@html.page(may="invoices:read")
def print_invoice(invoice_id: UUID) -> str:
    return render_template("invoice_print.html", **invoice_page.said(invoice_id, "print"))


# ---- A draft ----


@bp.post("/desk/invoices/<uuid:invoice_id>/issue")
@html.page(may="invoices:issue")
def issue_invoice(invoice_id: UUID) -> AnyResponse:
    return _moved(invoice_id, _issue)


@bp.post("/desk/invoices/<uuid:invoice_id>/discard")
@html.page(may="invoices:write")
def discard_invoice(invoice_id: UUID) -> AnyResponse:
    return _moved(invoice_id, _discard)


def _moved(invoice_id: UUID, move: Callable[[Change, UUID, DraftForm], None]) -> AnyResponse:
    form = DraftForm.read(request.form.to_dict())

    def work(change: Change) -> UUID:
        move(change, invoice_id, form)
        return invoice_id

    try:
        forms.once(form.key, form.typed, work)
    except InvalidInput as wrong:
        return invoice_page.shown(invoice_id, draft=form, faults=wrong.faults, status=422)
    except NotFound:
        raise
    except PreconditionFailed as refusal:
        return invoice_page.shown(invoice_id, draft=form.unconfirmed(), refusal=refusal)
    except Problem as refusal:
        return invoice_page.shown(invoice_id, draft=form, refusal=refusal)
    return redirect(f"/desk/invoices/{invoice_id}", 303)


def _issue(change: Change, invoice_id: UUID, form: DraftForm) -> None:
    forms.loaded(ConfirmedIn(), forms.given({"confirmed": form.get("confirmed") or None}))
    wanted = forms.loaded(IssueIn(), form.issue())
    draft = invoices.locked(change.conn, change.actor, invoice_id)
    draft.must_be_draft()
    forms.must_have_seen(draft.row_version)
    lines = invoices.lines_of(change.conn, [invoice_id])[invoice_id]
    issuing.issue(change, draft, lines, wanted["date"], production=html.settings().production)


def _discard(change: Change, invoice_id: UUID, _: DraftForm) -> None:
    draft = invoicing.locked_with_quote(change, invoice_id)
    draft.must_be_draft()
    forms.must_have_seen(draft.row_version)
    invoicing.discard(change, invoice_id)


# ---- Its money ----


@bp.post("/desk/invoices/<uuid:invoice_id>/<any(payments, offset):way>")
@html.page(may="payments:write")
def pay_invoice(invoice_id: UUID, way: str) -> AnyResponse:
    form = PaymentForm.read(request.form.to_dict())
    with db.reading() as conn:
        paid = invoices.get(conn, http.actor(), invoice_id)
    raw = form.payment(paid) if way == "payments" else form.offset(paid)
    shape, take = _TAKE[way]
    try:
        wanted = forms.loaded(shape(), raw)
        forms.once(form.key, raw, lambda change: take(change, wanted).payments[0].id)
    except InvalidInput as wrong:
        return invoice_page.shown(invoice_id, form, faults=wrong.faults, status=422)
    except IdempotencyKeyReused:
        # Sent, gone back to, changed and sent again: it is more money, and a person says whether that is meant.
        return invoice_page.shown(invoice_id, form.again(), sent_before=True, status=409)
    except Problem as refusal:
        return invoice_page.shown(invoice_id, form, refusal=refusal)
    return redirect(f"/desk/invoices/{invoice_id}", 303)


_TAKE = {
    "payments": (receiving.PaymentIn, receiving.receive),
    "offset": (receiving.SplitIn, receiving.split),
}
