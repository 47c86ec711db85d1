"""The event feed: nothing skipped, nothing of others shown, and readers that wait hold nothing up."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from random import uniform
from uuid import uuid4

import pytest

from clinic import db, event_feed, journal
from clinic.auth import COMMAND_LINE
from clinic.command import change
from clinic.event_feed import Wanted
from tests import given
from tests.conftest import SETTINGS
from tests.given import faults, made
from tests.running import soon
from wsgi import create_app


def happen(*types, branch_id=None, object_id=None):
    """Have events of these types, in one command."""
    with change(COMMAND_LINE) as made_:
        for each in types:
            made_.record(each, object_id or uuid4(), branch_id)


def page(position=0, limit=500, **wanted):
    with db.reading() as conn:
        return event_feed.after(conn, position, limit, Wanted(**wanted))


def branch_ids():
    """Two further branches."""
    with change(COMMAND_LINE) as made_:
        rows = made_.conn.execute(
            """
            INSERT INTO branch (id, code, name, prefix, created_at)
            VALUES (gen_random_uuid(), 'north', 'Север', 'С', now()), (gen_random_uuid(), 'south', 'Юг', 'Ю', now())
            RETURNING id
            """
        ).fetchall()
    return [row[0] for row in rows]


# ---- Nothing is skipped ----


def test_no_event_of_eight_writers_is_skipped_however_late_they_commit(database_url):
    db.open_pool(database_url.app, size=10)
    try:
        writers, each_writes = 8, 25
        seen: list[int] = []

        def write(_number):
            for _ in range(each_writes):
                with change(COMMAND_LINE) as made_:
                    # The number is taken, and the row lies there unseen while others come.
                    event = journal.Event("visit.noted", "visit", uuid4(), None, {})
                    made_.conn.execute(
                        "SELECT journal_append(%s::jsonb, now(), 'command:late', NULL)", (journal.packed([event]),)
                    )
                    time.sleep(uniform(0, 0.004))

        def read():
            position, end = 0, time.monotonic() + 30
            while len(seen) < writers * each_writes and time.monotonic() < end:
                with db.seeing(None):
                    found = page(position, 3)
                seen.extend(entry.position for entry in found.entries)
                position = found.next
                time.sleep(0.005)

        with ThreadPoolExecutor(writers + 1) as pool:
            reader = pool.submit(read)
            for each in [pool.submit(write, number) for number in range(writers)]:
                each.result()
            reader.result()
        assert seen == list(range(1, writers * each_writes + 1))
    finally:
        db.close_pool()


def test_a_page_looks_through_so_many_positions_and_says_that_there_are_more(opened, monkeypatch):
    monkeypatch.setattr(event_feed, "SCAN", 10)
    happen(*["visit.noted"] * 25, "visit.closed")
    first = page(types=("visit.closed",))
    assert (first.entries, first.next, first.more) == ([], 10, True)
    second = page(first.next, types=("visit.closed",))
    assert (second.entries, second.next, second.more) == ([], 20, True)
    third = page(second.next, types=("visit.closed",))
    assert ([each.position for each in third.entries], third.next, third.more) == ([26], 26, False)


def test_the_events_of_one_object_are_found_at_once_however_far_they_lie(opened, monkeypatch):
    monkeypatch.setattr(event_feed, "SCAN", 10)
    mine = uuid4()
    happen("visit.noted", object_id=mine)
    happen(*["visit.noted"] * 25)
    happen("visit.closed", object_id=mine)
    found = page(object_id=mine)
    assert ([each.position for each in found.entries], found.next, found.more) == ([1, 27], 27, False)
    found = page(limit=1, object_id=mine)
    assert ([each.position for each in found.entries], found.next, found.more) == ([1], 1, True)


# ---- What a reader asks for, and what he may see ----


@pytest.mark.parametrize(
    ("types", "positions"),
    [
        ("invoice.issued", [2]),
        ("invoice.*", [2, 3]),
        ("invoice.issued,quote.*", [1, 2]),
        ("*", [1, 2, 3, 4]),
        ("shift.opened", []),
        ("invoice_line.*", [4]),
    ],
)
def test_a_reader_asks_for_types(app, types, positions):
    happen("quote.created", "invoice.issued", "invoice.cancelled", "invoice_line.made")
    reader = given.caller(app, "events:read")  # which is event 5
    found = made(reader.get(f"/v1/events?after=1&type={types}"))
    assert [each["position"] - 1 for each in found["events"] if each["type"] != "api_key.created"] == positions
    assert (found["next"], found["more"]) == (6, False)


@pytest.mark.parametrize("types", ["invoice", "invoice.", ".*", "invoice.*.*", "*,", "Invoice.issued", "%25.issued"])
def test_what_is_no_type_is_refused(app, types):
    reader = given.caller(app, "events:read")
    assert faults(reader.get(f"/v1/events?type={types}")) == [("?type", "wrong_form")]


def test_a_reader_asks_for_one_object(clinic):
    quote = clinic.quote(("CT-ABD-RP", None))
    clinic.quote(("CT-ABD-RP", None))
    clinic.invoice(quote)
    found = made(clinic.get(f"/v1/events?object={quote['id']}"))
    assert [each["type"] for each in found["events"]] == ["quote.created", "quote.accepted"]


def test_another_branchs_events_are_gaps_that_next_passes_over(app):
    north, south = branch_ids()
    reader = given.caller(app, "events:read", branch="north")
    start = made(reader.get("/v1/events"))["next"]
    happen("visit.noted", branch_id=south)
    happen("visit.noted", branch_id=north)
    happen("visit.noted", "visit.closed", branch_id=south)
    found = made(reader.get(f"/v1/events?after={start}"))
    assert [each["position"] for each in found["events"]] == [start + 2]
    assert (found["next"], found["more"]) == (start + 4, False)
    # Asking for another branch's object says no more than asking for one that is not there.
    happen("visit.noted", branch_id=south, object_id=south)
    assert made(reader.get(f"/v1/events?object={south}"))["events"] == []


def test_events_need_their_scope(app):
    refused = given.caller(app, "invoices:read").get("/v1/events")
    assert (refused.status_code, refused.get_json()["scope"]) == (403, "events:read")


# ---- Waiting ----


@pytest.fixture
def roomy(opened):
    """A server process of 20 threads over a pool of four connections: ten callers may wait."""
    app = create_app(replace(SETTINGS, threads=20))
    given.main_branch()
    return given.caller(app, "*")


def test_ten_callers_that_wait_hold_no_connection_and_hear_of_the_next_event(roomy):
    position = len(roomy.events())
    with ThreadPoolExecutor(10) as pool:
        asked = [pool.submit(roomy.get, f"/v1/events?after={position}&wait=10") for _ in range(10)]
        assert soon(lambda: event_feed._watch._waiting == 10), "they do not wait"
        lent = []
        for _ in range(50):
            lent.append(db._opened().lent)
            time.sleep(0.01)
        # The one that asks for the journal's head for all of them, now and then.
        assert max(lent) <= 1, lent
        assert lent.count(0) > 30, lent
        began = time.monotonic()
        assert roomy.get("/v1/branches").status_code == 200
        assert time.monotonic() - began < 1
        happen("visit.noted")
        answers = [made(each.result(5)) for each in asked]
    assert [[event["type"] for event in each["events"]] for each in answers] == [["visit.noted"]] * 10
    assert soon(lambda: not event_feed._watch._asks), "somebody goes on asking though nobody waits"


def test_one_more_than_may_wait_is_answered_at_once(roomy):
    position = len(roomy.events())
    with ThreadPoolExecutor(10) as pool:
        asked = [pool.submit(roomy.get, f"/v1/events?after={position}&wait=10") for _ in range(10)]
        assert soon(lambda: event_feed._watch._waiting == 10), "they do not wait"
        began = time.monotonic()
        assert made(roomy.get(f"/v1/events?after={position}&wait=10")) == {
            "events": [], "next": position, "more": False,
        }  # fmt: skip
        assert time.monotonic() - began < 2
        happen("visit.noted")
        for each in asked:
            made(each.result(5))


def test_a_wait_ends_with_its_seconds(roomy):
    position = len(roomy.events())
    began = time.monotonic()
    assert made(roomy.get(f"/v1/events?after={position}&wait=1"))["events"] == []
    assert 0.9 < time.monotonic() - began < 4


def test_who_waits_for_one_type_is_not_woken_by_others_and_yet_moves_on(roomy):
    position = len(roomy.events())
    stir = threading.Timer(0.3, happen, ["visit.noted"])
    stir.start()
    found = made(roomy.get(f"/v1/events?after={position}&wait=1&type=invoice.*"))
    stir.join()
    assert found == {"events": [], "next": position + 1, "more": False}
