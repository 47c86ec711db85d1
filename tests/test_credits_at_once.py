"""Credit notes under many hands: real threads, real commits, two server processes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.given import PAYER
from tests.given_money import costing
from tests.running import AGAIN, Answer, Desk, at_once, made, seen

pytestmark = pytest.mark.xdist_group("server")


@pytest.fixture
def owed(desk: Desk) -> Any:
    """An invoice of 100.00 for one service."""
    return made(desk.invoice(desk.quote(costing("100.00"))))


def credit(desk: Desk, invoice: Any, **line: str) -> Answer:
    body = {"lines": [{"position": 1, **line}], "reason": "Ошибка"}
    return desk.post(f"/v1/invoices/{invoice['id']}/credit-notes", body)


def cancel(desk: Desk, invoice: Any) -> Answer:
    return desk.post(f"/v1/invoices/{invoice['id']}/cancel", {"reason": "Ошибка"})


def pay(desk: Desk, invoice: Any, amount: str) -> Answer:
    for_ = [{"invoice": invoice["id"]}]
    return desk.post("/v1/payments", {"tender": "transfer", "amount": amount, "payer": PAYER, "allocations": for_})


def read(desk: Desk, invoice: Any) -> Any:
    return made(desk.get(f"/v1/invoices/{invoice['id']}"))


@AGAIN
def test_of_two_credits_of_70_on_100_one_is_given(desk, owed, _):
    answers = at_once(2, lambda _: credit(desk, owed, amount="70.00"))
    assert seen(answers) == {"201": 1, "422 invalid_input": 1}
    (refused,) = (each.json["errors"][0] for each in answers if each.status == 422)
    assert (refused["pointer"], refused["code"]) == ("/lines/0/amount", "amount_not_creditable")
    assert read(desk, owed)["credited"] == "70.00"
    assert desk.count("credit_note") == 1


@AGAIN
def test_a_service_is_taken_back_once_and_its_quote_opened_once(desk, owed, _):
    answers = at_once(4, lambda _: credit(desk, owed, quantity="1"))
    assert seen(answers) == {"201": 1, "422 invalid_input": 3}
    quote = made(desk.get(f"/v1/quotes/{owed['quote']['id']}"))
    assert quote["lines"][0]["invoiced_quantity"] == "0"


@AGAIN
def test_a_credit_that_meets_a_payment_leaves_what_is_too_much_as_an_advance(desk, owed, _):
    credited, paid = at_once(2, lambda n: pay(desk, owed, "100.00") if n else credit(desk, owed, amount="70.00"))
    assert (str(credited), str(paid)) == ("201", "201")
    after = read(desk, owed)
    assert (after["paid"], after["credited"], after["balance"]) == ("30.00", "70.00", "0.00")
    assert made(desk.get(f"/v1/payments/{paid.json['id']}"))["advance"] == "70.00"


@AGAIN
def test_a_credit_that_meets_a_cancellation_comes_before_it_or_not_at_all(desk, owed, _):
    credited, cancelled = at_once(2, lambda n: cancel(desk, owed) if n else credit(desk, owed, amount="70.00"))
    assert str(cancelled) == "200"
    assert str(credited) in {"201", "409 invoice_not_issued"}
    assert desk.count("credit_note") == (2 if credited.status == 201 else 1)
    assert read(desk, owed)["credited"] == "100.00"


@AGAIN
def test_of_four_cancellations_one_is_done(desk, owed, _):
    answers = at_once(4, lambda _: cancel(desk, owed))
    assert seen(answers) == {"200": 1, "409 invoice_not_issued": 3}
    assert desk.count("credit_note") == 1


@AGAIN
def test_a_service_is_rendered_or_taken_back(desk, owed, _):
    answers = at_once(
        2,
        lambda n: desk.post(f"/v1/invoices/{owed['id']}/acts", {}) if n else credit(desk, owed, quantity="1"),
    )
    credited, rendered = answers
    assert {str(credited), str(rendered)} in (
        {"201", "409 nothing_to_render"},
        {"422 invalid_input", "201"},
    )
    assert desk.count("credit_note") + desk.count("act") == 1


@AGAIN
def test_a_credit_that_meets_an_invoice_of_the_same_quote_meets_no_deadlock(desk, _):
    quote = desk.quote(costing("100.00") | {"quantity": "4"})
    part = {"lines": [{"position": 1, "quantity": "2"}]}
    first = made(desk.invoice(quote, **part))
    answers = at_once(
        4,
        lambda n: (
            desk.invoice(quote, lines=[{"position": 1, "quantity": "1"}])
            if n % 2
            else credit(desk, first, quantity="1")
        ),
    )
    assert seen(answers) == {"201": 4}
    assert made(desk.get(f"/v1/quotes/{quote['id']}"))["lines"][0]["invoiced_quantity"] == "2"
