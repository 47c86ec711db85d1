"""The price question has one answer: one price, or a named reason why there is none."""

from datetime import date, timedelta
from decimal import Decimal

import psycopg
import pytest
from psycopg import errors as pg

from catalog import prices, services
from catalog.prices import Priced, Unpriced, Wanted
from clinic import clock, db
from clinic.auth import COMMAND_LINE
from clinic.command import change
from clinic.errors import InvalidInput
from tests import given, given_prices
from tests.given_prices import amount, answer, line

pytestmark = pytest.mark.usefixtures("opened")

FIRST_DAY = date.fromisoformat(given.FIRST_DAY)


def test_the_seven_real_prices_are_answered_with_their_reason():
    given.sample()
    for article, rank, rubles in given.REAL:
        found = answer(article, rank)
        assert (found.amount, found.kind) == (Decimal(rubles), "fixed")
        assert (found.price_list, found.order_number, found.order_date) == ("base", "1", FIRST_DAY)
        assert not found.fallback


def test_all_lines_are_answered_in_their_order():
    given.sample()
    day = clock.today()
    wanted = [
        Wanted("CT-ABD-RP", None, day, day),
        Wanted("NO-SUCH", None, day, day),
        Wanted("US-LIVER", None, day, day),
    ]
    with db.reading() as conn:
        priced, unknown, on_request = prices.on(conn, "base", wanted)
    assert isinstance(priced, Priced)
    assert isinstance(unknown, Unpriced)
    assert isinstance(on_request, Priced)
    assert priced.amount == Decimal("8840.00")
    assert (unknown.member, unknown.code) == ("article", "unknown_article")
    assert (on_request.kind, on_request.amount) == ("on_request", None)


@pytest.mark.parametrize(
    ("article", "rank", "code"),
    [
        ("NO-SUCH", None, "unknown_article"),
        ("ONC-CONS-1", "academician", "unknown_rank"),
        ("ONC-CONS-1", None, "rank_required"),
        ("CT-ABD-RP", "doctor", "rank_not_applicable"),
        ("ONC-CONS-1", "professor", "price_not_set"),
    ],
)
def test_without_a_price_the_reason_has_a_name(article, rank, code):
    given.sample()
    assert amount(article, rank) == code


def test_a_rank_is_named_only_where_the_price_depends_on_it():
    given.sample()
    assert answer("ONC-CONS-1", "candidate").rank_name_ru == "к.м.н."
    assert answer("CT-ABD-RP", "none").rank_name_ru is None


def test_before_the_first_order_nothing_had_a_price():
    given.sample()
    assert amount("CT-ABD-RP", on=FIRST_DAY - timedelta(days=1)) == "price_not_set"


def test_a_service_no_longer_sold_is_withdrawn():
    given_prices.service("MRI-1", active=False)
    given_prices.published(line("MRI-1", "100.00"))
    assert amount("MRI-1") == "service_withdrawn"


def test_a_service_sold_no_longer_keeps_its_price_of_the_days_before():
    with given.day("2026-11-23"):
        given_prices.service("MRI-1")
        given_prices.published(line("MRI-1", "100.00"))
    with given.day("2026-12-01"), change(COMMAND_LINE) as made:
        services.edit(made, services.locked(made.conn, "MRI-1"), {"active": False})
    assert amount("MRI-1", on=given_prices.on("2026-11-30")) == "100.00"
    assert amount("MRI-1", on=given_prices.on("2026-12-01")) == "service_withdrawn"


def test_an_unknown_price_list_is_refused():
    given.sample()
    with pytest.raises(InvalidInput) as refused:
        amount("CT-ABD-RP", price_list="no-such")
    assert [(each.pointer, each.code) for each in refused.value.faults] == [("/price_list", "unknown_price_list")]


def test_vat_of_a_taxable_service_is_22_percent_from_2026_on():
    given_prices.service("COPY", vat_category="standard")
    given_prices.published(line("COPY", "300.00"))
    today = clock.today()
    with db.reading() as conn:
        before, after = prices.on(
            conn,
            "base",
            [Wanted("COPY", None, today, date(2025, 12, 31)), Wanted("COPY", None, today, date(2026, 1, 1))],
        )
    assert [each.vat_rate for each in (before, after) if isinstance(each, Priced)] == [20, 22]


