"""What receivers hear: every event, with the same id and bytes however often, for as long as it takes."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import standardwebhooks

from clinic import addresses, chores, clock, db, deliveries, delivering, sealing, webhooks
from clinic.deliverer import Deliverer
from clinic.journal import Entry
from clinic.sending import Outcome
from tests import given
from tests.conftest import SETTINGS
from tests.given import faults, made
from tests.given_webhooks import (
    HERE,
    Receiver,
    answered,
    deliver,
    happen,
    state,
    webhook,
)
from tests.given_webhooks import deliveries as sent_to
from tests.running import soon
from wsgi import create_app

START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


@pytest.fixture
def admin(opened):
    # As the deliverer's own process has it: each of its threads sees every branch.
    db.open_pool(opened.app, size=4, worker=True)
    app = create_app(replace(SETTINGS, webhooks_allow=HERE))
    given.main_branch()
    return given.caller(app, "*")


@pytest.fixture
def receiver():
    with Receiver() as receiver:
        yield receiver


@contextmanager
def later(**passed):
    """So much time after the start."""
    with clock.frozen(START + timedelta(**passed)):
        yield


def verified(secret, received):
    """What a receiver reads, by the specification's own library; it raises what it does not believe."""
    return standardwebhooks.Webhook(secret).verify(received.body, dict(received.headers))


# ---- What is sent ----


def test_an_event_is_sent_as_the_feed_tells_it_and_signed_as_the_specification_says(admin, receiver):
    made_ = webhook(admin, receiver.url, "quote.*")
    happen("quote.sent", "invoice.issued")
    deliver()
    (received,) = receiver.received
    told = verified(made_["secret"], received)
    (event,) = [each for each in admin.events() if each["type"] == "quote.sent"]
    assert told == {**event, "timestamp": event["at"]}
    assert received.id == event["id"]
    assert received.path == "/hook?of=clinic"
    assert received.headers["content-type"] == "application/json"
    assert received.headers["host"] == receiver.url.split("/")[2]
    (delivery,) = sent_to(admin, made_)
    assert (delivery["status"], delivery["type"], delivery["position"]) == (
        "delivered",
        "quote.sent",
        event["position"],
    )
    assert [(each["status"], each["error"]) for each in delivery["attempts"]] == [(204, None)]


def test_the_bytes_of_an_event_never_change():
    entry = Entry(17, uuid4(), "invoice.issued", 1, START, "key:1", "invoice", uuid4(), {"total": "1.00"})
    assert deliveries.body(entry) == (
        f'{{"position":17,"id":"{entry.id}","type":"invoice.issued","version":1,"at":"2026-11-23T09:00:00Z",'
        f'"actor":"key:1","object":{{"type":"invoice","id":"{entry.object_id}"}},"data":{{"total":"1.00"}},'
        '"timestamp":"2026-11-23T09:00:00Z"}'
    )


def test_s31_another_secret_another_body_or_a_moment_long_past_is_not_believed(admin, receiver):
    made_ = webhook(admin, receiver.url, "visit.*")
    happen("visit.noted")
    deliver()
    (received,) = receiver.received
    verified(made_["secret"], received)
    for forged in (
        replace(received, body=received.body + b" "),
        replace(received, headers={**received.headers, "webhook-id": "another"}),
        replace(received, headers={**received.headers, "webhook-timestamp": str(int(time.time()) - 200)}),
    ):
        with pytest.raises(standardwebhooks.WebhookVerificationError, match="No matching signature"):
            verified(made_["secret"], forged)
    other = made(admin.post(f"/v1/webhooks/{made_['id']}/rotate-secret", {"overlap_hours": 0}))["secret"]
    with pytest.raises(standardwebhooks.WebhookVerificationError, match="No matching signature"):
        verified(other, received)


def by_hand():
    """The function that docs/webhooks.md shows."""
    shown = (Path(__file__).parents[1] / "docs" / "webhooks.md").read_text()
    names: dict[str, Any] = {}
    exec(shown.rpartition("```python\n")[2].partition("```")[0], names)  # noqa: S102 — a page of ours
    return names["is_ours"]


