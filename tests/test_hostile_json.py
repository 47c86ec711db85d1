"""Hostile JSON against every route that reads any: refused by a name, whatever the route and whichever the member."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import uuid4

import pytest
from werkzeug.test import TestResponse

from clinic import strict_json
from tests import given, given_payers, given_prices
from tests.browser import quick_passwords  # noqa: F401
from tests.given_prices import line
from tests.test_matrix import APP, DESCRIPTION, EXAMPLES, ROUTES, Route, database, operation, wall  # noqa: F401

pytestmark = pytest.mark.usefixtures("quick_passwords")

DEEP = b"[" * 1000 + b"]" * 1000
WHOLE: dict[str, tuple[int, bytes]] = {
    "too large": (413, b'{"x": "' + b"a" * 262_144 + b'"}'),
    "too large, all spaces": (413, b" " * 262_145),
    "deep lists": (400, b'{"x": ' + DEEP + b"}"),
    "deep objects": (400, b'{"x": ' * 1000 + b"1" + b"}" * 1000),
    "one level too deep": (400, b'{"x": ' + b"[" * 32 + b"]" * 32 + b"}"),
    "lists without an end": (400, b"[" * 200_000),
    "objects without an end": (400, b'{"x":' * 50_000),
    "a member twice": (400, b'{"x": 1, "x": 1}'),
    "a member twice, differently written": (400, b'{"x": 1, "\\u0078": 1}'),
    "a member twice, deep inside": (400, b'{"x": [[{"y": {"z": 1, "z": 2}}]]}'),
    "a lone surrogate as a member": (400, b'{"\\ud800": 1}'),
    "a surrogate in UTF-8": (400, b'{"x": "\xed\xa0\x80"}'),
    "an overlong NUL": (400, b'{"x": "\xc0\x80"}'),
    "no UTF-8": (400, b'{"x": "\xff"}'),
    "UTF-16": (400, '{"x": 1}'.encode("utf-16")),
    "UTF-32": (400, '{"x": 1}'.encode("utf-32")),
    "a byte order mark": (400, b'\xef\xbb\xbf{"x": 1}'),
    "NUL after the text": (400, b'{"x": 1}\x00'),
    "NUL in a text": (400, b'{"x": "a\x00b"}'),
    "two texts": (400, b"{} {}"),
    "single quotes": (400, b"{'x': 1}"),
    "a comment": (400, b'{"x": 1 /* one */}'),
    "a comma too many": (400, b'{"x": 1,}'),
    "a hexadecimal number": (400, b'{"x": 0x10}'),
    "a number that begins with nought": (400, b'{"x": 010}'),
    "a member of that name": (422, b'{"__proto__": {"admin": true}, "__class__": 1}'),
    "a member named NUL": (422, b'{"\\u0000": 1}'),
}
"""Bodies that no route reads, and what each is answered."""

VALUES: dict[str, bytes] = {
    "NaN": b"NaN",
    "Infinity": b"-Infinity",
    "31 digits": b"9" * 31,
    "30 digits": b"-" + b"9" * 29,
    "a hundred thousand digits": b"9" * 100_000,
    "a hundred thousand decimals": b"0." + b"1" * 100_000,
    "a float out of range": b"1e999",
    "an exponent out of range": b"1e99999999999999999999",
    "a negative exponent out of range": b"-1e-99999999999999999999",
    "nought of an exponent out of range": b"0e99999999999999999999",
    "a number of a large exponent": b"1e-999999999999999999",
    "NUL": b'"a\\u0000b"',
    "a lone surrogate": b'"\\ud800"',
    "a surrogate pair the wrong way round": b'"\\udc00\\ud800"',
    "many digits as text": b'"' + b"9" * 50_000 + b'"',
    "deep": DEEP,
    "a member twice": b'{"x": 1, "x": 1}',
}
"""What stands in the place of each member in turn."""


def body_of(route: Route) -> dict[str, Any]:
    """Media types of the body that the route reads, each with what is described of it."""
    found: dict[str, Any] = operation(route).get("requestBody", {}).get("content", {})
    return found


READERS = [each for each in ROUTES if "application/json" in body_of(each)]
OTHERS = [each for each in ROUTES if each.rule.startswith("/v1/") and each.method != "GET" and each not in READERS]
by_name = pytest.mark.parametrize("route", READERS, ids=lambda each: f"{each.method} {each.rule}")


@dataclass(frozen=True)
class Clinic:
    """A program that may do everything, and one of each thing that paths name."""

    caller: given.Caller
    known: dict[str, str]

    def path(self, route: Route) -> str:
        return route.path(**self.known)

    def answer(self, route: Route, raw: bytes) -> TestResponse:
        path = self.path(route)
        headers = {"Authorization": f"Bearer {self.caller.secret}", "Idempotency-Key": uuid4().hex}
        if any(each["name"] == "If-Match" for each in operation(route).get("parameters", ())):
            headers["If-Match"] = self.version(path)
        return APP.test_client().open(
            path, method=route.method, data=raw, content_type="application/json", headers=headers
        )

    def version(self, path: str) -> str:
        """The ETag of what stands at this address, or of what the address is inside."""
        whole = re.match(r"/v1/price-orders/[^/]+", path)
        return self.caller.get(whole[0] if whole else path).headers.get("ETag", '"none"')


@pytest.fixture(scope="module")
def clinic(wall) -> Clinic:  # noqa: F811
    with given.day("2026-11-23"):
        caller = given.caller(APP, "*")
        more = {
            "order_id": str(given_prices.draft(line("CT-ABD-RP", "9000.00"), since=date(2027, 1, 1)).id),
            "article": "CT-ABD-RP", "code": "main", "reference": "vat_exemption", "discount_reason": "repeat",
            "price_list": given_payers.price_list(caller, "staff", "staff")["code"], "doctor_rank": "candidate",
            "doctor_id": given_payers.doctor(caller)["id"], "package": given.package(caller, "TWO-SCANS")["code"],
            "quote_id": caller.quote(("MRI-ABD-RP", None))["id"],
            "invoice_id": caller.draft(("MRI-ABD-RP", None))["id"],
        }  # fmt: skip
        return Clinic(caller, wall.foreign | more)


def test_s24_the_readers_are_all_routes_that_are_described_with_a_body():
    assert len(READERS) > 60
    assert all(operation(each) for each in OTHERS)
    assert {media for each in OTHERS for media in body_of(each)} == {"multipart/form-data"}


@by_name
def test_s24_a_hostile_body_is_refused_by_every_route(route, clinic):
    for name, (status, raw) in WHOLE.items():
        answer = clinic.answer(route, raw)
        assert (answer.status_code, answer.mimetype) == (status, "application/problem+json"), name


@by_name
def test_s24_a_hostile_value_is_refused_in_every_member(route, clinic):
    example = EXAMPLES.get(f"{route.method} {route.rule}", {})
    members = DESCRIPTION["components"]["schemas"][body_of(route)["application/json"]["schema"]["$ref"].split("/")[-1]]
    further = [(name,) for name in members["properties"] if name not in example]
    assert further or example
    for place in [*places(example), *further]:
        for name, value in VALUES.items():
            answer = clinic.answer(route, spliced(example, place, value))
            told = (answer.status_code, answer.get_json()["code"])
            assert told in {(400, "unreadable_json"), (400, "duplicate_member"), (422, "invalid_input")}, (place, name)


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where members and items stand; of a list the first item only."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield (*path, name)
            yield from places(inner, (*path, name))
    elif isinstance(value, list) and value:
        yield (*path, 0)
        yield from places(value[0], (*path, 0))


def spliced(example: Any, place: tuple[str | int, ...], value: bytes) -> bytes:
    """The example as JSON with `value`, as it is written, at that place."""
    mark = "@@@"
    changed = copy.deepcopy(example)
    inner = changed
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = mark
    return json.dumps(changed, ensure_ascii=False).encode().replace(f'"{mark}"'.encode(), value)


@pytest.mark.parametrize("route", OTHERS, ids=lambda each: f"{each.method} {each.rule}")
def test_s24_no_json_breaks_a_route_that_reads_none(route, clinic):
    """Commands without a body, and those that take a file, do what they do or answer by a name."""
    named = ("too large", "deep objects", "a member twice", "a lone surrogate as a member", "no UTF-8")
    for raw in (*(WHOLE[name][1] for name in named), *STRANGE):
        assert clinic.answer(route, raw).status_code < 500, raw[:40]


STRANGE = (
    b"5.0", b"[5.0]", b'{"x": 5.0}', b"9" * 30, b'{"x": ' + b"9" * 30 + b"}", b"1e999", b"[null]", b'"\\ud800"',
    b'["\\ud800"]', b'{"x": "\\ud800"}', b'"a\\u0000b"', b"true",
)  # fmt: skip
"""Readable JSON with what no digest, no database and no other reader of JSON takes."""


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("-0", 0), ("5.0", 5), ("1e17", 10**17), ("0.0e999999999999999999", 0), ("1e18", 1e18),
        ("1e-999999999999", 0.0), ("0.1e-99", 0.1e-99), ("9" * 30, 10**30 - 1),
    ],
)  # fmt: skip
def test_s24_a_number_of_any_writing_is_what_it_says_at_once(text, number):
    """A whole one stays whole, and what is none, however near to one, is a float, which no field takes."""
    found = strict_json.read_shallow(b'{"x": ' + text.encode() + b"}")["x"]
    assert (found, isinstance(found, float)) == (number, isinstance(number, float))
