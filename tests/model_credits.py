"""Credit notes of the model."""

from __future__ import annotations

from tests.model_documents import ZERO, Invoice, Note, Refusal, conflict
from tests.model_money import Money


class Credits(Money):
    def cancel(self, invoice: Invoice) -> Invoice | Refusal:
        if invoice.status != "issued":
            return conflict("invoice_not_issued")
        if any(act.invoice is invoice and act.status == "issued" for act in self.acts):
            return conflict("invoice_rendered")
        for payment in self.payments:
            if standing := payment.on(invoice):
                payment.puts.append((invoice, -standing))
                self.told(payment, "payment.released")
        left = invoice.total - invoice.credited
        invoice.paid, invoice.credited, invoice.status = ZERO, invoice.total, "cancelled"
        self.give_back(invoice)
        _, number = self.number("credit_note", self.today)
        self.notes.append(Note(invoice=invoice, number=number, amount=left))
        self.told(self.notes[-1], "credit_note.issued")
        return self.told(invoice, "invoice.cancelled")
