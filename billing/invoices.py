"""An invoice (счёт): what is owed, to whom and by whom.

`draft → issued`, later `cancelled` by a credit note of all that is left; a draft may be `discarded`. At issue it takes
its number, copies the requisites, and freezes; how much is paid follows from `paid` and `credited`. This module is the
noun and its reading; `invoicing` makes drafts, `issuing` gives numbers, `crediting` takes back.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date as Date
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import marshmallow as ma

from billing import legal_references
from billing.lines import Line, LineOut, TotalsOut, shown_quantity, totals_json
from billing.package_lines import DocumentWarningOut, PackageSumsOut, packages_json, warnings_json
from billing.payers import PayerOut
from billing.quotes import PersonOut
from clinic import db, money
from clinic.auth import Actor
from clinic.errors import Conflict, NotFound
from clinic.money import ZERO


class InvoiceNotDraft(Conflict):
    """The invoice is no draft any more.

    An issued invoice never changes: cancel it, and make another one."""

    ru = "Счёт уже не черновик\n\nВыставленный счёт не меняется: отмените его и сделайте другой."


class InvoiceNotIssued(Conflict):
    """The invoice is not issued.

    The member `state` says what it is."""

    ru = "Счёт не выставлен\n\nПоле `state` говорит, в каком он состоянии."


class SupplierOut(ma.Schema):
    """The requisites the document was issued with; `sample` when the branch had none."""

    class Meta:
        unknown = ma.INCLUDE

    branch = ma.fields.String(required=True)
    sample = ma.fields.Boolean(required=True)
    requisites = ma.fields.Dict(required=True, allow_none=True)


class SeriesOut(ma.Schema):
    branch = ma.fields.String(required=True)
    kind = ma.fields.String(required=True)
    year = ma.fields.Integer(required=True)


class QuoteReferenceOut(ma.Schema):
    id = ma.fields.UUID(required=True)
    revision = ma.fields.Integer(required=True)


class InvoiceLineOut(LineOut):
    quote_position = ma.fields.Integer(required=True, allow_none=True)
    credited_quantity = ma.fields.String(required=True, metadata={"description": "taken back by credit notes"})
    credited_amount = ma.fields.String(required=True, metadata={"description": "rubles, VAT included"})


class InvoiceOut(ma.Schema):
    """An invoice. Sums are rubles."""

    id = ma.fields.UUID(required=True)
    number = ma.fields.String(required=True, allow_none=True, metadata={"example": "2026-000001"})
    sequence = ma.fields.Integer(required=True, allow_none=True)
    series = ma.fields.Nested(SeriesOut, required=True, allow_none=True)
    branch = ma.fields.String(required=True)
    status = ma.fields.String(required=True, metadata={"enum": ["draft", "issued", "cancelled", "discarded"]})
    payment_status = ma.fields.String(
        required=True, allow_none=True, metadata={"enum": ["unpaid", "partially_paid", "paid", "settled", None]}
    )
    date = ma.fields.Date(required=True)
    due_date = ma.fields.Date(required=True, allow_none=True)
    issued_at = ma.fields.DateTime(required=True, allow_none=True)
    currency = ma.fields.String(required=True)
    price_list = ma.fields.String(required=True)
    quote = ma.fields.Nested(QuoteReferenceOut, required=True, allow_none=True)
    supplier = ma.fields.Nested(SupplierOut, required=True, allow_none=True)
    patient = ma.fields.Nested(PersonOut, required=True, allow_none=True)
    payer = ma.fields.Nested(PayerOut, required=True)
    comment = ma.fields.String(required=True, allow_none=True)
    discount_percent = ma.fields.String(required=True, allow_none=True)
    discount_amount = ma.fields.String(required=True, allow_none=True)
    discount_reason = ma.fields.String(required=True, allow_none=True)
    approval = ma.fields.String(required=True, metadata={"enum": ["none", "required", "granted"]})
    consent_ref = ma.fields.String(
        required=True, allow_none=True, metadata={"description": "the consent to what goes beyond a firm quote"}
    )
    lines = ma.fields.List(ma.fields.Nested(InvoiceLineOut), required=True)
    packages = ma.fields.List(ma.fields.Nested(PackageSumsOut), required=True)
    warnings = ma.fields.List(ma.fields.Nested(DocumentWarningOut), required=True)
    totals = ma.fields.Nested(TotalsOut, required=True)
    paid = ma.fields.String(required=True)
    credited = ma.fields.String(required=True)
    balance = ma.fields.String(required=True)
    content_sha256 = ma.fields.String(required=True, allow_none=True)
    created_at = ma.fields.DateTime(required=True)
    updated_at = ma.fields.DateTime(required=True)


@dataclass(frozen=True)
class InvoiceLine(Line):
    """A line that knows which line of the quote it came from, and how much of it credit notes have taken back."""

    quote_position: int | None
    credited_quantity: Decimal = Decimal(0)
    credited_amount: Decimal = ZERO
    credited_vat: Decimal = ZERO

    @property
    def left_quantity(self) -> Decimal:
        return self.quantity - self.credited_quantity

    @property
    def left_amount(self) -> Decimal:
        """In rubles, VAT included."""
        return self.amount - self.credited_amount

    def as_json(self) -> dict[str, Any]:
        return {
            **super().as_json(),
            "quote_position": self.quote_position,
            "credited_quantity": shown_quantity(self.credited_quantity),
            "credited_amount": money.text(self.credited_amount),
        }


@dataclass(frozen=True)
class Invoice:
    """An invoice without its lines."""

    id: UUID
    branch_id: UUID
    branch: str
    status: str
    quote_id: UUID | None
    quote_revision: int | None
    sequence: int | None
    number: str | None
    date: Date
    due_date: Date | None
    issued_at: datetime | None
    issued_by: str | None
    supplier: dict[str, Any] | None
    patient_party: UUID | None
    patient_ref: str | None
    patient_name: str | None
    payer_party: UUID
    payer_ref: str
    payer_name: str | None
    payer: dict[str, Any]
    price_list: str
    comment: str | None
    discount_percent: Decimal | None
    discount_amount: Decimal | None
    discount_reason: str | None
    approval: str
    consent_ref: str | None
    edited_by: str
    total: Decimal
    paid: Decimal
    credited: Decimal
    lacking: list[str]
    """Legal references without a text in force on its date."""
    content_sha256: bytes | None
    row_version: int
    created_at: datetime
    updated_at: datetime

    @property
    def balance(self) -> Decimal:
        """What is still owed, in rubles."""
        return self.total - self.paid - self.credited

    @property
    def payment_status(self) -> str | None:
        """How far an issued invoice is paid; `settled` when credits, not money, closed it."""
        if self.number is None:
            return None
        if not self.balance:
            return "settled" if self.credited and self.credited >= self.paid else "paid"
        return "partially_paid" if self.paid else "unpaid"

    def must_be_issued(self) -> None:
        """Raises:
        InvoiceNotIssued: it is a draft, discarded or cancelled.
        """
        if self.status != "issued":
            raise InvoiceNotIssued(invoice=self.id, state=self.status)

    def must_be_draft(self) -> None:
        """Raises:
        InvoiceNotDraft: it is issued, cancelled or discarded.
        """
        if self.status != "draft":
            raise InvoiceNotDraft(invoice=self.id, state=self.status)


_SELECT = """
SELECT invoice.id, invoice.branch_id, branch.code AS branch, status, quote_id, quote_revision, sequence, number, date,
       due_date, issued_at, issued_by, supplier, patient_party, patient_ref, patient.name AS patient_name, payer_party,
       payer_ref, payer_party.name AS payer_name, payer, price_list, comment, discount_percent, discount_amount,
       discount_reason,
       approval, consent_ref, edited_by, total, paid, credited, legal_references_lacking(date) AS lacking,
       content_sha256, invoice.row_version, invoice.created_at, invoice.updated_at
  FROM invoice
  JOIN branch ON branch.id = invoice.branch_id
  JOIN party AS payer_party ON payer_party.id = invoice.payer_party
  LEFT JOIN party AS patient ON patient.id = invoice.patient_party
