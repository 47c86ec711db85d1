"""A query parameter said twice means nothing certain: it is refused everywhere, not the first or the last one taken."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clinic import http
from tests import given
from tests.conftest import SETTINGS
from tests.test_matrix import APP, ROUTES, Route, Visitor, database  # noqa: F401
from wsgi import create_app

READ = [each for each in ROUTES if each.method == "GET"]
WRITTEN = [each for each in ROUTES if each.method != "GET"]
TOKEN = "t" * 32


@pytest.fixture(scope="module")
def callers(database):  # noqa: F811
    """The key of a program and an administrator's browser, who may do everything."""
    return given.key("*"), Visitor.signed_in("administrator", "twice")


def refusals(callers, route: Route, query: str) -> list[tuple[str, str]]:
    """(code, parameter) of what the route says to this query; a page tells the code alone."""
    secret, person = callers
    path = f"{route.path()}?{query}"
    if route.rule == "/metrics":
        measured = create_app(replace(SETTINGS, metrics_token=TOKEN))
        answer = measured.test_client().get(path, headers={"Authorization": f"Bearer {TOKEN}"})
    elif route.is_json:
        headers = {"Authorization": f"Bearer {secret}", "Idempotency-Key": "said-twice", "If-Match": '"x"'}
        answer = APP.test_client().open(path, method=route.method, headers=headers)
    else:
        answer = person.ask(route, path)
    if answer.status_code != 422:
        return []
    if answer.is_json:
        return [(each["code"], each["pointer"]) for each in answer.get_json()["errors"]]
    return [("repeated_parameter", "")] if "Параметр указан дважды" in answer.text else []


@pytest.mark.parametrize("route", READ, ids=lambda each: each.rule)
def test_s25_no_address_takes_a_parameter_twice(route, callers):
    told = [("repeated_parameter", "?on" if route.is_json else "")]
    assert refusals(callers, route, "on=2026-11-23&on=2026-11-24") == told
    assert refusals(callers, route, "on=&x=1&on=") == told
    assert "repeated_parameter" not in {code for code, _ in refusals(callers, route, "on=2026-11-23&x=1&y=1")}


@pytest.mark.parametrize("route", WRITTEN, ids=lambda each: f"{each.method} {each.rule}")
def test_s25_nor_does_an_address_that_changes_something(route, callers):
    told = [("repeated_parameter", "?on" if route.is_json else "")]
    assert refusals(callers, route, "on=2026-11-23&on=2026-11-24") == told


def test_s25_strangers_are_refused_where_they_may_come(callers):
    client = APP.test_client()
    for route in READ:
        if route.scope == http.PUBLIC and route.rule != "/metrics":
            answer = client.get(f"{route.path()}?x=1&x=1")
            assert answer.status_code == 422, route.rule
