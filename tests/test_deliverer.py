"""The deliverer as a process: killed in the middle, stopped, cut off from its database; every event is heard of."""

from __future__ import annotations

import signal
import threading
import time
from dataclasses import replace

import psycopg
import pytest

from clinic import db
from tests import given
from tests.conftest import SETTINGS
from tests.given_webhooks import HERE, Receiver, deliveries, happen, state, webhook
from tests.running import Deliverer, soon
from wsgi import create_app

pytestmark = pytest.mark.xdist_group("server")


@pytest.fixture
def admin(opened):
    app = create_app(replace(SETTINGS, webhooks_allow=HERE))
    given.main_branch()
    return given.caller(app, "*")


@pytest.fixture
def receiver():
    with Receiver() as receiver:
        yield receiver


def give_up_for_dead(urls):
    """A quarter of a minute passes in which nobody finishes what was begun."""
    with psycopg.connect(urls.owner) as conn:
        conn.execute("UPDATE webhook_delivery SET claimed_until = claimed_until - interval '16 seconds'")


def test_one_killed_in_the_middle_leaves_its_messages_to_the_next_with_the_same_ids_and_bytes(opened, admin, receiver):
    made = webhook(admin, receiver.url, "visit.*")
    receiver.hold = threading.Event()
    happen(*["visit.noted"] * 6)
    with Deliverer(opened) as first:
        assert soon(lambda: len(receiver.received) == 4, 20), first.words()
        first.end(signal.SIGKILL)
    receiver.hold.set()
    begun = {each.id: each.body for each in receiver.received}
    assert state(admin, made)["waiting"] == 6
    with Deliverer(opened) as second:
        give_up_for_dead(opened)
        assert soon(lambda: state(admin, made)["waiting"] == 0, 20), second.words()
        assert second.end(signal.SIGTERM) == 0
    wanted = {each["id"] for each in admin.events() if each["type"] == "visit.noted"}
    assert set(receiver.ids) == wanted
    again = receiver.received[4:]
    assert {each.id for each in again} == wanted
    assert all(begun.get(each.id, each.body) == each.body for each in again)


def test_sigterm_lets_the_attempts_under_way_end_and_begins_no_other(opened, admin, receiver):
    made = webhook(admin, receiver.url, "visit.*")
    receiver.hold = threading.Event()
    happen("visit.noted")
    with Deliverer(opened) as process:
        assert soon(lambda: len(receiver.received) == 1, 20), process.words()
        process.process.send_signal(signal.SIGTERM)
        happen("visit.closed")
        time.sleep(0.5)
        receiver.hold.set()
        assert process.process.wait(10) == 0
        assert process.words() == ""
    assert [each["status"] for each in deliveries(admin, made)] == ["delivered"]
    assert receiver.types == ["visit.noted"]


def test_an_idle_one_stops_at_once(opened, admin, receiver):
    webhook(admin, receiver.url, "visit.*")
    happen("visit.noted")
    with Deliverer(opened) as process:
        assert soon(lambda: len(receiver.received) == 1, 20), process.words()
        time.sleep(0.5)
        began = time.monotonic()
        assert process.end(signal.SIGTERM) == 0
        assert time.monotonic() - began < 2


def test_an_event_is_heard_of_within_a_moment(opened, admin, receiver):
    webhook(admin, receiver.url, "visit.*")
    with Deliverer(opened) as process:
        happen("visit.noted")
        assert soon(lambda: len(receiver.received) == 1, 20), process.words()
        took = []
        for number in range(2, 6):
            began = time.monotonic()
            happen("visit.noted")
            assert soon(lambda many=number: len(receiver.received) == many, 10), process.words()  # type: ignore[misc]
            took.append(time.monotonic() - began)
        assert min(took) < 1, took


def test_one_that_loses_its_connections_goes_on(opened, admin, receiver):
    made = webhook(admin, receiver.url, "visit.*")
    with Deliverer(opened) as process:
        happen("visit.noted")
        assert soon(lambda: len(receiver.received) == 1, 20), process.words()
        with psycopg.connect(opened.owner, autocommit=True) as conn:
            for _ in range(5):
                conn.execute(
                    """
                    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                     WHERE datname = current_database() AND pid <> pg_backend_pid() AND usename = 'clinic_app'
                    """
                )
                time.sleep(0.1)
        # The connections of this process were closed with the others.
        db.close_pool()
        db.open_pool(opened.app, size=4)
        happen("visit.closed")
        assert soon(lambda: receiver.types[-1] == "visit.closed", 20), process.words()
        assert process.process.poll() is None
        # What it could not note down is given up for dead after a quarter of a minute, and sent again.
        assert soon(lambda: state(admin, made)["waiting"] == 0, 30), process.words()