def test_exempt_is_not_zero_percent():
    given_prices.service("EXEMPT")
    given_prices.service("ZERO", vat_category="zero")
    given_prices.published(line("EXEMPT", "1.00"), line("ZERO", "1.00"))
    assert (answer("EXEMPT").vat_rate, answer("ZERO").vat_rate) == (None, 0)


class TestAListThatFallsBack:
    @pytest.fixture(autouse=True)
    def staff_list(self, opened):
        with psycopg.connect(opened.owner, autocommit=True) as owner:
            owner.execute("INSERT INTO price_list VALUES ('staff', 'Сотрудники', 'Staff', false, 'base')")
        given_prices.service("MRI-1")

    def test_answers_with_the_other_lists_price_and_says_so(self):
        given_prices.published(line("MRI-1", "100.00"))
        found = answer("MRI-1", price_list="staff")
        assert (found.amount, found.price_list, found.fallback) == (100, "base", True)

    def test_prefers_its_own(self):
        given_prices.published(line("MRI-1", "100.00"))
        given_prices.published(line("MRI-1", "70.00"), price_list="staff")
        found = answer("MRI-1", price_list="staff")
        assert (found.amount, found.fallback) == (70, False)

    def test_does_not_fall_back_from_a_withdrawal(self):
        given_prices.published(line("MRI-1", "100.00"))
        given_prices.published(line("MRI-1", None), price_list="staff")
        assert amount("MRI-1", price_list="staff") == "service_withdrawn"
        assert amount("MRI-1") == "100.00"

    def test_never_falls_back_to_another_rank(self):
        given_prices.service("CONS", priced_by_rank=True)
        given_prices.published(line("CONS", "100.00", "none"))
        assert amount("CONS", "doctor", price_list="staff") == "price_not_set"


class TestTheDatabase:
    @pytest.fixture
    def owner(self, opened):
        given.sample()
        with psycopg.connect(opened.owner, autocommit=True) as owner:
            yield owner

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE price SET amount = 1 WHERE amount IS NOT NULL",
            "UPDATE price SET kind = 'from' WHERE kind = 'fixed'",
            "UPDATE price SET valid = daterange(lower(valid) - 1, NULL)",
            "UPDATE price SET doctor_rank = 'professor'",
            "DELETE FROM price",
            "TRUNCATE price",
            "UPDATE price_order SET note = 'x'",
            "UPDATE price_order SET status = 'draft', published_at = NULL, published_by = NULL",
            "DELETE FROM price_order_line",
            "UPDATE price_order_line SET amount = 1 WHERE amount IS NOT NULL",
            "UPDATE medical_service SET article = 'X' || article",
            "DELETE FROM medical_service",
        ],
    )
    def test_keeps_what_is_published_even_from_its_owner(self, owner, statement):
        with pytest.raises(pg.RestrictViolation):
            owner.execute(statement)

    def test_lets_no_two_prices_overlap(self, owner):
        with pytest.raises(pg.ExclusionViolation):
            owner.execute(
                """
                INSERT INTO price (id, service_id, doctor_rank, price_list, kind, amount, valid, order_id)
                SELECT gen_random_uuid(), service_id, doctor_rank, price_list, kind, amount, valid, order_id FROM price
                """
            )

    @pytest.mark.parametrize("valid", ["empty", "(,2030-01-01)", "[-infinity,)", "[2026-01-01,infinity)"])
    def test_takes_no_period_that_would_overlap_nothing(self, owner, valid):
        with pytest.raises(pg.CheckViolation):
            owner.execute(
                """
                INSERT INTO price (id, service_id, doctor_rank, price_list, kind, amount, valid, order_id)
                SELECT gen_random_uuid(), service_id, doctor_rank, price_list, kind, amount, %s::daterange, order_id
                  FROM price LIMIT 1
                """,
                (valid,),
            )

    def test_takes_no_amount_that_would_be_rounded(self, owner):
        with pytest.raises(pg.CheckViolation):
            owner.execute(
                "INSERT INTO price_order_line SELECT order_id, 99, service_id, 'professor', 'fixed', 1.005"
                " FROM price_order_line LIMIT 1"
            )

    @pytest.mark.parametrize("table", ["price", "price_order", "medical_service", "category", "catalog_version"])
    def test_gives_the_application_no_right_to_delete(self, owner, table):
        with psycopg.connect(owner.info.dsn) as other:
            other.execute("SET ROLE clinic_app")
            with pytest.raises(pg.InsufficientPrivilege):
                other.execute(f"DELETE FROM {table}")
