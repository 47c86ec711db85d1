"""Crediting: an issued invoice is taken back, by services, by money, or whole.

Services are taken back by quantity, as long as no act says that they were rendered; a price is put right by amount,
also after the service. The last piece of a line takes the exact remainder of its money and its VAT, so credits can
always reach an invoice and never exceed it. Money that is then too much on the invoice becomes its payers' advance in
the same transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import marshmallow as ma

from billing import acts, allocating, credit_notes, invoices, invoicing, numbering, parts, rendering, totals
from billing.credit_notes import CreditNote, CreditNoteLine
from billing.invoices import Invoice, InvoiceLine
from billing.invoicing import Document
from billing.lines import MOST, packed, shown_quantity
from clinic import db, errors, fields, ids, money
from clinic.command import Change
from clinic.errors import Conflict, Fault, InvalidInput
from clinic.money import ZERO

errors.describe(
    {
        "quantity_or_amount": (
            "Укажите количество или сумму, не то и другое.",
            "Give a quantity or an amount, not both.",
        ),
        "quantity_not_creditable": (
            "Можно вернуть не больше {left}: остальное оказано по актам или уже возвращено.",
            "At most {left} can be taken back: the rest is rendered or taken back already.",
        ),
        "amount_not_creditable": (
            "Можно вернуть не больше {left} ₽: столько осталось от строки.",
            "At most {left} rubles can be credited: that is what is left of the line.",
        ),
    }
)


class InvoiceRendered(Conflict):
    """Services of this invoice are rendered.

    The list `acts` has the numbers of the acts that say so: cancel these first, if nothing was done after all."""

    ru = (
        "По счёту уже оказаны услуги\n\n"
        "Список `acts` называет номера актов: если на деле ничего не оказано, сначала аннулируйте их."
    )


class NothingToCredit(Conflict):
    """Everything on this invoice is credited.

    Its credit notes are listed by `GET /v1/invoices/{id}/credit-notes`."""

    ru = "По этому счёту возвращено всё\n\nЕго кредит-ноты показывает `GET /v1/invoices/{id}/credit-notes`."


class CreditLineIn(fields.Shape):
    """What of a line is taken back: services, or money; without both, all services neither rendered nor taken back."""

    position = fields.Whole(1, MOST, required=True)
    quantity = fields.Quantity(
        load_default=None,
        allow_none=True,
        metadata={"description": "services taken back, with their share of the money"},
    )
    amount = fields.PositiveMoney(
        load_default=None, allow_none=True, metadata={"description": "a price put right, VAT included; no service goes"}
    )

    @ma.validates_schema(skip_on_field_errors=True)
    def one_of_both(self, given: dict[str, Any], **_: Any) -> None:
        if given["quantity"] is not None and given["amount"] is not None:
            raise ma.ValidationError("quantity_or_amount", "amount")


class CreditIn(fields.Shape):
    """A credit note of some lines of an invoice."""

    lines = fields.Many(fields.Nested(CreditLineIn), least=1, most=MOST, required=True)
    reason = fields.Text(500, required=True)


class CancelIn(fields.Shape):
    """Why the invoice is taken back."""

    reason = fields.Text(500, required=True)


@dataclass(frozen=True)
class Row:
    """A line of a credit note about to be stored; what stood on the invoice for the services, when services go back."""

    position: int
    invoice_position: int
    quantity: Decimal | None
    gross: Decimal | None
    discount: Decimal | None
    document_discount: Decimal | None
    list_amount: Decimal | None
    amount: Decimal
    vat_rate: Decimal | None
    vat_amount: Decimal | None


@dataclass(frozen=True)
class _Back:
    """What of a line was taken back with its services before, as it stood on the invoice."""

    invoice_position: int
    gross: Decimal = ZERO
    discount: Decimal = ZERO
    document_discount: Decimal = ZERO
    list_amount: Decimal = ZERO

    @property
    def amount(self) -> Decimal:
        return self.gross - self.discount - self.document_discount


def credit(change: Change, invoice_id: UUID, wanted: dict[str, Any]) -> tuple[CreditNote, list[CreditNoteLine]]:
    """Take a part of an issued invoice back; services of a quote can be invoiced once more.

    Raises:
        NotFound: there is no such invoice here.
        InvoiceNotIssued: it is a draft, discarded or cancelled.
        InvalidInput: a line does not exist, is named twice, or has not so much left; all faults at once.
    """
    invoice = invoicing.locked_with_quote(change, invoice_id)
    invoice.must_be_issued()
    lines = invoices.lines_of(change.conn, [invoice.id])[invoice.id]
    rows = worked_out(change.conn, invoice.id, lines, wanted["lines"])
    note_id = _issue(change, invoice, rows, wanted["reason"], cancels=False)
    return credit_notes.get(change.conn, change.actor, note_id), credit_notes.lines_of(change.conn, [note_id])[note_id]


def cancel(change: Change, invoice_id: UUID, reason: str, *, grace_minutes: int) -> Document:
    """Take an issued invoice back by a credit note of all that is left of it; its number is not used again.

    What was paid on it becomes the payers' advance, and its quote can be invoiced once more.

    Raises:
        NotFound: there is no such invoice here.
        Forbidden: the caller lacks `invoices:cancel`, and did not issue it himself within the last `grace_minutes`.
        InvoiceNotIssued: it is a draft, discarded, or cancelled already.
        InvoiceRendered: acts say that services of it are done.
        NothingToCredit: all of it is credited.
    """
    invoice = invoicing.locked_with_quote(change, invoice_id)
    if not _is_own_of_late(change, invoice, grace_minutes):
        change.actor.must("invoices:cancel")
    invoice.must_be_issued()
    if rendered := acts.numbers_of(change.conn, invoice.id):
        raise InvoiceRendered(invoice=invoice.id, acts=rendered)
    lines = invoices.lines_of(change.conn, [invoice.id])[invoice.id]
    left = [{"position": line.position, "quantity": None, "amount": None} for line in lines if line.left_quantity]
    if not left:
        raise NothingToCredit(invoice=invoice.id)
    _issue(change, invoice, worked_out(change.conn, invoice.id, lines, left), reason, cancels=True)
    cancelled = invoices.get(change.conn, change.actor, invoice.id)
    return cancelled, invoices.lines_of(change.conn, [invoice.id])[invoice.id]


def _is_own_of_late(change: Change, invoice: Invoice, grace_minutes: int) -> bool:
    """Whether the caller issued it himself, may issue, and the time to think better of it is not over."""
    return (
        change.actor.may("invoices:issue")
        and invoice.issued_by == change.actor.label
        and invoice.issued_at is not None
        and change.at - invoice.issued_at <= timedelta(minutes=grace_minutes)
    )


def worked_out(
    conn: db.Connection, invoice_id: UUID, lines: Sequence[InvoiceLine], wanted: Sequence[dict[str, Any]]
) -> list[Row]:
    """The lines of a credit note for what is wanted, nothing kept.

    Raises:
        InvalidInput: names every wrong place.
    """
    by_position = {line.position: line for line in lines}
    open_ = rendering.left(conn, invoice_id, lines)
    faults: list[Fault] = []
    for place, each in enumerate(wanted):
        line = by_position.get(each["position"])
        if line is None:
            faults.append(Fault(f"/lines/{place}/position", "unknown_position"))
        elif each["position"] in [other["position"] for other in wanted[:place]]:
            faults.append(Fault(f"/lines/{place}/position", "repeated_position"))
        else:
            faults += _faults(f"/lines/{place}", line, open_[line.position], each)
    if faults:
        raise InvalidInput(faults)
    before = _taken_back_before(conn, invoice_id)
    return [
        _row(position, by_position[each["position"]], open_, before, each) for position, each in enumerate(wanted, 1)
    ]


def _faults(pointer: str, line: InvoiceLine, open_: Decimal, wanted: Mapping[str, Any]) -> list[Fault]:
    if wanted["amount"] is not None:
        over = wanted["amount"] > line.left_amount
        named = (("left", money.text(line.left_amount)),)
        return [Fault(f"{pointer}/amount", "amount_not_creditable", named)] if over else []
    over = not open_ or (wanted["quantity"] or ZERO) > open_
    return [Fault(f"{pointer}/quantity", "quantity_not_creditable", (("left", shown_quantity(open_)),))] if over else []


def _taken_back_before(conn: db.Connection, invoice_id: UUID) -> dict[int, _Back]:
    rows = db.many(
        conn,
        _Back,
        """
        SELECT invoice_position, sum(gross) AS gross, sum(discount) AS discount,
               sum(document_discount) AS document_discount, coalesce(sum(list_amount), 0) AS list_amount
          FROM credit_note_line
         WHERE invoice_id = %(invoice)s::uuid AND quantity IS NOT NULL
         GROUP BY invoice_position
        """,
        {"invoice": invoice_id},
    )
    return {row.invoice_position: row for row in rows}


def _row(
    position: int, line: InvoiceLine, open_: Mapping[int, Decimal], before: Mapping[int, _Back], wanted: dict[str, Any]
) -> Row:
    if wanted["amount"] is not None:
        tax = _vat(line, wanted["amount"])
        return Row(position, line.position, None, None, None, None, None, wanted["amount"], line.vat_rate, tax)
    quantity = wanted["quantity"] or open_[line.position]
    return _services_back(position, line, quantity, before.get(line.position) or _Back(line.position))


def _services_back(position: int, line: InvoiceLine, quantity: Decimal, before: _Back) -> Row:
    """What services come to: what stood on the invoice for them, less their share of the price put right since."""
    last = quantity == line.left_quantity
    gross, discount, document_discount, list_amount = (
        totals.part(whole, taken, quantity, line.quantity, last=last)
        for whole, taken in (
            (line.gross, before.gross),
            (line.discount, before.discount),
            (line.document_discount, before.document_discount),
            (line.list_amount or ZERO, before.list_amount),
        )
    )
    put_right = line.amount - before.amount - line.left_amount
    share = totals.part(put_right, ZERO, quantity, line.left_quantity, last=last)
    amount = min(max(gross - discount - document_discount - share, ZERO), line.left_amount)
    return Row(
        position,
        line.position,
        quantity,
        gross,
        discount,
        document_discount,
        None if line.list_amount is None else list_amount,
        amount,
        line.vat_rate,
        _vat(line, amount),
    )


def _vat(line: InvoiceLine, amount: Decimal) -> Decimal | None:
    """The VAT in what is taken back: of all that is credited, less what was credited before.

    So many small pieces keep the line's own share of VAT, and the last one the exact remainder."""
    if line.vat_amount is None:
        return None
    credited = line.credited_amount + amount
    if credited == line.amount:
        return line.vat_amount - line.credited_vat
    return money.rounded(line.vat_amount * credited / line.amount) - line.credited_vat


