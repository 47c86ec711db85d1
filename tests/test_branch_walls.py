"""S3: the wall between branches stands in the database too, behind every WHERE."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors as pg

from billing import invoices
from clinic import branches, db
from clinic.auth import COMMAND_LINE
from clinic.command import change
from tests import given, given_money
from tests.given import line, made

WALLED = """
SELECT relname FROM pg_class
 WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relrowsecurity AND relforcerowsecurity
"""
OF_BRANCHES = """
SELECT DISTINCT relname
  FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attname = 'branch_id' AND NOT attisdropped
 WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
"""
PARTS = """
SELECT DISTINCT part.relname
  FROM pg_constraint
  JOIN pg_class AS part ON part.oid = conrelid
  JOIN pg_class AS whole ON whole.oid = confrelid
 WHERE contype = 'f' AND whole.relrowsecurity
"""
ALL_INVOICES = invoices.page
OPEN = {
    "api_key": "who calls is looked up before his branch is known",
    "staff": "so is who signs in",
    "job": "shown to whoever asked for it, by his id",
}
"""Tables that say a branch and have no wall, and why."""


def tables(opened, sql):
    with psycopg.connect(opened.owner) as conn:
        return {row[0] for row in conn.execute(sql)}


def rows(url, sql, branch=None):
    with psycopg.connect(url) as conn:
        if branch is not None:
            conn.execute("SELECT set_config('clinic.branch', %s, false)", (str(branch),))
        return conn.execute(sql).fetchall()


@pytest.fixture
def two(clinic):
    """The branches `main` and `north`, each with a document of every kind; their ids by code."""
    with change(COMMAND_LINE) as done:
        north = branches.create(done, "north", "Север", "С")
        main = branches.get(done.conn, "main", COMMAND_LINE)
    for code in ("main", "north"):
        desk = given.caller(clinic.app, "*", branch=code)
        invoice = desk.invoice(desk.quote(line("MRI-ABD-RP")))
        payment = given_money.payment(desk, "100.00", (invoice, "60.00"))
        made(given_money.refunded(desk, payment, "10.00"))
        made(desk.post(f"/v1/invoices/{invoice['id']}/acts", {}))
        made(desk.post("/v1/shifts", {"desk": "Касса 1"}))
        cancelled = desk.invoice(desk.quote(line("MRI-ABD-RP")))
        made(desk.post(f"/v1/invoices/{cancelled['id']}/cancel", {"reason": "Ошибка"}))
    return {"main": main.id, "north": north.id}


def test_s03_every_table_of_branches_has_its_wall(opened):
    walled = tables(opened, WALLED)
    assert tables(opened, OF_BRANCHES) - walled == OPEN.keys(), "wall it, or say in OPEN why not"
    assert tables(opened, PARTS) - walled == set(), "what belongs to a walled document is walled with it"


def test_s03_a_connection_without_a_branch_sees_nothing(two, opened):
    for table in tables(opened, WALLED):
        for branch in (None, "", "no-branch", "00000000-0000-0000-0000-000000000000"):
            seen = rows(opened.app, f"SELECT count(*) FROM {table}", branch)
            allowed = {(0,)} if table != "journal" or not branch else {(0,), *rows(opened.app, OF_NO_BRANCH, "*")}
            assert seen[0] in allowed, f"{table} shows rows to a caller of {branch!r}"


OF_NO_BRANCH = "SELECT count(*) FROM journal WHERE branch_id IS NULL"


def test_s03_a_branch_sees_its_own_rows_and_together_they_are_all(two, opened):
    shared = tables(opened, OF_BRANCHES) & tables(opened, WALLED)
    for table in shared:
        for branch in two.values():
            seen = {row[0] for row in rows(opened.app, f"SELECT DISTINCT branch_id FROM {table}", branch)}
            assert seen - {None} <= {branch}, table
    for table in tables(opened, WALLED) - {"journal"}:
        counts = [rows(opened.app, f"SELECT count(*) FROM {table}", each)[0][0] for each in (*two.values(), "*")]
        assert counts[0] + counts[1] == counts[2], table
    filled = [table for table in shared if rows(opened.app, f"SELECT count(*) FROM {table}", two["north"])[0][0]]
    assert {"quote", "quote_revision", "invoice", "credit_note", "act", "payment", "refund", "shift"} <= set(filled)


def test_s03_nothing_is_written_over_the_wall(two, opened):
    copied = """
        INSERT INTO shift (id, branch_id, desk, opening_cash, opened_at, opened_by)
        VALUES (gen_random_uuid(), %s, 'Касса 9', 0, now(), 'key:0')
        """
    with psycopg.connect(opened.app) as conn:
        conn.execute("SELECT set_config('clinic.branch', %s, false)", (str(two["north"]),))
        with pytest.raises(pg.InsufficientPrivilege, match="row-level security"):
            conn.execute(copied, (two["main"],))
        conn.rollback()
        conn.execute("SELECT set_config('clinic.branch', %s, false)", (str(two["north"]),))
        theirs = conn.execute("UPDATE invoice SET status = 'cancelled' WHERE branch_id = %s", (two["main"],))
        assert theirs.rowcount == 0


def test_s03_the_application_cannot_take_the_wall_down(two, opened):
    for sql in (
        "ALTER TABLE invoice DISABLE ROW LEVEL SECURITY",
        "DROP POLICY branch_wall ON invoice",
        "CREATE POLICY hole ON invoice USING (true)",
        "SET row_security = off; SELECT count(*) FROM invoice",
    ):
        with psycopg.connect(opened.app) as conn, pytest.raises(pg.InsufficientPrivilege):
            conn.execute(sql)


def test_s03_an_owner_who_is_no_superuser_is_behind_it_too(two, opened):
    with psycopg.connect(opened.owner) as conn:
        conn.execute("CREATE ROLE plain_owner NOSUPERUSER")
        try:
            conn.execute("ALTER TABLE invoice OWNER TO plain_owner")
            conn.execute("GRANT SELECT ON quote TO plain_owner")
            conn.execute("SET ROLE plain_owner")
            assert conn.execute("SELECT count(*) FROM invoice").fetchone() == (0,)
            conn.execute("SET clinic.branch = '*'")
            assert conn.execute("SELECT count(*) FROM invoice").fetchone() == (4,)
        finally:
            conn.rollback()


# ---- Through the pool ----


def seen():
    with db.reading() as conn:
        return int(db.value(conn, "SELECT count(*) FROM invoice"))


def test_s03_a_connection_keeps_nothing_of_the_caller_before(two, opened):
    db.close_pool()
    db.open_pool(opened.app, size=1)
    for branch, count in [(None, 4), (two["north"], 2), (None, 4), (two["main"], 2)]:
        with db.seeing(branch):
            assert seen() == count
    token = db.see_nothing()
    assert seen() == 0
    db.see_as_before(token)
    with pytest.raises(RuntimeError), db.seeing(two["north"]):
        raise RuntimeError
    with db.seeing(two["main"]):
        assert seen() == 2


def test_s03_a_request_sees_what_its_caller_sees_and_the_next_one_no_more(two, clinic, opened, monkeypatch):
    """Also when a WHERE is forgotten: here the list asks as if the caller saw every branch."""
    north = given.caller(clinic.app, "*", branch="north")
    monkeypatch.setattr("billing.routes.invoices.page", forgetful)
    assert len(made(north.get("/v1/invoices"))["items"]) == 2
    assert len(made(clinic.get("/v1/invoices"))["items"]) == 4
    assert len(made(north.get("/v1/invoices"))["items"]) == 2
    with pytest.raises(AssertionError):
        made(clinic.app.test_client().get("/v1/invoices"))


def forgetful(conn, _actor, wanted, behind):
    return ALL_INVOICES(conn, COMMAND_LINE, wanted, behind)
