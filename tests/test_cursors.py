"""Lists page by page, every one of them: how much is given at once, and whose a cursor is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import uuid4

import pytest
from werkzeug.test import TestResponse

from clinic import addresses, db, delivering
from tests import given, given_money, given_payers, given_prices, given_webhooks
from tests.given_prices import line
from tests.test_guarantee_letters import insurer
from tests.test_matrix import APP, DESCRIPTION, ROUTES, Route, database, operation  # noqa: F401

SHORT = {
    "/v1/branches": "the clinic's branches",
    "/v1/categories": "the catalog's tree",
    "/v1/discount-reasons": "reasons for discounts",
    "/v1/doctor-ranks": "ranks",
    "/v1/legal-references": "references to law",
    "/v1/price-lists": "price lists",
    "/v1/invoices/<uuid:invoice_id>/approvals": "of one document",
    "/v1/quotes/<uuid:quote_id>/approvals": "of one document",
    "/v1/quotes/<uuid:quote_id>/links": "of one document",
    "/v1/quotes/<uuid:quote_id>/revisions": "of one document",
}
"""Lists given whole: of what the clinic has by the dozen, or what one document has."""
FEEDS = {"/v1/events": 1000}
"""Not lists but the journal read on and on by positions, with the most that one answer has."""
GIVEN = {
    "payer": "P-1", "patient": "P-1", "number": "1", "code": "7K3Q-92MT-F", "desk": "Касса 1", "external_ref": "x-1",
    "source": "desk", "inn": "7707083893", "price_list": "base", "doctor_rank": "candidate", "q": "мрт",
    "category": "mri", "actor": f"key:{uuid4()}", "type": "invoice.*",
}  # fmt: skip
"""A value for each filter that the description does not tell one of."""


def queries(route: Route) -> dict[str, Any]:
    """Names of a route's query parameters, each with its schema."""
    return {each["name"]: each["schema"] for each in operation(route).get("parameters", ()) if each["in"] == "query"}


READING = [each for each in ROUTES if each.method == "GET" and each.rule.startswith("/v1/")]
PAGED = [each for each in READING if "cursor" in queries(each)]
FILTERS = [(each, name) for each in PAGED for name in queries(each) if name not in {"limit", "cursor", "lang"}]
each_list = pytest.mark.parametrize("route", PAGED, ids=lambda each: each.rule)


@dataclass(frozen=True)
class Lists:
    """Two of everything that is listed, and three programs that may read all of it."""

    whole: given.Caller
    """Of no branch."""
    main: given.Caller
    north: given.Caller
    known: dict[str, str]

    def ask(self, route: Route, caller: given.Caller | None = None, **query: Any) -> TestResponse:
        asked = "&".join(f"{name}={value}" for name, value in query.items())
        return (caller or self.whole).get(f"{route.path(**self.known)}?{asked}")

    def cursor(self, route: Route, **query: Any) -> str:
        page = given.made(self.ask(route, limit=1, **query))
        assert len(page["items"]) == 1
        assert page["next_cursor"], "the list has two rows at least"
        found: str = page["next_cursor"]
        return found


@pytest.fixture(scope="module")
def lists(database) -> Iterator[Lists]:  # noqa: F811
    ask, addresses.look_up = addresses.look_up, lambda *_: ["8.8.8.8"]
    with given.day("2026-11-23"):
        caller = given.caller(APP, "*")
        quotes = [caller.quote(("MRI-ABD-RP", None), patient={"id": "P-1"}) for _ in range(3)]
        issued = caller.invoice(quotes[0])
        rendered = caller.invoice(caller.quote(given.line("MRI-ABD-RP", quantity="2")))
        for number in ("1", "2"):
            made_twice(caller, issued, rendered, number)
        webhook = given_webhooks.webhook(caller, "https://his.example.org/")
        given_webhooks.happen("visit.noted", "visit.noted")
        with db.seeing(None):
            while delivering.catch_up():
                pass  # messages for the endpoint, which nobody sends
        for path in (f"/v1/quotes/{quotes[1]['id']}", f"/v1/invoices/{issued['id']}"):
            caller.get(path)
        yield Lists(
            caller, given.caller(APP, "*", branch="main"), given.caller(APP, "*", branch="north"),
            {"invoice_id": issued["id"], "webhook_id": webhook["id"]},
        )  # fmt: skip
    addresses.look_up = ask


def made_twice(caller: given.Caller, issued: Any, rendered: Any, number: str) -> None:
    back = {"lines": [{"position": 1, "amount": "1.00"}], "reason": "Ошибка"}
    piece = {"lines": [{"position": 1, "quantity": "1"}]}
    for path, body in (
        (f"/v1/invoices/{issued['id']}/credit-notes", back),
        (f"/v1/invoices/{rendered['id']}/acts", piece),
        ("/v1/shifts", {"desk": f"Касса {number}"}),
        ("/v1/keys", {"name": number, "scopes": ["catalog:read"]}),
        ("/v1/staff", {"login": f"person-{number}", "role": "reception"}),
    ):
        given.made(caller.post(path, body))
    insured = {"payer": insurer(number=f"ГП-{number}"), "issue": True}
    given.made(caller.post(f"/v1/quotes/{caller.quote(('CT-ABD-RP', None))['id']}/invoice", insured))
    given_money.payment(caller, "100.00")
    given_payers.doctor(caller)
    given_webhooks.webhook(caller, "https://hers.example.org/")
    given.package(caller, f"DAY-{number}")
    given_prices.draft(line("CT-ABD-RP", "9000.00"), since=date(2027, 1, 1))


