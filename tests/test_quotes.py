"""Quotes on the clinic's real price list (domain rules 15–18, 24–28 and the contract)."""

from datetime import date, timedelta
from decimal import Decimal

import pytest

from clinic import db
from tests import given
from tests.given import faults, line, made


@pytest.mark.parametrize(("article", "rank", "price"), given.REAL)
def test_the_real_prices_are_quoted(clinic, article, rank, price):
    quote = clinic.quote((article, rank))
    assert (quote["lines"][0]["unit_price"], quote["totals"]["total"]) == (price, price)


def test_all_seven_in_one_quote(clinic):
    totals = clinic.quote(*[(article, rank) for article, rank, _ in given.REAL])["totals"]
    assert totals["total"] == "121240.00"
    assert totals["in_words"] == "Сто двадцать одна тысяча двести сорок рублей 00 копеек"
    assert totals["vat"] == [{"text": "Без НДС", "rate": None, "base": "121240.00", "amount": None}]


def test_the_total_is_spelled_out(clinic):
    totals = clinic.quote(("ONC-CONS-1", "none"), ("CT-ABD-RP-BOLUS", None))["totals"]
    assert (totals["total"], totals["in_words"]) == ("17700.00", "Семнадцать тысяч семьсот рублей 00 копеек")


def test_a_line_says_why_its_price_is_this_one(clinic):
    (quoted,) = clinic.quote(("CT-ABD-RP", None))["lines"]
    source = quoted["price_source"]
    assert (source["price_list"], source["order"], source["fallback"]) == ("base", "1", False)
    assert quoted["vat"] == {"category": "exempt_medical", "rate": None, "amount": None, "text": "Без НДС"}


def test_a_preview_says_the_same_and_keeps_nothing(clinic):
    body = {"lines": [line("ONC-CONS-1", "doctor"), line("MRI-ABD-RP", quantity="2")]}
    preview = made(clinic.post("/v1/quotes/preview", body, key=""))
    kept = made(clinic.post("/v1/quotes", body))
    assert preview["totals"] == kept["totals"]
    assert preview["lines"] == kept["lines"]
    assert len(made(clinic.get("/v1/quotes"))["items"]) == 1


def test_a_quote_is_read_back_as_it_was_given(clinic):
    answer = clinic.post("/v1/quotes", {"lines": [line("CT-ABD-RP")], "patient": {"id": "P-1", "name": "Иванова"}})
    read = clinic.get(answer.headers["Location"])
    assert read.get_json() == answer.get_json()
    assert read.headers["ETag"] == answer.headers["ETag"]


def test_a_quote_for_nobody_is_normal(clinic):
    assert clinic.quote(("CT-ABD-RP", None))["patient"] is None


def test_a_quote_is_firm_for_thirty_days_unless_said_otherwise(clinic):
    with given.day("2027-03-10"):
        quote = given.caller(clinic.app, "*").quote(("CT-ABD-RP", None))
    assert (quote["date"], quote["valid_until"], quote["kind"]) == ("2027-03-10", "2027-04-09", "firm")


def test_a_quote_may_be_valid_for_today_only_but_not_until_yesterday(clinic):
    with given.day("2027-03-10"):
        caller = given.caller(clinic.app, "*")
        assert caller.quote(("CT-ABD-RP", None), valid_until="2027-03-10")["valid_until"] == "2027-03-10"
        late = caller.post("/v1/quotes", {"lines": [line("CT-ABD-RP")], "valid_until": "2027-03-09"})
    assert faults(late) == [("/valid_until", "before_date")]


def test_all_faults_of_a_body_come_at_once(clinic):
    refused = clinic.post(
        "/v1/quotes",
        {
            "lines": [
                line("CT-ABD-RP"),
                line("NO-SUCH"),
                line("ONC-CONS-1", "academician"),
                line("CT-ABD-RP", quantity="0"),
                line("ONC-CONS-1"),
                line("MRI-ABD-RP", "doctor"),
                line("US-LIVER"),
                line("CT-ABD-RP", unit_price="1.00", price_reason="so"),
                line("CT-ABD-RP", discount_percent="10"),
            ],
            "kind": "perhaps",
            "colour": "red",
        },
    )
    assert faults(refused) == [
        ("/colour", "unknown_member"),
        ("/kind", "not_a_choice"),
        ("/lines/1/article", "unknown_article"),
        ("/lines/2/doctor_rank", "unknown_rank"),
        ("/lines/3/quantity", "not_positive"),
        ("/lines/4/doctor_rank", "rank_required"),
        ("/lines/5/doctor_rank", "rank_not_applicable"),
        ("/lines/6/unit_price", "price_on_request"),
        ("/lines/7/unit_price", "unit_price_not_allowed"),
        ("/lines/8/discount_reason", "discount_needs_reason"),
    ]
    assert made(clinic.get("/v1/quotes"))["items"] == []


