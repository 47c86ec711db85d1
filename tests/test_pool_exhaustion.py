"""More work than connections: callers are refused soon, nothing is lost, and all is well as soon as there is room."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import psycopg
import pytest

from clinic import db
from clinic.embedded import Cluster
from tests import given, running
from tests.conftest import SETTINGS
from wsgi import create_app

pytestmark = pytest.mark.xdist_group("server")
POOL = 4
"""Connections of the pool that the fixture `opened` opens."""


@contextmanager
def all_lent(size: int) -> Iterator[None]:
    """Somebody holds every connection of this process's pool."""
    with ExitStack() as held:
        for _ in range(size):
            held.enter_context(db.reading())
        yield


@pytest.fixture
def desk(cluster: Cluster) -> Iterator[running.Desk]:
    with running.new_database(cluster) as urls, running.service(urls) as service:
        desk = service.branch()
        yield desk
        desk.check_books()


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.monotonic()
    return work(), time.monotonic() - began


def test_f14_with_every_connection_lent_requests_are_refused_within_a_second_or_so(opened):
    given.main_branch()
    caller = given.caller(create_app(SETTINGS), "*")
    with all_lent(POOL), ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: timed(lambda: caller.get("/v1/branches")), range(12)))
    assert {(answer.status_code, answer.headers["Retry-After"]) for answer, _ in answers} == {(503, "1")}
    assert {answer.get_json()["code"] for answer, _ in answers} == {"database_away"}
    assert max(seconds for _, seconds in answers) < 2.5


def test_f14_as_soon_as_connections_are_free_requests_are_served_again(opened):
    given.main_branch()
    caller = given.caller(create_app(SETTINGS), "*")
    with all_lent(POOL), ThreadPoolExecutor(8) as pool:
        assert {each.status_code for each in pool.map(lambda _: caller.get("/v1/branches"), range(8))} == {503}
    answer, seconds = timed(lambda: caller.get("/v1/branches"))
    assert (answer.status_code, seconds < 0.5) == (200, True)


def test_f14_more_callers_than_connections_are_bounded_and_lose_nothing(desk):
    quotes = [desk.quote() for _ in range(12)]
    with psycopg.connect(desk.urls.owner) as conn, ThreadPoolExecutor(12) as pool:
        # All that issue an invoice wait for this; each worker has fewer connections than there are callers.
        conn.execute("LOCK TABLE invoice IN SHARE MODE")
        waiting = [pool.submit(timed, partial(desk.invoice, quote, key=quote["id"])) for quote in quotes]
        answers = [each.result() for each in waiting]
        conn.rollback()
        assert {str(answer) for answer, _ in answers} == {"503 database_away"}
        assert {answer.headers["Retry-After"] for answer, _ in answers} == {"1"}
        again = list(pool.map(lambda quote: desk.invoice(quote, key=quote["id"]), quotes))
    assert running.seen(again) == {"201": 12}
    assert len(desk.invoices()) == 12