"""


def get(conn: db.Connection, actor: Actor, invoice_id: UUID) -> Invoice:
    """The invoice.

    Raises:
        NotFound: there is none, or it belongs to a branch `actor` does not see.
    """
    return _seen(actor, db.find(conn, Invoice, _SELECT + "WHERE invoice.id = %(id)s", {"id": invoice_id}))


def locked(conn: db.Connection, actor: Actor, invoice_id: UUID) -> Invoice:
    """The invoice, held until the end of the transaction.

    Raises:
        NotFound: as `get`.
    """
    # A statement of its own: one that waits for the lock would look for the parties that were there before it waited.
    conn.execute("SELECT FROM invoice WHERE id = %(id)s FOR UPDATE", {"id": invoice_id})
    return get(conn, actor, invoice_id)


def locked_all(conn: db.Connection, actor: Actor, invoice_ids: Collection[UUID]) -> dict[UUID, Invoice]:
    """Those of these invoices that there are and `actor` sees, held, in the order of their ids."""
    ids = {"ids": list(invoice_ids)}
    conn.execute("SELECT FROM invoice WHERE id = ANY(%(ids)s::uuid[]) ORDER BY id FOR NO KEY UPDATE", ids)
    found = db.many(conn, Invoice, _SELECT + "WHERE invoice.id = ANY(%(ids)s::uuid[])", ids)
    return {each.id: each for each in found if actor.branch_id in (None, each.branch_id)}


def of_ids(conn: db.Connection, invoice_ids: Sequence[UUID]) -> list[Invoice]:
    """These invoices, the longest untouched first."""
    return db.many(
        conn,
        Invoice,
        _SELECT + "WHERE invoice.id = ANY(%(ids)s::uuid[]) ORDER BY invoice.updated_at, invoice.id",
        {"ids": list(invoice_ids)},
    )


def _seen(actor: Actor, invoice: Invoice | None) -> Invoice:
    if invoice is None or actor.branch_id not in (None, invoice.branch_id):
        raise NotFound()
    return invoice


def page(conn: db.Connection, actor: Actor, wanted: dict[str, Any], behind: list[str] | None) -> list[Invoice]:
    """Invoices, newest first: one more than `limit`, so that the caller sees whether there is a next page."""
    return db.filtered(
        conn,
        Invoice,
        _SELECT
        + """
         WHERE (%(branch)s::uuid IS NULL OR invoice.branch_id = %(branch)s::uuid)
           AND (%(status)s::text IS NULL OR status = %(status)s::text)
           AND (%(payment)s::text IS NULL OR number IS NOT NULL AND CASE %(payment)s::text
                WHEN 'unpaid' THEN paid + credited < total AND paid = 0
                WHEN 'partially_paid' THEN paid + credited < total AND paid > 0
                WHEN 'settled' THEN paid + credited >= total AND credited > 0 AND credited >= paid
                ELSE paid + credited >= total AND (credited = 0 OR credited < paid) END)
           AND (%(owed)s::boolean IS NULL OR status = 'issued' AND paid + credited < total)
           AND (%(payer)s::text IS NULL OR payer_ref = %(payer)s::text)
           AND (%(patient)s::text IS NULL OR patient_ref = %(patient)s::text)
           AND (%(number)s::text IS NULL OR number = %(number)s::text)
           AND (%(quote)s::uuid IS NULL OR quote_id = %(quote)s::uuid)
           AND (%(since)s::date IS NULL OR date >= %(since)s::date)
           AND (%(until)s::date IS NULL OR date <= %(until)s::date)
           AND (%(day)s::date IS NULL OR (date, invoice.id) < (%(day)s::date, %(id)s::uuid))
         ORDER BY date DESC, invoice.id DESC
         LIMIT %(limit)s::int
        """,
        {
            "branch": actor.branch_id,
            "status": wanted.get("status"),
            "payment": wanted.get("payment_status"),
            # Said once more in the words of the indexes: few invoices are owed among many.
            "owed": True if wanted.get("payment_status") in ("unpaid", "partially_paid") else None,
            "payer": wanted.get("payer"),
            "patient": wanted.get("patient"),
            "number": wanted.get("number"),
            "quote": wanted.get("quote"),
            "since": wanted.get("since"),
            "until": wanted.get("until"),
            "day": behind and behind[0],
            "id": behind and behind[1],
            "limit": wanted["limit"] + 1,
        },
    )


@dataclass(frozen=True, kw_only=True)
class _OwnedLine(InvoiceLine):
    invoice_id: UUID


def lines_of(conn: db.Connection, invoice_ids: Sequence[UUID]) -> dict[UUID, list[InvoiceLine]]:
    """The lines of these invoices, in their order."""
    found = db.many(
        conn,
        _OwnedLine,
        """
        SELECT invoice_id, quote_position, credited_quantity, credited_amount, credited_vat,
               position, article, name_ru, name_en, nomenclature_codes, unit, doctor_rank,
               rank_name_ru, rank_name_en, quantity, service_date, price_kind, unit_price, price_reason, priced_by,
               gross, discount_percent, discount_amount, discount_reason, discount, document_discount, amount,
               discountable, vat_category, vat_rate, vat_amount, tax_deduction_code, price_id, price_list, order_id,
               order_number, order_date, fallback, doctor_id, doctor_name_ru, doctor_name_en,
               package_id, package_code, package_name_ru, package_name_en, package_no, package_quantity, list_amount
          FROM invoice_line
         WHERE invoice_id = ANY(%(ids)s::uuid[])
         ORDER BY invoice_id, position
        """,
        {"ids": list(invoice_ids)},
    )
    lines: dict[UUID, list[InvoiceLine]] = {invoice_id: [] for invoice_id in invoice_ids}
    for line in found:
        lines[line.invoice_id].append(line)
    return lines


def as_json(invoice: Invoice, lines: Sequence[InvoiceLine]) -> dict[str, Any]:
    numbered = invoice.number is not None
    return {
        "id": invoice.id,
        "number": invoice.number,
        "sequence": invoice.sequence,
        "series": {"branch": invoice.branch, "kind": "invoice", "year": invoice.date.year} if numbered else None,
        "branch": invoice.branch,
        "status": invoice.status,
        "payment_status": invoice.payment_status,
        "date": invoice.date,
        "due_date": invoice.due_date,
        "issued_at": invoice.issued_at,
        "currency": "RUB",
        "price_list": invoice.price_list,
        "quote": {"id": invoice.quote_id, "revision": invoice.quote_revision} if invoice.quote_id else None,
        "supplier": invoice.supplier,
        "patient": {"id": invoice.patient_ref, "name": invoice.patient_name} if invoice.patient_ref else None,
        "payer": {**invoice.payer, "ref": invoice.payer_ref, "name": invoice.payer_name},
        "comment": invoice.comment,
        "discount_percent": money.text_or_none(invoice.discount_percent),
        "discount_amount": money.text_or_none(invoice.discount_amount),
        "discount_reason": invoice.discount_reason,
        "approval": invoice.approval,
        "consent_ref": invoice.consent_ref,
        "lines": [line.as_json() for line in lines],
        "packages": packages_json(lines),
        "warnings": warnings_json(lines) + legal_references.warnings_json(invoice.lacking, invoice.date, lines),
        "totals": totals_json(lines),
        "paid": money.text(invoice.paid),
        "credited": money.text(invoice.credited),
        "balance": money.text(invoice.balance),
        "content_sha256": invoice.content_sha256.hex() if invoice.content_sha256 else None,
        "created_at": invoice.created_at,
        "updated_at": invoice.updated_at,
    }


def names(invoice: Invoice) -> dict[str, UUID]:
    """Which member of the invoice's JSON holds whose name."""
    patient = {"patient": invoice.patient_party} if invoice.patient_party else {}
    return {"payer": invoice.payer_party, **patient}