def _issue(change: Change, invoice: Invoice, rows: Sequence[Row], reason: str, *, cancels: bool) -> UUID:
    amount = sum((row.amount for row in rows), ZERO)
    allocating.release(change, invoice, amount - invoice.balance)
    note_id = _write(change, invoice, rows, reason, cancels=cancels)
    parts.give_back_credited(change.conn, note_id)
    if cancels:
        _set_cancelled(change, invoice.id)
        change.record("invoice.cancelled", invoice.id, invoice.branch_id, credit_note=note_id)
    (number,) = numbering.taken(
        change.conn, _NUMBER, invoice.branch_id, "credit_note", change.today, {"note": note_id}, day_given=False
    )
    change.record(
        "credit_note.issued", note_id, invoice.branch_id, number=number, invoice=invoice.id, amount=money.text(amount)
    )
    return note_id


def _write(change: Change, invoice: Invoice, rows: Sequence[Row], reason: str, *, cancels: bool) -> UUID:
    note_id = ids.new()
    change.conn.execute(
        """
        WITH made AS (
          INSERT INTO credit_note (id, invoice_id, branch_id, cancels, status, date, amount, reason, created_at,
                                   created_by)
          VALUES (%(note)s, %(invoice)s, %(branch)s, %(cancels)s, 'draft', %(day)s, %(amount)s, %(reason)s, %(at)s,
                  %(by)s))
        INSERT INTO credit_note_line
        SELECT filled.*
          FROM jsonb_array_elements(%(lines)s::jsonb) AS line,
               jsonb_populate_record(
                 NULL::credit_note_line,
                 line || jsonb_build_object('credit_note_id', %(note)s::uuid, 'invoice_id', %(invoice)s::uuid))
               AS filled
        """,
        {
            "note": note_id,
            "invoice": invoice.id,
            "branch": invoice.branch_id,
            "cancels": cancels,
            "day": change.today,
            "amount": sum((row.amount for row in rows), ZERO),
            "reason": reason,
            "at": change.at,
            "by": change.actor.label,
            "lines": packed(rows),
        },
    )
    return note_id


def _set_cancelled(change: Change, invoice_id: UUID) -> None:
    change.conn.execute(
        """
        UPDATE invoice SET status = 'cancelled', row_version = row_version + 1, updated_at = %(at)s
         WHERE id = %(id)s::uuid
        """,
        {"at": change.at, "id": invoice_id},
    )


_NUMBER = (
    numbering.TAKE
    + """
UPDATE credit_note
   SET status = 'issued', series_id = taken.id, sequence = taken.sequence, number = taken.number,
       supplier = jsonb_build_object(
         'branch', branch.code, 'sample', branch.requisites IS NULL, 'requisites', branch.requisites)
  FROM taken, branch
 WHERE credit_note.id = %(note)s AND branch.id = credit_note.branch_id
RETURNING credit_note.number
"""
)
