"""The price feed of a period, and as CSV."""

import pytest
from werkzeug.test import Client, TestResponse

from tests import given, given_prices
from tests.given_feed import items, rows
from tests.given_prices import line, published


@pytest.fixture
def ahead(app):
    """From the 23rd 100 rubles, from 1 December 120, from the 10th withdrawn, from the 20th 150."""
    given_prices.service("MRI-1")
    with given.day("2026-11-23"):
        published(line("MRI-1", "100.00"))
        published(line("MRI-1", "120.00"), since=given_prices.on("2026-12-01"))
        published(line("MRI-1", None), since=given_prices.on("2026-12-10"))
        published(line("MRI-1", "150.00"), since=given_prices.on("2026-12-20"))
    return app.test_client()


def priced(response: TestResponse, article: str = "MRI-1") -> list[tuple[str, str, str | None]]:
    prices = items(response)[article]["prices"]
    return [(each["amount"], each["valid_from"], each["valid_until"]) for each in prices]


NOW = ("100.00", "2026-11-23", "2026-12-01")
NEXT = ("120.00", "2026-12-01", "2026-12-10")
BACK = ("150.00", "2026-12-20", None)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("from=2026-11-23", [NOW, NEXT, BACK]),
        ("from=2026-11-30&until=2026-11-30", [NOW]),
        ("from=2026-11-30&until=2026-12-01", [NOW, NEXT]),
        ("from=2026-12-01&until=2026-12-31", [NEXT, BACK]),
        ("from=2026-12-10&until=2026-12-20", [BACK]),
        ("from=2026-01-01&until=2026-11-23", [NOW]),
        ("until=2026-12-05", [NOW, NEXT]),
    ],
)
def test_a_period_lists_each_price_in_force_on_some_day_of_it(ahead, query, found):
    with given.day("2026-11-24"):
        assert priced(ahead.get(f"/v1/prices?{query}")) == found


@pytest.mark.parametrize("query", ["from=2026-12-10&until=2026-12-19", "from=2026-01-01&until=2026-11-22"])
def test_a_period_without_a_price_does_not_have_the_service(ahead, query):
    assert items(ahead.get(f"/v1/prices?{query}")) == {}


def test_a_period_says_its_days_and_the_orders_that_take_effect_in_it(ahead):
    body = ahead.get("/v1/prices?from=2026-12-01&until=2026-12-10").get_json()
    assert (body["on"], body["from"], body["until"]) == (None, "2026-12-01", "2026-12-10")
    assert (body["order"]["number"], [each["number"] for each in body["orders"]]) == ("2", ["2", "3"])
    assert body["orders"][1] == {"number": "3", "date": "2026-11-23", "effective_from": "2026-12-10"}
    assert ahead.get("/v1/prices?from=2026-12-01").get_json()["until"] is None


def test_least_and_most_of_a_period_are_those_of_the_prices_it_lists(ahead):
    shown = items(ahead.get("/v1/prices?from=2026-11-23"))["MRI-1"]
    assert (shown["min"], shown["max"]) == ("100.00", "150.00")


def test_prices_of_a_period_go_by_rank_and_then_by_day(app):
    given_prices.service("CONS", priced_by_rank=True)
    with given.day("2026-11-23"):
        published(line("CONS", "200.00", "candidate"), line("CONS", "100.00", "none"))
        published(
            line("CONS", "110.00", "none"), line("CONS", "210.00", "candidate"), since=given_prices.on("2026-12-01")
        )
    shown = items(app.test_client().get("/v1/prices?from=2026-11-23"))["CONS"]["prices"]
    assert [each["amount"] for each in shown] == ["100.00", "110.00", "200.00", "210.00"]


def test_a_period_does_not_list_what_was_corrected(app):
    given_prices.service("MRI-1")
    with given.day("2026-11-23"):
        wrong = published(line("MRI-1", "1000.00"), since=given_prices.on("2026-12-01"))
        published(line("MRI-1", "100.00"), since=given_prices.on("2026-12-01"), corrects=wrong.id)
    assert priced(app.test_client().get("/v1/prices?from=2026-11-23")) == [("100.00", "2026-12-01", None)]


def test_a_service_sold_no_longer_has_no_price_from_that_day_on(app, clinic):
    given_prices.service("MRI-1")
    with given.day("2026-11-23"):
        published(line("MRI-1", "100.00"))
        published(line("MRI-1", "120.00"), since=given_prices.on("2026-12-01"))
    with given.day("2026-11-25"):
        service = clinic.get("/v1/services/MRI-1")
        assert clinic.patch("/v1/services/MRI-1", {"active": False}, match=service.headers["ETag"]).status_code == 200
    front = app.test_client()
    assert priced(front.get("/v1/prices?from=2026-11-23")) == [("100.00", "2026-11-23", "2026-11-25")]
    assert priced(front.get("/v1/prices?on=2026-11-24")) == [("100.00", "2026-11-23", "2026-11-25")]
    assert "MRI-1" not in items(front.get("/v1/prices?from=2026-11-25"))