def test_a_service_without_a_price_is_refused_by_name_and_never_free(clinic):
    new = {"article": "NEW-1", "name": {"ru": "Новая", "en": "New"}, "category": "msct"}
    made(clinic.post("/v1/services", new))
    refused = clinic.post("/v1/quotes", {"lines": [line("NEW-1")]}, Accept_Language="ru")
    assert faults(refused) == [("/lines/0/article", "price_not_set")]
    assert "NEW-1" in refused.get_json()["errors"][0]["message"]


def test_a_price_on_request_is_given_by_hand_with_a_reason_and_its_author(clinic):
    quote = clinic.quote(line("US-LIVER", unit_price="2500.00", price_reason="по решению главного врача"))
    assert quote["totals"]["total"] == "2500.00"
    with db.reading() as conn:
        assert str(db.value(conn, "SELECT priced_by FROM quote_line")).startswith("key:")
    refused = clinic.post("/v1/quotes", {"lines": [line("US-LIVER", unit_price="2500.00")]})
    assert faults(refused) == [("/lines/0/price_reason", "price_needs_reason")]


def test_a_free_service_costs_nothing_and_may_be_quoted(clinic):
    assert clinic.quote(("ONC-REMOTE", None))["totals"]["in_words"] == "Ноль рублей 00 копеек"


def test_discounts_of_lines_and_document_add_up(clinic):
    caller = given.caller(clinic.app, "*", discount_ceiling=Decimal(100))
    quote = caller.quote(
        line("CT-ABD-RP", discount_percent="7", discount_reason="staff"),
        line("MRI-ABD-RP"),
        discount_amount="1000.00",
        discount_reason="goodwill",
    )
    first, second = quote["lines"]
    assert first["discount"] == "618.80"
    assert (first["document_discount"], second["document_discount"]) == ("375.03", "624.97")
    assert quote["totals"]["total"] == "20921.20"
    assert quote["approval"] == "none"


def test_a_discount_above_the_ceiling_waits_for_approval(clinic):
    quote = clinic.quote(line("CT-ABD-RP", discount_percent="12.5", discount_reason="staff"))
    assert (quote["totals"]["total"], quote["approval"]) == ("7735.00", "required")
    for step in ("send", "accept"):
        refused = clinic.post(f"/v1/quotes/{quote['id']}/{step}")
        assert (refused.status_code, refused.get_json()["code"]) == (409, "discount_above_limit")


@pytest.mark.parametrize(
    ("wrong", "where", "code"),
    [
        ({"discount_percent": "101", "discount_reason": "staff"}, "/lines/0/discount_percent", "not_percent"),
        ({"discount_amount": "9000", "discount_reason": "staff"}, "/lines/0/discount_amount", "discount_too_large"),
        ({"discount_percent": "5", "discount_amount": "5", "discount_reason": "staff"}, "/lines/0/discount_amount",
         "one_discount_only"),
        ({"discount_percent": "5", "discount_reason": "because"}, "/lines/0/discount_reason",
         "unknown_discount_reason"),
        ({"quantity": "999999", "unit_price": "1"}, "/lines/0/unit_price", "unit_price_not_allowed"),
    ],
)  # fmt: skip
def test_wrong_discounts_are_named(clinic, wrong, where, code):
    assert faults(clinic.post("/v1/quotes", {"lines": [line("CT-ABD-RP", **wrong)]})) == [(where, code)]


def test_a_quote_is_sent_then_accepted_and_each_step_is_an_event(clinic):
    quote = clinic.quote(("CT-ABD-RP", None))
    assert made(clinic.post(f"/v1/quotes/{quote['id']}/send"))["status"] == "sent"
    assert made(clinic.post(f"/v1/quotes/{quote['id']}/accept"))["status"] == "accepted"
    events = [each["type"] for each in clinic.events() if each["object"]["id"] == quote["id"]]
    assert events == ["quote.created", "quote.sent", "quote.accepted"]


@pytest.mark.parametrize(
    ("first", "then"), [("accept", "accept"), ("decline", "accept"), ("accept", "decline"), ("send", "send")]
)
def test_a_step_that_the_state_does_not_allow_is_refused(clinic, first, then):
    quote = clinic.quote(("CT-ABD-RP", None))
    made(clinic.post(f"/v1/quotes/{quote['id']}/{first}"))
    refused = clinic.post(f"/v1/quotes/{quote['id']}/{then}")
    assert (refused.status_code, refused.get_json()["code"]) == (409, "quote_not_open")


