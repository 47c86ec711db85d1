"""Random lives of money against a model of a few lines.

Whatever happens, paid = Σ allocations, and a payment is what is allocated, refunded and left of it.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from tests import given_money
from tests.given import Caller, made
from tests.given_money import must_tie, paid, refunded

ZERO = Decimal("0.00")


@dataclass
class Model:
    """What the books must say. An answer that it does not foresee is a failure."""

    totals: dict[str, Decimal] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    amounts: dict[str, Decimal] = field(default_factory=dict)
    refunds: defaultdict[str, Decimal] = field(default_factory=lambda: defaultdict(lambda: ZERO))
    put: defaultdict[tuple[str, str], Decimal] = field(default_factory=lambda: defaultdict(lambda: ZERO))

    def paid(self, invoice: str) -> Decimal:
        return sum((amount for (_, on), amount in self.put.items() if on == invoice), ZERO)

    def owed(self, invoice: str) -> Decimal:
        return ZERO if invoice in self.cancelled else self.totals[invoice] - self.paid(invoice)

    def allocated(self, payment: str) -> Decimal:
        return sum((amount for (of, _), amount in self.put.items() if of == payment), ZERO)

    def left(self, payment: str) -> Decimal:
        return self.amounts[payment] - self.refunds[payment] - self.allocated(payment)

    def refusal(self, parts: list[tuple[str, Decimal | None]], left: Decimal) -> str | None:
        """Why these parts cannot be had of so much money."""
        for invoice, amount in parts:
            if invoice in self.cancelled:
                return "invoice_not_issued"
            if not self.owed(invoice) or (amount or ZERO) > self.owed(invoice):
                return "amount_exceeds_balance"
        return None if self.fill(parts, left) is not None else "amount_exceeds_payment"

    def fill(self, parts: list[tuple[str, Decimal | None]], left: Decimal) -> dict[str, Decimal] | None:
        filled = {}
        for invoice, amount in parts:
            taken = min(left, self.owed(invoice)) if amount is None else amount
            if taken > left:
                return None
            filled[invoice] = taken
            left -= taken
        return filled


class Life:
    """One clinic, a few invoices, and one random step after another."""

    def __init__(self, clinic: Caller, seed: int) -> None:
        self.clinic, self.draw, self.model = clinic, random.Random(seed), Model()
        self.documents: dict[str, Any] = {}
        self.taken: defaultdict[str, int] = defaultdict(int)
        for _ in range(5):
            amount = 100 + self.sum_up_to(500)
            invoice = given_money.invoice(clinic, str(amount))
            self.documents[invoice["id"]] = invoice
            self.model.totals[invoice["id"]] = amount

    def sum_up_to(self, rubles: int) -> Decimal:
        return Decimal(self.draw.randint(1, rubles * 100)) / 100

    def step(self) -> None:
        steps = [self.receive, self.receive, self.receive, self.allocate, self.refund, self.release, self.cancel]
        if not self.model.amounts:
            steps = [self.receive]
        self.draw.choice(steps)()

    def parts(self, largest: int) -> list[tuple[str, Decimal | None]]:
        chosen = self.draw.sample(list(self.model.totals), self.draw.randint(1, 2))
        return [(invoice, self.draw.choice([None, self.sum_up_to(largest)])) for invoice in chosen]

    def shaped(self, parts: list[tuple[str, Decimal | None]]) -> list[dict[str, Any]]:
        return [{"invoice": invoice, "amount": None if amount is None else str(amount)} for invoice, amount in parts]

    def receive(self) -> None:
        amount, parts = 50 + self.sum_up_to(200), self.parts(100)
        answer = paid(self.clinic, str(amount), allocations=self.shaped(parts))
        if self.expected(answer, self.model.refusal(parts, amount)):
            payment = answer.get_json()["id"]
            filled = self.model.fill(parts, amount) or {}
            self.model.amounts[payment] = amount
            self.put(payment, filled)

    def allocate(self) -> None:
        payment, parts = self.draw.choice(list(self.model.amounts)), self.parts(20)
        left = self.model.left(payment)
        answer = self.clinic.post(f"/v1/payments/{payment}/allocations", {"allocations": self.shaped(parts)})
        refusal = self.model.refusal(parts, left) or (None if left else "amount_exceeds_payment")
        if self.expected(answer, refusal):
            self.put(payment, self.model.fill(parts, left) or {})

    def put(self, payment: str, filled: dict[str, Decimal]) -> None:
        for invoice, amount in filled.items():
            self.model.put[payment, invoice] += amount

    def refund(self) -> None:
        self.give_back({})

    def release(self) -> None:
        self.give_back({self.draw.choice(list(self.model.totals)): self.sum_up_to(60)})

    def give_back(self, released: dict[str, Decimal]) -> None:
        payment, amount = self.draw.choice(list(self.model.amounts)), self.sum_up_to(30)
        answer = refunded(
            self.clinic,
            {"id": payment},
            str(amount),
            release=[{"invoice": invoice, "amount": str(off)} for invoice, off in released.items()],
        )
        refusal = None
        if amount > self.model.left(payment) + sum(released.values(), ZERO):
            refusal = "amount_exceeds_payment"
        if any(off > self.model.put[payment, invoice] for invoice, off in released.items()):
            refusal = "amount_exceeds_allocation"
        if self.expected(answer, refusal):
            self.put(payment, {invoice: -off for invoice, off in released.items()})
            self.model.refunds[payment] += amount

    def cancel(self) -> None:
        if not self.model.cancelled and self.draw.random() < 0.3:
            invoice = self.draw.choice(list(self.model.totals))
            answer = self.clinic.post(f"/v1/invoices/{invoice}/cancel", {"reason": "Ошибка"})
            if self.expected(answer, None):
                self.model.cancelled.add(invoice)
                self.model.put = defaultdict(
                    lambda: ZERO, {pair: amount for pair, amount in self.model.put.items() if pair[1] != invoice}
                )

    def expected(self, answer: Any, refusal: str | None) -> bool:
        assert answer.get_json().get("code") == refusal, answer.get_json()
        self.taken[refusal or "done"] += 1
        return refusal is None

    def compare(self) -> None:
        for invoice in self.model.totals:
            shown = made(self.clinic.get(f"/v1/invoices/{invoice}"))
            assert Decimal(shown["paid"]) == self.model.paid(invoice)
            assert Decimal(shown["balance"]) == self.model.owed(invoice)
        for payment, amount in self.model.amounts.items():
            shown = made(self.clinic.get(f"/v1/payments/{payment}"))
            said = tuple(Decimal(shown[name]) for name in ("allocated", "refunded", "advance"))
            assert said == (self.model.allocated(payment), self.model.refunds[payment], self.model.left(payment))
            assert sum(said) == amount == Decimal(shown["amount"])
            standing = {each["invoice"]: Decimal(each["amount"]) for each in shown["allocations"]}
            assert standing == {on: put for (of, on), put in self.model.put.items() if of == payment and put}


@pytest.mark.parametrize("seed", range(6))
def test_a_random_life_of_money_ends_as_the_model_says(clinic, seed):
    life = Life(clinic, seed)
    for _ in range(50):
        life.step()
        must_tie()
    life.compare()
    assert life.taken["done"] >= 10, life.taken
    balance = made(clinic.get("/v1/payers/P-1/balance"))
    assert Decimal(balance["advance"]) == sum((life.model.left(each) for each in life.model.amounts), ZERO)
    assert Decimal(balance["owed"]) == sum((life.model.owed(each) for each in life.model.totals), ZERO)
