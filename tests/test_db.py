"""The pool, the deadline, the breaker, and what is tried again."""

import threading
import time
from contextlib import suppress

import psycopg
import pytest
from psycopg import errors as pg

from clinic import db
from clinic.errors import AlreadyExists, DatabaseAway


def backend_of(conn):
    return conn.info.backend_pid


def terminate(url, pid):
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute("SELECT pg_terminate_backend(%s)", (pid,))


def test_a_transaction_commits_at_its_end_and_rolls_back_when_anything_is_raised(opened):
    with db.transaction() as conn:
        conn.execute("INSERT INTO rate_limit (name, key, empty_at) VALUES ('x', 'kept', now())")
    with pytest.raises(KeyError), db.transaction() as conn:
        conn.execute("INSERT INTO rate_limit (name, key, empty_at) VALUES ('x', 'lost', now())")
        raise KeyError
    with db.reading() as conn:
        assert db.value(conn, "SELECT array_agg(key) FROM rate_limit") == ["kept"]


def test_a_swallowed_failure_is_not_taken_for_a_commit(opened):
    nothing = pytest.raises(RuntimeError, match="nothing was committed")
    with nothing, db.transaction() as conn, suppress(pg.DivisionByZero):
        conn.execute("SELECT 1 / 0")


def test_the_application_owns_nothing_and_waits_for_nothing_long(opened):
    with db.reading() as conn:
        shown = conn.execute(
            """
            SELECT current_user, current_setting('statement_timeout'), current_setting('lock_timeout'),
                   current_setting('idle_in_transaction_session_timeout'), current_setting('TimeZone')
            """
        ).fetchone()
        assert shown == ("clinic_app", "3s", "2s", "5s", "UTC")
        with pytest.raises(pg.InsufficientPrivilege):
            conn.execute("CREATE TABLE mine ()")


def test_the_deadline_ends_a_transaction_that_the_server_would_not(opened, monkeypatch):
    monkeypatch.setattr(db._opened(), "deadline", 0.3)
    begun = time.monotonic()
    with pytest.raises(psycopg.OperationalError), db.transaction() as conn:
        conn.execute("SELECT pg_sleep(2.5)")
    assert time.monotonic() - begun < 2
    with db.reading() as conn:
        assert db.value(conn, "SELECT 1") == 1


def test_a_connection_that_died_is_tried_again_once(opened):
    tries = []

    def work():
        with db.transaction() as conn:
            tries.append(backend_of(conn))
            if len(tries) == 1:
                terminate(opened.owner, tries[0])
            return db.value(conn, "SELECT 42")

    assert db.retrying(work, repeatable=False) == 42
    assert len(tries) == 2


def test_a_commit_in_doubt_is_repeated_only_where_that_is_safe(opened):
    tries = []

    def work():
        tries.append(1)
        raise db.InDoubt

    with pytest.raises(DatabaseAway):
        db.retrying(work, repeatable=False)
    assert len(tries) == 1
    with pytest.raises(DatabaseAway):
        db.retrying(work, repeatable=True)
    assert len(tries) == 3


def test_a_warning_at_commit_is_doubt(opened):
    """A cancelled wait for a synchronous replica commits with nothing but a WARNING."""
    with psycopg.connect(opened.owner, autocommit=True) as owner:
        owner.execute(
            """
            CREATE FUNCTION warn() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN RAISE WARNING 'not replicated'; RETURN NULL; END $$;
            CREATE CONSTRAINT TRIGGER warns AFTER INSERT ON rate_limit DEFERRABLE INITIALLY DEFERRED
              FOR EACH ROW EXECUTE FUNCTION warn();
            """
        )
    with pytest.raises(db.InDoubt), db.transaction() as conn:
        conn.execute("INSERT INTO rate_limit (name, key, empty_at) VALUES ('x', 'y', now())")


def test_a_deadlock_is_run_again(opened):
    with db.transaction() as conn:
        for who in ("a", "b"):
            conn.execute("INSERT INTO staff VALUES (gen_random_uuid(), %s, '', 'x', NULL, true, now())", (who,))
    both = threading.Barrier(2, timeout=5)
    runs = []

    def work(first, second, wait):
        def attempt():
            runs.append(first)
            with db.transaction() as conn:
                conn.execute("UPDATE staff SET role = role || %s WHERE login = %s", (first, first))
                if wait:
                    wait.pop().wait()
                conn.execute("UPDATE staff SET role = role || %s WHERE login = %s", (first, second))

        return lambda: db.retrying(attempt, repeatable=False)

    threads = [threading.Thread(target=work(*pair, [both])) for pair in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with db.reading() as conn:
        assert sorted(row[0] for row in conn.execute("SELECT role FROM staff")) in (
            [["xab", "xab"], ["xab", "xba"], ["xba", "xba"]]
        )
    assert len(runs) == 3


def test_an_unexpected_unique_violation_has_a_name(opened):
    def work():
        with db.transaction() as conn:
            for _ in range(2):
                conn.execute("INSERT INTO branch VALUES (gen_random_uuid(), 'a', 'A', 'A', NULL, 1, now())")

    with pytest.raises(AlreadyExists):
        db.retrying(work, repeatable=False)


def test_a_database_that_is_away_is_said_at_once_after_three_losses():
    db.open_pool("postgresql://nobody@/none?host=/nonexistent", size=2)
    try:
        waits = []
        for _ in range(6):
            begun = time.monotonic()
            with pytest.raises(DatabaseAway), db.reading():
                pass
            waits.append(time.monotonic() - begun)
        assert max(waits) < 1.5
        assert min(waits[3:]) < 0.05
    finally:
        db.close_pool()


def test_a_busy_pool_does_not_open_the_breaker(opened):
    with db.reading(), db.reading(), db.reading(), db.reading():
        for _ in range(3):
            with pytest.raises(DatabaseAway), db.reading():
                pass
    with db.reading() as conn:
        assert db.value(conn, "SELECT 1") == 1
