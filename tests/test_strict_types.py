"""A member of a body is of its type or is refused at its place: nothing is read as something else."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from typing import Any
from uuid import uuid4

import pytest
from werkzeug.test import TestResponse

from tests import given
from tests.test_matrix import APP, EXAMPLES, ROUTES, Route, database  # noqa: F401

TAKEN = [each for each in ROUTES if f"{each.method} {each.rule}" in EXAMPLES]
Place = tuple[str | int, ...]


def places(value: Any, above: Place = ()) -> Iterator[Place]:
    """Every member and item inside."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in inside:
        yield (*above, name)
        yield from places(each, (*above, name))


def of_another_type(value: Any) -> list[Any]:
    """Values no reader of the right type would take."""
    match value:
        case bool():
            return ["true", 1, {}, []]
        case int():
            return [1.5, True, {}, []]
        case dict():
            return [[], "{}", 1, True]
        case list():
            return [{}, "[]", 1, True]
        case _:
            return [{}, [], True, 1.5, [value]]


def replaced(body: Any, place: Place, by: Any) -> Any:
    found = copy.deepcopy(body)
    reduce(getitem, place[:-1], found)[place[-1]] = by
    return found


@dataclass(frozen=True)
class Program:
    """One with every right, and a draft of its own: what belongs to a draft is judged once the draft is found."""

    secret: str
    draft: str
    etag: str

    def send(self, route: Route, body: Any) -> TestResponse:
        known = {"Authorization": f"Bearer {self.secret}", "Idempotency-Key": uuid4().hex, "If-Match": self.etag}
        path = route.path(invoice_id=self.draft)
        return APP.test_client().open(path, method=route.method, json=body, headers=known)


@pytest.fixture(scope="module")
def program(database) -> Program:  # noqa: F811
    caller = given.caller(APP, "*")
    draft = caller.draft(("CT-ABD-RP", None))["id"]
    return Program(caller.secret, draft, caller.get(f"/v1/invoices/{draft}").headers["ETag"])


@pytest.mark.parametrize("route", TAKEN, ids=lambda each: f"{each.method} {each.rule}")
def test_s25_no_member_of_a_body_takes_another_type(route: Route, program):
    body = EXAMPLES[f"{route.method} {route.rule}"]
    taken = {}
    for place in places(body):
        for wrong in of_another_type(reduce(getitem, place, body)):
            answer = program.send(route, replaced(body, place, wrong))
            told = [each["pointer"] for each in (answer.get_json() or {}).get("errors", [])]
            if answer.status_code != 422 or not any(belongs(each, place) for each in told):
                taken[f"{place} = {wrong!r}"] = (answer.status_code, told)
    assert taken == {}


def belongs(pointer: str, place: Place) -> bool:
    """Whether a fault is of this place, of something in it, or of the map of names that it stands in."""
    here = "/" + "/".join(map(str, place))
    return f"{pointer}/".startswith(f"{here}/") or pointer == here.rpartition("/")[0] != ""
