"""A defect on any route tells nobody anything but its code and the request's id."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from werkzeug.test import TestResponse

from catalog import negotiation
from clinic import logs, proxies
from tests.browser import quick_passwords  # noqa: F401
from tests.test_hostile_json import Clinic, clinic  # noqa: F401
from tests.test_matrix import APP, EXAMPLES, ROUTES, Route, Visitor, database, people, wall  # noqa: F401

pytestmark = pytest.mark.usefixtures("quick_passwords")

CANARY = "канарейка-4711"
DEFECTS: dict[str, Exception] = {
    "a defect of ours": RuntimeError(f"{CANARY}: SELECT name FROM party WHERE ref = 'P-1'"),
    "a value that is not there": KeyError(CANARY),
    "a statement that is wrong": psycopg.errors.UndefinedColumn(
        f'column "{CANARY}" does not exist\nLINE 1: SELECT {CANARY}'
    ),
    "a constraint nobody has named": psycopg.errors.CheckViolation(f'row violates check constraint "{CANARY}"'),
    "a value the driver cannot send": psycopg.DataError(f"PostgreSQL text fields cannot contain {CANARY}"),
}
TELLING = re.compile(
    rf"{CANARY}|Traceback|SELECT |File \"|\.py\b|line [0-9]+, in|psycopg|Error\(|Exception", re.IGNORECASE
)
"""What no answer to a defect has."""
OF_OURS = re.compile(rf"{CANARY}|Traceback|psycopg|UndefinedColumn|LINE 1")
"""What no other answer has: a statement that fails once all is done costs a connection, and nobody hears of it."""
ALL = [each for each in ROUTES if not each.rule.startswith("/problems/")]
each_route = pytest.mark.parametrize("route", ALL, ids=lambda each: f"{each.method} {each.rule}")


def ask(route: Route, clinic: Clinic, person: Visitor) -> TestResponse:  # noqa: F811
    path = route.path(**clinic.known)
    if not route.is_json:
        return person.ask(route, path)
    headers = {"Authorization": f"Bearer {clinic.caller.secret}", "Idempotency-Key": uuid4().hex}
    body = None if route.method == "GET" else EXAMPLES.get(f"{route.method} {route.rule}", {})
    return APP.test_client().open(path, method=route.method, json=body, headers=headers)


def must_tell_nothing(route: Route, answer: TestResponse) -> None:
    text = answer.get_data(as_text=True)
    assert answer.headers["X-Request-Id"]
    assert not TELLING.search(text + str(answer.headers)), TELLING.search(text + str(answer.headers))
    if route.is_json:
        assert answer.mimetype == "application/problem+json"
        assert answer.get_json().keys() == {"type", "title", "status", "code", "detail", "request_id"}
        assert answer.get_json()["request_id"] == answer.headers["X-Request-Id"]
    else:
        assert answer.mimetype == "text/html"
        assert answer.headers["X-Request-Id"] in text


def code_of(answer: TestResponse) -> str:
    if answer.is_json or "problem" in (answer.mimetype or ""):
        return str(answer.get_json()["code"])
    found = re.search(r'href="/problems/(\w+)"', answer.get_data(as_text=True))
    return found[1] if found else ""


def raising(error: Exception) -> Any:
    """A function that takes anything and raises this."""

    def function(*_: Any, **__: Any) -> Any:
        raise error

    return function


@each_route
def test_s39_a_defect_tells_its_code_and_the_requests_id_alone(route, clinic, people, monkeypatch):  # noqa: F811
    (rule,) = [
        each for each in APP.url_map.iter_rules() if str(each) == route.rule and route.method in (each.methods or ())
    ]
    person = people["administrator"]
    for name, error in DEFECTS.items():
        monkeypatch.setitem(APP.view_functions, rule.endpoint, raising(error))
        answer = ask(route, clinic, person)
        assert (answer.status_code, code_of(answer)) == (500, "internal_error"), name
        must_tell_nothing(route, answer)


@each_route
def test_s39_a_statement_that_fails_is_told_by_its_code(route, clinic, people, monkeypatch):  # noqa: F811
    """Each statement that the route sends fails in turn, those that recognise the caller too."""
    failing = Failing()
    for name in ("execute", "executemany", "copy"):
        monkeypatch.setattr(psycopg.Cursor, name, failing.instead_of(getattr(psycopg.Cursor, name)))
    for number in range(1, 100):
        failing.begin(number)
        answer = ask(route, clinic, of(route, people))
        if not failing.failed:
            break
        assert not OF_OURS.search(answer.get_data(as_text=True) + str(answer.headers)), number
        if answer.status_code >= 500:
            # The database is said to be away where it could not be found out who asks.
            assert code_of(answer) in {"internal_error", "database_away"}, number
            must_tell_nothing(route, answer)
    assert number < 99


def of(route: Route, people: dict[str, Visitor]) -> Visitor:  # noqa: F811
    """Somebody who may see the page, and whom nobody needs afterwards where it ends the session."""
    if route.rule.startswith("/sign-"):
        return Visitor(None)
    return people["administrator"]


class Failing:
    """Counts statements, and lets one of them fail in words that nobody may hear."""

    def __init__(self) -> None:
        self.left, self.failed = 0, False

    def begin(self, number: int) -> None:
        self.left, self.failed = number, False

    def instead_of(self, method: Any) -> Any:
        def counted(cursor: Any, *args: Any, **more: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                self.failed = True
                raise DEFECTS["a statement that is wrong"]
            return method(cursor, *args, **more)

        return counted


def test_s39_a_page_of_refusal_that_breaks_itself_tells_no_more(people, monkeypatch):  # noqa: F811
    """The layout of pages is broken, and so is the page that would say so."""
    monkeypatch.setattr("clinic.pages.render_template", raising(RuntimeError(CANARY)))
    answer = people["administrator"].client.get("/nowhere")
    assert (answer.status_code, answer.mimetype) == (404, "application/problem+json")
    assert answer.get_json()["request_id"] == answer.headers["X-Request-Id"]
    assert not TELLING.search(answer.get_data(as_text=True))


@pytest.mark.parametrize("path", ["/v1/prices", "/prices", "/health/ready", "/desk", "/static/style.css"])
def test_s39_what_breaks_before_the_routes_tells_no_more(path, clinic, monkeypatch, caplog):  # noqa: F811
    """The layers around the application: what they let through would be told by the web server, in its own words."""
    caplog.handler.setFormatter(logs.Lines())
    monkeypatch.setattr(proxies.Front, "__call__", raising(RuntimeError(CANARY)))
    monkeypatch.setattr(negotiation, "media_type", raising(RuntimeError(CANARY)))
    answer = APP.test_client().get(path)
    assert (answer.status_code, answer.mimetype) == (500, "application/problem+json")
    assert answer.get_json()["code"] == "internal_error"
    assert answer.get_json()["request_id"] == answer.headers["X-Request-Id"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert not TELLING.search(answer.get_data(as_text=True) + str(answer.headers))
    assert CANARY not in caplog.text
    assert "RuntimeError" in caplog.text