def test_s31_the_verification_by_hand_that_the_docs_show_believes_the_same(admin, receiver):
    made_ = webhook(admin, receiver.url, "visit.*")
    happen("visit.noted")
    deliver()
    (received,) = receiver.received
    is_ours = by_hand()
    assert is_ours(made_["secret"], received.headers, received.body)
    assert not is_ours(made_["secret"], received.headers, received.body + b" ")
    old = str(int(received.headers["webhook-timestamp"]) - 301)
    assert not is_ours(made_["secret"], {**received.headers, "webhook-timestamp": old}, received.body)


@pytest.mark.parametrize(("age", "believed"), [(0, True), (290, True), (-290, True), (301, False), (-301, False)])
def test_s31_a_message_is_believed_within_300_seconds_of_its_time_and_no_longer(admin, receiver, age, believed):
    """By the specification's own library, and as the docs show it by hand; also one that says it is yet to come."""
    made_ = webhook(admin, receiver.url, "visit.*")
    happen("visit.noted")
    with clock.frozen(datetime.now(UTC) - timedelta(seconds=age)):
        deliver()
    (received,) = receiver.received
    assert by_hand()(made_["secret"], received.headers, received.body) is believed
    if believed:
        verified(made_["secret"], received)
    else:
        with pytest.raises(standardwebhooks.WebhookVerificationError, match=r"too (old|new)"):
            verified(made_["secret"], received)
        # Its time is signed: who sends it again cannot make it younger.
        younger = {**received.headers, "webhook-timestamp": str(int(time.time()))}
        with pytest.raises(standardwebhooks.WebhookVerificationError, match="No matching signature"):
            verified(made_["secret"], replace(received, headers=younger))


def test_s31_while_a_secret_rotates_either_verifies_and_then_only_the_new_one(admin, receiver):
    old = webhook(admin, receiver.url, "visit.*")
    new = made(admin.post(f"/v1/webhooks/{old['id']}/rotate-secret", {"overlap_hours": 2}))
    happen("visit.noted")
    deliver()
    assert receiver.received[0].headers["webhook-signature"].count("v1,") == 2
    for secret in (old["secret"], new["secret"]):
        verified(secret, receiver.received[0])
    with clock.frozen(datetime.now(UTC) + timedelta(hours=2, seconds=1)):
        happen("visit.closed")
        deliver()
    assert receiver.types == ["visit.noted", "visit.closed"]
    assert receiver.received[1].headers["webhook-signature"].count("v1,") == 1


def test_s31_what_is_sent_again_after_a_rotation_has_its_id_and_bytes_and_a_new_signature(admin, receiver):
    old = webhook(admin, receiver.url, "visit.*")
    receiver.answer = 500
    with later():
        happen("visit.noted")
        deliver()
        new = made(admin.post(f"/v1/webhooks/{old['id']}/rotate-secret", {"overlap_hours": 0}))
    receiver.answer = 204
    with clock.frozen(datetime.now(UTC) + timedelta(days=1)):
        deliver()
    first, second = receiver.received
    assert (first.id, first.body) == (second.id, second.body)
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]
    assert new["secret"] != old["secret"]


def test_a_test_message_says_nothing_but_that_it_came(admin, receiver):
    made_ = webhook(admin, receiver.url, "invoice.*")
    answer = admin.post(f"/v1/webhooks/{made_['id']}/test")
    assert (answer.status_code, answer.get_json()["status"]) == (202, "waiting")
    deliver()
    told = verified(made_["secret"], receiver.received[0])
    assert (told["type"], told["position"], told["data"]) == ("webhook.ping", 0, {})
    assert sent_to(admin, made_)[0]["status"] == "delivered"


@pytest.mark.parametrize(
    ("events", "heard"),
    [
        (["invoice.issued"], ["invoice.issued"]),
        (["invoice.*", "quote.sent"], ["quote.sent", "invoice.issued", "invoice.cancelled"]),
        (["*"], ["quote.sent", "invoice.issued", "invoice.cancelled", "invoice_line.made"]),
        (["shift.*"], []),
    ],
)
def test_an_endpoint_hears_of_the_events_it_asked_for(admin, receiver, events, heard):
    made_ = webhook(admin, receiver.url, *events)
    happen("quote.sent", "invoice.issued", "invoice.cancelled", "invoice_line.made")
    deliver()
    # Several are sent at once, so their order is not told.
    assert sorted(each for each in receiver.types if each != "webhook.created") == sorted(heard)
    assert state(admin, made_)["lag_seconds"] is None


