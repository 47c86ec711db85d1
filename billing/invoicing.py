"""Drafts of invoices: of a quote, whole or in part, or direct."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from billing import discounts, invoices, parts, payers, quotes
from billing.invoices import Invoice, InvoiceLine
from billing.lines import MOST, ExtraLineIn, Sums, kept, packed
from billing.parts import PartIn
from billing.payers import PayerIn
from billing.pricing import needs_approval, priced
from billing.quotes import Quote
from billing.quoting import DocumentIn
from clinic import branches, db, errors, fields, ids, money, parties
from clinic.command import Change
from clinic.errors import Conflict, Fault, InvalidInput
from clinic.money import ZERO

Document = tuple[Invoice, list[InvoiceLine]]


class QuoteAlreadyInvoiced(Conflict):
    """Nothing of this quote is left to invoice.

    The member `invoice` names the invoice made from it."""

    ru = "По этой смете всё уже выставлено\n\nПоле `invoice` называет счёт, сделанный из неё."


CONSENT = r"[\x21-\x7e]{1,64}"
errors.describe(
    {
        "consent_needed": (
            "Смета твёрдая: на услуги сверх неё нужно согласие, укажите его в consent_ref.",
            "The quote is firm: what goes beyond it needs a consent; give its consent_ref.",
        )
    }
)


class FromQuoteIn(fields.Shape):
    """An invoice made from a quote: without `lines`, all that is left of it."""

    payer = fields.Nested(PayerIn, required=True)
    issue = fields.Flag(load_default=False)
    date = fields.Day(load_default=None, allow_none=True, metadata={"description": "day of issue; today by default"})
    due_date = fields.Day(load_default=None, allow_none=True)
    lines = fields.Many(fields.Nested(PartIn), least=1, most=MOST, load_default=None, allow_none=True)
    extra_lines = fields.Many(
        fields.Nested(ExtraLineIn), most=MOST, load_default=list,
        metadata={"description": "services beyond the quote, at today's prices; of a firm quote with `consent_ref`"},
    )  # fmt: skip
    consent_ref = fields.Form(
        CONSENT, load_default=None, allow_none=True, metadata={"description": "your reference of the signed consent"}
    )
    revision = fields.Whole(1, 100_000, load_default=None, allow_none=True)
    comment = fields.Text(1000, load_default=None, allow_none=True)


class InvoiceIn(DocumentIn):
    """A direct invoice: lines as a quote's, and a payer."""

    payer = fields.Nested(PayerIn, required=True)
    due_date = fields.Day(load_default=None, allow_none=True)


def from_quote(change: Change, quote_id: UUID, wanted: dict[str, Any]) -> Document:
    """Make a draft invoice from what is left of a quote, or from the parts named.

    A draft or sent quote that is still valid is accepted by this: the patient stands at the desk. The quote's
    prices are copied, never asked again.

    Raises:
        QuoteExpired, QuoteNotOpen, DiscountAboveLimit: the quote cannot be accepted.
        QuoteAlreadyInvoiced: nothing is left.
        InvalidInput: a part does not exist or exceeds what is left, the due date has passed, or the payer is a patient
            the quote has not, or not the insurer whose price list it is.
    """
    quote = quotes.locked(change.conn, change.actor, quote_id, wanted["revision"])
    if quote.status == "invoiced":
        raise QuoteAlreadyInvoiced(quote=quote.id, invoice=_latest(change.conn, quote.id))
    quote.must_be("draft", "sent", "accepted")
    quote.must_be_firm_on(change.today)
    faults = due_date_faults(wanted["due_date"], change.today)
    has_patient = quote.patient_ref is not None
    if faults := faults + payers.faults(change.conn, wanted["payer"], quote.price_list, has_patient=has_patient):
        raise InvalidInput(faults)
    extra = _extra(change, quote, wanted)
    lines = parts.taken(change.conn, quote, wanted["lines"])
    lines += [replace(line, position=len(lines) + line.position) for line in extra]
    if quote.status != "accepted":
        quote = quotes.set_status(change, quote, "accepted")
    payer, frozen = payers.add(change.conn, wanted["payer"], quote.patient_ref, quote.patient_name)
    invoice = Invoice(
        **_blank(change),
        branch_id=quote.branch_id,
        branch=quote.branch,
        quote_id=quote.id,
        quote_revision=quote.revision,
        due_date=wanted["due_date"],
        patient_party=quote.patient_party,
        patient_ref=quote.patient_ref,
        patient_name=quote.patient_name,
        payer_party=payer.id,
        payer_ref=payer.ref,
        payer_name=payer.name,
        payer=frozen,
        price_list=quote.price_list,
        comment=wanted["comment"] or quote.comment,
        discount_percent=quote.discount_percent,
        discount_amount=quote.discount_amount,
        discount_reason=quote.discount_reason,
        approval=quote.approval,
        consent_ref=wanted["consent_ref"],
        total=Sums.of(lines).total,
    )
    return _insert(change, invoice, lines)


