"""Orders make prices, end them, and never touch a day that has passed."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from threading import Barrier
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import given as gives
from hypothesis import strategies as st

from catalog import order_lines, price_history, price_orders, prices, publishing, services
from catalog.price_orders import OrderNotDraft, OrderNumberTaken
from catalog.publishing import PricesOverlap
from clinic import clock, db
from clinic.auth import COMMAND_LINE
from clinic.command import change
from clinic.errors import InvalidInput
from tests import given, given_prices
from tests.given_prices import amount, draft, line, published

pytestmark = pytest.mark.usefixtures("opened")


@pytest.fixture(autouse=True)
def a_service(opened):
    given_prices.service("MRI-1")


def day(number: int) -> date:
    """So many days from today."""
    return clock.today() + timedelta(days=number)


def codes(refused: pytest.ExceptionInfo[InvalidInput]) -> list[tuple[str, str]]:
    return [(each.pointer, each.code) for each in refused.value.faults]


def test_a_new_price_begins_on_its_day_and_ends_the_old_one():
    published(line("MRI-1", "100.00"))
    published(line("MRI-1", "120.00"), since=day(10))
    assert [amount("MRI-1", on=day(number)) for number in (0, 9, 10)] == ["100.00", "100.00", "120.00"]


def test_orders_for_the_future_may_be_published_in_any_order():
    published(line("MRI-1", "300.00"), since=day(20))
    published(line("MRI-1", "100.00"))
    published(line("MRI-1", "200.00"), since=day(10))
    assert [amount("MRI-1", on=day(number)) for number in (0, 10, 19, 20)] == ["100.00", "200.00", "200.00", "300.00"]


def test_midnight_in_moscow_brings_the_new_price():
    with given.day("2026-11-14"):
        published(line("MRI-1", "100.00"))
        published(line("MRI-1", "120.00"), since=date(2026, 11, 15))
    with given.day("2026-11-14", at="23:59"):
        assert amount("MRI-1") == "100.00"
    # 21:30 UTC is already tomorrow in Moscow.
    with given.day("2026-11-15", at="00:30"):
        assert amount("MRI-1") == "120.00"


def test_a_withdrawn_service_has_no_price_until_the_next_order():
    published(line("MRI-1", "100.00"))
    published(line("MRI-1", None), since=day(5))
    published(line("MRI-1", "110.00"), since=day(9))
    found = [amount("MRI-1", on=day(number)) for number in (4, 5, 9)]
    assert found == ["100.00", "service_withdrawn", "110.00"]


def test_withdrawn_without_a_rank_is_withdrawn_for_every_rank():
    given_prices.service("CONS", priced_by_rank=True)
    published(line("CONS", "100.00", "none"), line("CONS", "200.00", "doctor"))
    published(line("CONS", None), since=day(1))
    assert {amount("CONS", rank, on=day(1)) for rank in ("none", "doctor", "professor")} == {"service_withdrawn"}


def test_withdrawn_for_one_rank_leaves_the_others():
    given_prices.service("CONS", priced_by_rank=True)
    published(line("CONS", "100.00", "none"), line("CONS", "200.00", "doctor"))
    published(line("CONS", None, "doctor"), since=day(1))
    assert (amount("CONS", "none", on=day(1)), amount("CONS", "doctor", on=day(1))) == ("100.00", "service_withdrawn")


def test_an_order_cannot_take_effect_in_the_past():
    with given.day(day(-1).isoformat()):
        order = draft(line("MRI-1", "100.00"))
    with pytest.raises(InvalidInput) as refused, change(COMMAND_LINE) as made:
        publishing.publish(made, order.id)
    assert codes(refused) == [("/effective_from", "effective_date_passed")]
    with pytest.raises(InvalidInput) as refused:
        draft(line("MRI-1", "100.00"), since=day(-1))
    assert codes(refused) == [("/effective_from", "effective_date_passed")]
    assert amount("MRI-1") == "price_not_set"


@pytest.mark.parametrize("ahead", [0, 7])
def test_a_price_of_the_same_first_day_is_not_replaced_unseen(ahead):
    first = published(line("MRI-1", "100.00"), since=day(ahead))
    with pytest.raises(PricesOverlap) as refused:
        published(line("MRI-1", "120.00"), since=day(ahead))
    rival = {
        "article": "MRI-1", "doctor_rank": "none", "order": first.id, "order_number": "1", "order_date": first.date,
    }  # fmt: skip
    assert refused.value.members == {**rival, "overlaps": [rival]}
    assert amount("MRI-1", on=day(ahead)) == "100.00"


@pytest.mark.parametrize("ahead", [0, 7])
def test_an_order_that_names_the_other_one_corrects_it_and_the_history_shows_both(ahead):
    first = published(line("MRI-1", "100.00"), since=day(ahead))
    second = published(line("MRI-1", "120.00"), since=day(ahead), corrects=first.id)
    assert amount("MRI-1", on=day(ahead)) == "120.00"
    with db.reading() as conn:
        past = price_history.of_every_list(conn, services.get(conn, "MRI-1").id)
    assert [(str(each.amount), each.corrected_by) for each in past] == [("100.00", second.id), ("120.00", None)]


def test_a_correction_of_a_correction_names_the_correction():
    first = published(line("MRI-1", "100.00"))
    second = published(line("MRI-1", "120.00"), corrects=first.id)
    with pytest.raises(PricesOverlap):
        published(line("MRI-1", "130.00"), corrects=first.id)
    published(line("MRI-1", "130.00"), corrects=second.id)
    assert amount("MRI-1") == "130.00"


def test_what_is_corrected_must_be_a_published_order_of_the_list():
    other = draft(line("MRI-1", "100.00"))
    with pytest.raises(InvalidInput) as refused:
        draft(line("MRI-1", "120.00"), corrects=other.id)
    assert codes(refused) == [("/corrects", "unknown_order")]


def test_an_order_is_published_once():
    order = published(line("MRI-1", "100.00"))
    with pytest.raises(OrderNotDraft), change(COMMAND_LINE) as made:
        publishing.publish(made, order.id)


def test_a_draft_prices_nothing():
    draft(line("MRI-1", "100.00"))
    assert amount("MRI-1") == "price_not_set"


def test_all_faults_of_the_lines_come_at_once():
    given_prices.service("CONS", priced_by_rank=True)
    with pytest.raises(InvalidInput) as refused:
        draft(
            line("NO-SUCH", "1.00"),
            line("CONS", "1.00"),
            line("CONS", "1.00", "academician"),
            line("MRI-1", "1.00", "doctor"),
            line("MRI-1", "1.00"),
            line("MRI-1", "2.00", "none"),
        )
    assert codes(refused) == [
        ("/lines/0/article", "unknown_article"),
        ("/lines/1/doctor_rank", "rank_required"),
        ("/lines/2/doctor_rank", "unknown_rank"),
        ("/lines/3/doctor_rank", "rank_not_applicable"),
        ("/lines/4/article", "duplicate_line"),
        ("/lines/5/article", "duplicate_line"),
    ]


def test_numbers_go_up_by_list_and_year():
    with given.day("2026-12-31"):
        numbers = [draft(line("MRI-1", "1.00")).number for _ in range(2)]
        draft(line("MRI-1", "1.00"), number="17")
        numbers.append(draft(line("MRI-1", "1.00")).number)
    with given.day("2027-01-01"):
        numbers.append(draft(line("MRI-1", "1.00")).number)
    assert numbers == ["1", "2", "18", "1"]


def test_a_number_is_used_once_a_year():
    draft(line("MRI-1", "1.00"), number="5-а")
    with pytest.raises(OrderNumberTaken):
        draft(line("MRI-1", "1.00"), number="5-а")


def test_publishing_is_an_event_and_says_who():
    order = published(line("MRI-1", "100.00"))
    assert (order.author, order.published_by) == (COMMAND_LINE.label, COMMAND_LINE.label)
    with db.reading() as conn:
        kinds = [row[0] for row in conn.execute("SELECT type FROM journal WHERE object_id = %s", (order.id,))]
    assert kinds == ["price_order.created", "price_order.published"]


def test_a_service_with_prices_stays_priced_by_rank_or_not():
    published(line("MRI-1", "100.00"))
    with pytest.raises(services.ServiceHasPrices), change(COMMAND_LINE) as made:
        services.edit(made, services.locked(made.conn, "MRI-1"), {"priced_by_rank": True})


def test_the_lines_are_read_back_as_they_were_written():
    lines = [line("MRI-1", None)]
    order = draft(*lines)
    with db.reading() as conn:
        assert order_lines.of(conn, order.id) == lines


def test_of_two_who_publish_the_same_day_at_once_one_is_told_of_the_other():
    orders = [draft(line("MRI-1", f"{rubles}.00")) for rubles in (100, 200)]
    both_ready = Barrier(2)

    def publish(order: price_orders.Order) -> str:
        both_ready.wait()
        try:
            with change(COMMAND_LINE) as made:
                return publishing.publish(made, order.id).status
        except PricesOverlap as overlap:
            return str(overlap.members["order"])

    with ThreadPoolExecutor(2) as threads:
        said = list(threads.map(publish, orders))
    winner = orders[said.index("published")]
    assert sorted(said) == sorted(["published", str(winner.id)])


def test_publishing_does_not_hold_up_those_who_only_refer_to_the_list(opened):
    order = draft(line("MRI-1", "100.00"))
    with change(COMMAND_LINE) as made, psycopg.connect(opened.owner, autocommit=True) as other:
        publishing.publish(made, order.id)
        other.execute("SET lock_timeout = '100ms'")
        assert other.execute("SELECT FROM price_list WHERE code = 'base' FOR KEY SHARE").rowcount == 1


# ---- Whatever the orders are ----

LISTS = ("base", "staff")
ORDERS = st.lists(
    st.tuples(
        st.sampled_from(["publish", "publish", "correct", "sleep"]),
        st.integers(0, 6),
        st.sampled_from(["none", "doctor", None]),
        st.integers(1, 9),
        st.sampled_from(LISTS),
    ),
    min_size=1,
    max_size=12,
)
START = date(2026, 11, 1)
Answers = dict[tuple[str, str, int], str]


@gives(ORDERS)
@settings(
    max_examples=100,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_no_two_prices_no_hole_and_no_change_of_the_past(
    opened: Any, orders: list[tuple[str, int, str | None, int, str]]
):
    _empty(opened)
    today = 0
    known: Answers = {}
    published_on: dict[tuple[str, date], UUID] = {}
    for step, ahead, rank, rubles, price_list in orders:
        if step == "sleep":
            today += ahead
            continue
        since = START + timedelta(days=today + ahead)
        with given.day((START + timedelta(days=today)).isoformat()):
            wanted = line("CONS", f"{rubles}.00", rank) if rank else line("CONS", None)
            corrects = published_on.get((price_list, since)) if step == "correct" else None
            try:
                order = published(wanted, since=since, corrects=corrects, price_list=price_list)
                published_on[price_list, since] = order.id
            except PricesOverlap:
                assert (price_list, since) in published_on
        now = _answers()
        _past_stays(known, now, today)
        known = now
        _no_hole(known)
    _nothing_overlaps(opened)
    _every_correction_is_in_the_history()


def _past_stays(before: Answers, now: Answers, today: int) -> None:
    """A correction begins today or later, so no day that is over is ever answered otherwise."""
    past = {key: value for key, value in before.items() if key[2] < today}
    assert {key: now[key] for key in past} == past


def _no_hole(answers: Answers) -> None:
    for price_list in LISTS:
        for rank in ("none", "doctor"):
            found = [answers[price_list, rank, number] for number in range(DAYS)]
            begun = [value for value in found if value != "price_not_set"]
            assert found == ["price_not_set"] * (len(found) - len(begun)) + begun, "a hole in the prices"


DAYS = 40


def _answers() -> Answers:
    """What a rank costs in a list how many days after the start, or why it costs nothing."""
    answers = {}
    asked = [(rank, number) for rank in ("none", "doctor") for number in range(DAYS)]
    days = [START + timedelta(days=number) for _, number in asked]
    wanted = [prices.Wanted("CONS", rank, on, on) for (rank, _), on in zip(asked, days, strict=True)]
    for price_list in LISTS:
        with db.reading() as conn:
            found = prices.on(conn, price_list, wanted)
        for (rank, number), each in zip(asked, found, strict=True):
            said = each.code if isinstance(each, prices.Unpriced) else f"{each.price_list} {each.amount}"
            answers[price_list, rank, number] = said
    return answers


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
    given_prices.service("CONS", priced_by_rank=True)


def _nothing_overlaps(opened: Any) -> None:
    with db.reading() as conn:
        overlapping = db.value(
            conn,
            """
            SELECT count(*) FROM price AS one JOIN price AS two
                ON (one.service_id, one.doctor_rank, one.price_list) = (two.service_id, two.doctor_rank, two.price_list)
               AND one.id < two.id AND one.valid && two.valid
             WHERE one.corrected_by IS NULL AND two.corrected_by IS NULL
            """,
        )
    assert overlapping == 0


def _every_correction_is_in_the_history() -> None:
    with db.reading() as conn:
        past = price_history.of_every_list(conn, services.get(conn, "CONS").id)
    made_by = {(each.order_id, each.price_list, each.doctor_rank, each.valid_from) for each in past}
    for each in past:
        if each.corrected_by is not None:
            assert (each.corrected_by, each.price_list, each.doctor_rank, each.valid_from) in made_by
