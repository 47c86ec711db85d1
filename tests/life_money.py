"""Money in random lives: payments, what they are for, refunds."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.life import Machine, payers, picked_of, sums, which
from tests.model_documents import Part, Payment

SOME = Decimal("50.00")


class MoneyRules(Machine):
    @rule(payer=payers, amount=sums, for_=st.lists(st.tuples(which, st.none() | sums, st.booleans()), max_size=2),
          slip=st.sampled_from([None, None, "1", "2"]))  # fmt: skip
    def pay(self, payer: str, amount: Decimal, for_: Any, slip: str | None) -> None:
        chosen = self.parts(for_)
        body = {
            "payer": self.person(payer), "tender": "transfer", "amount": str(amount), "allocations": shaped(chosen),
            **({"source": "bank", "external_ref": slip} if slip else {}),
        }  # fmt: skip
        expected = self.model.pay(payer, amount, chosen, slip)
        told_before = isinstance(expected, Payment) and expected.id
        self.told(expected, "/v1/payments", body, 200 if told_before else 201)

    @precondition(lambda self: self.model.payments)
    @rule(
        of=which, for_=st.none() | st.lists(st.tuples(which, st.none() | sums, st.booleans()), min_size=1, max_size=2)
    )
    def allocate(self, of: int, for_: Any) -> None:
        payment = picked_of(self.model.payments, of, has_advance)
        chosen = None if for_ is None else self.parts(for_)
        if chosen == []:
            return
        body = {"auto": True} if chosen is None else {"allocations": shaped(chosen)}
        self.told(self.model.allocate(payment, chosen), f"/v1/payments/{payment.id}/allocations", body, 200)

    @precondition(lambda self: any(map(has_advance, self.model.payments)))
    @rule(of=which, amount=st.none() | sums,
          for_=st.lists(st.tuples(which, st.none() | sums, st.booleans()), min_size=1, max_size=2))  # fmt: skip
    def offset(self, of: int, amount: Decimal | None, for_: Any) -> None:
        """Spend advances of a payer who has some; without an amount, one of them."""
        payment = picked_of(self.model.payments, of, has_advance)
        payer, amount = payment.payer, amount or payment.advance or SOME
        chosen = self.parts(for_)
        tenders = [{"tender": "offset", "amount": str(amount)}]
        body = {"payer": self.person(payer), "tenders": tenders, "allocations": shaped(chosen)}
        self.told(self.model.offset(payer, amount, chosen), "/v1/payments/split", body, 201)

    @precondition(lambda self: self.model.payments)
    @rule(of=which, amount=sums, off=st.none() | st.tuples(which, sums))
    def refund(self, of: int, amount: Decimal, off: tuple[int, Decimal] | None) -> None:
        payment = picked_of(self.model.payments, of)
        released = [(picked_of(self.model.invoices, off[0], payment.on), off[1])] if off and self.model.invoices else []
        body = {
            "amount": str(amount), "reason_code": "mistake", "reason": "Ошибка",
            "release": [{"invoice": invoice.id, "amount": str(much)} for invoice, much in released],
        }  # fmt: skip
        self.told(self.model.refund(payment, amount, released), f"/v1/payments/{payment.id}/refunds", body, 201)


def has_advance(payment: Payment) -> bool:
    return payment.advance > 0


def shaped(chosen: Sequence[Part]) -> list[dict[str, Any]]:
    return [
        {"invoice": each.invoice.id, "amount": each.amount and str(each.amount), "on_behalf": each.on_behalf}
        for each in chosen
    ]