# ---- How much ----


def test_s26_every_list_is_given_page_by_page_or_is_short():
    """Whatever answers with `items` has a cursor and at most 200 of them, or is among those known to be short."""
    assert len(PAGED) > 15
    for route in READING:
        shown = str(operation(route).get("responses", {}).get("200", {}).get("content", {}).get("application/json", {}))
        name = re.search(r"#/components/schemas/(\w+)", shown)
        members = DESCRIPTION["components"]["schemas"][name[1]]["properties"] if name else {}
        if "limit" in queries(route):
            assert queries(route)["limit"]["maximum"] == FEEDS.get(route.rule, 200)
        if route in PAGED:
            # No total: it would have the database count them all for whoever asks.
            assert members.keys() == {"items", "next_cursor"}, route.rule
        elif "items" in members and route.rule != "/v1/prices":
            assert route.rule in SHORT, f"{route.rule}: a list without pages"


@pytest.mark.parametrize(
    "limit", ["0", "201", "-1", "1000000", "9" * 40, "1.0", "1e2", "%D9%A1", "", "+5", "0x10", "%00", "null", "50,50"]
)
@each_list
def test_s26_a_limit_is_from_1_to_200(route, limit, lists):
    assert given.faults(lists.ask(route, limit=limit)) == [("?limit", "not_whole")]


@each_list
def test_s26_1_and_200_are_limits(route, lists):
    assert lists.ask(route, limit=200).status_code == 200
    assert len(given.made(lists.ask(route, limit=1))["items"]) == 1


# ---- Whose a cursor is ----


def refused(answer: TestResponse) -> bool:
    return (answer.status_code, answer.get_json().get("code")) == (400, "bad_cursor")


@each_list
def test_s26_a_cursor_leads_on_for_whom_it_was_made(route, lists):
    cursor = lists.cursor(route)
    first, second = (given.made(lists.ask(route, limit=1, **asked))["items"] for asked in ({}, {"cursor": cursor}))
    assert first != second
    # How much is wanted, and in which language, may change from page to page.
    assert lists.ask(route, limit=200, cursor=cursor, lang="en").status_code == 200


@each_list
def test_s26_an_altered_cursor_is_refused(route, lists):
    cursor = lists.cursor(route)
    for altered in alterations(cursor):
        assert refused(lists.ask(route, cursor=altered)), altered


def alterations(cursor: str) -> Iterator[str]:
    """Another letter at every place, one less at either end, one more, half of it, and what was never a cursor."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for place, letter in enumerate(cursor):
        yield cursor[:place] + letters[letters.index(letter) ^ 1] + cursor[place + 1 :]
    yield from (cursor[1:], cursor[:-1], cursor + "A", cursor + cursor, cursor[: len(cursor) // 2], cursor.swapcase())
    yield from ("A", "AA", "AAAA", "A" * 22, "A" * 500, "WyIxIl0", "0", "null")


@pytest.mark.parametrize(("route", "name"), FILTERS, ids=lambda each: getattr(each, "rule", each))
def test_s26_a_cursor_belongs_to_its_filters(route, name, lists):
    asked = {name: value_of(name, queries(route)[name])}
    assert lists.ask(route, **asked).status_code == 200
    assert refused(lists.ask(route, cursor=lists.cursor(route), **asked))


def value_of(name: str, schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return str(schema["enum"][0])
    if "boolean" in schema["type"]:
        return "false"
    return {"uuid": str(uuid4()), "date": "2026-11-23"}.get(schema.get("format", ""), "") or GIVEN[name]


@each_list
def test_s26_a_cursor_belongs_to_its_branch(route, lists):
    cursor = lists.cursor(route)
    for stranger in (lists.main, lists.north):
        answer = lists.ask(route, stranger, cursor=cursor)
        if route.rule == "/v1/audit/access":  # which is for those of the whole clinic alone
            assert answer.status_code == 403
        else:
            assert refused(answer)


@each_list
def test_s26_a_cursor_belongs_to_its_list(route, lists):
    cursor = lists.cursor(route)
    for other in PAGED:
        if other.rule != route.rule:
            assert refused(lists.ask(other, cursor=cursor)), other.rule


@each_list
def test_s26_a_cursor_of_another_service_is_refused(route, lists, monkeypatch):
    monkeypatch.setitem(APP.config, "CLINIC_SECRET", "another" * 8)
    cursor = lists.cursor(route)
    monkeypatch.undo()
    assert refused(lists.ask(route, cursor=cursor))


@pytest.mark.parametrize(
    "rule", ["/v1/invoices/<uuid:invoice_id>/credit-notes", "/v1/webhooks/<uuid:webhook_id>/deliveries"]
)
def test_s26_a_cursor_belongs_to_what_the_list_is_of(rule, lists):
    """Of another document's list, of the same kind."""
    (route,) = [each for each in PAGED if each.rule == rule]
    (name,) = route.parameters
    items = given.made(lists.whole.get(f"/v1/{name.removesuffix('_id')}s"))["items"]
    other = {name: next(each["id"] for each in items if each["id"] != lists.known[name])}
    answer = lists.whole.get(f"{route.path(**other)}?cursor={lists.cursor(route)}")
    assert refused(answer)