def test_an_endpoint_of_a_branch_hears_of_its_own_branch_and_of_what_is_of_none(admin, receiver):
    made(admin.post("/v1/branches", {"code": "north", "name": "Север", "prefix": "С"}))
    made(admin.post("/v1/branches", {"code": "south", "name": "Юг", "prefix": "Ю"}))
    with db.reading() as conn:
        ids = dict(conn.execute("SELECT code, id FROM branch").fetchall())
    made_ = webhook(given.caller(admin.app, "*", branch="north"), receiver.url, "visit.*")
    happen("visit.noted", branch_id=ids["south"])
    happen("visit.closed", branch_id=ids["north"])
    happen("visit.forgotten")
    deliver()
    assert sorted(receiver.types) == ["visit.closed", "visit.forgotten"]
    # Nor by a replay, of a range or by name.
    foreign = next(each for each in admin.events() if each["type"] == "visit.noted")
    path = f"/v1/webhooks/{made_['id']}/replay"
    assert faults(admin.post(path, {"event": foreign["id"]})) == [("/event", "unknown_event")]
    assert admin.post(path, {"from": 1, "to": 50}).get_json() == {"deliveries": 2}


# ---- Nothing is lost ----


def test_events_of_eight_writers_that_commit_late_are_all_delivered_once(database_url, receiver):
    # As the deliverer's own process has it: its threads see every branch.
    db.open_pool(database_url.app, size=16, worker=True)
    try:
        app = create_app(replace(SETTINGS, webhooks_allow=HERE))
        given.main_branch()
        admin = given.caller(app, "*")
        made_ = webhook(admin, receiver.url, "visit.*")
        over = threading.Event()

        def write(_number):
            for _ in range(12):
                happen("visit.noted", "visit.closed")
                time.sleep(0.002)

        def work():
            deliverer = Deliverer(addresses.allowed(HERE))
            while not over.is_set():
                deliverer.turn()
                time.sleep(0.005)
            deliverer.wait()
            deliverer.stop()

        with ThreadPoolExecutor(10) as pool:
            workers = [pool.submit(work) for _ in range(2)]  # two deliverers beside each other
            try:
                for each in [pool.submit(write, number) for number in range(8)]:
                    each.result()
                assert soon(lambda: len(receiver.received) >= 192, 30), len(receiver.received)
            finally:
                over.set()  # or the deliverers would go on for ever
            for each in workers:
                each.result()
        wanted = [each["id"] for each in admin.events() if each["object"]["type"] == "visit"]
        assert len(wanted) == 192
        assert sorted(receiver.ids) == sorted(wanted)
        assert state(admin, made_)["waiting"] == 0
    finally:
        db.close_pool()


def test_a_receiver_down_for_two_days_hears_of_everything_when_it_is_back(admin, receiver):
    made_ = webhook(admin, receiver.url, "visit.*")
    receiver.answer = 503
    hour, happened = 0, 0
    while hour < 48:
        with later(hours=hour):
            if hour % 6 == 0:
                happen("visit.noted")
                happened += 1
            deliver()
        hour += 1
    with later(hours=48):
        during = state(admin, made_)
    assert (during["status"], during["waiting"], during["dead"], during["lag_seconds"]) == (
        "enabled", happened, 0, 48 * 3600,
    )  # fmt: skip
    assert during["failures"] >= webhooks.TRIPS_AT
    # It was left in peace: an attempt each quarter of an hour at the most, and here each hour has one.
    assert len(receiver.received) < 48 + 12
    tried = {each.id: each.body for each in receiver.received}
    receiver.answer = 204
    receiver.received.clear()
    with later(hours=48, minutes=16):
        deliver()
    assert len(receiver.ids) == len(set(receiver.ids)) == happened
    assert all(each.body == tried.get(each.id, each.body) for each in receiver.received)
    after = state(admin, made_)
    assert (after["waiting"], after["dead"], after["failures"], after["paused_until"]) == (0, 0, 0, None)
    # None of them had used up the attempts of its own.
    assert all(len(each["attempts"]) <= 20 for each in sent_to(admin, made_))


