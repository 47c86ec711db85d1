"""The preview says what publishing will do: old beside new, what is worth a look, and whether it can be published."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import given as gives
from hypothesis import strategies as st

from catalog import previewing, price_orders, prices, publishing, services
from catalog.order_lines import Line
from catalog.price_orders import OrderNotDraft
from clinic import db, money
from clinic.auth import COMMAND_LINE
from clinic.command import change
from clinic.errors import Problem
from tests import given, given_prices
from tests.given_prices import answer, draft, line, on, published

pytestmark = pytest.mark.usefixtures("opened")

TODAY, LATER = on("2026-11-23"), on("2026-12-01")


@pytest.fixture(autouse=True)
def a_clinic(opened):
    with given.day("2026-11-23"):
        given_prices.service("MRI-1", nomenclature_codes=["A05.30.005"])
        given_prices.service("CONS", priced_by_rank=True, nomenclature_codes=["B01.027.001"])
        yield


def preview(*lines: Line, **more: Any) -> Any:
    """The preview of a draft of these lines, as JSON, in force from later on."""
    return shown(draft(*lines, **{"since": LATER, **more}))


def shown(order: price_orders.Order, today: date = TODAY) -> Any:
    with db.moment() as conn:
        return previewing.of(conn, price_orders.get(conn, order.id), today).as_json("en")


def codes(warnings: list[Any]) -> list[str]:
    return [each["code"] for each in warnings]


def a_list(opened: Any, code: str, fallback: str | None) -> None:
    with psycopg.connect(opened.owner, autocommit=True) as owner:
        owner.execute(
            "INSERT INTO price_list (code, name_ru, name_en, fallback) VALUES (%s, %s, %s, %s)",
            (code, code, code, fallback),
        )


# ---- Old and new ----


def test_a_price_stands_beside_the_one_it_takes_the_place_of():
    first = published(line("MRI-1", "8840.00"))
    found = preview(line("MRI-1", "9000.00"))
    (only,) = found["lines"]
    assert (only["article"], only["doctor_rank"], only["position"], only["rank_name"]) == ("MRI-1", "none", 1, None)
    assert only["name"] == {"ru": "MRI-1", "en": "MRI-1"}
    assert only["category"] == {"code": "mri", "name": {"ru": "МРТ", "en": "MRI"}}
    assert only["old"] == {
        "kind": "fixed", "amount": "8840.00", "valid_from": TODAY, "price_list": "base", "fallback": False,
        "order": "1", "order_date": TODAY, "order_id": first.id,
    }  # fmt: skip
    assert only["new"] == {"kind": "fixed", "amount": "9000.00", "valid_from": LATER, "valid_until": None}
    assert (only["difference"], only["difference_percent"], only["warnings"]) == ("160.00", "1.81", [])
    assert (found["effective_from"], found["changed"], found["unchanged"], found["raised"]) == (LATER, 1, 0, 1)
    assert (found["publishable"], found["reasons"], found["warnings"]) == (True, [], [])


@pytest.mark.parametrize(
    ("old", "new", "difference", "percent"),
    [
        ("200.00", "200.01", "0.01", "0.01"),  # 0.005 %
        ("200.00", "199.99", "-0.01", "-0.01"),
        ("200.01", "200.02", "0.01", "0.00"),  # 0.004999… %
        ("200.01", "200.00", "-0.01", "0.00"),  # and no «-0.00»
        ("3.00", "4.00", "1.00", "33.33"),
        ("3.00", "2.00", "-1.00", "-33.33"),
        ("0.00", "5.00", "5.00", None),
        ("0.00", "0.00", "0.00", None),
        ("5.00", "0.00", "-5.00", "-100.00"),
        ("0.01", "9999999999999.99", "9999999999999.98", "99999999999999800.00"),
    ],
)
def test_the_difference_is_in_rubles_and_in_percent_half_away_from_zero(old, new, difference, percent):
    published(line("MRI-1", old))
    (only,) = preview(line("MRI-1", new))["lines"]
    assert (only["difference"], only["difference_percent"]) == (difference, percent)


def test_without_two_sums_there_is_no_difference():
    published(line("MRI-1", "100.00"))
    for kind in ("on_request", "withdrawn"):
        (only,) = preview(line("MRI-1", None, kind=kind))["lines"]
        assert (only["difference"], only["difference_percent"]) == (None, None)


def test_an_old_price_may_be_that_of_the_fallback_list(opened):
    a_list(opened, "staff", "base")
    published(line("MRI-1", "100.00"))
    (only,) = preview(line("MRI-1", "90.00"), price_list="staff")["lines"]
    assert (only["old"]["fallback"], only["old"]["price_list"], only["difference"]) == (True, "base", "-10.00")
    published(line("MRI-1", "95.00"), price_list="staff")
    (only,) = preview(line("MRI-1", "90.00"), price_list="staff")["lines"]
    assert (only["old"]["fallback"], only["old"]["price_list"], only["difference"]) == (False, "staff", "-5.00")


def test_the_old_price_is_the_one_of_the_first_day_not_of_today():
    published(line("MRI-1", "100.00"))
    published(line("MRI-1", "200.00"), since=on("2026-11-30"))
    assert preview(line("MRI-1", "250.00"))["lines"][0]["old"]["amount"] == "200.00"


def test_withdrawn_without_a_rank_shows_every_rank():
    published(line("CONS", "100.00", "none"), line("CONS", "200.00", "doctor"))
    found = preview(line("CONS", None))
    assert [(each["doctor_rank"], each["effect"], each["position"]) for each in found["lines"]] == [
        ("none", "withdrawn", 1), ("candidate", "unchanged", 1), ("doctor", "withdrawn", 1),
        ("professor", "unchanged", 1),
    ]  # fmt: skip
    assert (found["withdrawn"], found["unchanged"]) == (2, 2)


def test_the_totals_tell_what_a_patient_would_notice():
    for article in ("UP", "DOWN", "SAME", "ENDS", "KIND", "BACK"):
        given_prices.service(article)
    published(*(line(each, "100.00") for each in ("UP", "DOWN", "SAME", "ENDS", "KIND")), line("BACK", None))
    found = preview(
        line("UP", "110.00"), line("DOWN", "90.00"), line("SAME", "100.00"), line("ENDS", None),
        line("KIND", "100.00", kind="from"), line("MRI-1", "5.00"), line("BACK", "7.00"),
    )  # fmt: skip
    names = ("changed", "unchanged", "new", "withdrawn", "raised", "lowered")
    assert [found[each] for each in names] == [3, 1, 2, 1, 1, 1]


# ---- What is worth a look ----


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        ("130.00", []),
        ("130.01", ["large_change"]),
        ("70.00", []),
        ("69.99", ["large_change"]),
        ("0.00", ["large_change", "becomes_free"]),
        ("100.00", ["nothing_changes"]),
    ],
)
def test_a_change_above_thirty_percent_is_worth_a_look(new, expected):
    published(line("MRI-1", "100.00"))
    assert codes(preview(line("MRI-1", new))["lines"][0]["warnings"]) == expected


def test_a_fallback_list_whose_term_is_over_is_passed_over(opened):
    a_list(opened, "former", None)
    a_list(opened, "staff", "former")
    published(line("MRI-1", "100.00"), price_list="former")
    with psycopg.connect(opened.owner, autocommit=True) as owner:
        owner.execute("UPDATE price_list SET valid = daterange(NULL, %s) WHERE code = 'former'", (TODAY,))
    (only,) = preview(line("MRI-1", "90.00"), price_list="staff")["lines"]
    assert (only["effect"], only["old"]) == ("new", None)


def test_a_price_that_is_the_fallback_lists_too_is_no_mistake(opened):
    a_list(opened, "staff", "base")
    published(line("MRI-1", "100.00"))
    (only,) = preview(line("MRI-1", "100.00"), price_list="staff")["lines"]
    assert (only["effect"], only["warnings"]) == ("unchanged", [])


def test_codes_are_looked_up_once_the_register_is_loaded(opened):
    given_prices.service("BARE")
    given_prices.service("TWO", nomenclature_codes=["A05.30.006", "A05.30.007"])
    lines = [line("BARE", "1.00"), line("MRI-1", "1.00"), line("TWO", "1.00")]
    assert [codes(each["warnings"]) for each in preview(*lines)["lines"]] == [["code_missing"], [], []]
    with psycopg.connect(opened.owner, autocommit=True) as owner:
        owner.execute(
            """
            INSERT INTO nomenclature (code, official_id, name, in_force, ended_on) VALUES
              ('A05.30.005', '1', 'МРТ', true, NULL), ('A05.30.006', '2', 'МРТ', true, '2026-12-01')
            """
        )
    bare, mri, two = preview(*lines)["lines"]
    assert [codes(each["warnings"]) for each in (bare, mri, two)] == [
        ["code_missing"], [], ["code_withdrawn", "code_unknown"],
    ]  # fmt: skip
    named = zip(["A05.30.006", "A05.30.007"], two["warnings"], strict=True)
    assert all(code in each["message"] for code, each in named)
    assert codes(preview(lines[2], since=TODAY)["lines"][0]["warnings"]) == ["code_unknown"]


def test_a_service_that_is_sold_no_longer_is_named():
    with change(COMMAND_LINE) as made:
        services.edit(made, services.locked(made.conn, "MRI-1"), {"active": False})
    assert codes(preview(line("MRI-1", "1.00"))["lines"][0]["warnings"]) == ["service_inactive"]


def test_a_price_that_a_later_one_ends_is_named_with_its_last_day():
    later = published(line("MRI-1", "300.00"), since=on("2026-12-20"))
    (only,) = preview(line("MRI-1", "200.00"))["lines"]
    (warning,) = only["warnings"]
    assert (warning["code"], warning["order"], warning["order_number"]) == ("ends_early", later.id, "1")
    assert warning["valid_until"] == only["new"]["valid_until"] == on("2026-12-20")


def test_ranks_are_judged_as_they_will_be_not_only_those_in_the_order():
    published(line("CONS", "100.00", "none"), line("CONS", "200.00", "candidate"), line("CONS", "300.00", "doctor"))
    assert preview(line("CONS", "150.00", "none"))["warnings"] == []
    (turned,) = preview(line("CONS", "250.00", "none"))["warnings"]
    assert (turned["code"], turned["article"], turned["doctor_rank"]) == ("rank_order_turned", "CONS", "candidate")
    assert preview(line("CONS", "250.00", "none"), line("CONS", "250.00", "candidate"))["warnings"] == []


def test_a_rank_that_loses_its_price_is_named():
    published(line("CONS", "100.00", "none"), line("CONS", "200.00", "doctor"))
    (lost,) = preview(line("CONS", None, "doctor"))["warnings"]
    assert (lost["code"], lost["article"], lost["doctor_rank"]) == ("rank_without_price", "CONS", "doctor")
    assert preview(line("CONS", None))["warnings"] == []


def test_a_rank_that_a_doctor_has_and_no_price_is_named(opened):
    with psycopg.connect(opened.owner, autocommit=True) as owner:
        owner.execute(
            """
            WITH made AS (
              INSERT INTO doctor (id, name_ru, name_en, specialty_ru, specialty_en, active, created_at, updated_at)
              SELECT gen_random_uuid(), rank, rank, 'онколог', 'oncologist', rank <> 'professor', now(), now()
                FROM unnest('{candidate,doctor,professor}'::text[]) AS rank
              RETURNING id, name_ru)
            INSERT INTO doctor_promotion (id, doctor_id, doctor_rank, since, recorded_by, recorded_at)
            SELECT gen_random_uuid(), id, name_ru,
                   CASE name_ru WHEN 'doctor' THEN date '2026-12-02' ELSE date '2020-01-01' END, 'test', now()
              FROM made
            """
        )
    found = preview(line("CONS", "100.00", "none"))["warnings"]
    assert [(each["code"], each["doctor_rank"]) for each in found] == [("rank_without_price", "candidate")]


# ---- Whether it can be published ----


def test_a_price_of_the_same_first_day_is_a_reason_and_names_the_order():
    first = published(line("MRI-1", "100.00"), since=LATER)
    found = preview(line("MRI-1", "120.00"))
    (reason,) = found["reasons"]
    named = {"article": "MRI-1", "doctor_rank": "none", "order": first.id, "order_number": "1", "order_date": TODAY}
    assert {**reason, **named, "code": "prices_overlap"} == reason
    (warning,) = found["lines"][0]["warnings"]
    assert {**warning, **named, "code": "overlap"} == warning
    assert found["publishable"] is False


def test_who_corrects_what_was_corrected_already_is_told_of_the_correction():
    first = published(line("MRI-1", "100.00"), since=LATER)
    second = published(line("MRI-1", "110.00"), since=LATER, corrects=first.id)
    found = preview(line("MRI-1", "120.00"), corrects=first.id)
    assert codes(found["lines"][0]["warnings"]) == ["replaces_correction"]
    assert found["reasons"][0]["order"] == second.id
    right = preview(line("MRI-1", "120.00"), corrects=second.id)
    assert (right["publishable"], right["lines"][0]["old"]["amount"]) == (True, "110.00")


def test_every_reason_is_there():
    order = draft()
    found = shown(order, today=TODAY + timedelta(days=1))
    assert [(each["code"], each.get("pointer")) for each in found["reasons"]] == [
        ("effective_date_passed", "/effective_from"),
        ("order_empty", None),
    ]
    assert found["publishable"] is False


def test_a_service_that_is_priced_by_rank_no_longer_is_a_reason():
    order = draft(line("CONS", "100.00", "doctor"))
    with change(COMMAND_LINE) as made:
        services.edit(made, services.locked(made.conn, "CONS"), {"priced_by_rank": False})
    assert [(each["code"], each["pointer"]) for each in shown(order)["reasons"]] == [
        ("rank_not_applicable", "/lines/0/doctor_rank")
    ]


def test_a_published_order_has_no_preview():
    with pytest.raises(OrderNotDraft):
        shown(published(line("MRI-1", "100.00")))


def test_a_preview_takes_as_many_statements_for_many_lines_as_for_one():
    articles = [f"S-{number}" for number in range(40)]
    for article in articles:
        given_prices.service(article)
    few, many = (draft(*(line(each, "1.00") for each in some)) for some in (articles[:1], articles))
    assert statements(few) == statements(many) <= 3


def statements(order: price_orders.Order) -> int:
    with db.moment() as conn:
        read = price_orders.get(conn, order.id)
        ordinary, seen = conn.cursor_factory, []

        class Counting(ordinary):  # type: ignore[misc, valid-type]
            def execute(self, *given: Any, **more: Any) -> Any:
                seen.append(given)
                return super().execute(*given, **more)

        conn.cursor_factory = Counting
        try:
            previewing.of(conn, read, TODAY)
        finally:
            conn.cursor_factory = ordinary
    return len(seen)


# ---- Whatever the catalog and the order are ----

RANKED, PLAIN = "CONS", ("MRI-1", "MRI-2")
RANKS = ("none", "candidate", "doctor", "professor")
START = on("2026-11-23")
AMOUNTS = st.sampled_from(["0.00", "1.00", "2.00", "2.01", "3.00"])
KINDS = st.sampled_from(["fixed", "fixed", "from", "on_request", "withdrawn"])


@st.composite
def some_lines(drawn: Any) -> list[Line]:
    places = [(article, None) for article in PLAIN] + [(RANKED, rank) for rank in RANKS]
    chosen = drawn(st.lists(st.sampled_from(places), min_size=1, max_size=5, unique=True))
    whole = drawn(st.booleans())
    lines = []
    for article, rank in chosen:
        kind = drawn(KINDS)
        lines.append(line(article, drawn(AMOUNTS) if kind in ("fixed", "from") else None, rank, kind))
    if whole:
        lines = [each for each in lines if each.article != RANKED] + [line(RANKED, None)]
    return lines


ORDERS = st.lists(
    st.tuples(st.sampled_from(["base", "staff"]), st.integers(0, 3), st.booleans(), some_lines()),
    min_size=1,
    max_size=5,
)


@gives(ORDERS)
@settings(
    max_examples=60,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_what_the_preview_says_comes_true(opened: Any, orders: list[tuple[str, int, bool, list[Line]]]):
    _empty(opened)
    first_of: dict[tuple[str, date], Any] = {}
    for price_list, ahead, corrects, lines in orders:
        since = START + timedelta(days=ahead)
        named = first_of.get((price_list, since)) if corrects else None
        order = draft(*lines, since=since, price_list=price_list, corrects=named)
        before, said = _prices(price_list, since), shown(order)
        for each in said["lines"]:
            assert _told(each["old"]) == before[each["article"], each["doctor_rank"]]
        refusal = _publish(order)
        assert said["publishable"] is (refusal is None)
        if refusal is not None:
            assert refusal.code() in codes(said["reasons"])
            assert _prices(price_list, since) == before
            continue
        first_of[price_list, since] = order.id
        after = _prices(price_list, since)
        told = {(each["article"], each["doctor_rank"]): each for each in said["lines"]}
        assert len(told) == len(said["lines"])
        assert {key: _told(each["new"]) for key, each in told.items()} == {key: after[key] for key in told}
        assert {key: after[key] for key in after.keys() - told.keys()} == {
            key: before[key] for key in before.keys() - told.keys()
        }
        _ends_as_told(price_list, said)
        _ranks_are_as_told(after, before, said)


def _empty(opened: Any) -> None:
    with psycopg.connect(opened.owner, autocommit=True) as owner:
        owner.execute("SET session_replication_role = replica")
        for table in ("price", "price_order_line", "price_order", "medical_service"):
            owner.execute(f"DELETE FROM {table}")
        owner.execute(
            """
            INSERT INTO price_list (code, name_ru, name_en, fallback) VALUES ('staff', 'staff', 'staff', 'base')
            ON CONFLICT DO NOTHING
            """
        )
    for article in PLAIN:
        given_prices.service(article)
    given_prices.service(RANKED, priced_by_rank=True)


def _prices(price_list: str, day: date) -> dict[tuple[str, str], tuple[str, str | None] | None]:
    """Kind and amount of every service and rank as the price question is answered; None without a price."""
    asked = [(article, None) for article in PLAIN] + [(RANKED, rank) for rank in RANKS]
    with db.reading() as conn:
        found = prices.on(conn, price_list, [prices.Wanted(article, rank, day, day) for article, rank in asked])
    return {
        (article, rank or "none"): (
            None if isinstance(each, prices.Unpriced) else (each.kind, money.text_or_none(each.amount))
        )
        for (article, rank), each in zip(asked, found, strict=True)
    }


def _told(shown: Any) -> tuple[str, str | None] | None:
    """The same of a price in the preview; what is withdrawn has none."""
    if shown is None or shown["kind"] == "withdrawn":
        return None
    return shown["kind"], shown["amount"]


def _publish(order: price_orders.Order) -> Problem | None:
    try:
        with change(COMMAND_LINE) as made:
            publishing.publish(made, order.id)
    except Problem as refusal:
        return refusal
    return None


def _ends_as_told(price_list: str, said: Any) -> None:
    for each in said["lines"]:
        if until := each["new"]["valid_until"]:
            rank = each["doctor_rank"] if each["article"] == RANKED else None
            order = answer(each["article"], rank, until, price_list)
            if isinstance(order, prices.Priced):
                (warning,) = [every for every in each["warnings"] if every["code"] == "ends_early"]
                assert warning["order"] == order.order_id


def _ranks_are_as_told(after: Any, before: Any, said: Any) -> None:
    if not any(each["article"] == RANKED for each in said["lines"]):
        assert said["warnings"] == []
        return
    sums = [Decimal(each[1]) for rank in RANKS if (each := after[RANKED, rank]) and each[1] is not None]
    assert ("rank_order_turned" in codes(said["warnings"])) is (sums != sorted(sums))
    priced = {rank for rank in RANKS if after[RANKED, rank]}
    lost = {rank for rank in RANKS if before[RANKED, rank]} - priced if priced else set()
    assert {each["doctor_rank"] for each in said["warnings"] if each["code"] == "rank_without_price"} == lost
