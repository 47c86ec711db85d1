"""Many prices moved at once become lines of a draft."""

from datetime import date
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from catalog import repricing
from tests import given, given_prices
from tests.given import faults, made
from tests.given_prices import line, published

FIRST, LATER = "2026-11-23", "2026-12-01"


@pytest.fixture(autouse=True)
def today():
    with given.day(FIRST):
        yield


@pytest.fixture
def clinic(app):
    """A small catalog: magnetic resonance with an inner category, and consultations by rank."""
    given_prices.service("MRI-1")
    given_prices.category("mri_open", "МРТ открытая", "mri")
    given_prices.service("MRI-2", category="mri_open")
    given_prices.category("other", "Прочее")
    given_prices.service("CONS", category="other", priced_by_rank=True)
    given_prices.service("BOARD", category="other")
    published(
        line("MRI-1", "13700.00"), line("MRI-2", "104.67", kind="from"), line("CONS", "100.00", "none"),
        line("CONS", "300.00", "doctor"), line("BOARD", None, kind="on_request"),
    )  # fmt: skip
    return given.caller(app, "*")


def drafted(clinic: given.Caller, *lines: dict[str, Any], **more: Any) -> str:
    body = {"effective_from": LATER, "lines": list(lines), **more}
    return f"/v1/price-orders/{made(clinic.post('/v1/price-orders', body))['id']}"


def moved(clinic: given.Caller, order: str, **wanted: Any) -> Any:
    return clinic.post(f"{order}/bulk", wanted, If_Match=clinic.get(order).headers["ETag"])


def amounts(order: Any) -> dict[tuple[str, str | None], str | None]:
    return {(each["article"], each["doctor_rank"]): each["amount"] for each in order["lines"]}


@pytest.mark.parametrize(
    ("price", "change", "step", "expected"),
    [
        ("13700.00", {"percent": "7.00"}, "10.00", "14660.00"),  # 14659.00
        ("100.00", {"percent": "5.00"}, "10.00", "110.00"),  # 105.00 is half
        ("100.00", {"percent": "4.99"}, "10.00", "100.00"),
        ("100.00", {"percent": "-5.00"}, "10.00", "100.00"),  # 95.00 is half
        ("100.00", {"percent": "-5.01"}, "10.00", "90.00"),
        ("0.50", {"percent": "1.00"}, "0.01", "0.51"),  # 0.505 is half
        ("0.49", {"percent": "1.00"}, "0.01", "0.49"),
        ("33.33", {"percent": "33.33"}, "0.01", "44.44"),  # 44.438889
        ("100.00", {"percent": "0"}, "30.00", "90.00"),
        ("105.00", {"percent": "0"}, "30.00", "120.00"),  # half of a step that divides nothing
        ("100.00", {"amount": "+200.00"}, "0.01", "300.00"),
        ("100.00", {"amount": "-99.99"}, "0.01", "0.01"),
        ("100.00", {"amount": "-100.01"}, "0.01", "0.00"),  # never below nothing
        ("100.00", {"amount": "-1000.00"}, "10.00", "0.00"),
        ("100.00", {"percent": "-100"}, "0.01", "0.00"),
        ("4.99", {"percent": "0"}, "10.00", "0.00"),
        ("5000.00", {"percent": "0"}, "10000.00", "10000.00"),
        ("9999999999999.99", {"percent": "-0.01"}, "0.01", "9998999999999.99"),  # 9998999999999.990001
    ],
)
def test_a_price_is_rounded_once_half_away_from_zero_and_never_below_nothing(price, change, step, expected):
    read = {name: Decimal(change[name]) if name in change else None for name in ("percent", "amount")}
    found = repricing.moved(Decimal(price), **read, round_to=Decimal(step))
    assert f"{found:f}" == expected


