"""Pages that change a draft invoice."""

from __future__ import annotations

from uuid import UUID

from flask import Blueprint, Response, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from billing import desk_page, invoice_edit_page
from billing.desk import Desk
from billing.invoice_edit_page import DraftEditing
from billing.invoice_editing import InvoicePatch
from clinic import forms, html
from clinic.errors import IdempotencyKeyReused, InvalidInput, NotFound, Problem

bp = Blueprint("invoice_edit_pages", __name__, template_folder="templates")


@bp.get("/desk/invoices/<uuid:invoice_id>/edit")
@html.page(may="invoices:write")
def edit_invoice(invoice_id: UUID) -> Response:
    editing = DraftEditing.read(invoice_id)
    editing.invoice.must_be_draft()
    return desk_page.shown(Desk.of_invoice(forms.new_key(), editing.invoice, editing.lines), editing=editing)


@bp.post("/desk/invoices/<uuid:invoice_id>/edit")
@html.page(may="invoices:write")
def edit_sent(invoice_id: UUID) -> AnyResponse:
    desk, editing = Desk.read(request.form), DraftEditing.read(invoice_id, request.form)
    if request.form.get("do") != "save" or not desk.rows:
        return desk_page.shown(desk, editing=editing)
    raw = editing.asked(desk)
    try:
        wanted = forms.loaded(InvoicePatch(), raw)
        forms.once(
            desk.key, request.form.to_dict(), lambda change: invoice_edit_page.edited(change, invoice_id, wanted)
        )
    except InvalidInput as wrong:
        return desk_page.shown(desk, wrong.faults, editing=editing, status=422)
    except NotFound:
        raise
    except IdempotencyKeyReused:
        return desk_page.shown(desk.with_key(forms.new_key()), editing=editing, sent_before=True, status=409)
    except Problem as refusal:
        # What was typed stays; what it is typed over is shown as it is by now.
        return desk_page.shown(desk, editing=DraftEditing.read(invoice_id, request.form), refusal=refusal)
    return redirect(f"/desk/invoices/{invoice_id}", 303)
