"""Budgets of requests: for each caller, over all processes, and nobody gets through where they cannot be counted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psycopg
import pytest

from clinic import budgets, db, limits
from clinic.budgets import Budgets
from clinic.embedded import Cluster
from clinic.errors import DatabaseAway, TooManyRequests
from clinic.http import App
from tests import given, running
from tests.browser import Person, quick_passwords  # noqa: F401
from tests.conftest import SETTINGS
from wsgi import create_app

A_MINUTE = 60

pytestmark = pytest.mark.usefixtures("quick_passwords")


@pytest.fixture
def held(app: App) -> App:
    """The application as it is by default, with a smaller budget."""
    given.sample()
    return create_app(replace(SETTINGS, requests_per_minute=A_MINUTE))


def broken(urls, sql):
    with psycopg.connect(urls.owner) as conn:
        conn.execute(sql)


def code(answer):
    return answer.get_json()["code"]


def asked_by(app, address, path="/prices"):
    return app.test_client().get(path, environ_overrides={"REMOTE_ADDR": address})


def test_s27_a_key_is_held_to_its_budget_and_another_is_not(held):
    greedy, other = given.caller(held, "catalog:read"), given.caller(held, "catalog:read")
    answers = [greedy.get("/v1/branches") for _ in range(A_MINUTE + 5)]
    assert [each.status_code for each in answers[:A_MINUTE]] == [200] * A_MINUTE
    refused = answers[-1]
    assert (refused.status_code, code(refused)) == (429, "too_many_requests")
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert other.get("/v1/branches").status_code == 200


def test_s27_a_strangers_burst_touches_nobody_else(held):
    answers = [asked_by(held, "192.0.2.7").status_code for _ in range(A_MINUTE + 5)]
    assert answers[:A_MINUTE] == [200] * A_MINUTE
    assert answers[-1] == 429
    assert asked_by(held, "192.0.2.8").status_code == 200
    assert given.caller(held, "catalog:read").get("/v1/branches").status_code == 200


def test_s27_who_guesses_keys_is_a_stranger_with_a_budget(held):
    client = held.test_client()
    answers = [
        client.get("/v1/branches", headers={"Authorization": f"Bearer cb_{n:08x}_{'x' * 43}"})
        for n in range(A_MINUTE + 5)
    ]
    assert answers[0].status_code == 401
    assert answers[-1].status_code == 429


def test_s27_health_is_never_refused(held):
    assert {asked_by(held, "192.0.2.7", "/health/live").status_code for _ in range(A_MINUTE + 5)} == {200}


def test_s27_what_is_costly_has_a_smaller_budget(held):
    caller = given.caller(held, "catalog:read")
    path = "/v1/price-lists/base/file?format=csv"
    answers = [caller.get(path).status_code for _ in range(budgets.COSTLY + 1)]
    assert answers == [200] * budgets.COSTLY + [429]
    assert caller.get("/v1/branches").status_code == 200


def test_s27_two_processes_share_a_budget_within_the_slack_that_is_told(opened):
    one, other = Budgets(A_MINUTE), Budgets(A_MINUTE)
    through = sum(passes(each) for _ in range(A_MINUTE) for each in (one, other))
    assert A_MINUTE <= through <= A_MINUTE + 2 * A_MINUTE // 20


def test_s27_most_requests_ask_the_database_nothing(opened, monkeypatch):
    asked: list[int] = []

    def add(limit, key, count):
        asked.append(count)
        return 0

    monkeypatch.setattr(limits, "add", add)
    many = Budgets(1000)
    for _ in range(200):
        many.count("k")
    assert len(asked) <= 5
    assert sum(asked) >= 150


def passes(of: Budgets) -> bool:
    try:
        of.count("k")
    except TooManyRequests:
        return False
    return True


def test_s27_nothing_is_counted_where_the_setting_is_nought(opened):
    unlimited = Budgets(0)
    assert all(passes(unlimited) for _ in range(3000))
    with db.reading() as conn:
        assert db.value(conn, "SELECT count(*) FROM rate_limit") == 0


@pytest.fixture
def service(cluster: Cluster) -> Iterator[running.Service]:
    with (
        running.new_database(cluster) as urls,
        running.service(urls, CLINIC_REQUESTS_PER_MINUTE=str(A_MINUTE)) as service,
    ):
        yield service


def test_s27_a_burst_over_two_workers_is_refused(service):
    caller = service.caller()
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: caller.get("/v1/branches").status, range(3 * A_MINUTE)))
    through = statuses.count(200)
    assert statuses.count(429) == len(statuses) - through
    # Room comes back at one a second while the burst lasts.
    assert A_MINUTE <= through <= A_MINUTE + 2 * A_MINUTE // 20 + 10
    assert service.branch().get("/v1/branches").status == 200


@pytest.mark.parametrize("ruin", ["DROP TABLE rate_limit", "REVOKE ALL ON rate_limit FROM clinic_app"])
def test_s44_without_the_limiter_nobody_gets_through(held, opened, ruin):
    broken(opened, ruin)
    caller = given.caller(held, "catalog:read")
    assert [caller.get("/v1/branches").status_code for _ in range(3)] == [503] * 3
    assert asked_by(held, "192.0.2.7").status_code == 503
    assert caller.get("/v1/price-lists/base/file?format=csv").status_code == 503
    assert asked_by(held, "192.0.2.7", "/health/live").status_code == 200


def test_s44_a_limiter_that_goes_away_is_missed_at_the_next_settlement(opened):
    held = Budgets(A_MINUTE)
    held.count("k")
    broken(opened, "DROP TABLE rate_limit")
    with pytest.raises(DatabaseAway):
        for _ in range(A_MINUTE // 20):
            held.count("k")
    with pytest.raises(DatabaseAway):
        held.count("k")


WITHOUT_DATA = ("/", "/sign-in", "/problems", "/problems/not_found", "/docs", "/v1/openapi.json", "/health/live",
                "/static/style.css")  # fmt: skip


def test_s44_what_shows_no_data_is_there_without_the_limiter(held, opened):
    person = Person(held, "reception")
    broken(opened, "DROP TABLE rate_limit; REVOKE ALL ON staff_session FROM clinic_app")
    for path in WITHOUT_DATA:
        assert asked_by(held, "192.0.2.7", path).status_code == 200, path
        assert person.get(path).status_code == 200, path
    assert asked_by(held, "192.0.2.7", "/prices").status_code == 503


def test_what_shows_no_data_is_there_within_three_seconds_while_the_database_is_away(held):
    person = Person(held, "reception")
    db.open_pool("postgresql://clinic_app@127.0.0.1:9/clinic", size=4)
    for path in WITHOUT_DATA:
        for get in (held.test_client().get, person.get):
            began = time.monotonic()
            assert get(path).status_code == 200, path
            assert time.monotonic() - began < 3, path
    stranger = held.test_client()
    assert [stranger.get(each).status_code for each in ("/prices", "/q/none", "/nowhere")] == [503, 503, 404]
    assert person.get("/account").status_code == 503


@pytest.mark.parametrize("table", ["api_key_secret", "api_key"])
def test_s44_without_the_key_store_no_program_gets_through(app, opened, table):
    caller = given.caller(app, "catalog:read")
    broken(opened, f"REVOKE ALL ON {table} FROM clinic_app".encode())
    answer = caller.get("/v1/branches")
    assert (answer.status_code, code(answer)) == (503, "database_away")
