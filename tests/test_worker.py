"""Workers as processes beside the real server, killed, stopped and left without a database: a job is done once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from clinic import child, migrate
from clinic.embedded import Cluster, Urls
from tests import running
from tests.conftest import _BINDIR
from tests.given import LATER, price_file
from tests.running import Answer, Caller, Service, Worker, soon
from tests.test_faults import stop

pytestmark = pytest.mark.xdist_group("server")
PATH = "/v1/price-orders/imports"


def ask(caller: Caller, rows: int, name: str) -> str:
    """Send a price list that is long enough for a job; where the job is."""
    answer = caller.upload(PATH, price_file(rows, prefix=name.upper()), effective_from=LATER, number=name)
    assert answer.status == 202, answer.json
    return str(answer.headers["Location"])


def job(caller: Caller, at: str) -> Any:
    answer: Answer = caller.get(at)
    assert answer.status == 200, answer.json
    return answer.json


def is_over(caller: Caller, at: str) -> bool:
    return job(caller, at)["finished_at"] is not None


def orders(urls: Urls, number: str) -> list[int]:
    """The lines of each order of this number."""
    with psycopg.connect(urls.owner) as conn:
        rows = conn.execute(
            """
            SELECT count(line.position) FROM price_order LEFT JOIN price_order_line AS line ON line.order_id = id
             WHERE number = %s GROUP BY id
            """,
            (number,),
        )
        return [count for (count,) in rows]


def attempts(urls: Urls, at: str) -> int:
    with psycopg.connect(urls.owner) as conn:
        row = conn.execute("SELECT attempts FROM job WHERE id = %s", (at.rpartition("/")[2],)).fetchone()
        assert row
        return int(row[0])


@contextmanager
def slow_lines(urls: Urls, seconds: float, *, times: int = 1) -> Iterator[Callable[[], bool]]:
    """The first attempts stand still with all their lines written, and nothing committed; says whether one does."""
    with psycopg.connect(urls.owner, autocommit=True) as conn:
        conn.execute(
            f"""
            CREATE SEQUENCE naps;
            CREATE FUNCTION nap() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
            BEGIN
              IF nextval('naps') <= {times} THEN
                PERFORM pg_sleep({seconds});
              END IF;
              RETURN NULL;
            END $$;
            CREATE TRIGGER zz_naps AFTER INSERT ON price_order_line FOR EACH STATEMENT EXECUTE FUNCTION nap()
            """.encode()
        )

        def somebody_naps() -> bool:
            row = conn.execute("SELECT is_called FROM naps").fetchone()
            return bool(row and row[0])

        yield somebody_naps
    with psycopg.connect(urls.owner, autocommit=True) as conn:  # the database may have been away
        conn.execute("DROP FUNCTION nap CASCADE; DROP SEQUENCE naps")


def give_up_for_dead(urls: Urls) -> None:
    """Half a minute passes in which nobody gives a sign of life."""
    with psycopg.connect(urls.owner) as conn:
        conn.execute("UPDATE job SET heartbeat_at = heartbeat_at - interval '31 seconds' WHERE status = 'running'")


def test_a_worker_killed_in_the_middle_leaves_its_job_to_the_next_one(service):
    caller, urls = service.caller(), service.urls
    with slow_lines(urls, 20) as somebody_naps:
        at = ask(caller, 20_000, "killed")
        with Worker(urls) as first:
            assert soon(somebody_naps, 30), first.words()
            assert soon(lambda: job(caller, at)["progress"] == {"done": 20_000, "total": 20_000}), "no progress is seen"
            first.end(signal.SIGKILL)
        assert (job(caller, at)["status"], orders(urls, "killed")) == ("running", [])
        give_up_for_dead(urls)
        with Worker(urls) as second:
            assert soon(lambda: is_over(caller, at), 30), second.words()
            assert second.end(signal.SIGTERM) == 0
    ended = job(caller, at)
    assert (ended["status"], ended["result"]["accepted"], attempts(urls, at)) == ("done", 20_000, 2)
    assert orders(urls, "killed") == [20_000]


def test_a_worker_that_stood_still_cannot_do_the_job_a_second_time(service):
    caller, urls = service.caller(), service.urls
    with slow_lines(urls, 3) as somebody_naps, Worker(urls) as first:
        at = ask(caller, 2001, "still")
        assert soon(somebody_naps, 30), first.words()
        first.process.send_signal(signal.SIGSTOP)
        give_up_for_dead(urls)
        with Worker(urls) as second:
            # The first one's transaction holds the price list until it goes on.
            assert soon(lambda: attempts(urls, at) == 2), second.words()
            first.process.send_signal(signal.SIGCONT)
            assert soon(lambda: is_over(caller, at), 30), second.words()
            assert job(caller, at)["status"] == "done"
            assert orders(urls, "still") == [2001]
            assert soon(lambda: "went to another attempt" in first.words()), first.words()


def test_two_workers_share_the_jobs(service):
    caller, urls = service.caller(), service.urls
    names = [f"share{number}" for number in range(6)]
    places = [ask(caller, 2001, name) for name in names]
    with Worker(urls), Worker(urls):
        assert soon(lambda: all(is_over(caller, at) for at in places), 60)
    assert [job(caller, at)["status"] for at in places] == ["done"] * 6
    assert [orders(urls, name) for name in names] == [[2001]] * 6
    assert {attempts(urls, at) for at in places} == {1}


def test_sigterm_lets_the_job_in_hand_come_to_its_end(service):
    caller, urls = service.caller(), service.urls
    with slow_lines(urls, 2) as somebody_naps, Worker(urls) as clerk:
        at, later = ask(caller, 2001, "term"), ask(caller, 2001, "after")
        assert soon(somebody_naps, 30), clerk.words()
        assert clerk.end(signal.SIGTERM) == 0
    assert (job(caller, at)["status"], attempts(urls, at)) == ("done", 1)
    assert (job(caller, later)["status"], orders(urls, "after")) == ("queued", [])


def test_an_idle_worker_stops_at_once(service):
    with Worker(service.urls) as clerk:
        assert soon(lambda: running.is_listening(service.urls), 20), clerk.words()
        began = time.monotonic()
        assert clerk.end(signal.SIGTERM) == 0
        assert time.monotonic() - began < 1.5
        assert clerk.words() == ""


def test_one_that_ends_again_and_again_is_started_later_each_time():
    told: list[tuple[int, float]] = []

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"])

    kept = child.Restarted(start, lambda status, pause: told.append((status, pause)))

    def has_ended(times: int) -> bool:
        kept.tend()
        return len(told) == times

    began = time.monotonic()
    assert soon(lambda: has_ended(3), 10)
    assert told == [(7, 1.0), (7, 2.0), (7, 4.0)]
    assert time.monotonic() - began > 3
    kept.end(1)


# ---- The database goes and comes ----


@pytest.fixture(scope="module")
def own_cluster(new_folder: Callable[[], Path]) -> Iterator[Cluster]:
    with Cluster(new_folder(), bindir=_BINDIR) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def own_service(own_cluster: Cluster) -> Iterator[Service]:
    urls = Urls(own_cluster.owner_url(), own_cluster.app_url())
    migrate.run(urls.owner)
    with running.service(urls) as service:
        yield service


def test_a_worker_outlives_its_database_and_does_the_job_it_had_in_hand(own_cluster, own_service):
    caller, urls = own_service.caller(), own_service.urls
    with Worker(urls) as clerk:
        with slow_lines(urls, 20) as somebody_naps:
            at = ask(caller, 2001, "away")
            assert soon(somebody_naps, 30), clerk.words()
            # Not `immediate`: after a crash the sequence would not know that somebody has napped.
            stop(own_cluster, signal.SIGINT)
            time.sleep(5)
            assert clerk.process.poll() is None, clerk.words()
            own_cluster.start()
            # Much sooner than the half minute after which it would be taken for dead.
            assert soon(lambda: succeeds(lambda: is_over(caller, at)), 15), clerk.words()
        assert (job(caller, at)["status"], orders(urls, "away"), attempts(urls, at)) == ("done", [2001], 2)
        later = ask(caller, 2001, "back")
        assert soon(lambda: is_over(caller, later), 15), clerk.words()
        assert job(caller, later)["status"] == "done"
        said = [json.loads(line)["message"] for line in clerk.words().splitlines()]
        told = [line for line in said if "database" in line and "job" not in line]
        assert told == ["the database does not answer: DatabaseAway", "the database answers again"]


def succeeds(asked: Callable[[], bool]) -> bool:
    try:
        return asked()
    except AssertionError:
        return False
