"""Quotes that came to nothing are forgotten with the persons they name; all others stay."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import psycopg
import pytest
from psycopg import errors as pg
from psycopg.types.json import Jsonb

from billing import books, quote_purge
from clinic import chores, db
from tests import given
from tests.given import made
from tests.given_quotes import NAME, aged, link, path, sent
from tests.running import soon

LONG_AGO = 91
TABLES = ("quote", "quote_revision", "quote_line", "quote_link", "quote_extension", "discount_approval")


@pytest.fixture
def old(clinic, opened):
    """A quote for a person that was sent, with a link, and came to nothing."""
    quote = sent(clinic)
    made(clinic.post(f"/v1/quotes/{quote['id']}/extend", {"valid_until": "2199-01-01", "reason": "Отпуск"}))
    return aged(opened, quote | {"link": path(link(clinic, quote))}, LONG_AGO)


def ids(conn, table="quote"):
    return {str(row[0]) for row in conn.execute(f"SELECT id FROM {table}").fetchall()}


def gone(clinic, quote):
    answer = clinic.get(f"/v1/quotes/{quote['id']}")
    return answer.status_code == 404 and answer.get_json()["code"] == "quote_purged"


# ---- What goes, what stays ----


def test_nothing_of_the_person_is_left_and_a_tombstone_is(clinic, opened, old):
    assert quote_purge.purge(90) == 1
    with psycopg.connect(opened.owner) as conn:
        for table in (*TABLES, "party"):
            assert conn.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table
        (row,) = conn.execute(
            "SELECT id::text, code, revision, valid_until = current_date - 91, total::text FROM quote_tombstone"
        ).fetchall()
        kept = "\n".join(str(each) for table in tables_of(conn) for each in conn.execute(f"SELECT * FROM {table}"))
        # The caller's own identifier stands in answers that are kept for thirty days, and so are gone long before.
        conn.execute("DELETE FROM idempotency")
        left = "\n".join(str(each) for table in tables_of(conn) for each in conn.execute(f"SELECT * FROM {table}"))
    assert row == (old["id"], old["code"].replace("-", ""), 1, True, "17700.00")
    assert NAME not in kept
    assert "P-7" not in left
    assert clinic.app.test_client().get(old["link"]).status_code == 404
    assert quote_purge.purge(90) == 0


def tables_of(conn):
    return [row[0] for row in conn.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]


def test_an_answer_given_again_after_the_purge_names_nobody(clinic, opened):
    body = {"lines": [given.line("CT-ABD-RP")], "patient": {"id": None, "name": NAME}}
    quote = made(clinic.post("/v1/quotes", body, key="the-first-call"))
    again = clinic.post("/v1/quotes", body, key="the-first-call")
    assert again.get_json()["patient"]["name"] == NAME
    aged(opened, quote, LONG_AGO)
    assert quote_purge.purge(90) == 1
    again = clinic.post("/v1/quotes", body, key="the-first-call")
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.get_json()["patient"]["name"] is None


def test_reading_a_purged_quote_says_so_to_its_branch_and_to_no_other(clinic, opened, old):
    made(clinic.post("/v1/branches", {"code": "north", "name": "Север", "prefix": "С"}))
    north = given.caller(clinic.app, "*", branch="north")
    quote_purge.purge(90)
    assert gone(clinic, old)
    assert clinic.get(f"/v1/quotes/{old['id']}").get_json()["purged_at"].endswith("Z")
    assert clinic.post(f"/v1/quotes/{old['id']}/accept").get_json()["code"] == "quote_purged"
    assert north.get(f"/v1/quotes/{old['id']}").get_json()["code"] == "not_found"


def test_its_paper_is_still_known(clinic, opened, old):
    quote_purge.purge(90)

    def verified(query):
        return made(clinic.get(f"/v1/quotes/verify?code={old['code']}{query}"))

    found = verified("/1&total=17700.00&fingerprint=000000000000")
    assert (found["genuine"], found["status"], found["total"], found["lines"]) == (True, "purged", "17700.00", None)
    assert (found["total_agrees"], found["fingerprint_agrees"]) == (True, None)
    assert found["purged_at"]
    assert verified("&total=1")["total_agrees"] is False
    assert verified("/2")["genuine"] is False


def test_each_is_one_event_without_a_name_and_the_books_stay_whole(clinic, opened, old):
    quote_purge.purge(90)
    (told,) = [each for each in clinic.events() if each["type"] == "quote.purged"]
    assert (told["object"], told["data"]) == (
        {"type": "quote", "id": old["id"]},
        {"revision": 1, "total": "17700.00"},
    )
    db.open_pool(opened.owner, size=1, command_line=True)
    with db.moment() as conn:
        assert books.check(conn).offenders == []


@pytest.mark.parametrize("days", [0, 30, 89, 90])
def test_a_quote_stays_until_its_term_is_over(clinic, opened, days):
    quote = aged(opened, clinic.quote(("CT-ABD-RP", None)), days)
    assert quote_purge.purge(90) == 0
    assert not gone(clinic, quote)


@pytest.mark.parametrize("state", ["draft", "sent", "declined", "expired", "cancelled", "superseded"])
def test_a_quote_that_was_not_accepted_goes_whatever_its_state(clinic, opened, state):
    quote = aged(opened, clinic.quote(("CT-ABD-RP", None)), LONG_AGO)
    with psycopg.connect(opened.owner) as conn:
        if state != "draft":
            reason = "Ошибка" if state == "cancelled" else None
            conn.execute("UPDATE quote_revision SET status = %s, cancel_reason = %s", (state, reason))
    assert quote_purge.purge(90) == 1
    assert gone(clinic, quote)


def test_what_was_accepted_or_ever_invoiced_stays(clinic, opened):
    accepted = clinic.quote(("CT-ABD-RP", None))
    made(clinic.post(f"/v1/quotes/{accepted['id']}/accept"))
    invoiced, discarded, cancelled = (clinic.quote(("CT-ABD-RP", None)) for _ in range(3))
    clinic.invoice(invoiced)
    draft = clinic.invoice(discarded, issue=False)
    made(clinic.post(f"/v1/invoices/{draft['id']}/discard"))
    made(clinic.post(f"/v1/invoices/{clinic.invoice(cancelled)['id']}/cancel", {"reason": "Ошибка"}))
    with psycopg.connect(opened.owner) as conn:
        # As after a revision that was taken back later: not accepted any more, and an invoice was made all the same.
        conn.execute(
            "UPDATE quote_revision SET status = 'cancelled', cancel_reason = 'Ошибка' WHERE quote_id = %s",
            (discarded["id"],),
        )
    for each in (accepted, invoiced, discarded, cancelled):
        aged(opened, each, 4000)
    assert quote_purge.purge(90) == 0
    assert not any(gone(clinic, each) for each in (accepted, invoiced, discarded, cancelled))


def test_every_revision_counts(clinic, opened):
    """The former one is accepted still, or valid longer than the newest."""
    accepted, longer = (aged(opened, clinic.quote(("CT-ABD-RP", None)), LONG_AGO) for _ in range(2))
    with psycopg.connect(opened.owner) as conn:
        conn.execute("SET session_replication_role = replica")
        conn.execute("UPDATE quote_revision SET newest = false, status = 'superseded'")
        conn.execute(
            """
            INSERT INTO quote_revision SELECT made.* FROM quote_revision AS old, jsonb_populate_record(
              NULL::quote_revision, to_jsonb(old) || '{"revision": 2, "newest": true, "status": "declined"}') AS made
            """
        )
        conn.execute(
            "UPDATE quote_revision SET status = 'accepted' WHERE quote_id = %s AND NOT newest", (accepted["id"],)
        )
        conn.execute(
            "UPDATE quote_revision SET valid_until = current_date WHERE quote_id = %s AND NOT newest", (longer["id"],)
        )
    assert quote_purge.purge(90) == 0


def test_a_person_whom_another_document_names_by_the_same_row_stays(clinic, opened, old):
    other = clinic.quote(("CT-ABD-RP", None))
    with psycopg.connect(opened.owner) as conn:
        conn.execute(
            """
            UPDATE quote_revision SET patient_party = (SELECT id FROM party) WHERE quote_id = %s
            """,
            (other["id"],),
        )
    assert quote_purge.purge(90) == 1
    with psycopg.connect(opened.owner) as conn:
        assert conn.execute("SELECT name FROM party").fetchall() == [(NAME,)]


def test_neither_its_id_nor_its_code_comes_again(clinic, opened, old, monkeypatch):
    quote_purge.purge(90)
    again = clinic.post("/v1/quotes", {"id": old["id"], "lines": [given.line("CT-ABD-RP")]})
    assert (again.status_code, again.get_json()["code"]) == (409, "already_exists")
    monkeypatch.setattr("billing.quote_codes.new", lambda: old["code"].replace("-", ""))
    assert clinic.post("/v1/quotes", {"lines": [given.line("CT-ABD-RP")]}).status_code == 409


def test_an_approval_of_its_discount_goes_with_it(clinic, opened):
    dear = clinic.quote(given.line("CT-ABD-RP", discount_percent="50", discount_reason="goodwill"))
    second = given.caller(clinic.app, "*", discount_ceiling=100)
    made(second.post(f"/v1/quotes/{dear['id']}/approve", {}))
    aged(opened, dear, LONG_AGO)
    assert quote_purge.purge(90) == 1
    with psycopg.connect(opened.owner) as conn:
        assert conn.execute("SELECT count(*) FROM discount_approval").fetchone() == (0,)


def test_many_go_in_batches(clinic, opened, monkeypatch):
    monkeypatch.setattr(quote_purge, "BATCH", 2)
    for _ in range(5):
        aged(opened, clinic.quote(("CT-ABD-RP", None)), LONG_AGO)
    assert quote_purge.purge(90) == 5
    assert [each["type"] for each in clinic.events()].count("quote.purged") == 5


def test_a_run_ends_and_the_next_one_goes_on(clinic, opened, monkeypatch):
    monkeypatch.setattr(quote_purge, "BATCH", 1)
    monkeypatch.setattr(quote_purge, "MOST", 2)
    for _ in range(3):
        aged(opened, clinic.quote(("CT-ABD-RP", None)), LONG_AGO)
    assert [quote_purge.purge(90) for _ in range(3)] == [2, 1, 0]


def test_the_chore_goes_by_the_setting(clinic, opened, monkeypatch):
    monkeypatch.setenv("CLINIC_QUOTE_PURGE_DAYS", "100")
    recent, older = (aged(opened, clinic.quote(("CT-ABD-RP", None)), days) for days in (LONG_AGO, 101))
    assert chores.run_if_due(chores.registry["quote_purge"])
    assert (gone(clinic, recent), gone(clinic, older)) == (False, True)


def test_every_table_that_refers_to_a_quote_is_known_to_the_purge(opened):
    with psycopg.connect(opened.owner) as conn:
        rows = conn.execute(
            """
            SELECT DISTINCT conrelid::regclass::text FROM pg_constraint
             WHERE contype = 'f'
               AND confrelid IN ('quote'::regclass, 'quote_revision'::regclass, 'quote_line'::regclass)
            """
        ).fetchall()
    # From whose quotes nothing is purged: invoice.
    assert {row[0] for row in rows} - {"invoice"} == set(TABLES) - {"quote"}


# ---- At the same time ----


def accept(urls, quote):
    """Accept it by the locks and the statement of the application, whatever its last day; whether it was there."""
    with psycopg.connect(urls.app, options="-c clinic.branch=*") as conn:
        held = """
            SELECT FROM quote JOIN quote_revision AS revision ON revision.quote_id = quote.id AND revision.newest
             WHERE quote.id = %s FOR UPDATE OF quote, revision"""
        if not conn.execute(held.encode(), (quote["id"],)).fetchall():
            return False
        conn.execute("UPDATE quote_revision SET status = 'accepted' WHERE quote_id = %s", (quote["id"],))
    return True


def test_a_quote_is_accepted_or_purged_never_both(clinic, opened, monkeypatch):
    monkeypatch.setattr(quote_purge, "BATCH", 3)
    quotes = [aged(opened, clinic.quote(("CT-ABD-RP", None)), LONG_AGO) for _ in range(60)]
    with ThreadPoolExecutor(3) as pool:
        purging = [pool.submit(quote_purge.purge, 90) for _ in range(2)]
        accepted = {each["id"] for each in reversed(quotes) if accept(opened, each)}
        purged = sum(each.result() for each in purging) + quote_purge.purge(90)
    with psycopg.connect(opened.owner) as conn:
        assert ids(conn) == accepted
        assert ids(conn, "quote_tombstone") == {each["id"] for each in quotes} - accepted
    assert len(accepted) + purged == len(quotes)


def test_a_quote_that_is_being_accepted_is_passed_by_and_waited_for_by_nobody(clinic, opened, old):
    with psycopg.connect(opened.app, options="-c clinic.branch=*") as conn:
        conn.execute("SELECT FROM quote WHERE id = %s FOR UPDATE", (old["id"],))
        assert quote_purge.purge(90) == 0
    assert quote_purge.purge(90) == 1


def test_whoever_waits_for_a_purge_is_told_of_it(clinic, opened, old):
    with psycopg.connect(opened.owner) as conn, ThreadPoolExecutor(1) as pool:
        conn.execute("SELECT quote_purge(current_date, 90, 10, now())")
        waiting = pool.submit(clinic.post, f"/v1/quotes/{old['id']}/decline")
        assert soon(lambda: is_waiting(opened))
        conn.execute(
            "SELECT journal_append(%s, now(), 'command:x', NULL)",
            (Jsonb([{"id": str(uuid4()), "type": "quote.purged", "version": 1, "object_type": "quote",
                     "object_id": old["id"], "data": {}}]),),
        )  # fmt: skip
        conn.commit()
        assert waiting.result().get_json()["code"] == "quote_purged"


def is_waiting(urls):
    with psycopg.connect(urls.owner) as conn:
        return conn.execute("SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'").fetchone() is not None


# ---- Against raw SQL ----


@pytest.mark.parametrize(
    ("error", "sql"),
    [
        (pg.InsufficientPrivilege, "DELETE FROM quote"),
        (pg.InsufficientPrivilege, "DELETE FROM quote_revision"),
        (pg.InsufficientPrivilege, "DELETE FROM quote_link"),
        (pg.InsufficientPrivilege, "DELETE FROM party"),
        (pg.InsufficientPrivilege, "INSERT INTO quote_tombstone SELECT FROM quote"),
        (pg.InsufficientPrivilege, "DELETE FROM quote_tombstone"),
        (pg.RestrictViolation, "SELECT quote_purge('2199-01-01', 90, 10, now())"),
        (pg.RestrictViolation, "SELECT quote_purge(current_date, 0, 10, now())"),
        (pg.RestrictViolation, "SELECT quote_purge(current_date, -4000, 10, now())"),
    ],
)
def test_the_application_cannot_purge_what_is_not_due(clinic, opened, error, sql):
    aged(opened, clinic.quote(("CT-ABD-RP", None), patient={"id": "P-1"}), 20)
    with psycopg.connect(opened.app, options="-c clinic.branch=*") as conn, pytest.raises(error):
        conn.execute(sql.encode())


def test_nobody_purges_without_telling(clinic, opened, old):
    for url in (opened.app, opened.owner):
        with psycopg.connect(url) as conn:
            assert len(conn.execute("SELECT quote_purge(current_date, 90, 10, now())").fetchall()) == 1
            with pytest.raises(pg.CheckViolation):
                conn.commit()
    assert not gone(clinic, old)


@pytest.mark.parametrize("table", ["quote", "quote_revision", "quote_link", "quote_tombstone"])
def test_not_even_the_owner_deletes_a_quote_without_a_tombstone(clinic, opened, old, table):
    other = aged(opened, sent(clinic), LONG_AGO - 1)
    link(clinic, other)
    quote_purge.purge(90)
    with psycopg.connect(opened.owner) as conn, pytest.raises(pg.RestrictViolation):
        conn.execute(f"DELETE FROM {table}".encode())


@pytest.mark.parametrize("changed", ["total = total + 1", "code = '7K3Q92MTF'", "valid_until = valid_until - 1"])
def test_not_even_the_owner_sets_a_tombstone_that_says_otherwise_than_the_quote(clinic, opened, old, changed):
    name, value = changed.split(" = ")
    members = {each: each for each in ("code", "revision", "date", "valid_until", "total")} | {name: value}
    tombstone = f"""
        INSERT INTO quote_tombstone (id, branch_id, created_at, purged_at, {", ".join(members)})
        SELECT quote.id, quote.branch_id, quote.created_at, now(), {", ".join(members.values())}
          FROM quote
          JOIN (SELECT quote_id, revision, date, valid_until, total FROM quote_revision) AS it ON quote_id = id"""
    with psycopg.connect(opened.owner) as conn, pytest.raises(pg.RestrictViolation):
        conn.execute(tombstone.encode())
