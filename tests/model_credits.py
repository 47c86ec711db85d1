"""Credit notes of the model: an issued invoice is taken back by services, by money, or whole."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from tests.model_documents import (
    INVALID,
    ZERO,
    Back,
    Credited,
    Invoice,
    Line,
    Note,
    Refusal,
    conflict,
    kopecks,
    share,
)
from tests.model_money import Money


class Credits(Money):
    def credit(self, invoice: Invoice, wanted: Sequence[Back]) -> Note | Refusal:
        if invoice.status != "issued":
            return conflict("invoice_not_issued")
        known = {line.position: line for line in invoice.lines}
        if len({each.position for each in wanted}) < len(wanted) or any(
            each.position not in known or _is_too_much(known[each.position], each) for each in wanted
        ):
            return INVALID
        return self._noted(invoice, [_credited(known[each.position], each) for each in wanted], cancels=False)

    def cancel(self, invoice: Invoice) -> Invoice | Refusal:
        if invoice.status != "issued":
            return conflict("invoice_not_issued")
        if any(act.invoice is invoice and act.status == "issued" for act in self.acts):
            return conflict("invoice_rendered")
        left = [Back(line.position) for line in invoice.lines if line.stands]
        if not left:
            return conflict("nothing_to_credit")
        known = {line.position: line for line in invoice.lines}
        self._noted(invoice, [_credited(known[each.position], each) for each in left], cancels=True)
        invoice.status = "cancelled"
        return self.told(invoice, "invoice.cancelled")

    def _noted(self, invoice: Invoice, lines: list[Credited], *, cancels: bool) -> Note:
        _, number = self.number("credit_note", self.today)
        note = Note(invoice=invoice, number=number, cancels=cancels, lines=lines)
        self.release(invoice, note.amount - invoice.balance)
        for each in lines:
            each.line.credited += each.amount
            each.line.credited_vat += each.vat or ZERO
            self._services_back(invoice, each)
        invoice.credited += note.amount
        self.notes.append(note)
        return self.told(note, "credit_note.issued")

    def _services_back(self, invoice: Invoice, row: Credited) -> None:
        """They can be invoiced once more."""
        line = row.line
        if row.quantity is None:
            return
        line.back += row.quantity
        line.back_gross += row.gross or ZERO
        line.back_discount += row.discount or ZERO
        line.back_document_discount += row.document_discount or ZERO
        if invoice.quote is not None:
            quoted = next(each for each in invoice.quote.lines if each.position == line.quote_position)
            quoted.taken -= row.quantity


def _is_too_much(line: Line, wanted: Back) -> bool:
    if wanted.amount is not None:
        return wanted.amount > line.owed
    return not line.left or (wanted.quantity or ZERO) > line.left


def _credited(line: Line, wanted: Back) -> Credited:
    if wanted.amount is not None:
        return Credited(line, None, None, None, None, wanted.amount, _vat(line, wanted.amount))
    quantity = line.left if wanted.quantity is None else wanted.quantity
    last = quantity == line.stands

    def part(name: str) -> Decimal:
        return share(getattr(line, name), getattr(line, f"back_{name}"), quantity, line.quantity, last=last)

    gross, discount, document_discount = part("gross"), part("discount"), part("document_discount")
    # The price was put right for what stands there still: each piece has its share of that.
    put_right = line.credited - (line.back_gross - line.back_discount - line.back_document_discount)
    less = share(put_right, ZERO, quantity, line.stands, last=last)
    amount = min(max(gross - discount - document_discount - less, ZERO), line.owed)
    return Credited(line, quantity, gross, discount, document_discount, amount, _vat(line, amount))


def _vat(line: Line, amount: Decimal) -> Decimal | None:
    """The VAT of all that is credited, less what was credited before."""
    if line.vat is None:
        return None
    credited = line.credited + amount
    if credited == line.amount:
        return line.vat - line.credited_vat
    return kopecks(Fraction(line.vat) * Fraction(credited) / Fraction(line.amount)) - line.credited_vat
