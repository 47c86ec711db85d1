"""The page that invoices a part of a quote, or services beyond it."""

from __future__ import annotations

from uuid import UUID

from flask import Blueprint, Response, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from billing import desk_page, invoicing, quote_invoicing_page, quote_page
from billing.desk import Desk
from billing.quote_invoicing_page import Invoicing
from billing.quote_page import InvoiceForm
from billing.quotes import QuoteExpired, QuoteNotOpen
from clinic import forms, html
from clinic.errors import Fault, IdempotencyKeyReused, InvalidInput, NotFound, Problem

bp = Blueprint("quote_invoicing_pages", __name__, template_folder="templates")


@bp.get("/desk/quotes/<uuid:quote_id>/invoicing")
@html.page(may="invoices:write")
def invoicing_form(quote_id: UUID) -> Response:
    return _shown(quote_id, Desk(forms.new_key()), InvoiceForm(""))


@bp.post("/desk/quotes/<uuid:quote_id>/invoicing")
@html.page(may="invoices:write")
def invoicing_sent(quote_id: UUID) -> AnyResponse:
    desk, form = Desk.read(request.form), InvoiceForm("", request.form.to_dict())
    if not form.is_sent:
        return _shown(quote_id, desk, form)
    raw = quote_invoicing_page.body(desk, form, quote_page.revision_seen())
    try:
        wanted = forms.loaded(invoicing.FromQuoteIn(), raw)
        invoice_id = forms.once(desk.key, raw, lambda change: quote_page.invoiced(change, quote_id, wanted))
    except InvalidInput as wrong:
        return _shown(quote_id, desk, form, quote_invoicing_page.as_typed(wrong.faults, form), status=422)
    except NotFound:
        raise
    except IdempotencyKeyReused as refusal:
        return _shown(quote_id, desk.with_key(forms.new_key()), form, refusal=refusal)
    except Problem as refusal:
        return _shown(quote_id, desk, form, refusal=refusal)
    return redirect(f"/desk/invoices/{invoice_id}", 303)


def _shown(
    quote_id: UUID,
    desk: Desk,
    form: InvoiceForm,
    faults: list[Fault] | None = None,
    *,
    refusal: Problem | None = None,
    status: int = 200,
) -> Response:
    try:
        editing = Invoicing.read(quote_id, form)
    except (QuoteExpired, QuoteNotOpen) as over:
        # There is no form any more, and the quote's page says what became of it.
        return quote_page.shown(quote_id, InvoiceForm(forms.new_key(), form.typed), refusal=over)
    return desk_page.shown(editing.desk(desk), faults, editing=editing, refusal=refusal, status=status)