def test_one_message_that_is_refused_is_tried_for_three_days_and_then_given_up(admin, receiver):
    made_ = webhook(admin, receiver.url, "visit.*")
    refused_at, minute = [], 0

    def refuse_one(handler):
        is_it = b"visit.refused" in receiver.received[-1].body
        if is_it:
            refused_at.append(minute)
        answered(handler, 500 if is_it else 204)

    receiver.answer = refuse_one
    with later():
        happen("visit.refused")
        deliver()
    while minute < 80 * 60:
        with later(minutes=minute):
            happen("visit.noted")  # others are taken meanwhile, so the endpoint is not given up
            deliver()
        minute += 5 if minute < 60 else 30
    assert len(refused_at) == len(delivering.SCHEDULE) + 1
    assert 64 <= refused_at[-1] / 60 <= 79
    (dead,) = sent_to(admin, made_, "?status=dead")
    assert (dead["type"], len(dead["attempts"])) == ("visit.refused", len(refused_at))
    assert state(admin, made_)["dead"] == 1
    # Sent again by hand it has the id and the bytes it had.
    before = next(each for each in receiver.received if b"visit.refused" in each.body)
    receiver.answer = 204
    receiver.received.clear()
    assert admin.post(f"/v1/webhooks/{made_['id']}/replay", {"dead": True}).get_json() == {"deliveries": 1}
    deliver()
    assert [(each.id, each.body) for each in receiver.received] == [(before.id, before.body)]
    assert sent_to(admin, made_, "?status=dead") == []


def test_the_schedule_is_of_three_days():
    assert timedelta(days=2, hours=22) < sum(delivering.SCHEDULE, timedelta()) < timedelta(days=3)


def test_a_receiver_that_is_down_for_longer_than_three_days_loses_the_oldest_to_the_dead_letters(admin, receiver):
    made_ = webhook(admin, receiver.url, "visit.*")
    receiver.answer = 503
    with later():
        happen(*["visit.noted"] * 6)
    for hour in range(0, 80, 2):
        with later(hours=hour):
            if hour == 60:
                happen("visit.closed")
            deliver()
    with later(hours=80):
        assert (state(admin, made_)["dead"], state(admin, made_)["waiting"]) == (6, 1)


def test_a_replay_of_a_range_sends_the_same_ids_and_bytes_and_what_was_never_wanted_stays_unsent(admin, receiver):
    made_ = webhook(admin, receiver.url, "visit.*")
    happen("visit.noted", "other.noted", "visit.closed")
    deliver()
    first = {each.id: each.body for each in receiver.received}
    receiver.received.clear()
    end = made(admin.get("/v1/events"))["next"]
    answer = admin.post(f"/v1/webhooks/{made_['id']}/replay", {"from": 1, "to": end})
    assert (answer.status_code, answer.get_json()) == (202, {"deliveries": 2})
    deliver()
    assert {each.id: each.body for each in receiver.received} == first
    # A single event may be one that it did not ask for.
    other = next(each for each in admin.events() if each["type"] == "other.noted")
    assert admin.post(f"/v1/webhooks/{made_['id']}/replay", {"event": other["id"]}).get_json() == {"deliveries": 1}
    deliver()
    assert receiver.types[-1] == "other.noted"


def test_a_disabled_endpoint_goes_on_where_it_was_left_or_from_now_on(admin, receiver):
    made_ = webhook(admin, receiver.url, "visit.*")
    for skip, heard in ((False, ["visit.missed"]), (True, [])):
        made(admin.post(f"/v1/webhooks/{made_['id']}/disable"))
        happen("visit.missed")
        deliver()
        assert receiver.received == []
        made(admin.post(f"/v1/webhooks/{made_['id']}/enable", {"skip": skip}))
        deliver()
        assert receiver.types == heard
        receiver.received.clear()


# ---- Who is left in peace ----


def test_410_disables_the_endpoint_and_the_journal_says_so(admin, receiver):
    made_ = webhook(admin, receiver.url, "visit.*")
    receiver.answer = 410
    happen("visit.noted")
    deliver()
    now = state(admin, made_)
    assert (now["status"], now["disabled_reason"], now["waiting"]) == ("disabled", "gone", 1)
    last = admin.events()[-1]
    assert (last["type"], last["data"]) == ("webhook.disabled", {"reason": "gone"})
    assert last["actor"].startswith("deliverer:")
    # What was to be sent is not lost should it come back.
    receiver.answer = 204
    made(admin.post(f"/v1/webhooks/{made_['id']}/enable", {}))
    deliver()
    assert receiver.types == ["visit.noted"] * 2


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("said", ["3600", "Mon, 23 Nov 2026 10:00:00 GMT"])
def test_a_receiver_that_says_when_to_come_again_is_not_asked_before(admin, receiver, status, said):
    made_ = webhook(admin, receiver.url, "visit.*")
    receiver.answer = lambda handler: answered(handler, status, Retry_After=said)
    with later():
        happen("visit.noted", "visit.closed")
        deliver()
    assert len(receiver.received) <= 2  # those that were under way together
    receiver.received.clear()
    receiver.answer = 204
    with later(minutes=59):
        deliver()
        assert receiver.received == []
    with later(minutes=61):
        deliver()
    assert sorted(receiver.types) == ["visit.closed", "visit.noted"]
    assert state(admin, made_)["failures"] == 0


