"""What is there at all: a route's own methods and no others, and the description of the contract where it is meant."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import pytest

from tests import given
from tests.conftest import SETTINGS
from tests.test_matrix import APP, ROUTES, Route
from wsgi import create_app

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND", "BREW")


def allowed() -> dict[str, set[str]]:
    """Rule -> its methods; several routes may share an address."""
    found: dict[str, set[str]] = defaultdict(lambda: {"OPTIONS"})
    for route in ROUTES:
        found[route.rule] |= {route.method} | ({"HEAD"} if route.method == "GET" else set())
    return found | {"/static/style.css": {"GET", "HEAD", "OPTIONS"}}


def allow(answer) -> set[str]:
    return set(answer.headers.get("Allow", "").split(", "))


@pytest.mark.parametrize("rule", allowed())
def test_s42_an_address_answers_its_own_methods_and_no_other(rule):
    client, methods, path = APP.test_client(), allowed()[rule], Route("GET", rule, "").path()
    for method in METHODS:
        if method not in methods:
            answer = client.open(path, method=method, headers={"X-HTTP-Method-Override": min(methods - {"OPTIONS"})})
            assert (answer.status_code, allow(answer)) == (405, methods), method
    asked = client.options(path)
    assert (allow(asked), asked.data) == (methods, b"")


# ---- The description of the contract ----


@pytest.mark.parametrize(
    ("told", "there"),
    [
        ({}, True),
        ({"env": "production"}, False),
        ({"env": "production", "docs": True}, True),
        ({"docs": False}, False),
    ],
)
def test_s42_the_description_is_for_strangers_only_where_it_is_meant_to_be(app, told, there):
    told_app = create_app(replace(SETTINGS, **told))
    stranger = told_app.test_client()
    assert stranger.get("/docs").status_code == (200 if there else 404)
    assert stranger.get("/v1/openapi.json").status_code == (200 if there else 401)
    assert (b'href="/docs"' in stranger.get("/").data) is there
    # What a refusal means is asked by whoever got one.
    assert stranger.get("/problems/not_found").status_code == 200


def test_s42_programs_of_the_clinic_read_the_description_with_any_key(app):
    closed = create_app(replace(SETTINGS, docs=False))
    answer = given.caller(closed, "catalog:read").get("/v1/openapi.json")
    assert answer.status_code == 200
    assert "/v1/quotes" in answer.get_json()["paths"]
    assert given.Caller(closed, "cb_00000000_" + "A" * 43).get("/v1/openapi.json").status_code == 401


def test_s42_with_a_budget_the_closed_description_is_counted(app):
    held = create_app(replace(SETTINGS, docs=False, requests_per_minute=1))
    caller = given.caller(held, "catalog:read")
    assert [caller.get("/v1/openapi.json").status_code for _ in range(2)] == [200, 429]
    stranger = held.test_client()
    assert [stranger.get("/v1/openapi.json").status_code for _ in range(2)] == [401, 429]
