"""The rules of a clinic's catalog, numbered as the clinic numbers them, each over HTTP."""

from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from clinic import clock
from tests import given, given_prices
from tests.given import faults, made
from tests.given_prices import line, on, published

FIRST = "2026-11-23"
SERVICE = {
    "article": "MRI-2", "name": {"ru": "МРТ брюшной полости", "en": "Abdominal MRI"}, "category": "mri",
}  # fmt: skip


@pytest.fixture
def today():
    with given.day(FIRST):
        yield


def instant(text: str) -> Any:
    """The clock stands at this instant, in UTC."""
    return clock.frozen(datetime.fromisoformat(text).astimezone(UTC))


@pytest.mark.parametrize(
    ("code", "right"),
    [
        ("A06.30.005.002", True),
        ("B01.027.001", True),
        ("А06.30.005", False),  # a Cyrillic А
        ("A6.30.5", False),
        ("b01.027.001", False),
        ("A31.01.001", False),
        ("A06.30.005.02", False),
        ("B01.027.001\n", False),
    ],
)
def test_rule_1_a_code_has_the_form_of_order_804n(clinic, code, right):
    answer = clinic.post("/v1/services", {**SERVICE, "nomenclature_codes": [code]})
    assert answer.status_code == (201 if right else 422)
    if not right:
        assert faults(answer) == [("/nomenclature_codes/0", "wrong_nomenclature_code")]


def test_rule_2_a_service_has_several_codes_or_none_with_a_warning(clinic):
    two = made(clinic.post("/v1/services", {**SERVICE, "nomenclature_codes": ["A05.30.005", "A05.30.007"]}))
    none = made(clinic.post("/v1/services", {**SERVICE, "article": "MRI-3"}))
    assert (two["warnings"], [each["code"] for each in none["warnings"]]) == ([], ["code_missing"])


def test_rule_3_services_share_a_code_but_not_an_article(clinic, today):
    articles = ("CONS-1", "CONS-2", "CONS-3")
    for article in articles:
        made(clinic.post("/v1/services", {**SERVICE, "article": article, "nomenclature_codes": ["B01.027.001"]}))
    published(*(line(each, rubles) for each, rubles in zip(articles, ("3700.00", "5300.00", "8500.00"), strict=True)))
    assert [given_prices.amount(each) for each in articles] == ["3700.00", "5300.00", "8500.00"]


def test_rule_4_an_article_is_never_given_again(clinic):
    made(clinic.post("/v1/services", SERVICE))
    etag = clinic.get("/v1/services/MRI-2").headers["ETag"]
    made(clinic.patch("/v1/services/MRI-2", {"active": False}, match=etag))
    again = clinic.post("/v1/services", SERVICE)
    assert (again.status_code, again.get_json()["code"]) == (409, "article_taken")


@pytest.fixture
def two_orders(app):
    """A's price from the first of November, B's from the fifteenth; the same by JSON and on a quote."""
    with given.day("2026-11-01"):
        given_prices.service("MRI-1")
        published(line("MRI-1", "100.00"))
        published(line("MRI-1", "200.00"), since=on("2026-11-15"))
    return given.caller(app, "*")


def costs(clinic: given.Caller) -> tuple[str, str]:
    """Now: in the public feed, and on a quote."""
    (item,) = clinic.get("/v1/prices").get_json()["items"]
    return item["prices"][0]["amount"], clinic.quote(("MRI-1", None))["lines"][0]["unit_price"]


def test_rule_5_prices_do_not_overlap_and_the_next_one_begins_on_its_day(two_orders):
    with given.day("2026-11-14"):
        assert costs(two_orders) == ("100.00", "100.00")
    with given.day("2026-11-15", at="00:00"):
        assert costs(two_orders) == ("200.00", "200.00")


@pytest.mark.parametrize(
    ("moment", "rubles"),
    [
        ("2026-11-14T20:59:59Z", "100.00"),  # 23:59:59 in Moscow
        ("2026-11-14T20:59:59.999999Z", "100.00"),
        ("2026-11-14T21:00:00Z", "200.00"),  # 00:00:00 in Moscow
        ("2026-11-14T21:30:00Z", "200.00"),
        ("2026-11-15T20:59:59Z", "200.00"),
    ],
)
def test_rule_6_half_past_nine_in_the_evening_utc_is_already_tomorrow_in_moscow(two_orders, moment, rubles):
    with instant(moment):
        assert costs(two_orders) == (rubles, rubles)