def test_an_endpoint_that_fails_again_and_again_is_asked_by_one_message_now_and_then(admin, receiver):
    made_ = webhook(admin, receiver.url, "visit.*")
    receiver.answer = 500
    with later():
        happen(*["visit.noted"] * 40)
        deliver()
    # Four at first, then one at a time, and then none.
    assert len(receiver.received) <= webhooks.TRIPS_AT + 4
    asked = at_first = len(receiver.received)
    for seconds in (18, 90, 500):
        with later(seconds=seconds):
            deliver()
        asked += 1
        assert len(receiver.received) == asked
    waiting = sent_to(admin, made_, "?status=waiting&limit=200")
    assert len(waiting) == 40
    assert sum(len(each["attempts"]) for each in waiting) == asked
    with db.reading() as conn:
        # The attempts to see whether it lives used up none of the message's own.
        tries = [row[0] for row in conn.execute("SELECT tries FROM webhook_delivery").fetchall()]
    assert sum(tries) == at_first
    # Once it answers, what would wait for a later attempt does not wait.
    with db.transaction() as conn:
        conn.execute("UPDATE webhook_delivery SET next_at = next_at + interval '1 day'")
    receiver.answer = 204
    with later(minutes=30):
        deliver()
        assert state(admin, made_)["waiting"] == 0


def test_a_receiver_that_hangs_holds_up_nobody_else(admin, receiver):
    with Receiver(hold=threading.Event()) as hanging:
        slow = webhook(admin, hanging.url, "visit.*")
        webhook(admin, receiver.url, "visit.*")
        happen(*["visit.noted"] * 20)
        deliverer = Deliverer(addresses.allowed(HERE))
        began = time.monotonic()
        while len(receiver.received) < 20 and time.monotonic() - began < 4.5:
            deliverer.turn()
            time.sleep(0.02)
        assert len(receiver.received) == 20
        assert len(hanging.received) <= 4
        deliverer.wait()
        hanging.hold.set()  # type: ignore[union-attr]
        deliverer.stop()
    failed = [each for each in sent_to(admin, slow) if each["attempts"]]
    assert {attempt["error"] for each in failed for attempt in each["attempts"]} == {"timed_out"}


def test_a_receiver_that_answers_at_once_gets_the_next_message_at_once(admin, receiver):
    webhook(admin, receiver.url, "visit.*")
    happen(*["visit.noted"] * 100)
    deliverer = Deliverer(addresses.allowed(HERE))
    deliverer.start()
    try:
        # Four at each look, four looks a second, would take six seconds.
        assert soon(lambda: len(receiver.received) == 100, 4), len(receiver.received)
    finally:
        deliverer.stop()


def test_an_attempt_whose_claim_has_ended_is_begun_by_another_and_the_first_one_changes_nothing(admin, receiver):
    webhook(admin, receiver.url, "visit.*")
    happen("visit.noted")
    delivering.catch_up()
    (first,) = delivering.claim(16)
    assert delivering.claim(16) == []
    with db.transaction() as conn:
        conn.execute("UPDATE webhook_delivery SET claimed_until = claimed_until - interval '16 seconds'")
    (second,) = delivering.claim(16)
    assert (second.id, second.message_id, second.body) == (first.id, first.message_id, first.body)
    delivering.finish(first, Outcome(500, "refused", 1))
    delivering.finish(second, Outcome(204, None, 1))
    with db.reading() as conn:
        assert db.value(conn, "SELECT status FROM webhook_delivery") == "delivered"
        assert db.value(conn, "SELECT failures FROM webhook") == 0