def test_seven_percent_on_a_category_and_those_inside_it(clinic):
    answer = moved(clinic, order := drafted(clinic), percent="7.00", category="mri", round_to="10.00")
    body = made(answer)
    assert body["lines"] == [
        {"article": "MRI-1", "doctor_rank": "none", "kind": "fixed", "amount": "14660.00"},
        {"article": "MRI-2", "doctor_rank": "none", "kind": "from", "amount": "110.00"},
    ]
    assert (body["lines_made"], body["lines_replaced"], body["line_count"]) == (2, 0, 2)
    assert answer.headers["ETag"] == clinic.get(order).headers["ETag"]


def test_without_a_selection_all_sums_move_and_services_on_request_are_left_alone(clinic):
    body = made(moved(clinic, drafted(clinic), percent="-5.00"))
    assert amounts(body) == {
        ("MRI-1", "none"): "13015.00", ("MRI-2", "none"): "99.44", ("CONS", "none"): "95.00",
        ("CONS", "doctor"): "285.00",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ({"articles": ["MRI-2", "BOARD"]}, {("MRI-2", "none")}),
        ({"doctor_rank": "none"}, {("CONS", "none")}),
        ({"doctor_rank": "doctor", "category": "other"}, {("CONS", "doctor")}),
        ({"kinds": ["from"]}, {("MRI-2", "none")}),
        ({"category": "mri_open"}, {("MRI-2", "none")}),
        ({"category": "mri", "articles": ["MRI-1", "CONS"]}, {("MRI-1", "none")}),
    ],
)
def test_members_that_select_hold_together(clinic, selection, expected):
    assert amounts(made(moved(clinic, drafted(clinic), amount="+1.00", **selection))).keys() == expected


def test_it_starts_from_the_prices_of_the_first_day_and_not_of_the_fallback_list(clinic, opened):
    published(line("MRI-1", "20000.00"), since=given_prices.on("2026-11-30"))
    assert amounts(made(moved(clinic, drafted(clinic), percent="10", articles=["MRI-1"]))) == {
        ("MRI-1", "none"): "22000.00"
    }
    staff_list(opened)
    published(line("MRI-2", "50.00"), price_list="staff")
    order = drafted(clinic, price_list="staff")
    assert amounts(made(moved(clinic, order, percent="10"))) == {("MRI-2", "none"): "55.00"}


def staff_list(opened: Any) -> None:
    with psycopg.connect(opened.owner, autocommit=True) as owner:
        owner.execute(
            "INSERT INTO price_list (code, name_ru, name_en, fallback) VALUES ('staff', 'staff', 'staff', 'base')"
        )


def test_lines_with_a_sum_are_replaced_in_their_place_so_it_can_be_done_again(clinic):
    order = drafted(clinic, {"article": "MRI-2", "kind": "fixed", "amount": "1.00"})
    first = made(moved(clinic, order, percent="10", category="mri"))
    assert (first["lines_made"], first["lines_replaced"]) == (2, 1)
    assert [(each["article"], each["kind"], each["amount"]) for each in first["lines"]] == [
        ("MRI-2", "from", "115.14"), ("MRI-1", "fixed", "15070.00"),
    ]  # fmt: skip
    again = made(moved(clinic, order, percent="20", category="mri"))
    assert amounts(again) == {("MRI-2", "none"): "125.60", ("MRI-1", "none"): "16440.00"}
    assert (again["lines_made"], again["lines_replaced"]) == (2, 2)


def test_what_the_draft_withdraws_or_puts_on_request_stays_so(clinic):
    settled = [
        {"article": "CONS", "doctor_rank": None, "kind": "withdrawn", "amount": None},
        {"article": "MRI-1", "doctor_rank": "none", "kind": "on_request", "amount": None},
    ]
    body = made(moved(clinic, drafted(clinic, *settled), percent="10"))
    assert body["lines"][:2] == settled
    assert [each["article"] for each in body["lines"][2:]] == ["MRI-2"]


