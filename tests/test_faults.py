"""Broken on purpose: connections cut, processes killed, the database restarted and taken away, all under load.

The oracle is the callers' own ledger: what was acknowledged is there, nothing else is, and the numbers are 1…n.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from clinic import migrate
from clinic.embedded import Cluster, Urls
from tests import running
from tests.conftest import _BINDIR
from tests.running import CONSULTATION, Answer, Desk, Load, Proxy, Service, soon

pytestmark = pytest.mark.xdist_group("server")
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a process's children")


@pytest.fixture(scope="module")
def database(cluster: Cluster) -> Iterator[tuple[Urls, Proxy]]:
    """A new database, and what stands between it and the server."""
    with running.new_database(cluster) as urls, running.before_the_database(urls) as proxy:
        yield running.behind(proxy, urls), proxy


@pytest.fixture(scope="module")
def service(database: tuple[Urls, Proxy]) -> Iterator[Service]:
    with running.service(database[0]) as service:
        yield service


@pytest.fixture
def to_database(database: tuple[Urls, Proxy]) -> Iterator[Proxy]:
    yield database[1]
    database[1].keep_back(b"", times=0)


def check_ledger(load: Load, desk: Desk) -> None:
    """Nothing acknowledged is lost, nothing is there that nobody was told of, and no number is missing."""
    assert load.acknowledged == desk.invoices()
    assert list(desk.invoices().values()) == desk.numbers(len(load.acknowledged))
    assert desk.count("quote") == desk.count("invoice") == len(load.acknowledged)


def check_only(desk: Desk, answer: Answer) -> None:
    """The branch has this one invoice."""
    assert desk.invoices() == {answer.json["id"]: desk.numbers(1)[0]}


# ---- A connection dies ----


def test_a_death_before_commit_leaves_nothing_behind(desk):
    quote = desk.quote()
    with deaths_before_commit(desk.urls, 2):  # the first try and its silent repeat
        before = rows(desk.urls)
        assert str(desk.invoice(quote, key="died-before-commit")) == "503 database_away"
        assert rows(desk.urls) == before
        again = desk.invoice(quote, key="died-before-commit")
    assert (again.status, again.replayed) == (201, False)
    check_only(desk, again)


def test_one_death_before_commit_is_not_noticed(desk):
    quote = desk.quote()
    with deaths_before_commit(desk.urls, 1):
        answer = desk.invoice(quote)
    assert (answer.status, answer.replayed) == (201, False)
    check_only(desk, answer)


@contextmanager
def deaths_before_commit(urls: Urls, times: int) -> Iterator[None]:
    """The database session of whoever makes an invoice ends, with all work done and COMMIT begun."""
    with psycopg.connect(urls.owner, autocommit=True) as conn:
        # A sequence counts what is rolled back, too.
        conn.execute(
            f"""
            CREATE SEQUENCE death;
            CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
            BEGIN
              IF nextval('death') <= {times} THEN
                PERFORM pg_terminate_backend(pg_backend_pid());
                PERFORM pg_sleep(5);
              END IF;
              RETURN NULL;
            END $$;
            CREATE CONSTRAINT TRIGGER zz_dies AFTER INSERT ON invoice DEFERRABLE INITIALLY DEFERRED
              FOR EACH ROW EXECUTE FUNCTION die()
            """.encode()
        )
        yield
        assert conn.execute("SELECT last_value >= %s::bigint FROM death", (times,)).fetchone() == (True,)
        conn.execute("DROP FUNCTION die CASCADE; DROP SEQUENCE death")


def rows(urls: Urls) -> dict[str, int]:
    """How many rows each table has."""
    with psycopg.connect(urls.owner) as conn:
        names = [row[0] for row in conn.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
        return {name: conn.execute(f"SELECT count(*) FROM {name}".encode()).fetchall()[0][0] for name in names}


def test_connections_that_died_idle_are_not_noticed(desk):
    quotes = [desk.quote() for _ in range(8)]
    with psycopg.connect(desk.urls.owner) as conn:
        conn.execute(
            """
            SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'clinic'
            """
        )
    time.sleep(1)  # one that answered a moment ago would be trusted
    # One after another: the first caller of each worker meets all of its dead connections.
    assert running.seen([desk.invoice(quote) for quote in quotes]) == {"201": 8}


# ---- An answer is lost ----


def test_an_answer_lost_on_its_way_is_given_again(desk):
    quote = desk.quote()
    with Proxy(("127.0.0.1", desk.port)) as proxy:
        proxy.keep_back(b"HTTP/1.1 201")
        with pytest.raises(ConnectionResetError):
            desk.at(proxy.port).invoice(quote, key="answer-was-lost")
        again = desk.at(proxy.port).invoice(quote, key="answer-was-lost")
    assert (again.status, again.replayed) == (201, True)
    check_only(desk, again)


def lose_commit(to_database: Proxy, *, done: bool, times: int) -> None:
    """The connection is reset when COMMIT was done, or when it was sent and has not arrived."""
    if done:
        to_database.keep_back(b"COMMIT\0Z", times=times)
    else:
        to_database.swallow_after(b"journal_append", times=times)


@pytest.mark.parametrize("done", [True, False], ids=["done", "not done"])
def test_a_commit_in_doubt_is_repeated_unseen(desk, to_database, done):
    quote = desk.quote()
    lose_commit(to_database, done=done, times=1)
    answer = desk.invoice(quote)
    assert to_database.has_cut
    assert (answer.status, answer.replayed) == (201, done)
    check_only(desk, answer)


@pytest.mark.parametrize("done", [True, False], ids=["done", "not done"])
def test_a_commit_in_doubt_twice_is_the_callers_to_repeat(desk, to_database, done):
    quote = desk.quote()
    lose_commit(to_database, done=done, times=2)
    assert str(desk.invoice(quote, key="in-doubt-twice")) == "503 database_away"
    assert to_database.has_cut
    again = desk.invoice(quote, key="in-doubt-twice")
    assert (again.status, again.replayed) == (201, done)
    check_only(desk, again)


def test_a_write_without_a_key_is_never_repeated_unseen(desk, to_database):
    lose_commit(to_database, done=True, times=1)
    assert str(desk.call("POST", "/v1/quotes", {"lines": [CONSULTATION]})) == "503 database_away"
    assert desk.count("quote") == 1


# ---- A process dies ----


@linux
def test_killed_workers_cost_nothing_but_a_repeat(service, desk):
    with Load(desk, callers=8) as load:
        for _ in range(5):
            load.let_pass(5)
            os.kill(random.choice(service.server.workers()), signal.SIGKILL)
            time.sleep(0.7)
    assert load.seen["cut"], "no worker died with work in its hands"
    assert set(load.seen) <= {"201", "cut", "503 database_away", "409 in_progress"}
    check_ledger(load, desk)


@linux
def test_a_server_asked_to_stop_answers_what_it_has_taken(service, desk):
    quotes = [desk.quote() for _ in range(4)]
    with running.Server(service.urls) as server, ThreadPoolExecutor(len(quotes)) as pool:
        with psycopg.connect(service.urls.owner) as conn:
            conn.execute("SELECT FROM quote WHERE id = ANY(%s::uuid[]) FOR UPDATE", ([each["id"] for each in quotes],))
            asked = [pool.submit(desk.at(server.port).invoice, each) for each in quotes]
            assert soon(lambda: waiting(service.urls) == len(quotes))
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
        assert running.seen([each.result() for each in asked]) == {"201": len(quotes)}
        assert server.process.wait(20) == 0
        with pytest.raises(ConnectionRefusedError):
            desk.at(server.port).get("/health/live")


def waiting(urls: Urls) -> int:
    """How many requests are held up by a lock."""
    with psycopg.connect(urls.owner) as conn:
        sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        (count,) = conn.execute(sql).fetchall()[0]
    return int(count)


# ---- The database goes and comes ----


@pytest.fixture(scope="module")
def own_cluster(new_folder: Callable[[], Path]) -> Iterator[Cluster]:
    """A cluster that is as careful as a real one."""
    with Cluster(new_folder(), bindir=_BINDIR) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def own_service(own_cluster: Cluster) -> Iterator[Service]:
    urls = Urls(own_cluster.owner_url(), own_cluster.app_url())
    migrate.run(urls.owner)
    with running.service(urls) as service:
        yield service


@pytest.fixture
def own_desk(own_service: Service) -> Iterator[Desk]:
    desk = own_service.branch()
    yield desk
    desk.check_books()


def stop(cluster: Cluster, sig: signal.Signals) -> None:
    assert cluster.process
    cluster.process.send_signal(sig)
    cluster.process.wait(30)
    cluster.stop()


@pytest.mark.parametrize("mode", [signal.SIGINT, signal.SIGQUIT], ids=["fast", "immediate"])
def test_a_restarted_database_costs_nothing_but_a_repeat(own_cluster, own_desk, mode):
    with Load(own_desk, callers=8) as load:
        load.let_pass(40)
        stop(own_cluster, mode)
        own_cluster.start()
        load.let_pass(40)
    assert set(load.seen) <= {"201", "503 database_away"}
    check_ledger(load, own_desk)


@linux
def test_without_a_database_refusals_are_quick_and_the_prices_stay(own_cluster, own_service, own_desk):
    feed, _ = own_service.server.with_each_worker(lambda: own_desk.get("/v1/prices"))
    quotes = [own_desk.quote() for _ in range(8)]
    stop(own_cluster, signal.SIGINT)
    try:
        away_until = time.monotonic() + 6
        own_service.server.with_each_worker(lambda: refuse_quickly(own_desk, quotes, at_once=0))
        while time.monotonic() < away_until:
            # Each worker lets one caller a second try; the others are told at once.
            refuse_quickly(own_desk, quotes, at_once=6)
            live, seconds = timed(lambda: own_desk.get("/health/live"))
            assert (live.status, seconds < 1) == (200, True)
            prices, seconds = timed(lambda: own_desk.get("/v1/prices"))
            assert (prices.status, prices.raw, seconds < 2.5) == (200, feed.raw, True)
    finally:
        own_cluster.start()
    assert soon(lambda: own_desk.invoice(quotes[0], key="while-it-was-away-0").status == 201, 4)
    assert list(own_desk.invoices().values()) == own_desk.numbers(1)


def refuse_quickly(desk: Desk, quotes: list[Any], *, at_once: int) -> None:
    """Eight callers are refused within about a second, `at_once` of them at once."""
    refusals = running.at_once(8, lambda n: timed(lambda: desk.invoice(quotes[n], key=f"while-it-was-away-{n}")))
    for answer, _ in refusals:
        assert str(answer) == "503 database_away"
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert 1 <= int(answer.headers["Retry-After"]) <= 5
    waits = sorted(seconds for _, seconds in refusals)
    assert waits[-1] < 2.5
    assert all(seconds < 0.5 for seconds in waits[:at_once])


def timed(call: Callable[[], Answer]) -> tuple[Answer, float]:
    began = time.monotonic()
    return call(), time.monotonic() - began
