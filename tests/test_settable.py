"""What a request may set is what its route names: whatever the service works out itself is refused when it is sent.

The routes, what they take and what they give come from the OpenAPI description, so a new route is tried by itself.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import pytest

from clinic import db
from tests import given
from tests.running import new_database
from tests.test_matrix import APP, DESCRIPTION, EXAMPLES, ROUTES, Route, ask

NEVER = {
    "status", "state", "sequence", "subtotal", "amount_due", "paid", "credited", "refunded", "allocated", "approval",
    "approved_by", "approved_at", "content_sha256", "fingerprint", "position_in_journal", "created_by", "created_at",
    "issued_at", "issued_by", "row_version", "branch_id", "actor", "sha256", "is_admin", "invoiced_quantity",
}  # fmt: skip
"""What no request may set, whatever its answer shows."""
OF_DOCUMENTS = {"number", "total", "price", "vat", "vat_rate", "vat_amount", "supplier", "code"}
"""Nor these in what a clinic bills: they follow from the catalog, the series and the branch."""
OF_OTHERS = "/payer/guarantee_letter/number"
"""The insurer numbers his letters."""
BILLED = ("/v1/quotes", "/v1/invoices", "/v1/acts", "/v1/payments", "/v1/shifts")


def operation(route: Route) -> dict[str, Any]:
    path = re.sub(r"<(?:[^<>]*:)?(\w+)>", r"{\1}", route.rule)
    found: dict[str, Any] = DESCRIPTION["paths"][path][route.method.lower()]
    return found


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema itself, where this is a reference or a choice with null."""
    for each in [schema, *schema.get("allOf", []), *schema.get("anyOf", [])]:
        if "$ref" in each:
            return dict(DESCRIPTION["components"]["schemas"][each["$ref"].rpartition("/")[2]])
    return schema


def objects(schema: dict[str, Any], at: str = "", depth: int = 0) -> Iterator[tuple[str, set[str]]]:
    """The objects inside a schema: their pointer, `0` for each list, and the names of their members."""
    schema = resolved(schema)
    if "items" in schema:
        yield from objects(schema["items"], f"{at}/0", depth)
    if "properties" in schema and depth < 6:
        yield at, set(schema["properties"])
        for name, inner in schema["properties"].items():
            yield from objects(inner, f"{at}/{name}", depth + 1)


def taken(route: Route) -> dict[str, set[str]]:
    """The members of each object of a route's JSON body, by its pointer; of no body, none."""
    content = operation(route).get("requestBody", {}).get("content", {})
    return dict(objects(content["application/json"]["schema"])) if content else {"": set()}


def shown(route: Route) -> set[str]:
    """Every member of every object that a route's answer may have."""
    return {
        name
        for status, answer in operation(route)["responses"].items()
        if status.startswith("2")
        for _, names in objects(answer["content"]["application/json"]["schema"])
        for name in names
    }


WRITING = [
    each
    for each in ROUTES
    if each.rule.startswith("/v1/")
    and each.method != "GET"
    and set(operation(each).get("requestBody", {}).get("content", {})) <= {"application/json"}
]


@pytest.fixture(scope="module")
def clinic(cluster) -> Iterator[given.Caller]:
    with new_database(cluster) as urls:
        db.open_pool(urls.app, size=2)
        with db.seeing(None):
            given.main_branch()
            given.sample()
            yield given.caller(APP, "*")
        db.close_pool()


@pytest.fixture(scope="module")
def draft(clinic) -> str:
    """The id of an invoice to be edited: what may be set in it depends on how it was made."""
    return str(clinic.draft(("MRI-ABD-RP", None))["id"])


def inside(body: Any, pointer: str) -> Any:
    """What stands at `pointer`; None where the example has nothing there."""
    for step in pointer.split("/")[1:]:
        try:
            body = body[int(step) if isinstance(body, list) else step]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
    return body


@pytest.mark.parametrize("route", WRITING, ids=lambda each: f"{each.method} {each.rule}")
def test_s04_what_an_answer_shows_and_a_request_does_not_name_is_refused(route, clinic, draft):
    path = route.path(invoice_id=draft) if route.method == "PATCH" else None
    tried = 0
    for pointer, names in taken(route).items():
        body = copy.deepcopy(EXAMPLES.get(f"{route.method} {route.rule}", {}))
        place = inside(body, pointer)
        if not isinstance(place, dict):
            continue
        foreign = (shown(route) | NEVER) - names
        place |= dict.fromkeys(foreign, "1.00")
        answer = ask(route, clinic.secret, path, body)
        assert answer.status_code == 422, (pointer, answer.get_json())
        told = {each["pointer"] for each in answer.get_json()["errors"] if each["code"] == "unknown_member"}
        assert {f"{pointer}/{name}" for name in foreign} <= told
        tried += 1
    assert tried


def test_s04_no_request_names_what_the_service_works_out():
    named = {
        f"{route.method} {route.rule} {pointer}/{name}"
        for route in WRITING
        for pointer, names in taken(route).items()
        for name in names & (NEVER | OF_DOCUMENTS if route.rule.startswith(BILLED) else NEVER)
    }
    assert {each for each in named if not each.endswith(OF_OTHERS)} == set()