@pytest.mark.parametrize(("moment", "status"), [("2026-11-14T20:59:59Z", 201), ("2026-11-14T21:00:00Z", 422)])
def test_rule_6_an_order_for_today_may_be_made_until_midnight_in_moscow(two_orders, moment, status):
    with instant(moment):
        assert two_orders.post("/v1/price-orders", {"effective_from": "2026-11-14"}).status_code == status


def test_rule_7_a_price_on_request_has_to_be_said_and_a_price_from_is_a_lower_bound(app, today):
    for article in ("BOARD", "DRAIN"):
        given_prices.service(article)
    published(line("BOARD", None, kind="on_request"), line("DRAIN", "67200.00", kind="from"))
    clinic = given.caller(app, "*")

    def invoiced(article: str, **more: str) -> Any:
        return clinic.post("/v1/invoices", {"lines": [{"article": article, **more}], "payer": given.PAYER})

    why = {"price_reason": "Решение главного врача"}
    assert faults(invoiced("BOARD")) == [("/lines/0/unit_price", "price_on_request")]
    assert faults(invoiced("DRAIN", unit_price="60000.00", **why)) == [("/lines/0/unit_price", "price_below_from")]
    (drain,) = made(invoiced("DRAIN", unit_price="70000.00", **why))["lines"]
    assert (drain["unit_price"], drain["amount"]) == ("70000.00", "70000.00")


def test_rule_8_a_published_price_list_is_read_only(clinic, today):
    path = f"/v1/price-orders/{given_prices.order_id('1')}"
    etag = clinic.get(path).headers["ETag"]
    changed = [{"article": "CT-ABD-RP", "doctor_rank": "none", "kind": "fixed", "amount": "1.00"}]
    for answer in (
        clinic.put(f"{path}/lines", {"lines": changed}, match=etag),
        clinic.patch(path, {"effective_from": "2026-12-01"}, match=etag),
    ):
        assert (answer.status_code, answer.get_json()["code"]) == (409, "order_not_draft")
    assert given_prices.amount("CT-ABD-RP") == "8840.00"


def test_rule_8_the_database_itself_refuses_to_change_a_published_price(clinic, opened):
    with psycopg.connect(opened.owner, autocommit=True) as owner:
        for change in (
            "UPDATE price SET amount = 1 WHERE amount = 8840",
            "UPDATE price_order SET note = 'x' WHERE number = '1'",
            "DELETE FROM price_order_line",
            "DELETE FROM price",
        ):
            with pytest.raises(psycopg.errors.RestrictViolation):
                owner.execute(change)


def test_rule_9_strangers_see_the_published_base_list_only(clinic, opened, app):
    with psycopg.connect(opened.owner, autocommit=True) as owner:
        owner.execute(
            """
            INSERT INTO price_list (code, name_ru, name_en, kind, insurer_inn, contract_number)
            VALUES ('dms', 'ДМС', 'Insurer', 'insurer', '1234567894', '17')
            """
        )
    with given.day(FIRST):
        made(clinic.post("/v1/services", {**SERVICE, "article": "DRAFTED"}))
        made(clinic.post("/v1/services", {**SERVICE, "article": "INSURED"}))
        given_prices.draft(line("DRAFTED", "1.00"), line("CT-ABD-RP", "1.00"))
        published(line("INSURED", "2.00"), line("CT-ABD-RP", "2.00"), price_list="dms")
        feed = app.test_client().get("/v1/prices").get_json()
    shown = {each["article"]: each["prices"][0]["amount"] for each in feed["items"]}
    assert not shown.keys() & {"DRAFTED", "INSURED"}
    assert shown["CT-ABD-RP"] == "8840.00"
    assert feed["price_list"]["code"] == "base"
    assert feed["order"] == {"number": "1", "date": FIRST, "effective_from": FIRST}
