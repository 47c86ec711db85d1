"""Endpoints of webhooks: who sees them, what is refused, what is kept of their secrets, what the journal says."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import psycopg
import pytest

from clinic import addresses, db, metrics, sealing, signatures, webhooks
from clinic.auth import COMMAND_LINE
from clinic.command import change
from tests import given
from tests.conftest import SETTINGS
from tests.given import faults, made
from tests.given_webhooks import happen, state, webhook
from wsgi import create_app

URL = "https://8.8.8.8/clinic"


@pytest.fixture
def admin(app):
    return given.caller(app, "webhooks:write", "admin", "events:read")


def stored(column, table="webhook"):
    with db.reading() as conn:
        return [row[0] for row in conn.execute(f"SELECT {column} FROM {table}".encode()).fetchall()]


def test_the_secret_is_shown_once_and_the_database_has_it_sealed(admin):
    first = admin.post("/v1/webhooks", {"url": URL, "events": ["*"]}, key="only-this-once")
    secret = made(first)["secret"]
    assert secret.startswith("whsec_")
    again = admin.post("/v1/webhooks", {"url": URL, "events": ["*"]}, key="only-this-once")
    assert again.headers["Idempotency-Replayed"] == "true"
    assert made(again) == {**made(first), "secret": None}
    assert "secret" not in state(admin, made(first))
    (sealed,) = stored("secret")
    kept = sealing.opened(webhooks.purpose(UUID(made(first)["id"])), sealed)
    assert signatures.shown(kept) == secret
    for table in ("webhook", "webhook_delivery", "journal", "idempotency"):
        for row in stored(f"{table}::text", table):
            assert secret not in row
            assert secret.removeprefix("whsec_") not in row
            assert kept.hex() not in row


def test_a_secret_rotates_with_an_overlap_or_none(admin):
    made_ = webhook(admin, URL)
    rotated = made(admin.post(f"/v1/webhooks/{made_['id']}/rotate-secret", {"overlap_hours": 1}))
    assert rotated["secret"] not in (None, made_["secret"])
    assert rotated["old_secret_until"] is not None
    assert stored("old_secret IS NOT NULL") == [True]
    ended = made(admin.post(f"/v1/webhooks/{made_['id']}/rotate-secret", {"overlap_hours": 0}))
    assert ended["old_secret_until"] is None
    assert stored("old_secret IS NOT NULL") == [False]


def test_without_a_lasting_secret_key_there_are_no_webhooks(opened):
    app = create_app(replace(SETTINGS, secret_key=None))
    given.main_branch()
    refused = given.caller(app, "*").post("/v1/webhooks", {"url": URL, "events": ["*"]})
    assert (refused.status_code, refused.get_json()["code"]) == (503, "seal_broken")


def test_secrets_are_sealed_anew_under_another_key(admin):
    made_ = webhook(admin, URL)
    admin.post(f"/v1/webhooks/{made_['id']}/rotate-secret", {})
    before = stored("secret"), stored("old_secret")
    sealing.use("n" * 32, SETTINGS.secret_key)
    with change(COMMAND_LINE) as made__:
        assert webhooks.reseal(made__) == 1
    assert (stored("secret"), stored("old_secret")) != before
    sealing.use("n" * 32)
    for column in ("secret", "old_secret"):
        assert len(sealing.opened(webhooks.purpose(UUID(made_["id"])), stored(column)[0])) == 32
    sealing.use(SETTINGS.secret_key)
    with pytest.raises(sealing.SealBroken), change(COMMAND_LINE) as made__:
        webhooks.reseal(made__)


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({}, [("/events", "required"), ("/url", "required")]),
        ({"url": "https://127.0.0.1/", "events": ["*"]}, [("/url", "address_not_allowed")]),
        ({"url": "https://[::ffff:127.0.0.1]/", "events": ["*"]}, [("/url", "address_not_allowed")]),
        ({"url": "https://0x7f.1/", "events": ["*"]}, [("/url", "address_not_allowed")]),
        ({"url": "https://localhost./", "events": ["*"]}, [("/url", "address_not_allowed")]),
        ({"url": "https://nowhere.invalid/", "events": ["*"]}, [("/url", "address_not_allowed")]),
        ({"url": "http://8.8.8.8/", "events": ["*"]}, [("/url", "https_needed")]),
        ({"url": "https://8.8.8.8:22/", "events": ["*"]}, [("/url", "port_not_allowed")]),
        ({"url": "https://u:p@8.8.8.8/", "events": ["*"]}, [("/url", "wrong_form")]),
        ({"url": URL, "events": []}, [("/events", "wrong_count")]),
        ({"url": URL, "events": ["*", "Invoice.issued"]}, [("/events/1", "wrong_form")]),
        ({"url": URL, "events": ["*"], "secret": "whsec_"}, [("/secret", "unknown_member")]),
        ({"url": URL, "events": ["*"], "branch": "west"}, [("/branch", "unknown_branch")]),
    ],
)  # fmt: skip
def test_s30_what_cannot_be_an_endpoint_is_refused(admin, body, wrong):
    assert faults(admin.post("/v1/webhooks", body)) == wrong


def test_s30_an_address_is_looked_at_when_it_is_changed_too(admin):
    made_ = webhook(admin, URL)
    path = f"/v1/webhooks/{made_['id']}"
    tag = admin.get(path).headers["ETag"]
    assert faults(admin.patch(path, {"url": "https://10.0.0.1/"}, match=tag)) == [("/url", "address_not_allowed")]
    changed = admin.patch(path, {"url": "https://1.1.1.1/x", "events": ["invoice.*"]}, match=tag)
    assert (made(changed)["url"], made(changed)["events"]) == ("https://1.1.1.1/x", ["invoice.*"])
    assert admin.patch(path, {"description": "again"}, match=tag).status_code == 412
    same = admin.patch(path, {"events": ["invoice.*"]}, match=changed.headers["ETag"])
    assert same.headers["ETag"] == changed.headers["ETag"]


def test_the_journal_says_what_became_of_an_endpoint_and_no_secret_or_address(admin):
    made_ = webhook(admin, "https://8.8.8.8/token-in-the-path", "invoice.*")
    path = f"/v1/webhooks/{made_['id']}"
    made(admin.patch(path, {"events": ["*"]}, match=admin.get(path).headers["ETag"]))
    for command in ("rotate-secret", "disable", "disable", "enable", "enable"):
        made(admin.post(f"{path}/{command}", {} if command != "disable" else None))
    assert admin.post(f"{path}/replay", {"from": 1, "to": 5}).status_code == 202
    told = [each for each in admin.events() if each["object"]["id"] == made_["id"]]
    assert [(each["type"], each["data"]) for each in told] == [
        ("webhook.created", {"events": ["invoice.*"]}),
        ("webhook.changed", {"changed": ["events"]}),
        ("webhook.secret_rotated", {"overlap_hours": 24}),
        ("webhook.disabled", {"reason": "by_hand"}),
        ("webhook.enabled", {"skipped": False}),
        ("webhook.replayed", {"from": 1, "to": 5, "deliveries": 5}),
    ]
    assert "token-in-the-path" not in str(told)


# ---- Who may, and who sees what ----


def test_webhooks_need_their_scope(app):
    reader = given.caller(app, "events:read", "catalog:write")
    for answer in (reader.get("/v1/webhooks"), reader.post("/v1/webhooks", {"url": URL, "events": ["*"]})):
        assert (answer.status_code, answer.get_json()["scope"]) == (403, "webhooks:write")


def test_a_branch_sees_its_own_endpoints_only(admin):
    made(admin.post("/v1/branches", {"code": "north", "name": "Север", "prefix": "С"}))
    made(admin.post("/v1/branches", {"code": "south", "name": "Юг", "prefix": "Ю"}))
    north = given.caller(admin.app, "*", branch="north")
    everywhere, of_south = webhook(admin, URL), webhook(admin, URL, branch="south")
    mine = webhook(north, URL)
    assert (mine["branch"], of_south["branch"], everywhere["branch"]) == ("north", "south", None)
    assert faults(north.post("/v1/webhooks", {"url": URL, "events": ["*"], "branch": "south"})) == [
        ("/branch", "unknown_branch")
    ]
    assert [each["id"] for each in made(north.get("/v1/webhooks"))["items"]] == [mine["id"]]
    assert len(made(admin.get("/v1/webhooks"))["items"]) == 3
    nobodys = "0197d1b0-7c2e-7c55-9a4e-3f0a52c7d810"
    for other in (everywhere["id"], of_south["id"], nobodys):
        path = f"/v1/webhooks/{other}"
        answers = [
            north.get(path),
            north.patch(path, {"description": "x"}, match='"x"'),
            north.get(f"{path}/deliveries"),
            *(north.post(f"{path}/{each}", {}) for each in ("rotate-secret", "disable", "enable", "test")),
            north.post(f"{path}/replay", {"dead": True}),
        ]
        assert [each.get_json()["code"] for each in answers] == ["not_found"] * len(answers)


def test_endpoints_are_listed_page_by_page(admin):
    all_ = [webhook(admin, f"{URL}/{number}")["id"] for number in range(3)]
    first = made(admin.get("/v1/webhooks?limit=2"))
    rest = made(admin.get(f"/v1/webhooks?limit=2&cursor={first['next_cursor']}"))
    assert [each["id"] for each in first["items"] + rest["items"]] == all_
    assert rest["next_cursor"] is None


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({}, ("", "one_replay")),
        ({"from": 1}, ("", "one_replay")),
        ({"dead": True, "from": 1, "to": 2}, ("", "one_replay")),
        ({"from": 2, "to": 1}, ("/to", "range_too_long")),
        ({"from": 1, "to": 10_001}, ("/to", "range_too_long")),
        ({"from": 0, "to": 1}, ("/from", "not_whole")),
        ({"event": "0197d1b0-7c2e-7c55-9a4e-3f0a52c7d810"}, ("/event", "unknown_event")),
    ],
)
def test_a_replay_names_one_thing(admin, body, wrong):
    path = f"/v1/webhooks/{webhook(admin, URL)['id']}/replay"
    assert faults(admin.post(path, body)) == [wrong]


def test_nothing_is_sent_to_a_disabled_endpoint(admin):
    made_ = webhook(admin, URL)
    made(admin.post(f"/v1/webhooks/{made_['id']}/disable"))
    for command, body in (("test", None), ("replay", {"dead": True})):
        refused = admin.post(f"/v1/webhooks/{made_['id']}/{command}", body)
        assert (refused.status_code, refused.get_json()["code"]) == (409, "webhook_disabled")


# ---- What others watch ----


def test_the_lag_is_the_age_of_the_oldest_message_not_delivered(admin):
    with given.day("2026-11-23", "12:00"):
        made_ = webhook(admin, URL, "visit.*")
        happen("other.noted")
        assert state(admin, made_)["lag_seconds"] is None
        happen("visit.noted")
    with given.day("2026-11-23", "12:05"), db.reading() as conn:
        (lag,) = webhooks.lag(conn)
        assert (str(lag.webhook_id), lag.waiting, lag.seconds) == (made_["id"], 0, 300)
    with given.day("2026-11-23", "12:05"):
        # Told to whoever asks whether the service is ready, and read as a figure; it makes nobody unready.
        assert made(admin.app.test_client().get("/health/ready")) == {"status": "ok", "delivery_lag_seconds": 300}
        assert f'clinic_webhook_lag_seconds{{webhook="{made_["id"]}"}} 300.0' in metrics.exposed().decode()
    made(admin.post(f"/v1/webhooks/{made_['id']}/disable"))
    with db.reading() as conn:
        assert webhooks.lag(conn) == []


# ---- What the database holds ----


@pytest.mark.parametrize(
    "attack",
    [
        "UPDATE webhook SET position = position - 1",
        "UPDATE webhook SET branch_id = NULL",
        "DELETE FROM webhook",
        "DELETE FROM webhook_delivery",
        "TRUNCATE webhook_delivery, webhook",
        "UPDATE webhook_delivery SET body = '{}'",
        "UPDATE webhook_delivery SET message_id = gen_random_uuid()",
    ],
)
def test_the_application_cannot_lose_or_change_what_is_to_be_sent(admin, attack):
    made_ = webhook(admin, URL)
    assert admin.post(f"/v1/webhooks/{made_['id']}/test").status_code == 202
    refusals = (psycopg.errors.InsufficientPrivilege, psycopg.errors.RestrictViolation)
    with pytest.raises(refusals), db.transaction() as conn:
        conn.execute(attack.encode())


def test_names_are_resolved_before_the_transaction_begins(admin, monkeypatch):
    lent = []

    def look_up(*_):
        lent.append(db._opened().lent)
        return ["8.8.8.8"]

    monkeypatch.setattr(addresses, "look_up", look_up)
    webhook(admin, "https://his.example/hook")
    assert lent == [0]
