"""Pages of money: a payment at the desk, a shift, the payments of a period."""

from __future__ import annotations

from typing import Any

import pytest

from clinic import branches, db
from clinic.auth import COMMAND_LINE
from clinic.command import change
from tests import given_money
from tests.browser import Person, forms, quick_passwords, text  # noqa: F401
from tests.given import made

pytestmark = pytest.mark.usefixtures("quick_passwords")


@pytest.fixture
def desk(clinic):
    """A receptionist."""
    return Person(clinic.app, "reception")


@pytest.fixture
def owed(clinic):
    """The address of the page of an invoice of 8,000.00."""
    return f"/desk/invoices/{given_money.invoice(clinic, '8000.00')['id']}"


def pay(desk: Person, owed: str, page: Any = None, /, **filled: Any) -> Any:
    return desk.press(page or desk.get(owed), f"{owed}/payments", **filled)


def shown(page: Any) -> str:
    return text(page).replace("\u00a0", " ")


def test_the_form_offers_what_is_owed_and_pays_it(desk, owed):
    page = desk.get(owed)
    fields = next(fields for to, fields in forms(page) if to == f"{owed}/payments")
    assert fields["amount"].replace("\u00a0", " ") == "8 000,00"
    after = desk.follow(pay(desk, owed, page, tender="card"))
    assert "выставлен, оплачен" in shown(after)
    assert "карта" in shown(after)
    assert "Принять оплату" not in shown(after)


def test_five_thousand_by_card_and_the_rest_in_cash(desk, owed):
    half = desk.follow(pay(desk, owed, tender="card", amount="5 000", source="terminal-3", external_ref="17"))
    assert "оплачен частично" in shown(half)
    assert "terminal-3 · 17" in shown(half)
    whole = desk.follow(pay(desk, owed, half, tender="cash"))
    assert "выставлен, оплачен" in shown(whole)
    assert "наличные 3 000,00 ₽" in shown(whole)


def test_pressing_twice_takes_the_money_once(desk, owed):
    page = desk.get(owed)
    first, second = (pay(desk, owed, page, amount="100") for _ in range(2))
    assert first.headers["Location"] == second.headers["Location"] == owed
    changed = pay(desk, owed, page, amount="200")
    assert changed.status_code == 409
    assert "По этой форме оплата уже принята" in shown(changed)
    assert desk.press(changed, f"{owed}/payments").status_code == 303
    with db.reading() as conn:
        assert db.value(conn, "SELECT string_agg(amount::text, ' ' ORDER BY amount) FROM payment") == "100.00 200.00"


def test_two_windows_do_not_take_the_same_debt_twice(desk, owed):
    one, other = desk.get(owed), desk.get(owed)
    pay(desk, owed, one)
    refused = pay(desk, owed, other)
    assert refused.status_code == 409
    assert "По счёту должны меньше" in shown(refused)


def test_more_than_is_owed_is_an_advance_and_is_offered_for_the_next_invoice(desk, clinic, owed):
    desk.follow(pay(desk, owed, amount="10000", tender="cash"))
    other = f"/desk/invoices/{given_money.invoice(clinic, '3000.00')['id']}"
    page = desk.get(other)
    assert "У плательщика есть аванс: 2 000,00 ₽" in shown(page)
    after = desk.follow(desk.press(page, f"{other}/offset"))
    assert "оплачен частично" in shown(after)
    assert "Остаток 1 000,00 ₽" in shown(after)


def test_what_is_typed_wrong_is_marked_and_kept(desk, owed):
    page = pay(desk, owed, amount="много", source="terminal-3")
    assert page.status_code == 422
    assert 'aria-describedby="amount-fault"' in page.text
    page = pay(desk, owed, page, amount="1")
    assert 'aria-describedby="external_ref-fault"' in page.text
    assert next(fields for to, fields in forms(page) if to == f"{owed}/payments")["source"] == "terminal-3"


