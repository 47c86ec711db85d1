"""Price orders over HTTP: drafted, looked at, published, and never changed again."""

import json
from typing import Any
from uuid import uuid4

import pytest
from werkzeug.test import TestResponse

from catalog import order_lines
from clinic import http
from tests import given, given_prices
from tests.given import faults, made

CT = {"article": "CT-ABD-RP", "doctor_rank": "none", "kind": "fixed", "amount": "9000.00"}
LIVER = {"article": "US-LIVER", "kind": "withdrawn"}
FIRST, LATER = given.FIRST_DAY, "2026-12-01"


@pytest.fixture(autouse=True)
def today():
    with given.day(FIRST):
        yield


def wanted(*lines: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"effective_from": LATER, "lines": list(lines), **more}


def drafted(clinic: given.Caller, *lines: dict[str, Any], **more: Any) -> Any:
    return made(clinic.post("/v1/price-orders", wanted(*lines, **more)))


def at(order: Any, inside: str = "") -> str:
    return f"/v1/price-orders/{order['id']}{inside}"


def etag(clinic: given.Caller, order: Any) -> str:
    return clinic.get(at(order)).headers["ETag"]


def refused(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["code"]


def price(clinic: given.Caller, article: str, on: str) -> Any:
    items = clinic.get(f"/v1/prices?on={on}&q={article}").get_json()["items"]
    return next((each["prices"][0]["amount"] for each in items if each["article"] == article), None)


# ---- A draft ----


def test_a_draft_is_answered_as_it_was_asked_for(clinic):
    answer = clinic.post("/v1/price-orders", wanted(CT, LIVER, number="7", date="2026-11-20", note="По приказу"))
    order = made(answer)
    assert {**order, "number": "7", "status": "draft", "date": "2026-11-20", "price_list": "base"} == order
    assert order["lines"] == [CT, {**LIVER, "doctor_rank": None, "amount": None}]
    assert (order["line_count"], order["note"], order["corrects"]) == (2, "По приказу", None)
    assert answer.headers["Location"] == at(order)
    read = clinic.get(at(order))
    assert (read.get_json(), read.headers["ETag"]) == (order, answer.headers["ETag"])


def test_only_the_first_day_has_to_be_said(clinic):
    order = made(clinic.post("/v1/price-orders", {"effective_from": LATER}))
    assert (order["number"], order["date"], order["price_list"], order["lines"]) == ("2", FIRST, "base", [])


def test_the_caller_may_give_the_id(clinic):
    chosen = str(uuid4())
    assert drafted(clinic, CT, id=chosen)["id"] == chosen
    assert refused(clinic.post("/v1/price-orders", wanted(CT, id=chosen))) == (409, "already_exists")


def test_a_draft_sent_twice_under_one_key_is_one_draft(clinic):
    answers = [clinic.post("/v1/price-orders", wanted(CT), key="the-same-key") for _ in range(2)]
    assert made(answers[0]) == made(answers[1])
    assert len(clinic.get("/v1/price-orders?status=draft").get_json()["items"]) == 1


def test_a_number_is_given_once_a_list_and_year(clinic):
    assert refused(clinic.post("/v1/price-orders", wanted(CT, number="1"))) == (409, "order_number_taken")


def test_all_faults_come_at_once_with_those_only_the_catalog_knows(clinic):
    wrong = wanted(
        {**CT, "article": "NO-SUCH"},
        {"article": "ONC-CONS-1", "kind": "fixed"},
        {"article": "ONC-CONS-1", "doctor_rank": "academician", "kind": "from", "amount": "1,5"},
        {**CT, "doctor_rank": "doctor"},
        {**LIVER, "amount": "5.00"},
        {"article": "ONC-REMOTE", "kind": "on_request", "amount": "5.00"},
        {**CT, "article": "US-2", "kind": "cheap"},
        {**CT, "article": "MRI-ABD-RP", "price": "1.00"},
        effective_from="2026-11-22", price_list="none-such", corrects=str(uuid4()), sum="1.00",
    )  # fmt: skip
    assert faults(clinic.post("/v1/price-orders", wrong)) == [
        ("/corrects", "unknown_order"),
        ("/effective_from", "effective_date_passed"),
        ("/lines/0/article", "unknown_article"),
        ("/lines/1/amount", "price_missing"),
        ("/lines/1/doctor_rank", "rank_required"),
        ("/lines/2/amount", "not_money"),
        ("/lines/2/doctor_rank", "unknown_rank"),
        ("/lines/3/doctor_rank", "rank_not_applicable"),
        ("/lines/4/amount", "price_not_expected"),
        ("/lines/5/amount", "price_not_expected"),
        ("/lines/6/article", "unknown_article"),
        ("/lines/6/kind", "not_a_choice"),
        ("/lines/7/price", "unknown_member"),
        ("/price_list", "unknown_price_list"),
        ("/sum", "unknown_member"),
    ]


def test_faults_only_the_catalog_knows_come_at_once_too(clinic):
    wrong = wanted(CT, CT, effective_from="2026-11-22", price_list="none-such")
    assert sorted(faults(clinic.post("/v1/price-orders", wrong))) == [
        ("/effective_from", "effective_date_passed"),
        ("/lines/0/article", "duplicate_line"),
        ("/lines/1/article", "duplicate_line"),
        ("/price_list", "unknown_price_list"),
    ]


def test_as_many_lines_as_are_taken_fit_into_a_request_whatever_they_name(clinic):
    longest = {"article": "X" * 32, "doctor_rank": "candidate", "kind": "fixed", "amount": "1000000.00"}
    body = wanted(*[longest] * order_lines.MOST)
    assert len(json.dumps(body, separators=(",", ":"))) < http.LARGEST_BODY
    found = faults(clinic.post("/v1/price-orders", wanted(*[LIVER] * (order_lines.MOST + 1))))
    assert ("/lines", "wrong_count") in found


# ---- A draft is edited ----


def test_a_draft_is_edited_under_its_etag(clinic):
    order = drafted(clinic, CT)
    before = etag(clinic, order)
    edit = {"number": "12-к", "date": "2026-11-24", "effective_from": "2026-12-15", "note": "Иначе"}
    answer = clinic.patch(at(order), edit, match=before)
    assert {**made(answer), **edit} == made(answer) == made(clinic.get(at(order)))
    assert answer.headers["ETag"] == etag(clinic, order) != before
    assert refused(clinic.patch(at(order), edit, match=before)) == (412, "precondition_failed")
    assert refused(clinic.patch(at(order), edit)) == (428, "precondition_required")


def test_an_edit_is_held_to_what_a_new_order_is(clinic):
    order = drafted(clinic, CT)
    wrong = {"effective_from": "2026-11-22", "corrects": order["id"], "number": ""}
    assert faults(clinic.patch(at(order), wrong, match=etag(clinic, order))) == [
        ("/corrects", "unknown_order"),
        ("/effective_from", "effective_date_passed"),
        ("/number", "wrong_length"),
    ]
    taken = clinic.patch(at(order), {"number": "1"}, match=etag(clinic, order))
    assert refused(taken) == (409, "order_number_taken")
    assert faults(clinic.patch(at(order), {"price_list": "base"}, match=etag(clinic, order))) == [
        ("/price_list", "unknown_member")
    ]


def test_an_edit_that_changes_nothing_keeps_the_etag(clinic):
    order = drafted(clinic, CT)
    before = etag(clinic, order)
    assert clinic.patch(at(order), {"number": order["number"]}, match=before).headers["ETag"] == before


def test_the_lines_are_written_whole_under_the_etag(clinic):
    order = drafted(clinic, CT)
    before = etag(clinic, order)
    answer = clinic.put(at(order, "/lines"), {"lines": [LIVER]}, match=before)
    assert [each["article"] for each in made(answer)["lines"]] == ["US-LIVER"]
    assert answer.headers["ETag"] == etag(clinic, order) != before
    assert refused(clinic.put(at(order, "/lines"), {"lines": []}, match=before)) == (412, "precondition_failed")
    assert refused(clinic.put(at(order, "/lines"), {"lines": []})) == (428, "precondition_required")


def test_wrong_lines_leave_those_there_are(clinic):
    order = drafted(clinic, CT)
    answer = clinic.put(at(order, "/lines"), {"lines": [LIVER, {**CT, "article": "NO"}]}, match=etag(clinic, order))
    assert faults(answer) == [("/lines/1/article", "unknown_article")]
    assert clinic.get(at(order)).get_json() == order


def test_edits_of_drafts_are_no_events(clinic):
    order = drafted(clinic, CT)
    seen = clinic.events()
    clinic.patch(at(order), {"note": "Иначе"}, match=etag(clinic, order))
    clinic.put(at(order, "/lines"), {"lines": [LIVER]}, match=etag(clinic, order))
    assert clinic.events() == seen


def test_a_draft_put_away_gives_its_number_back(clinic):
    order = drafted(clinic, CT)
    assert made(clinic.post(at(order, "/discard")))["status"] == "discarded"
    event = clinic.events()[-1]
    assert (event["type"], event["object"]["id"]) == ("price_order.discarded", order["id"])
    assert drafted(clinic, CT)["number"] == order["number"]
    again = clinic.post(at(order, "/publish"))
    assert refused(again) == (409, "order_not_draft")
    assert (again.get_json()["order"], again.get_json()["state"]) == (order["id"], "discarded")


# ---- Published ----


def test_publishing_puts_the_prices_in_force_from_the_first_day(clinic):
    order = drafted(clinic, CT)
    answer = clinic.post(at(order, "/publish"))
    done = made(answer)
    assert (done["status"], done["published_at"], done["lines"]) == ("published", "2026-11-23T09:00:00Z", [CT])
    assert done["published_by"] == order["author"]
    assert answer.headers["ETag"] == etag(clinic, order)
    assert (price(clinic, "CT-ABD-RP", "2026-11-30"), price(clinic, "CT-ABD-RP", LATER)) == ("8840.00", "9000.00")
    event = clinic.events()[-1]
    assert event["type"] == "price_order.published"
    assert event["data"]["effective_from"] == LATER


def test_publishing_needs_a_key_and_answers_a_repeat_alike(clinic):
    order = drafted(clinic, CT)
    assert refused(clinic.post(at(order, "/publish"), key="")) == (400, "idempotency_key_required")
    first, again = (clinic.post(at(order, "/publish"), key="publish-once") for _ in range(2))
    assert first.data == again.data
    assert again.headers["Idempotency-Replayed"] == "true"


def test_an_order_without_lines_cannot_be_published(clinic):
    order = drafted(clinic)
    answer = clinic.post(at(order, "/publish"))
    assert refused(answer) == (409, "order_empty")
    assert answer.get_json()["order"] == order["id"]


def test_a_published_order_can_only_be_read(clinic):
    order = drafted(clinic, CT)
    made(clinic.post(at(order, "/publish")))
    match = etag(clinic, order)
    answers = [
        clinic.patch(at(order), {"note": "Иначе"}, match=match),
        clinic.put(at(order, "/lines"), {"lines": []}, match=match),
        clinic.post(at(order, "/bulk"), {"percent": "1"}, If_Match=match),
        clinic.post(at(order, "/discard")),
        clinic.post(at(order, "/publish")),
        clinic.get(at(order, "/preview")),
    ]
    assert {refused(each) for each in answers} == {(409, "order_not_draft")}
    assert {(each.get_json()["order"], each.get_json()["state"]) for each in answers} == {(order["id"], "published")}


def test_an_overlap_names_the_other_order_and_every_price(clinic):
    made(clinic.post(at(first := drafted(clinic, CT, LIVER, number="2-а"), "/publish")))
    second = drafted(clinic, LIVER, {**CT, "amount": "1.00"})
    answer = clinic.post(at(second, "/publish"))
    assert refused(answer) == (409, "prices_overlap")
    rival = {"doctor_rank": "none", "order": first["id"], "order_number": "2-а", "order_date": FIRST}
    problem = answer.get_json()
    assert problem["overlaps"] == [{"article": "US-LIVER", **rival}, {"article": "CT-ABD-RP", **rival}]
    assert {**problem, "article": "US-LIVER", **rival} == problem


def test_a_correction_is_in_the_history_with_what_it_put_right_and_who_ordered_it(clinic):
    wrong = drafted(clinic, {**CT, "amount": "90000.00"})
    made(clinic.post(at(wrong, "/publish")))
    right = drafted(clinic, CT, corrects=wrong["id"])
    assert (right["corrects"], right["corrects_number"], right["corrects_date"]) == (wrong["id"], "2", FIRST)
    done = made(clinic.post(at(right, "/publish")))
    prices = clinic.get("/v1/services/CT-ABD-RP/prices").get_json()["prices"]
    assert [(each["amount"], each["order"], each["corrected_by_number"]) for each in prices] == [
        ("8840.00", "1", None),
        ("90000.00", "2", "3"),
        ("9000.00", "3", None),
    ]
    assert (prices[1]["corrected_by"], prices[1]["corrected_by_date"]) == (right["id"], FIRST)
    assert (prices[2]["author"], prices[2]["published_by"]) == (right["author"], done["published_by"])
    assert prices[2]["published_at"] == done["published_at"]
    assert price(clinic, "CT-ABD-RP", LATER) == "9000.00"


def test_quotes_and_invoices_already_made_stay_as_they_are(clinic):
    quote = clinic.quote(("CT-ABD-RP", None))
    invoice = clinic.invoice(clinic.quote(("CT-ABD-RP", None)))
    documents = [f"/v1/quotes/{quote['id']}", f"/v1/invoices/{invoice['id']}"]
    before = [clinic.get(path).data for path in documents]
    order = drafted(clinic, CT, effective_from=FIRST, corrects=str(given_prices.order_id("1")))
    made(clinic.post(at(order, "/publish")))
    assert price(clinic, "CT-ABD-RP", FIRST) == "9000.00"
    assert [clinic.get(path).data for path in documents] == before
    assert clinic.invoice(quote)["totals"]["total"] == "8840.00"


# ---- Lists and rights ----


def listed(clinic: given.Caller, query: str = "") -> list[str]:
    return [each["number"] for each in clinic.get(f"/v1/price-orders?{query}").get_json()["items"]]


def test_orders_are_listed_newest_first_and_filtered(clinic):
    drafted(clinic, CT, LIVER, number="5", date="2026-11-10")
    drafted(clinic, CT, number="6", date="2026-11-25")
    assert listed(clinic) == ["6", "1", "5"]
    assert listed(clinic, "status=draft") == ["6", "5"]
    assert listed(clinic, "since=2026-11-11&until=2026-11-24") == ["1"]
    assert listed(clinic, "price_list=other") == []
    items = clinic.get("/v1/price-orders").get_json()["items"]
    assert [each["line_count"] for each in items] == [1, 31, 2]
    assert not any("lines" in each for each in items)


def test_orders_are_listed_page_by_page(clinic):
    for number in range(2, 6):
        drafted(clinic, CT, number=str(number), date=f"2026-11-2{number + 2}")
    found, cursor = [], ""
    while cursor is not None:
        page = clinic.get(f"/v1/price-orders?limit=2{cursor and f'&cursor={cursor}'}").get_json()
        found += [each["number"] for each in page["items"]]
        cursor = page["next_cursor"]
    assert found == ["5", "4", "3", "2", "1"]


@pytest.mark.parametrize(
    ("method", "inside", "scope"),
    [
        ("get", "", "catalog:read"),
        ("get", "/preview", "catalog:read"),
        ("patch", "", "catalog:write"),
        ("put", "/lines", "catalog:write"),
        ("post", "/bulk", "catalog:write"),
        ("post", "/discard", "catalog:write"),
        ("post", "/publish", "prices:publish"),
    ],
)
def test_each_call_needs_its_own_right_and_an_order(clinic, app, method, inside, scope):
    order = drafted(clinic, CT)
    others = {"catalog:read", "catalog:write", "prices:publish"} - {scope}
    stranger, allowed = given.caller(app, *others), given.caller(app, scope)
    bodies = {"/lines": {"lines": []}, "/bulk": {"percent": "1"}}
    body = [] if method == "get" else [bodies.get(inside, {})]
    assert refused(getattr(stranger, method)(at(order, inside), *body)) == (403, "forbidden")
    assert refused(getattr(allowed, method)(at({"id": uuid4()}, inside), *body)) == (404, "not_found")


def test_a_list_of_orders_and_a_new_order_need_their_rights(clinic, app):
    writer, reader = given.caller(app, "catalog:write"), given.caller(app, "catalog:read")
    assert refused(writer.get("/v1/price-orders")) == (403, "forbidden")
    assert refused(reader.post("/v1/price-orders", wanted(CT))) == (403, "forbidden")


def test_a_draft_prices_nothing(clinic):
    drafted(clinic, CT, effective_from=FIRST)
    assert price(clinic, "CT-ABD-RP", FIRST) == "8840.00"