def test_a_service_sold_no_longer_is_left_alone(clinic):
    clinic.patch("/v1/services/MRI-1", {"active": False}, match=clinic.get("/v1/services/MRI-1").headers["ETag"])
    assert amounts(made(moved(clinic, drafted(clinic), percent="10", category="mri"))).keys() == {("MRI-2", "none")}


def test_a_selection_of_nothing_is_told(clinic):
    order = drafted(clinic)
    for selection in ({"articles": ["BOARD"]}, {"category": "mri", "doctor_rank": "doctor"}):
        assert faults(moved(clinic, order, percent="10", **selection)) == [("", "nothing_selected")]
    assert clinic.get(order).get_json()["lines"] == []


def test_all_faults_come_at_once(clinic):
    wrong = {
        "percent": "7,5", "category": "none_such", "articles": ["мрт", "MRI-1", "NO-SUCH"], "doctor_rank": "nobody",
        "round_to": "10000.01", "kinds": ["on_request"],
    }  # fmt: skip
    assert faults(moved(clinic, drafted(clinic), **wrong)) == [
        ("/articles/0", "wrong_form"),
        ("/articles/2", "unknown_article"),
        ("/category", "unknown_category"),
        ("/doctor_rank", "unknown_rank"),
        ("/kinds/0", "not_a_choice"),
        ("/percent", "not_percent_change"),
        ("/round_to", "wrong_rounding"),
    ]
    known_by_form = {"percent": "7.5", "category": "none_such", "articles": ["MRI-1", "NO-SUCH"]}
    assert faults(moved(clinic, drafted(clinic), **known_by_form)) == [
        ("/category", "unknown_category"),
        ("/articles/1", "unknown_article"),
    ]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, [("/percent", "required")]),
        ({"percent": None}, [("/percent", "required")]),
        ({"percent": "1", "amount": "1.00"}, [("/amount", "one_change_only")]),
        ({"percent": "-100.01"}, [("/percent", "not_percent_change")]),
        ({"percent": "1e2"}, [("/percent", "not_percent_change")]),
        ({"percent": 7}, [("/percent", "not_percent_change")]),
        ({"percent": "7", "round_to": "0.00"}, [("/round_to", "wrong_rounding")]),
        ({"amount": "1.005"}, [("/amount", "not_money_change")]),
        ({"amount": "--1.00"}, [("/amount", "not_money_change")]),
    ],
)
def test_one_change_in_its_right_form_is_needed(clinic, wanted, expected):
    assert faults(moved(clinic, drafted(clinic), **wanted)) == expected


def test_a_price_above_all_bounds_is_named(clinic):
    published(line("MRI-1", "9999999999999.99"), since=date(2026, 11, 30))
    answer = moved(clinic, drafted(clinic), percent="1", articles=["MRI-1"])
    assert faults(answer) == [("/percent", "price_too_large")]


def test_a_draft_does_not_grow_without_end(clinic, monkeypatch):
    monkeypatch.setattr(repricing, "MOST", 3)
    assert faults(moved(clinic, drafted(clinic), percent="1")) == [("", "order_too_long")]


def test_it_needs_the_etag_and_takes_a_key(clinic):
    order = drafted(clinic)
    etag = clinic.get(order).headers["ETag"]
    answers = [clinic.post(f"{order}/bulk", {"percent": "7"}, key="move-once", If_Match=etag) for _ in range(2)]
    assert made(answers[0]) == made(answers[1])
    assert clinic.post(f"{order}/bulk", {"percent": "8"}, If_Match=etag).status_code == 412
    assert clinic.post(f"{order}/bulk", {"percent": "8"}).status_code == 428


def test_what_was_moved_can_be_published(clinic):
    order = drafted(clinic)
    made(moved(clinic, order, percent="7.00", category="mri", round_to="10.00"))
    assert made(clinic.get(f"{order}/preview"))["raised"] == 2
    made(clinic.post(f"{order}/publish"))
    assert given_prices.amount("MRI-1", on=given_prices.on(LATER)) == "14660.00"