def test_a_shift_is_opened_filled_and_closed(desk, owed):
    first = desk.follow(desk.press(desk.get("/shifts"), "/shifts", desk="Касса 1", opening_cash="1 000"))
    assert "открыта" in shown(first)
    desk.follow(pay(desk, owed, tender="cash", amount="500"))
    page = desk.get(first.request.path)
    assert "1 500,00 ₽" in shown(page)
    wrong = desk.press(page, f"{first.request.path}/close", counted__cash="")
    assert wrong.status_code == 422
    closed = desk.follow(desk.press(wrong, f"{first.request.path}/close", counted__cash="1 499,50"))
    assert "−0,50 ₽" in shown(closed)
    assert "Закрыть смену" not in shown(closed)
    again = desk.press(page, f"{first.request.path}/close", counted__cash="1")
    assert again.status_code == 409
    refused = pay(desk, owed, tender="cash", amount="1")
    assert refused.status_code == 409
    assert "Нет открытой смены" in shown(refused)
    assert "закрыта" in shown(desk.get("/shifts"))


def test_of_two_open_desks_the_form_asks_for_one(desk, owed):
    for name in ("Касса 1", "Касса 2"):
        desk.press(desk.get("/shifts"), "/shifts", desk=name)
    twice = desk.press(desk.get("/shifts"), "/shifts", desk="Касса 2")
    assert twice.status_code == 409
    after = desk.follow(pay(desk, owed, tender="cash", desk="Касса 2"))
    assert "Касса 2" in shown(after)


def test_accounting_sees_the_payments_of_a_period(desk, clinic, owed):
    desk.follow(pay(desk, owed, tender="card"))
    came = given_money.payment(clinic, "700.00", tender="cash")
    made(given_money.refunded(clinic, came, "200.00"))
    accountant = Person(clinic.app, "accountant", login="rita")
    page = accountant.get("/accounting/payments")
    assert "карта 8 000,00 ₽ (1) 0,00 ₽ (0) 8 000,00 ₽" in shown(page)
    assert "наличные 700,00 ₽ (1) 200,00 ₽ (1) 500,00 ₽" in shown(page)
    assert "Всего 8 700,00 ₽ 200,00 ₽ 8 500,00 ₽" in shown(page)
    assert owed in page.text
    assert "За этот период платежей нет" in shown(
        accountant.get("/accounting/payments?since=2020-01-01&until=2020-01-02")
    )
    assert accountant.get("/accounting/payments?since=x").status_code == 422
    assert "Платежи за этот период" in shown(accountant.get("/accounting"))
    assert desk.get("/accounting/payments").status_code == 403
    assert accountant.get(owed).status_code == 200
    assert "Принять оплату" not in shown(accountant.get(owed))


def test_pages_speak_english_too(desk, owed):
    desk.get("/?lang=en")
    assert "Take a payment" in shown(desk.get(owed))
    shift = desk.follow(desk.press(desk.get("/shifts"), "/shifts", desk="Desk 1"))
    assert "Close the shift" in shown(shift)


def test_money_of_another_branch_is_like_none(clinic, desk, owed):
    with change(COMMAND_LINE) as made_:
        branches.create(made_, "north", "Северный филиал", "С")
    north = Person(clinic.app, "reception", branch="north", login="nora")
    shift = desk.follow(desk.press(desk.get("/shifts"), "/shifts", desk="Касса 1")).request.path
    token = forms(north.get("/desk"))[0][1]["form_token"]
    assert north.get(shift).status_code == 404
    assert north.client.post(f"{shift}/close", data={"form_token": token, "counted-cash": "1"}).status_code == 404
    for way in ("payments", "offset"):
        assert north.client.post(f"{owed}/{way}", data={"form_token": token, "amount": "1"}).status_code == 404
    assert "Касса 1" not in shown(north.get("/shifts")).split("Открыта")[-1]


def test_a_hostile_text_is_only_text(clinic, desk, owed):
    hostile = "<script>alert('x')</script>\" onload=\"1"
    desk.follow(desk.press(desk.get("/shifts"), "/shifts", desk=hostile))
    pages = [
        desk.get("/shifts"),
        pay(desk, owed, amount=hostile, source=hostile, external_ref=hostile, tender=hostile),
        desk.follow(pay(desk, owed, tender="cash", amount="1")),
        desk.press(desk.get("/shifts"), "/shifts", desk=hostile, opening_cash=hostile),
    ]
    for page in pages:
        assert "<script>alert" not in page.text
        assert "&lt;script&gt;" in page.text
