"""The form of a payment on the page of an invoice, and what that page shows of money."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from billing import payments, shifts, takings
from billing.invoices import Invoice
from billing.payments import Payment
from clinic import db, forms, money
from clinic.auth import Actor
from clinic.money import ZERO


@dataclass(frozen=True)
class PaymentForm:
    """Money about to be taken, as it was typed. `key` makes a payment of it only once."""

    key: str
    typed: dict[str, str] = field(default_factory=dict)

    @classmethod
    def new(cls) -> PaymentForm:
        return cls(forms.new_key())

    @classmethod
    def read(cls, form: dict[str, str]) -> PaymentForm:
        return cls(forms.known_key(form.get("key")), form)

    def again(self) -> PaymentForm:
        """The same words under a key of their own."""
        return replace(self, key=forms.new_key())

    def get(self, name: str, otherwise: str = "") -> str:
        return self.typed.get(name, otherwise)

    def payment(self, invoice: Invoice) -> dict[str, Any]:
        """As the body of `POST /v1/payments`: all that is owed is paid of it, and the rest is the payer's advance."""
        return {
            "tender": self.get("tender"),
            "amount": forms.plain_number(self.get("amount")),
            "source": self._given("source"),
            "external_ref": self._given("external_ref"),
            "desk": self._given("desk") if self.get("tender") in shifts.AT_THE_DESK else None,
            "allocations": [{"invoice": str(invoice.id)}],
        }

    def offset(self, invoice: Invoice) -> dict[str, Any]:
        """As the body of `POST /v1/payments/split`: so much of the payer's advance."""
        tender = {"tender": "offset", "amount": forms.plain_number(self.get("amount"))}
        return {"tenders": [tender], "allocations": [{"invoice": str(invoice.id)}]}

    def _given(self, name: str) -> str | None:
        return self.get(name).strip() or None


@dataclass(frozen=True)
class Till:
    """What the page shows of the money of an invoice."""

    payments: list[Payment]
    advance: Decimal
    desks: list[str]
    balance: Decimal

    @property
    def offset(self) -> str:
        """How much of the advance can go to this invoice."""
        return money.text(min(self.advance, self.balance))


def of_invoice(conn: db.Connection, actor: Actor, invoice: Invoice) -> Till | None:
    """Its payments, and what a form for another one offers; None for who may not see money."""
    if invoice.number is None or not actor.may("payments:read"):
        return None
    open_ = invoice.status == "issued" and invoice.balance > 0
    return Till(
        payments.of_invoice(conn, invoice.id),
        takings.advance_of(conn, invoice.payer_ref, invoice.branch_id) if open_ else ZERO,
        shifts.open_desks(conn, invoice.branch_id) if open_ else [],
        invoice.balance if open_ else ZERO,
    )
