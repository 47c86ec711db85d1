"""The page of an invoice: what it says, its money, and what may be done with it; the same on paper."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from flask import Response, render_template

from billing import (
    approvals,
    guarantee_letters,
    invoices,
    legal_references,
    quote_codes,
    quotes,
    till,
)
from billing import desk as desks
from billing.till import PaymentForm
from clinic import access_log, branches, db, fields, forms, http
from clinic.errors import Fault, Problem

SAID = desks.SAID | {
    # The fault is of the day of issue, or of the last day to pay; which of them is changed is for people to say.
    "before_date": (
        "Последний день оплаты раньше дня выставления: измените один из них.",
        "The last day to pay is before the day of issue: change one of them.",
    ),
    "not_confirmed": (
        "Отметьте, что плательщик, услуги и сумма проверены.",
        "Tick that payer, services and sum are checked.",
    ),
}


class ConfirmedIn(fields.Shape):
    """That somebody has looked at what cannot be undone."""

    confirmed = fields.Choice("yes", required=True, error_messages={"required": "not_confirmed"})


@dataclass(frozen=True)
class DraftForm:
    """The forms that issue a draft and put it away, as typed. `key` lets either be sent twice."""

    key: str
    typed: dict[str, str] = field(default_factory=dict)

    @classmethod
    def new(cls) -> DraftForm:
        return cls(forms.new_key())

    @classmethod
    def read(cls, form: dict[str, str]) -> DraftForm:
        return cls(forms.known_key(form.get("key")), form)

    def get(self, name: str) -> str:
        return self.typed.get(name, "")

    def unconfirmed(self) -> DraftForm:
        """As typed, but for the word that what is shown was looked at: something else is shown by now."""
        return DraftForm(self.key, {name: value for name, value in self.typed.items() if name != "confirmed"})

    def issue(self) -> dict[str, Any]:
        """As the body of `POST /v1/invoices/{id}/issue`."""
        return {"date": self.get("date") or None}


def shown(
    invoice_id: UUID,
    payment: PaymentForm | None = None,
    draft: DraftForm | None = None,
    *,
    faults: list[Fault] | None = None,
    refusal: Problem | None = None,
    sent_before: bool = False,
    status: int | None = None,
) -> Response:
    """The page, with the form that was sent as it was typed."""
    page = render_template(
        "invoice.html",
        **said(invoice_id, "read"),
        form=payment or PaymentForm.new(),
        draft=draft or DraftForm.new(),
        faults=forms.by_field(faults or [], SAID),
        refusal=forms.told(refusal),
        sent_before=sent_before,
    )
    return Response(page, status or (refusal.status if refusal else 200))


def said(invoice_id: UUID, action: str) -> dict[str, Any]:
    """What the page and the paper show, noted as `action`. An issued one says who the clinic was when it was issued."""
    actor = http.actor()
    with db.transaction() as conn:
        invoice = invoices.get(conn, actor, invoice_id)
        access_log.note(conn, actor.label, action, "invoice", [invoice_id], http.request_id())
        lines = invoices.lines_of(conn, [invoice_id])[invoice_id]
        of_quote = quotes.get(conn, actor, invoice.quote_id) if invoice.quote_id else None
        branch = branches.of_id(conn, invoice.branch_id)
        money = till.of_invoice(conn, actor, invoice)
        letter = guarantee_letters.of_payer(conn, invoice.payer)
        approval = approvals.on_page_of(conn, actor, invoice)
        references = legal_references.printed(conn, invoice.date, lines)
    requisites = invoice.supplier["requisites"] if invoice.supplier else branch.requisites
    return {
        "document": invoices.as_json(invoice, lines),
        "version": invoice.row_version,
        "approval": approval,
        "requisites": requisites,
        "till": money,
        "letter": letter,
        "references": references,
        "quote": of_quote and {"code": quote_codes.shown(of_quote.code), "date": of_quote.date},
    }