@pytest.mark.parametrize(
    ("query", "faults"),
    [
        ("on=2026-11-23&from=2026-11-23", [("?on", "day_and_period")]),
        ("on=2026-11-23&until=2026-12-23", [("?on", "day_and_period")]),
        ("from=2026-11-24&until=2026-11-23", [("?until", "until_before_from")]),
        ("until=2026-11-22", [("?until", "until_before_from")]),
        (
            "on=2026-11-23&from=2026-11-24&until=2026-11-23",
            [("?on", "day_and_period"), ("?until", "until_before_from")],
        ),
        ("from=yesterday&until=2026-02-30", [("?from", "not_day"), ("?until", "not_day")]),
    ],
)
def test_a_period_that_is_none_is_refused_by_name(ahead, query, faults):
    with given.day("2026-11-23"):
        assert given.faults(ahead.get(f"/v1/prices?{query}")) == faults


# ---- CSV ----


def as_csv(front: Client, path: str = "/v1/prices", **headers: str) -> list[dict[str, str]]:
    return rows(front.get(path, headers={"Accept": "text/csv", **headers}))


def test_csv_has_a_row_for_each_price(app):
    with given.day("2026-11-23"):
        given.sample()
        found = as_csv(app.test_client())
    assert [each for each in found if each["article"] == "ONC-CONS-1"][1] == {
        "article": "ONC-CONS-1",
        "name": "Первичный приём врача-онколога",
        "category": "consultation",
        "category_name": "Консультации специалистов",
        "nomenclature_codes": "B01.027.001",
        "unit": "услуга",
        "doctor_rank": "candidate",
        "rank_name": "к.м.н.",
        "kind": "fixed",
        "amount": "5300.00",
        "currency": "RUB",
        "valid_from": "2026-11-23",
        "valid_until": "",
        "order": "1",
        "order_date": "2026-11-23",
        "price_list": "base",
        "vat": "Без НДС",
        "note": "",
        "min": "3700.00",
        "max": "8500.00",
    }
    board = next(each for each in found if each["article"] == "ONC-BOARD")
    assert (board["kind"], board["amount"], board["min"], board["max"]) == ("on_request", "", "", "")


@pytest.mark.parametrize("query", ["", "?on=2026-12-05", "?from=2026-11-23", "?from=2026-11-23&lang=en", "?q=MRI"])
def test_csv_says_what_json_says(ahead, query):
    columns = ("article", "name", "amount", "valid_from", "valid_until", "order", "min", "max")
    with given.day("2026-11-24"):
        told = [
            tuple((item | each)[column] for column in columns)
            for item in ahead.get(f"/v1/prices{query}").get_json()["items"]
            for each in item["prices"]
        ]
        found = as_csv(ahead, f"/v1/prices{query}")
    assert [tuple(row[column] or None for column in columns) for row in found] == told
    assert told


def test_s20_csv_is_as_the_rfc_has_it_and_has_no_formula(app):
    given_prices.service("MRI-1", ru='МРТ "быстро", срочно', note="входит:\nописание")
    given_prices.service("MRI-2", ru="=HYPERLINK(0)", note="@note")
    published(line("MRI-1", "1.00"), line("MRI-2", "2.50"))
    shown = app.test_client().get("/v1/prices", headers={"Accept": "text/csv"})
    assert shown.data.startswith(b"article,name,") and shown.data.endswith(b",2.50,2.50\r\n")
    assert '"МРТ ""быстро"", срочно"' in shown.text
    first, second = rows(shown)
    assert (first["name"], first["note"]) == ('МРТ "быстро", срочно', "входит:\nописание")
    assert (second["name"], second["note"]) == ("'=HYPERLINK(0)", "'@note"), "a spreadsheet takes it for a formula"


@pytest.mark.parametrize(
    ("accepted", "csv_wanted"),
    [
        ("text/csv", True),
        ("text/csv, application/json;q=0.5", True),
        ("text/csv, */*;q=0.1", True),
        ("text/*", True),
        ("TEXT/CSV; charset=utf-8", True),
        ("*/*", False),
        ("", False),
        ("text/csv;q=0, */*", False),
        ("text/csv;q=0.5, application/json", False),
        ("text/csv, application/json", False),
        ("text/html, application/xhtml+xml, */*;q=0.8", False),
    ],
)
def test_the_type_is_the_one_liked_best(front, accepted, csv_wanted):
    front.get("/v1/prices", headers={"Accept": "text/csv"})
    front.get("/v1/prices")
    for _ in range(2):
        shown = front.get("/v1/prices", headers={"Accept": accepted})
        assert shown.content_type.startswith("text/csv" if csv_wanted else "application/json")
        assert shown.headers["Vary"] == "Accept-Language, Accept, Accept-Encoding"


@pytest.mark.parametrize("accepted", ["application/pdf", "text/html", "application/json;q=0", "text/csv;q=0"])
def test_another_type_is_refused_with_those_there_are(front, accepted):
    front.get("/v1/prices")
    refused = front.get("/v1/prices", headers={"Accept": accepted})
    assert (refused.status_code, refused.content_type) == (406, "application/problem+json")
    assert refused.get_json()["types"] == ["application/json", "text/csv"]
    assert refused.headers["Access-Control-Allow-Origin"] == "*"