def test_a_quote_is_good_on_its_last_day_and_expired_on_the_next(clinic):
    quotes = [clinic.quote(("CT-ABD-RP", None)) for _ in range(2)]
    last = quotes[0]["valid_until"]
    with given.day(last, "23:59"):
        caller = given.caller(clinic.app, "*")
        assert made(caller.post(f"/v1/quotes/{quotes[0]['id']}/accept"))["status"] == "accepted"
    with given.day(next_day(last), "00:00"):
        refused = caller.post(f"/v1/quotes/{quotes[1]['id']}/accept")
        body = refused.get_json()
    assert (refused.status_code, body["code"], body["valid_until"]) == (409, "quote_expired", last)


def next_day(day):
    return (date.fromisoformat(day) + timedelta(days=1)).isoformat()


def test_another_revision_than_the_newest_is_not_accepted(clinic):
    quote = clinic.quote(("CT-ABD-RP", None))
    assert clinic.post(f"/v1/quotes/{quote['id']}/accept", {"revision": 2}).status_code == 409


def test_the_caller_may_give_the_id_and_not_use_it_twice(clinic):
    own = "0197d1b0-7c2e-7c55-9a4e-3f0a52c7d810"
    assert clinic.quote(("CT-ABD-RP", None), id=own)["id"] == own
    again = clinic.post("/v1/quotes", {"id": own, "lines": [line("CT-ABD-RP")]})
    assert (again.status_code, again.get_json()["code"]) == (409, "already_exists")


def test_quotes_are_listed_newest_first_page_by_page(clinic):
    ids = [clinic.quote(("CT-ABD-RP", None))["id"] for _ in range(5)]
    seen, cursor = [], ""
    while cursor is not None:
        page = made(clinic.get(f"/v1/quotes?limit=2{cursor and '&cursor=' + cursor}"))
        seen += [quote["id"] for quote in page["items"]]
        cursor = page["next_cursor"]
    assert seen == ids[::-1]


def test_quotes_are_filtered(clinic):
    mine = clinic.quote(("CT-ABD-RP", None), patient={"id": "P-1"})
    other = clinic.quote(("CT-ABD-RP", None), patient={"id": "P-2"})
    clinic.post(f"/v1/quotes/{other['id']}/accept")

    def listed(query):
        return [quote["id"] for quote in made(clinic.get(f"/v1/quotes?{query}"))["items"]]

    assert listed("patient=P-1") == [mine["id"]]
    assert listed("status=accepted") == [other["id"]]
    assert listed(f"code={mine['code']}") == [mine["id"]]
    assert listed("code=0000-0000-1") == []
    assert listed(f"since={mine['date']}&until={mine['date']}") == [other["id"], mine["id"]]
    assert listed("until=2020-01-01") == []


def test_a_branch_sees_its_own_quotes_only(clinic):
    made(clinic.post("/v1/branches", {"code": "north", "name": "Север", "prefix": "С"}))
    north = given.caller(clinic.app, "*", branch="north")
    ours, theirs = clinic.quote(("CT-ABD-RP", None)), north.quote(("CT-ABD-RP", None))
    assert theirs["branch"] == "north"
    assert [quote["id"] for quote in made(north.get("/v1/quotes"))["items"]] == [theirs["id"]]
    for path in (f"/v1/quotes/{ours['id']}", "/v1/quotes/0197d1b0-7c2e-7c55-9a4e-3f0a52c7d810"):
        assert (north.get(path).status_code, north.get(path).get_json()["code"]) == (404, "not_found")
    assert faults(north.post("/v1/quotes", {"lines": [line("CT-ABD-RP")], "branch": "main"})) == [
        ("/branch", "unknown_branch")
    ]


def test_reading_a_persons_quote_is_remembered_and_reading_nobodys_is_not(clinic):
    named = clinic.quote(("CT-ABD-RP", None), patient={"id": "P-1", "name": "Иванова"})
    nobody = clinic.quote(("CT-ABD-RP", None))
    for quote in (named, nobody):
        clinic.get(f"/v1/quotes/{quote['id']}")
    with db.reading() as conn:
        rows = conn.execute("SELECT action, object_id::text, actor LIKE 'key:%' FROM access_log").fetchall()
    assert rows == [("read", named["id"], True)]


def test_a_sum_no_document_can_hold_is_refused_by_place(clinic):
    dear = [line("US-LIVER", unit_price="90000000000.00", price_reason="проба")] * 200
    refused = faults(clinic.post("/v1/quotes", {"lines": dear}))
    assert refused == [(f"/lines/{place}/quantity", "total_too_large") for place in range(200)]
