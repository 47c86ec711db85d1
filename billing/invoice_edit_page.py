"""The reception's form over a direct draft invoice: what is typed, and which members of the invoice that changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Self
from uuid import UUID

from billing import invoice_editing, invoices, invoicing
from billing.desk import Desk
from billing.invoice_editing import InvoicePatch
from billing.invoices import Invoice, InvoiceLine
from billing.lines import Line
from billing.quote_page import InvoiceForm
from clinic import access_log, clock, db, fields, forms, http
from clinic.auth import Actor
from clinic.command import Change
from clinic.errors import NotFound


@dataclass(frozen=True)
class DraftEditing:
    """The draft that the form changes, as it stands, and who pays as it was typed."""

    invoice: Invoice
    lines: list[InvoiceLine]
    form: InvoiceForm
    template: ClassVar = "invoice_edit.html"
    bare: ClassVar = False
    wrong: ClassVar = ()
    shape: ClassVar[fields.Shape] = InvoicePatch()

    @classmethod
    def read(cls, invoice_id: UUID, typed: Mapping[str, str] | None = None) -> Self:
        """The draft, and what was typed over it, or would have been; that somebody looks at it is noted.

        Raises:
            NotFound: there is none here, or it was made from a quote.
        """
        actor = http.actor()
        with db.transaction() as conn:
            invoice = invoices.get(conn, actor, invoice_id)
            access_log.note(conn, actor.label, "read", "invoice", [invoice_id], http.request_id())
            lines = invoices.lines_of(conn, [invoice_id])[invoice_id]
        if invoice.quote_id is not None:
            raise NotFound()
        return cls(invoice, lines, InvoiceForm("", dict(typed) if typed is not None else as_typed(invoice)))

    @property
    def action(self) -> str:
        return f"/desk/invoices/{self.invoice.id}/edit"

    def asked(self, desk: Desk) -> dict[str, Any]:
        """As the body of `PATCH /v1/invoices/{id}`; persons who are not changed stay as they are known."""
        wanted = desk.wanted()
        del wanted["kind"], wanted["valid_until"]
        before = Desk.of_invoice("", self.invoice, self.lines)
        same_patient = (desk.patient_id, desk.patient_name) == (before.patient_id, before.patient_name)
        if same_patient:
            del wanted["patient"]
        payer = self.form.payer()
        if payer["is_patient"] and not same_patient:
            wanted["payer"] = payer
        return wanted | other_payer(self.invoice, self.form) | {"due_date": self.form.due_date}

    def priced(
        self, conn: db.Connection, actor: Actor, at: datetime, valid_days: int, read: dict[str, Any]
    ) -> Sequence[Line]:
        del valid_days  # of quotes
        return invoice_editing.worked_out(conn, actor, clock.day_of(at), self.invoice, self.lines, read)[1]


def edited(change: Change, invoice_id: UUID, wanted: dict[str, Any]) -> UUID:
    """The draft after what a form over it wanted.

    Raises:
        InvoiceNotDraft, PreconditionFailed: it is none any more, or another one than the form was filled in over.
        InvalidInput: names every wrong place.
    """
    invoice = invoicing.locked_with_quote(change, invoice_id)
    invoice.must_be_draft()
    forms.must_have_seen(invoice.row_version)
    lines = invoices.lines_of(change.conn, [invoice_id])[invoice_id]
    return invoice_editing.edit(change, invoice, lines, wanted)[0].id


def other_payer(invoice: Invoice, form: InvoiceForm) -> dict[str, Any]:
    """The member for who pays, where the form names another one than the draft has."""
    payer = form.payer()
    return {} if payer == InvoiceForm("", as_typed(invoice)).payer() else {"payer": payer}


def as_typed(invoice: Invoice) -> dict[str, str]:
    """When it is due and who pays, as somebody would have typed it."""
    letter = invoice.payer.get("guarantee_letter") or {}
    is_patient = invoice.payer["kind"] == "person" and invoice.payer_ref == invoice.patient_ref
    known = {
        "due_date": invoice.due_date and invoice.due_date.isoformat(),
        "payer-kind": invoice.payer["kind"],
        "payer-is_patient": is_patient and "1",
        "payer-name": None if is_patient else invoice.payer_name,  # another patient has another name
        "payer-inn": invoice.payer.get("inn"),
        "payer-kpp": invoice.payer.get("kpp"),
    } | {f"payer-guarantee_letter-{name}": value for name, value in letter.items()}
    return {name: str(value) for name, value in known.items() if value}