def test_a_secret_sealed_under_a_lost_key_stops_nothing_but_its_own_endpoint(admin, receiver):
    made_ = webhook(admin, receiver.url, "visit.*")
    happen("visit.noted")
    sealing.use("n" * 32)
    deliver()
    (waiting,) = sent_to(admin, made_)
    assert (waiting["status"], waiting["attempts"][-1]["error"]) == ("waiting", "secret_unreadable")
    assert receiver.received == []
    # A new secret is sealed under the key there is.
    rotated = made(admin.post(f"/v1/webhooks/{made_['id']}/rotate-secret", {"overlap_hours": 0}))
    with clock.frozen(datetime.now(UTC) + timedelta(minutes=2)):
        deliver()
    assert receiver.types == ["visit.noted"]
    assert rotated["secret"] != made_["secret"]
    sealing.use(SETTINGS.secret_key)


# ---- Addresses ----


def test_s30_a_name_that_turns_to_an_inner_address_is_not_followed(admin, receiver, monkeypatch):
    port = receiver.url.split(":")[2].split("/")[0]
    monkeypatch.setattr(addresses, "look_up", lambda *_: ["8.8.8.8"])
    made_ = webhook(admin, f"https://turns.example:{port}/hook", "visit.*")
    happen("visit.noted")
    monkeypatch.setattr(addresses, "look_up", lambda *_: ["127.0.0.1"])
    deliver(allow="10.0.0.0/8")
    (waiting,) = sent_to(admin, made_)
    assert (waiting["status"], waiting["attempts"][-1]["error"]) == ("waiting", "address_not_allowed")
    assert receiver.received == []


def test_s30_a_redirect_is_not_followed(admin, receiver):
    with Receiver() as inner:
        made_ = webhook(admin, receiver.url, "visit.*")
        receiver.answer = lambda handler: answered(handler, 307, Location=inner.url)
        happen("visit.noted")
        deliver()
        assert inner.received == []
    (waiting,) = sent_to(admin, made_)
    assert (waiting["attempts"][-1]["status"], waiting["attempts"][-1]["error"]) == (307, "redirected")


@pytest.mark.parametrize("status", [200, 302, 410, 429, 500])
def test_s31_nothing_of_an_answer_is_kept_but_its_status(admin, receiver, status, caplog):
    """Neither in the database, nor in a log, nor in what the routes show; and of our own secret nothing at all."""
    caplog.set_level(logging.DEBUG)
    made_ = webhook(admin, receiver.url, "visit.*")

    def chatter(handler):
        handler.send_response(status, "canary-reason")
        handler.send_header("X-Canary", "canary-header")
        handler.send_header("Location", "/canary-place")
        handler.send_header("Content-Length", "11")
        handler.end_headers()
        handler.wfile.write(b"canary-body")

    receiver.answer = chatter
    happen("visit.noted")
    deliver()
    shown = sent_to(admin, made_)
    assert shown[0]["attempts"][-1]["status"] == status
    with db.reading() as conn:
        kept = db.value(
            conn,
            """
            SELECT concat((SELECT string_agg(delivery::text, '') FROM webhook_delivery AS delivery),
                          (SELECT string_agg(webhook::text, '') FROM webhook),
                          (SELECT string_agg(journal::text, '') FROM journal))
            """,
        )
    for text in (kept, caplog.text, str(shown), str(state(admin, made_))):
        assert "canary" not in text
        assert made_["secret"].removeprefix("whsec_") not in text


# ---- Housekeeping ----


def test_old_deliveries_are_forgotten_and_those_that_wait_are_not(admin, receiver, monkeypatch):
    monkeypatch.setenv("CLINIC_WEBHOOKS_KEEP_DAYS", "10")
    made_ = webhook(admin, receiver.url, "visit.*")
    with clock.frozen(datetime.now(UTC) - timedelta(days=11)):
        happen("visit.noted")
        deliver()
        receiver.answer = 500
        happen("visit.waits")
        deliver()
    assert "webhook_delivery_purge" in chores.registry
    assert deliveries.purge() == 1
    assert [each["type"] for each in sent_to(admin, made_)] == ["visit.waits"]
    made(admin.post(f"/v1/webhooks/{made_['id']}/disable"))
    assert deliveries.purge() == 1
    # What the journal has can still be sent again, as the same message.
    made(admin.post(f"/v1/webhooks/{made_['id']}/enable", {}))
    before = receiver.received[0]
    receiver.answer = 204
    admin.post(f"/v1/webhooks/{made_['id']}/replay", {"event": before.id})
    deliver()
    assert (receiver.received[-1].id, receiver.received[-1].body) == (before.id, before.body)
