"""The page that changes a draft made from a quote: how much of which line, who pays, until when."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Self
from uuid import UUID

from flask import Blueprint, Response, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from billing import desk as desks
from billing import invoice_edit_page, invoice_page, invoices, part_fields, quotes
from billing.invoice_editing import InvoicePatch
from billing.invoices import Invoice, InvoiceLine
from billing.lines import shown_quantity
from billing.quote_page import InvoiceForm
from billing.quotes import QuoteLine
from clinic import access_log, db, forms, html, http
from clinic.errors import Fault, IdempotencyKeyReused, InvalidInput, NotFound, Problem
from clinic.money import ZERO

bp = Blueprint("invoice_parts_pages", __name__, template_folder="templates")


@dataclass(frozen=True)
class _Draft:
    """The draft as it stands, and the lines of its quote."""

    invoice: Invoice
    lines: list[InvoiceLine]
    quoted: list[QuoteLine]

    @classmethod
    def read(cls, invoice_id: UUID) -> Self:
        """That somebody looks at it is noted.

        Raises:
            NotFound: there is none here, or it was made without a quote.
        """
        actor = http.actor()
        with db.transaction() as conn:
            invoice = invoices.get(conn, actor, invoice_id)
            access_log.note(conn, actor.label, "read", "invoice", [invoice_id], http.request_id())
            if invoice.quote_id is None:
                raise NotFound()
            quote = quotes.get(conn, actor, invoice.quote_id, invoice.quote_revision)
            lines = invoices.lines_of(conn, [invoice_id])[invoice_id]
            return cls(invoice, lines, quotes.lines_of(conn, [quote])[quote.id])

    @property
    def own(self) -> dict[int, Decimal]:
        """How much of each line of the quote the draft has, by position."""
        return {line.quote_position: line.quantity for line in self.lines if line.quote_position is not None}

    @property
    def left(self) -> dict[int, Decimal]:
        """How much of each line it may have: what nobody else has."""
        own = self.own if self.invoice.status == "draft" else {}
        left = {line.position: line.quantity - line.invoiced_quantity for line in self.quoted}
        return {position: each + own.get(position, ZERO) for position, each in left.items()}

    @property
    def beyond(self) -> list[InvoiceLine]:
        """Lines that are none of the quote's: they stay."""
        return [line for line in self.lines if line.quote_position is None]

    def as_typed(self) -> dict[str, str]:
        """The form as somebody would have typed it."""
        own = self.own
        parts = {
            part_fields.name(line.position): shown_quantity(own[line.position]).replace(".", ",")
            for line in self.quoted
            if line.position in own
        }
        return invoice_edit_page.as_typed(self.invoice) | parts | {"comment": self.invoice.comment or ""}


@bp.get("/desk/invoices/<uuid:invoice_id>/parts")
@html.page(may="invoices:write")
def change_parts(invoice_id: UUID) -> Response:
    draft = _Draft.read(invoice_id)
    if draft.invoice.status != "draft":
        return invoice_page.shown(invoice_id, refusal=invoices.InvoiceNotDraft(state=draft.invoice.status))
    return _page(draft, InvoiceForm(forms.new_key(), draft.as_typed()))


@bp.post("/desk/invoices/<uuid:invoice_id>/parts")
@html.page(may="invoices:write")
def parts_sent(invoice_id: UUID) -> AnyResponse:
    form = InvoiceForm(forms.known_key(request.form.get("key")), request.form.to_dict())
    draft = _Draft.read(invoice_id)
    raw = _asked(draft, form)
    try:
        wanted = forms.loaded(InvoicePatch(), raw)
        forms.once(form.key, form.typed, lambda change: invoice_edit_page.edited(change, invoice_id, wanted))
    except InvalidInput as wrong:
        return _page(draft, form, part_fields.of_fields(wrong.faults, raw.get("lines")), status=422)
    except NotFound:
        raise
    except IdempotencyKeyReused as refusal:
        return _page(draft, InvoiceForm(forms.new_key(), form.typed), refusal=refusal)
    except Problem as refusal:
        # What was typed stays; what it is typed over is shown as it is by now.
        return _page(_Draft.read(invoice_id), form, refusal=refusal)
    return redirect(f"/desk/invoices/{invoice_id}", 303)


def _asked(draft: _Draft, form: InvoiceForm) -> dict[str, Any]:
    """As the body of `PATCH /v1/invoices/{id}`."""
    parts = part_fields.asked(form)
    lines = {} if parts is None else {"lines": parts}
    beside = {"due_date": form.due_date, "comment": form.get("comment").strip() or None}
    return lines | beside | invoice_edit_page.other_payer(draft.invoice, form)


def _page(
    draft: _Draft,
    form: InvoiceForm,
    faults: list[Fault] | None = None,
    *,
    refusal: Problem | None = None,
    status: int = 200,
) -> Response:
    shown = render_template(
        "invoice_parts.html",
        draft=draft,
        form=form,
        field=part_fields.name,
        faults=forms.by_field(faults or [], desks.SAID),
        refusal=forms.told(refusal),
    )
    return Response(shown, refusal.status if refusal else status)