def _extra(change: Change, quote: Quote, wanted: dict[str, Any]) -> list[InvoiceLine]:
    """Lines beyond the quote; of a firm one only with consent (consumer law, article 33; domain rule 27).

    Raises:
        InvalidInput: names every wrong place.
    """
    if not wanted["extra_lines"]:
        return []
    document = {"lines": wanted["extra_lines"]}
    found, faults = priced(change.conn, change.actor, change.today, quote.price_list, document)
    faults = [replace(each, pointer=each.pointer.replace("/lines", "/extra_lines", 1)) for each in faults]
    if quote.kind == "firm" and wanted["consent_ref"] is None:
        faults.append(Fault("/consent_ref", "consent_needed"))
    if faults:
        raise InvalidInput(faults)
    return [InvoiceLine(**kept(line), quote_position=None) for line in found]


def direct(change: Change, wanted: dict[str, Any]) -> Document:
    """Make a draft invoice of wanted services at today's prices.

    Raises:
        InvalidInput: names every wrong place.
    """
    conn, person = change.conn, wanted["patient"]
    branch = branches.chosen(conn, change.actor, wanted["branch"])
    found, faults = priced(conn, change.actor, change.today, wanted["price_list"], wanted)
    faults += payers.faults(conn, wanted["payer"], wanted["price_list"], has_patient=person is not None)
    if faults := faults + due_date_faults(wanted["due_date"], change.today):
        raise InvalidInput(faults)
    lines = [InvoiceLine(**kept(line), quote_position=None) for line in found]
    patient = parties.of_person(conn, person) if person else None
    of_patient: dict[str, Any] = {
        "patient_party": patient.id if patient else None,
        "patient_ref": patient.ref if patient else None,
        "patient_name": patient.name if patient else None,
    }
    payer, frozen = payers.add(conn, wanted["payer"], of_patient["patient_ref"], of_patient["patient_name"])
    invoice = Invoice(
        **_blank(change) | {"id": wanted["id"] or ids.new()},
        branch_id=branch.id,
        branch=branch.code,
        quote_id=None,
        quote_revision=None,
        due_date=wanted["due_date"],
        **of_patient,
        payer_party=payer.id,
        payer_ref=payer.ref,
        payer_name=payer.name,
        payer=frozen,
        price_list=wanted["price_list"],
        comment=wanted["comment"],
        discount_percent=wanted["discount_percent"],
        discount_amount=wanted["discount_amount"],
        discount_reason=wanted["discount_reason"],
        approval="required" if needs_approval(conn, change.actor, found) else "none",
        consent_ref=None,
        total=Sums.of(lines).total,
    )
    return _insert(change, invoice, lines)


def discard(change: Change, invoice_id: UUID) -> Document:
    """Put a draft away; what it took of its quote can be invoiced again.

    Raises:
        InvoiceNotDraft: it is issued, cancelled or discarded already.
    """
    invoice = locked_with_quote(change, invoice_id)
    invoice.must_be_draft()
    change.conn.execute(
        "UPDATE invoice SET status = 'discarded', row_version = row_version + 1, updated_at = %(at)s WHERE id = %(id)s",
        {"at": change.at, "id": invoice.id},
    )
    parts.give_back(change.conn, invoice.id)
    change.record("invoice.discarded", invoice.id, invoice.branch_id)
    discarded = replace(invoice, status="discarded", row_version=invoice.row_version + 1, updated_at=change.at)
    return discarded, invoices.lines_of(change.conn, [invoice.id])[invoice.id]


