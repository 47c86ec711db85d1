"""Limits: how often something may be done, counted for all processes alike."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from clinic import chores, clock, db, limits
from clinic.errors import DatabaseAway, TooManyRequests
from clinic.limits import Limit

THREE = Limit("three_a_minute", 3, timedelta(minutes=1))
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def after(seconds):
    return clock.frozen(NOON + timedelta(seconds=seconds))


def taken(limit=THREE, key="k"):
    try:
        limits.take(limit, key)
    except TooManyRequests as refusal:
        return int(refusal.headers["Retry-After"])
    return None


def test_so_many_may_come_at_once_and_then_one_at_a_time(opened):
    with after(0):
        assert [taken() for _ in range(5)] == [None, None, None, 20, 20]
    with after(19.5):
        assert taken() == 1
    with after(20):
        assert [taken(), taken()] == [None, 20]
    with after(1000):
        assert [taken() for _ in range(4)] == [None, None, None, 20]


def test_keys_and_names_are_counted_apart(opened):
    with after(0):
        assert [taken(), taken(), taken()] == [None] * 3
        assert taken(key="other") is None
        assert taken(Limit("another", 3, timedelta(minutes=1))) is None
        assert taken() == 20


def test_looking_counts_nothing(opened):
    with after(0):
        for _ in range(10):
            limits.must_have_room(THREE, "k")
        assert [taken() for _ in range(3)] == [None] * 3
        with pytest.raises(TooManyRequests) as refused:
            limits.must_have_room(THREE, "k")
        assert refused.value.headers["Retry-After"] == "20"
    with after(20):
        limits.must_have_room(THREE, "k")


def test_of_many_at_once_no_more_than_allowed_get_through(opened):
    many = Limit("many", 7, timedelta(hours=1))
    with after(0), ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: taken(many), range(40)))
    assert answers.count(None) == 7


def test_without_the_database_nothing_gets_through(opened):
    db.close_pool()
    db.open_pool("postgresql://clinic_app@127.0.0.1:1/none", size=1)
    with pytest.raises(DatabaseAway):
        limits.take(THREE, "k")


def test_a_bucket_that_is_empty_is_forgotten(opened):
    with after(0):
        assert taken() is None
    with after(10):
        chores.registry["limit_purge"].work()
        assert kept() == 1
    with after(21):
        chores.registry["limit_purge"].work()
        assert kept() == 0


def kept():
    with db.reading() as conn:
        return db.value(conn, "SELECT count(*) FROM rate_limit")


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:aaaa::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:bbbb::2", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("", "unknown"),
        (None, "unknown"),
        ("no address", "unknown"),
    ],
)
def test_an_address_of_the_new_kind_counts_by_its_network(address, key):
    assert limits.of_address(address) == key
