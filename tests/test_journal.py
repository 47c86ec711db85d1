"""The journal: every change once, dense, chained, without names."""

import psycopg
import pytest

from clinic import db, journal
from clinic.auth import COMMAND_LINE
from clinic.command import change
from tests import given
from tests.given import PAYER, made


def first_break():
    with db.reading() as conn:
        return journal.first_break(conn)


def test_every_change_of_state_has_one_row_and_positions_are_dense(clinic):
    quote = clinic.quote(("CT-ABD-RP", None))
    clinic.invoice(quote)
    events = clinic.events()
    assert [each["position"] for each in events] == list(range(1, len(events) + 1))
    assert first_break() is None


def test_a_failed_command_leaves_no_row(clinic):
    before = len(clinic.events())
    assert clinic.post("/v1/quotes", {"lines": []}).status_code == 422
    assert clinic.post("/v1/quotes/0197d1b0-7c2e-7c55-9a4e-3f0a52c7d810/accept").status_code == 404
    assert len(clinic.events()) == before


def test_the_feed_is_read_on_from_the_last_position(clinic):
    first = made(clinic.get("/v1/events?limit=2"))
    assert first["next"] == 2
    rest = made(clinic.get(f"/v1/events?after={first['next']}"))
    assert rest["events"][0]["position"] == 3
    end = made(clinic.get(f"/v1/events?after={rest['next']}"))
    assert end == {"events": [], "next": rest["next"], "more": False}


def test_a_reader_may_wait_for_the_next_event(clinic):
    position = len(clinic.events())
    empty = made(clinic.get(f"/v1/events?after={position}&wait=1"))
    assert empty["events"] == []


def test_events_say_who_and_hold_no_name(clinic):
    clinic.invoice(clinic.quote(("CT-ABD-RP", None), patient={"id": "P-1", "name": "Иванова"}))
    issued = clinic.events()[-1]
    assert issued["type"] == "invoice.issued"
    assert issued["actor"].startswith("key:")
    assert issued["data"]["total"] == "8840.00"
    with db.reading() as conn:
        everything = db.value(conn, "SELECT string_agg(journal::text, '') FROM journal")
    assert "Иванова" not in everything
    assert PAYER["name"] not in everything


def test_a_branch_hears_of_its_own_documents_only(clinic):
    made(clinic.post("/v1/branches", {"code": "north", "name": "Север", "prefix": "С"}))
    north = given.caller(clinic.app, "*", branch="north")
    clinic.quote(("CT-ABD-RP", None))
    mine = north.quote(("CT-ABD-RP", None))
    heard = [each["object"]["id"] for each in north.events() if each["object"]["type"] == "quote"]
    assert heard == [mine["id"]]


@pytest.mark.parametrize(
    ("attack", "broken_at"),
    [
        ("UPDATE journal SET data = '{}' WHERE position = 3", 3),
        ("UPDATE journal SET actor = 'key:someone' WHERE position = 2", 2),
        ("DELETE FROM journal WHERE position = 3", 4),
        ("DELETE FROM journal WHERE position > 3", 4),
    ],
)
def test_a_superusers_hand_in_the_journal_is_found(opened, attack, broken_at):
    with change(COMMAND_LINE) as made_:
        for _ in range(5):
            made_.record("branch.opened", made_.actor.id, note="x")
    assert first_break() is None
    with psycopg.connect(opened.owner, autocommit=True) as owner:
        owner.execute("SET session_replication_role = replica")
        owner.execute(attack)
    assert first_break() == broken_at


def test_the_application_can_only_append(opened):
    for attack in (
        "INSERT INTO journal SELECT * FROM journal",
        "UPDATE journal SET actor = 'x'",
        "DELETE FROM journal",
        "TRUNCATE journal",
        "UPDATE journal_head SET position = 0",
        "DELETE FROM journal_head",
        "ALTER TABLE journal DISABLE TRIGGER ALL",
        "SET session_replication_role = replica",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege), db.transaction() as conn:
            conn.execute(attack)
