"""The pages of the person who keeps prices: an order from its draft to its publishing."""

from __future__ import annotations

import re

import pytest

from tests import given, given_prices
from tests.browser import Person, forms, quick_passwords, text  # noqa: F401
from tests.given_prices import amount

pytestmark = pytest.mark.usefixtures("quick_passwords")

NEXT_WEEK = "2026-11-30"


@pytest.fixture
def today():
    with given.day(given.FIRST_DAY) as day:
        yield day


@pytest.fixture
def keeper(today, clinic):
    return Person(clinic.app, "price_keeper")


def said(page):
    return text(page).replace("\xa0", " ")


def order_of(page):
    return page.request.path


def drafted(keeper, **filled):
    page = keeper.get("/catalog")
    return keeper.follow(keeper.press(page, "/catalog/orders", **({"effective_from": NEXT_WEEK} | filled)))


def priced(keeper, page, article, rank=None, **filled):
    """The order's page after the service was found and put into the order."""
    at = order_of(page)
    found = keeper.get(f"{at}?q={article}")
    offered = [each for to, each in forms(found) if to == f"{at}/lines" and each["article"] == article]
    (form,) = [each for each in offered if each.get("doctor_rank") == rank][-1:]
    return keeper.follow(keeper.client.post(f"{at}/lines", data=form | filled))


def test_from_a_draft_to_a_published_order(keeper):
    page = drafted(keeper)
    page = priced(keeper, page, "CT-ABD-RP-BOLUS", amount="14 500,00")
    assert "14 000,00 ₽" in said(page)
    assert "▲ +500,00 ₽ +3,57 %" in said(page)
    confirm = keeper.get(order_of(page) + "/publish")
    assert "30 ноября 2026 г." in said(confirm)
    done = keeper.follow(keeper.press(confirm, order_of(page) + "/publish", confirmed="yes"))
    assert "опубликован" in said(done)
    assert amount("CT-ABD-RP-BOLUS", on=given_prices.on(NEXT_WEEK)) == "14500.00"
    assert amount("CT-ABD-RP-BOLUS", on=given_prices.on("2026-11-29")) == "14000.00"


def test_a_lower_price_is_shown_as_such_and_warned_of(keeper):
    page = priced(keeper, drafted(keeper), "MRI-ABD-RP", amount="9000")
    assert "▼ −4 700,00 ₽ −34,31 %" in said(page)
    assert "Цена меняется больше чем на 30 %" in said(page)


def test_nothing_is_published_without_having_looked(keeper):
    page = priced(keeper, drafted(keeper), "CT-ABD-RP-BOLUS", amount="14500")
    at = order_of(page) + "/publish"
    refused = keeper.press(keeper.get(at), at, confirmed=None)
    assert refused.status_code == 422
    assert amount("CT-ABD-RP-BOLUS", on=given_prices.on(NEXT_WEEK)) == "14000.00"


def test_an_order_changed_meanwhile_is_not_published_unseen(keeper):
    page = priced(keeper, drafted(keeper), "CT-ABD-RP-BOLUS", amount="14500")
    at = order_of(page) + "/publish"
    confirm = keeper.get(at)
    priced(keeper, page, "MRI-ABD-RP", amount="99000")
    refused = keeper.press(confirm, at, confirmed="yes")
    assert refused.status_code == 412
    assert amount("CT-ABD-RP-BOLUS", on=given_prices.on(NEXT_WEEK)) == "14000.00"


def test_pressing_publish_twice_publishes_once(keeper):
    page = priced(keeper, drafted(keeper), "CT-ABD-RP-BOLUS", amount="14500")
    at = order_of(page) + "/publish"
    confirm = keeper.get(at)
    answers = [keeper.press(confirm, at, confirmed="yes") for _ in range(2)]
    assert [each.status_code for each in answers] == [303, 303]


def test_many_prices_move_at_once(keeper):
    page = drafted(keeper)
    at = order_of(page)
    page = keeper.follow(keeper.press(page, f"{at}/bulk", percent="7", category="msct"))
    assert {"14 980,00 ₽", "9 460,00 ₽"} <= set(re.findall(r"\d+ \d{3},00 ₽", said(page)))
    warned = keeper.get(f"{at}?only=warnings")
    assert "CT-ABD-RP" not in said(warned).split("Исправить")[-1].split("Добавить")[0]


def test_a_line_is_changed_and_taken_out(keeper):
    page = priced(keeper, drafted(keeper), "CT-ABD-RP-BOLUS", amount="14500")
    at = order_of(page)
    page = keeper.follow(keeper.press(page, f"{at}/lines", kind="withdrawn", amount=""))
    assert "снимается" in said(page)
    page = keeper.follow(keeper.press(page, f"{at}/lines", take="1"))
    assert "ещё нет строк" in said(page)


def test_a_price_by_rank_is_put_for_its_rank(keeper):
    page = drafted(keeper)
    found = keeper.get(order_of(page) + "?q=ONC-CONS-1")
    assert re.findall(r'name="doctor_rank" value="(\w+)"', found.text)[:3] == ["none", "candidate", "doctor"]
    page = priced(keeper, page, "ONC-CONS-1", "none", amount="3900")
    assert "Первичный приём врача-онколога, врач" in said(page)


@pytest.mark.parametrize(
    ("filled", "complaint"),
    [({"amount": "много"}, "Нужна сумма в рублях"), ({"amount": ""}, "Впишите цену")],
)
def test_what_is_wrong_with_a_line_is_said(keeper, filled, complaint):
    page = drafted(keeper)
    at = order_of(page)
    refused = keeper.press(keeper.get(f"{at}?q=CT-ABD-RP-BOLUS"), f"{at}/lines", **filled)
    assert refused.status_code == 422
    assert complaint in said(refused)


def test_a_first_day_in_the_past_is_refused_and_nothing_typed_is_lost(keeper):
    refused = keeper.press(
        keeper.get("/catalog"), "/catalog/orders", effective_from="2026-11-22", number="77", note="Опечатка"
    )
    assert refused.status_code == 422
    assert 'value="77"' in refused.text
    assert 'value="Опечатка"' in refused.text


def test_a_draft_is_put_away(keeper):
    page = drafted(keeper, number="9")
    at = order_of(page)
    page = keeper.follow(keeper.press(page, f"{at}/discard"))
    assert "отложен" in said(page)
    assert "№ 9" in said(keeper.get("/catalog?status=discarded"))


def test_a_published_order_shows_its_lines_and_who_published_it(keeper):
    page = keeper.get("/catalog?status=published")
    (address,) = re.findall(r"/catalog/orders/[0-9a-f-]{36}", page.text)
    done = keeper.get(address)
    assert "МСКТ органов брюшной полости" in said(done)
    assert done.status_code == 200


def test_reception_keeps_no_prices(clinic):
    reception = Person(clinic.app, "reception")
    assert reception.client.post("/catalog/orders", data={}).status_code == 403


def test_the_pages_speak_english(keeper):
    page = priced(keeper, drafted(keeper), "CT-ABD-RP-BOLUS", amount="14500")
    english = keeper.get(order_of(page) + "?lang=en")
    assert "What will change" in said(english)
    assert "MSCT of the abdomen" in said(english)