def locked_with_quote(change: Change, invoice_id: UUID) -> Invoice:
    """The invoice, held, and before it the quote it was made from: always in this order.

    Raises:
        NotFound: there is no such invoice here.
    """
    quote_id = invoices.get(change.conn, change.actor, invoice_id).quote_id
    if quote_id is not None:
        quotes.locked(change.conn, change.actor, quote_id)
    return invoices.locked(change.conn, change.actor, invoice_id)


def due(change: Change, wanted: dict[str, Any], days: int | None) -> dict[str, Any]:
    """The wanted invoice with the clinic's usual last day to pay where none is given: so many days from today."""
    if wanted["due_date"] is not None or days is None:
        return wanted
    return wanted | {"due_date": change.today + timedelta(days=days)}


def due_date_faults(due_date: date | None, day: date) -> list[Fault]:
    """An invoice of `day` is due that day at the earliest."""
    return [Fault("/due_date", "before_date")] if due_date is not None and due_date < day else []


def _latest(conn: db.Connection, quote_id: UUID) -> UUID | None:
    found: UUID | None = db.value(
        conn,
        """
        SELECT id FROM invoice
         WHERE quote_id = %(quote)s AND status IN ('draft', 'issued')
         ORDER BY created_at DESC LIMIT 1
        """,
        {"quote": quote_id},
    )
    return found


def _blank(change: Change) -> dict[str, Any]:
    """What every draft begins with."""
    return {
        "id": ids.new(),
        "status": "draft",
        "sequence": None,
        "number": None,
        "date": change.today,
        "issued_at": None,
        "issued_by": None,
        "supplier": None,
        "paid": ZERO,
        "credited": ZERO,
        "lacking": [],
        "content_sha256": None,
        "row_version": 1,
        "edited_by": change.actor.label,
        "created_at": change.at,
        "updated_at": change.at,
    }


def _insert(change: Change, invoice: Invoice, lines: Sequence[InvoiceLine]) -> Document:
    """One statement: the draft, its lines, and the quantities it takes of its quote.

    Raises:
        DiscountAboveLimit: a discount of the quote waits for approval.
    """
    sums = Sums.of(lines)
    with discounts.within_limits(quote=invoice.quote_id):
        lacking: list[str] = db.value(
            change.conn,
            _INSERT + LINES + _LACKING,
            vars(invoice)
            | {
                "payer": Jsonb(invoice.payer),
                "by": change.actor.label,
                "subtotal": sums.subtotal,
                "discount": sums.discount,
                "lines": packed(lines),
            },
        )
    made_from = {"quote": invoice.quote_id} if invoice.quote_id else {}
    change.record("invoice.created", invoice.id, invoice.branch_id, total=money.text(sums.total), **made_from)
    return replace(invoice, lacking=lacking), list(lines)


_INSERT = """
WITH made AS (
  INSERT INTO invoice
         (id, branch_id, status, quote_id, quote_revision, date, due_date, patient_party, patient_ref, payer_party,
          payer_ref, payer, price_list, comment, discount_percent, discount_amount, discount_reason, approval,
          consent_ref, edited_by, subtotal, discount, total, created_at, created_by, updated_at)
  VALUES (%(id)s, %(branch_id)s, 'draft', %(quote_id)s, %(quote_revision)s, %(date)s, %(due_date)s, %(patient_party)s,
          %(patient_ref)s, %(payer_party)s, %(payer_ref)s, %(payer)s, %(price_list)s, %(comment)s,
          %(discount_percent)s, %(discount_amount)s, %(discount_reason)s, %(approval)s, %(consent_ref)s,
          %(edited_by)s, %(subtotal)s,
          %(discount)s, %(total)s, %(created_at)s, %(by)s, %(updated_at)s)
  RETURNING legal_references_lacking(date) AS lacking),
"""
LINES = """
filled AS (
  SELECT line.*
    FROM jsonb_array_elements(%(lines)s::jsonb) AS given,
         jsonb_populate_record(
           NULL::invoice_line, given || jsonb_build_object('invoice_id', %(id)s::uuid)) AS line),
moved AS (
  UPDATE quote_line SET invoiced_quantity = invoiced_quantity + filled.quantity
    FROM filled
   WHERE quote_line.quote_id = %(quote_id)s AND quote_line.revision = %(quote_revision)s
     AND quote_line.position = filled.quote_position)
INSERT INTO invoice_line SELECT filled.* FROM filled
"""
"""The last parts of a statement: the lines of a draft, and what they take of its quote."""
_LACKING = "RETURNING (SELECT lacking FROM made)"
