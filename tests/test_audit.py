"""The journal as audit trail: what was done to it is found, and who may ask it is told."""

from __future__ import annotations

import base64
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner
from psycopg.conninfo import conninfo_to_dict

from clinic import branches, db, journal_heads, settings
from clinic.audit_commands import audit_commands
from clinic.auth import COMMAND_LINE
from clinic.command import change
from clinic.journal_heads import Head, Signer
from tests import given
from tests.given import made

SECRET = "k" * 32


def publish(file: Path | None = None) -> str:
    with change(COMMAND_LINE) as done:
        return journal_heads.publish(done, Signer(SECRET), file)


def findings(lines=(), public=None):
    with db.moment() as conn:
        return list(journal_heads.findings(conn, lines, public or Signer(SECRET).public))


@pytest.fixture
def by_hand(opened):
    """Statements of a superuser whose triggers are off: what the chain is for."""

    def execute(sql):
        with psycopg.connect(opened.owner) as conn:
            conn.execute("SET session_replication_role = replica")
            conn.execute(sql)

    return execute


REHASHED = """
DO $$
DECLARE
  entry journal;
  before bytea := (SELECT sha256 FROM journal WHERE position = 3);
BEGIN
  FOR entry IN SELECT * FROM journal WHERE position > 3 ORDER BY position LOOP
    before := journal_digest(before, entry);
    UPDATE journal SET sha256 = before WHERE position = entry.position;
  END LOOP;
  UPDATE journal_head SET sha256 = before;
END $$
"""


@pytest.fixture
def history(clinic):
    """Some documents, and a head published after them."""
    for _ in range(3):
        clinic.quote(("MRI-ABD-RP", None))
    return clinic


# ---- What was done to the journal is found ----


@pytest.mark.parametrize(
    ("hand", "position"),
    [
        ("""UPDATE journal SET data = data || '{"total": "1.00"}' WHERE position = 4""", 4),
        ("UPDATE journal SET actor = 'staff:00000000-0000-0000-0000-000000000000' WHERE position = 2", 2),
        ("UPDATE journal SET at = at + interval '1 microsecond' WHERE position = 1", 1),
        ("DELETE FROM journal WHERE position = 3", 4),
        ("DELETE FROM journal WHERE position = 1", 2),
        ("DELETE FROM journal WHERE position = (SELECT max(position) FROM journal)", None),
    ],
)
def test_s37_an_edited_or_deleted_row_is_named(history, by_hand, hand, position):
    assert findings() == []
    with db.reading() as conn:
        last = int(db.value(conn, "SELECT position FROM journal_head"))
    by_hand(hand)
    (found,) = findings()
    assert found.position == (position or last)


def test_s37_a_tail_cut_with_its_head_is_found_by_what_was_published(history, by_hand):
    line = publish()
    assert findings([line]) == []
    by_hand("DELETE FROM journal WHERE position > 4")
    by_hand("UPDATE journal_head SET (position, sha256) = (SELECT position, sha256 FROM journal WHERE position = 4)")
    assert findings() == [], "the chain itself is whole"
    (found,) = findings([line])
    assert found.position == 5 and "the journal ends at 4" in found.says


def test_s37_an_old_backup_is_found_too(cluster, history, opened):
    """Restored, it has gone on in its own way: longer than what was published, and another journal."""
    old = conninfo_to_dict(opened.owner)["dbname"]
    with psycopg.connect(cluster.owner_url("postgres"), autocommit=True) as conn:
        db.close_pool()
        conn.execute(f"CREATE DATABASE {old}_backup TEMPLATE {old}")
    try:
        db.open_pool(opened.app, size=2)
        history.quote(("MRI-ABD-RP", None))
        line = publish()
        db.close_pool()
        db.open_pool(cluster.app_url(f"{old}_backup"), size=2)
        (found,) = findings([line])
        assert "the journal ends at" in found.says
        for _ in range(3):
            history.quote(("MRI-ABD-RP", None))
        (found,) = findings([line])
        assert "another journal" in found.says
        db.close_pool()
    finally:
        with psycopg.connect(cluster.owner_url("postgres"), autocommit=True) as conn:
            conn.execute(f"DROP DATABASE {old}_backup WITH (FORCE)")
        db.open_pool(opened.app, size=4)


def test_s37_a_chain_written_anew_is_found_between_two_published_heads(history, by_hand):
    first = publish()
    history.quote(("MRI-ABD-RP", None))
    second = publish()
    with db.reading() as conn:
        agreed = int(db.value(conn, "SELECT min(position) - 1 FROM journal WHERE type = 'journal.published'"))
    by_hand(f"UPDATE journal SET actor = 'key:{'0' * 8}-0000-0000-0000-{'0' * 12}' WHERE position = {agreed + 1}")
    by_hand(REHASHED)
    assert findings() == [], "whoever can do this makes a whole chain"
    assert findings([first]) == []
    (found,) = findings([first, second])
    assert found.position == agreed + 1


# ---- What is published ----


