"""Credit notes in random lives: by services, by money, all that is left; and cancelled invoices."""

from __future__ import annotations

from decimal import ROUND_DOWN, Decimal
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.life import OTHERWISE, Machine, is_issued, picked_of, sums, which
from tests.model_documents import Back, Invoice

pieces = st.sampled_from([Decimal(each) for each in ("1", "0.5", "0.333", "0.001", "1.333", "2")])
backs = st.lists(
    st.tuples(which, st.none() | pieces.map(lambda each: ("quantity", each)) | sums.map(lambda each: ("amount", each))),
    min_size=1,
    max_size=2,
)
"""Which lines, and what of them."""


LEAST = Decimal("0.001")


class CreditRules(Machine):
    @precondition(lambda self: any(map(is_creditable, self.model.invoices)))
    @rule(of=which, backs=backs)
    def credit(self, of: int, backs: Any) -> None:
        invoice = picked_of(self.model.invoices, of, is_creditable)
        self.credited(invoice, [back(invoice, place, what) for place, what in backs])

    @precondition(lambda self: any(map(has_services, self.model.invoices)))
    @rule(of=which)
    def take_a_third_back(self, of: int) -> None:
        """Of what stands on the first line that has something left: one piece more of many."""
        invoice = picked_of(self.model.invoices, of, has_services)
        line = next((line for line in invoice.lines if line.left), invoice.lines[0])
        third = max((line.left / 3).quantize(LEAST, ROUND_DOWN), LEAST)
        self.credited(invoice, [Back(line.position, quantity=third)])

    @precondition(lambda self: any(map(is_creditable, self.model.invoices)))
    @rule(of=which, amount=sums)
    def put_right(self, of: int, amount: Decimal) -> None:
        """The price of the last line on which something is owed, if need be to nothing."""
        invoice = picked_of(self.model.invoices, of, is_creditable)
        line = next((line for line in reversed(invoice.lines) if line.owed), invoice.lines[0])
        self.credited(invoice, [Back(line.position, amount=min(amount, line.owed) or amount)])

    def credited(self, invoice: Invoice, wanted: list[Back]) -> None:
        lines = [
            {
                "position": each.position,
                **({} if each.quantity is None else {"quantity": str(each.quantity)}),
                **({} if each.amount is None else {"amount": str(each.amount)}),
            }
            for each in wanted
        ]
        body = {"lines": lines, "reason": "Ошибка"}
        self.told(self.model.credit(invoice, wanted), f"/v1/invoices/{invoice.id}/credit-notes", body, 201)

    @precondition(lambda self: any(map(is_issued, self.model.invoices)))
    @rule(of=which)
    def cancel(self, of: int) -> None:
        invoice = picked_of(self.model.invoices, of, is_issued)
        self.told(self.model.cancel(invoice), f"/v1/invoices/{invoice.id}/cancel", {"reason": "Ошибка"}, 200)


def back(invoice: Invoice, place: int, what: tuple[str, Decimal] | None) -> Back:
    """Of a line that the invoice has; for the greatest `place` of one that it has not."""
    position = len(invoice.lines) + 1 if place == OTHERWISE else place % len(invoice.lines) + 1
    name, much = what or (None, None)
    return Back(position, much if name == "quantity" else None, much if name == "amount" else None)


def has_services(invoice: Invoice) -> bool:
    return is_issued(invoice) and any(line.left for line in invoice.lines)


def is_creditable(invoice: Invoice) -> bool:
    return is_issued(invoice) and any(line.left or line.owed for line in invoice.lines)
