"""Money in the model: payments, what they are for, refunds."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from tests.model_documents import ZERO, Invoice, Part, Payment, Refusal, conflict
from tests.model_invoices import Invoices


class Money(Invoices):
    def pay(self, payer: str, amount: Decimal, parts: Sequence[Part], slip: str | None) -> Payment | Refusal:
        asked = (payer, amount, *parts)
        told = next((each for each in self.payments if slip and each.slip == slip), None)
        if told is not None:
            return told if told.asked == asked else conflict("payment_reference_taken")
        filled = self._refused(parts, payer) or _filled(parts, amount)
        if isinstance(filled, Refusal):
            return filled
        payment = Payment(payer=payer, amount=amount, received_on=self.today, slip=slip, asked=asked)
        self.payments.append(payment)
        self.told(payment, "payment.received")
        self._put(payment, filled)
        return payment

    def allocate(self, payment: Payment, parts: Sequence[Part] | None) -> Payment | Refusal:
        chosen = self._owed(payment) if parts is None else parts
        filled = self._refused(chosen, payment.payer) or (
            _filled(chosen, payment.advance) if payment.advance else conflict("amount_exceeds_payment")
        )
        if isinstance(filled, Refusal):
            return filled
        self._put(payment, filled)
        return payment

    def _owed(self, payment: Payment) -> list[Part]:
        open_ = [
            each for each in self.invoices if each.status == "issued" and each.balance and each.payer == payment.payer
        ]
        return [Part(each, None) for each in sorted(open_, key=lambda each: (each.date, each.sequence))]

    def offset(self, payer: str, amount: Decimal, parts: Sequence[Part]) -> list[Payment] | Refusal:
        """Spend so much of the payer's advances, the oldest first."""
        if refusal := self._refused(parts, payer):
            return refusal
        sources = sorted(
            (each for each in self.payments if each.payer == payer and each.advance),
            key=lambda each: (each.received_on, each.id),
        )
        if sum((each.advance for each in sources), ZERO) < amount:
            return conflict("amount_exceeds_advance")
        filled = _filled(parts, amount)
        if isinstance(filled, Refusal):
            return filled
        left = {id(each): each.advance for each in sources}
        spent = []
        for invoice, wanted in filled:
            missing = wanted
            for source in sources:
                if much := min(missing, left[id(source)]):
                    left[id(source)] -= much
                    missing -= much
                    self._put(source, [(invoice, much)])
                    spent.append(source)
        return spent

    def refund(
        self, payment: Payment, amount: Decimal, released: Sequence[tuple[Invoice, Decimal]]
    ) -> Payment | Refusal:
        if any(much > payment.on(invoice) for invoice, much in released):
            return conflict("amount_exceeds_allocation")
        if amount > payment.advance + sum((much for _, much in released), ZERO):
            return conflict("amount_exceeds_payment")
        for invoice, much in released:
            self._released(payment, invoice, much)
        payment.refunded += amount
        return self.told(payment, "payment.refunded")

    def release(self, invoice: Invoice, amount: Decimal) -> None:
        """So much is the payers' advance again, what came last first."""
        for payment in dict.fromkeys(payment for payment, on in reversed(self.put) if on is invoice):
            if amount > 0 and (off := min(amount, payment.on(invoice))):
                amount -= off
                self._released(payment, invoice, off)

    def _released(self, payment: Payment, invoice: Invoice, amount: Decimal) -> None:
        payment.puts.append((invoice, -amount))
        invoice.paid -= amount
        self.told(payment, "payment.released")

    def _refused(self, parts: Sequence[Part], payer: str) -> Refusal | None:
        for part in parts:
            if part.invoice.status != "issued":
                return conflict("invoice_not_issued")
            if part.invoice.payer != payer and not part.on_behalf:
                return conflict("other_payer")
            if not part.invoice.balance or (part.amount or ZERO) > part.invoice.balance:
                return conflict("amount_exceeds_balance")
        return None

    def _put(self, payment: Payment, filled: Sequence[tuple[Invoice, Decimal]]) -> None:
        for invoice, amount in filled:
            payment.puts.append((invoice, amount))
            self.put.append((payment, invoice))
            invoice.paid += amount
            self.told(payment, "payment.allocated")


def _filled(parts: Sequence[Part], left: Decimal) -> list[tuple[Invoice, Decimal]] | Refusal:
    """How much of the money each invoice gets, in their order."""
    filled = []
    for part in parts:
        wanted = part.invoice.balance if part.amount is None else part.amount
        much = min(wanted, left)
        if much < wanted and part.amount is not None:
            return conflict("amount_exceeds_payment")
        left -= much
        if much:
            filled.append((part.invoice, much))
    return filled