def test_a_head_is_signed_and_recorded_for_those_who_read_events(history, tmp_path):
    file = tmp_path / "heads"
    lines = [publish(file), publish(file)]
    assert file.read_text().splitlines() == lines
    assert file.stat().st_mode & 0o007 == 0
    published = [each for each in history.events() if each["type"] == "journal.published"]
    assert [each["data"]["line"] for each in published] == lines
    assert [each["data"]["position"] for each in published] == [each["position"] - 1 for each in published]
    assert findings(lines) == []


@pytest.mark.parametrize("place", [20, 40, 60, 120, 150, 200])
def test_a_line_that_was_changed_or_signed_by_another_is_none(history, place):
    line = publish()
    other = "A" if line[place] != "A" else "B"
    assert [each.position for each in findings([line[:place] + other + line[place + 1 :]])] == [None]
    forged = Signer("x" * 32).line(Head("2026-11-28T00:00:00Z", 3, "0" * 64))
    assert [each.position for each in findings([forged])] == [None]


def test_the_key_follows_from_the_secret_and_nothing_else():
    assert Signer(SECRET).public == Signer(SECRET).public != Signer("x" * 32).public
    assert len(base64.b64decode(Signer(SECRET).public)) == 32


# ---- The command ----


def verify(opened, monkeypatch, *args):
    monkeypatch.setattr(
        settings, "from_environment",
        lambda: settings.Settings(database_url=opened.app, database_owner_url=opened.owner, secret_key=SECRET),
    )  # fmt: skip
    db.close_pool()
    done = CliRunner().invoke(audit_commands, ["verify", *args])
    db.open_pool(opened.app, size=4)
    return done.exit_code, done.output


def test_verify_says_whole_with_status_0_and_names_the_first_bad_position_with_1(
    history, opened, by_hand, monkeypatch, tmp_path
):
    file = tmp_path / "heads"
    publish(file)
    status, told = verify(opened, monkeypatch, "--heads", str(file))
    assert (status, told.splitlines()[-1].endswith("1 published heads: whole")) == (0, True)
    by_hand("UPDATE journal SET type = 'quote.sent' WHERE position = 4")
    status, told = verify(opened, monkeypatch, "--heads", str(file))
    assert (status, told.splitlines()[-1]) == (1, "first bad position: 4")


def test_verify_without_published_heads_says_what_it_cannot_see(history, opened, monkeypatch):
    status, told = verify(opened, monkeypatch)
    assert status == 0
    assert "a cut tail or an old backup cannot be noticed" in told


# ---- Asked by auditors ----


def test_the_journal_is_asked_by_who_what_when_and_to_what(history):
    quote = history.quote(("CT-ABD-RP", None))
    invoice = history.invoice(quote)
    (me,) = {each["actor"] for each in made(history.get(f"/v1/audit?object={invoice['id']}"))["items"]}
    whole = made(history.get(f"/v1/audit?actor={me}&limit=200"))["items"]
    assert [each["position"] for each in whole] == sorted((each["position"] for each in whole), reverse=True)
    of_invoice = made(history.get(f"/v1/audit?object={invoice['id']}&type=invoice.*"))["items"]
    assert [each["type"] for each in of_invoice] == ["invoice.issued", "invoice.created"]
    assert all(len(each["sha256"]) == 64 and each["request_id"] for each in of_invoice)
    assert made(history.get("/v1/audit?type=invoice.issued&since=2020-01-01&until=2020-01-02"))["items"] == []
    today = made(history.get("/v1/audit?type=invoice.issued"))["items"]
    assert [each["object"] for each in today] == [invoice["id"]]


def test_its_pages_follow_one_another_without_a_gap(history):
    whole = [each["position"] for each in made(history.get("/v1/audit?limit=200"))["items"]]
    found, cursor = [], ""
    while cursor is not None:
        page = made(history.get(f"/v1/audit?limit=2{cursor and f'&cursor={cursor}'}"))
        found += [each["position"] for each in page["items"]]
        cursor = page["next_cursor"]
    assert found == whole


def test_a_branch_is_shown_its_own_and_what_is_of_no_branch(history):
    with change(COMMAND_LINE) as done:
        branches.create(done, "north", "Север", "С")
    north = given.caller(history.app, "*", branch="north")
    north.quote(("CT-ABD-RP", None))
    seen = {each["branch"] for each in made(north.get("/v1/audit?limit=200"))["items"]}
    assert seen == {"north", None}


def test_who_looked_is_told_to_those_who_see_all_branches(history, app):
    invoice = history.invoice(history.quote(("CT-ABD-RP", None)))
    made(history.get(f"/v1/invoices/{invoice['id']}"))
    made(history.get("/v1/invoices"))
    found = made(history.get(f"/v1/audit/access?object={invoice['id']}"))["items"]
    assert [each["action"] for each in found] == ["list", "read"]
    assert made(history.get(f"/v1/audit/access?object={invoice['id']}&action=read"))["items"] == found[1:]
    walled = given.caller(app, "*", branch="main")
    assert walled.get("/v1/audit/access").status_code == 403
    assert given.caller(app, "quotes:read").get("/v1/audit").status_code == 403
