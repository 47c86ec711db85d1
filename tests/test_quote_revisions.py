"""What becomes of a quote: edits of its draft, further revisions, today's prices, cancelling (decisions 1, 12, 13)."""

from decimal import Decimal

import pytest

from clinic import branches, db
from clinic.auth import COMMAND_LINE
from clinic.command import change
from tests import given
from tests.given import faults, line, made

MSCT, BOLUS, MRI = "CT-ABD-RP", "CT-ABD-RP-BOLUS", "MRI-ABD-RP"


def read(clinic, quote, revision=None):
    asked = f"?revision={revision}" if revision else ""
    return made(clinic.get(f"/v1/quotes/{quote['id']}{asked}"))


def post(clinic, quote, move, **body):
    return clinic.post(f"/v1/quotes/{quote['id']}/{move}", body)


def edit(clinic, quote, **members):
    path = f"/v1/quotes/{quote['id']}"
    return clinic.patch(path, members, match=clinic.get(path).headers["ETag"])


def refused(answer, code):
    assert (answer.status_code, answer.get_json().get("code")) == (409, code), answer.get_json()
    return answer.get_json()


def events(clinic, quote):
    return [
        (each["type"].split(".")[1], each["data"]["revision"])
        for each in clinic.events()
        if each["object"]["id"] == quote["id"]
    ]


def prices_rise(clinic, today):
    """From today the MSCT costs 9000.00 in place of 8840.00."""
    given.price(MSCT, "9000.00", today)


# ---- Edits of a draft ----


def test_a_draft_is_edited_and_what_is_left_out_stays(clinic):
    quote = clinic.quote(
        line(MSCT, discount_percent="10", discount_reason="goodwill"), patient={"id": "P-1", "name": "Иванова"},
        comment="Первая",
    )  # fmt: skip
    edited = made(edit(clinic, quote, comment="Вторая", kind="approximate"))
    assert (edited["comment"], edited["kind"], edited["revision"]) == ("Вторая", "approximate", 1)
    same = ("lines", "patient", "totals", "valid_until", "date", "id", "code", "status")
    assert {name: edited[name] for name in same} == {name: quote[name] for name in same}
    assert read(clinic, quote) == edited


def test_new_lines_are_the_whole_list_at_todays_prices(clinic):
    with given.day("2027-03-10") as today:
        clinic = given.caller(clinic.app, "*")
        quote = clinic.quote((MSCT, None), (MRI, None), comment="Остаётся")
    with given.day("2027-03-12") as today:
        prices_rise(clinic, today)
        edited = made(edit(clinic, quote, lines=[line(MSCT, quantity="2")]))
        assert [(each["article"], each["unit_price"]) for each in edited["lines"]] == [(MSCT, "9000.00")]
        assert (edited["totals"]["total"], edited["date"]) == ("18000.00", "2027-03-12")
        assert (edited["comment"], edited["valid_until"]) == ("Остаётся", quote["valid_until"])
        assert read(clinic, quote) == edited
    assert events(clinic, quote) == [("created", 1)]


def test_a_discount_is_spread_over_the_lines_as_they_were_quoted(clinic):
    with given.day("2027-03-10"):
        clinic = given.caller(clinic.app, "*", discount_ceiling=Decimal(100))
        quote = clinic.quote((MSCT, None), (MRI, None))
    with given.day("2027-03-12") as today:
        prices_rise(clinic, today)
        edited = made(edit(clinic, quote, discount_percent="10", discount_reason="repeat"))
        assert [each["unit_price"] for each in edited["lines"]] == ["8840.00", "13700.00"]
        assert edited["totals"]["total"] == "20286.00"
        assert [each["price_source"] for each in edited["lines"]] == [each["price_source"] for each in quote["lines"]]
        back = made(edit(clinic, quote, discount_percent=None, discount_reason=None))
        assert back["totals"] == quote["totals"]


def test_a_later_last_day_is_a_new_promise_at_todays_prices(clinic):
    with given.day("2027-03-10"):
        clinic = given.caller(clinic.app, "*")
        quote = clinic.quote((MSCT, None), valid_until="2027-03-20")
    with given.day("2027-03-12") as today:
        prices_rise(clinic, today)
        assert made(edit(clinic, quote, valid_until="2027-03-15"))["totals"]["total"] == "8840.00"
        assert made(edit(clinic, quote, valid_until="2027-03-30"))["totals"]["total"] == "9000.00"


def test_a_patient_is_named_and_taken_back(clinic):
    quote = clinic.quote((MSCT, None))
    assert made(edit(clinic, quote, patient={"id": "P-7"}))["patient"] == {"id": "P-7", "name": None}
    assert made(edit(clinic, quote, patient=None))["patient"] is None


def test_a_draft_is_edited_under_if_match(clinic):
    quote = clinic.quote((MSCT, None))
    path = f"/v1/quotes/{quote['id']}"
    etag = clinic.get(path).headers["ETag"]
    assert clinic.patch(path, {"comment": "x"}).status_code == 428
    assert clinic.patch(path, {"comment": "x"}, match=etag).status_code == 200
    stale = clinic.patch(path, {"comment": "y"}, match=etag)
    assert (stale.status_code, stale.get_json()["code"]) == (412, "precondition_failed")
    assert stale.get_json()["current"] == clinic.get(path).headers["ETag"]


def test_everything_wrong_with_an_edit_is_said_at_once(clinic):
    quote = clinic.quote((MSCT, None))
    wrong = edit(
        clinic,
        quote,
        branch="main",
        kind="perhaps",
        lines=[line("NO-SUCH"), line("ONC-CONS-1"), line(MSCT, quantity="0")],
    )
    assert faults(wrong) == [
        ("/branch", "unknown_member"),
        ("/kind", "not_a_choice"),
        ("/lines/0/article", "unknown_article"),
        ("/lines/1/doctor_rank", "rank_required"),
        ("/lines/2/quantity", "not_positive"),
    ]
    later = edit(clinic, quote, valid_until="2020-01-01", discount_percent="5", lines=[line("NO-SUCH"), line(MRI)])
    assert faults(later) == [
        ("/discount_reason", "discount_needs_reason"),
        ("/lines/0/article", "unknown_article"),
        ("/valid_until", "before_date"),
    ]
    assert read(clinic, quote) == quote


def test_a_percentage_beside_a_sum_that_stands_there_is_one_too_many(clinic):
    quote = clinic.quote((MSCT, None), discount_amount="100.00", discount_reason="goodwill")
    assert faults(edit(clinic, quote, discount_percent="1")) == [("/discount_amount", "one_discount_only")]
    instead = made(edit(clinic, quote, discount_percent="1", discount_amount=None))
    assert instead["totals"]["discount"] == "88.40"


def test_an_edit_drops_an_approval(clinic):
    author = given.caller(clinic.app, "quotes:read", "quotes:write")
    chief = given.caller(clinic.app, "*", discount_ceiling=Decimal(100))
    quote = author.quote(line(MSCT, discount_percent="20", discount_reason="goodwill"))
    assert made(post(chief, quote, "approve"))["approval"] == "granted"
    assert made(edit(author, quote, comment="Другое"))["approval"] == "required"
    refused(post(author, quote, "send"), "discount_above_limit")


@pytest.mark.parametrize("move", ["send", "accept", "decline"])
def test_what_is_out_is_edited_no_more(clinic, move):
    quote = clinic.quote((MSCT, None))
    made(post(clinic, quote, move))
    refused(edit(clinic, quote, comment="x"), "quote_not_open")


def test_a_draft_whose_day_is_over_is_edited_no_more(clinic):
    with given.day("2027-03-10"):
        clinic = given.caller(clinic.app, "*")
        quote = clinic.quote((MSCT, None), valid_until="2027-03-10")
    with given.day("2027-03-11"):
        refused(edit(clinic, quote, comment="x"), "quote_expired")


# ---- Revisions ----


@pytest.mark.parametrize(
    ("moves", "became"),
    [
        ((), "superseded"),
        (("send",), "superseded"),
        (("send", "accept"), "superseded"),
        (("decline",), "declined"),
        (("cancel",), "cancelled"),
    ],
)
def test_a_revision_follows_the_one_before(clinic, moves, became):
    quote = clinic.quote((MSCT, None), patient={"id": "P-1", "name": "Иванова"})
    for move in moves:
        made(post(clinic, quote, move, **({"reason": "Ошибка"} if move == "cancel" else {})))
    former = read(clinic, quote)
    revised = made(post(clinic, quote, "revise", comment="Ещё раз"))
    assert (revised["revision"], revised["status"], revised["code"]) == (2, "draft", quote["code"])
    assert (revised["comment"], revised["lines"], revised["patient"]) == ("Ещё раз", quote["lines"], quote["patient"])
    assert revised["cancel_reason"] is None
    assert read(clinic, quote) == revised
    kept = read(clinic, quote, 1)
    assert kept == former | {"status": became, "updated_at": kept["updated_at"]}
    assert events(clinic, quote)[-1] == ("revised", 2)


def test_a_revision_has_an_etag_of_its_own(clinic):
    quote = clinic.quote((MSCT, None))
    path = f"/v1/quotes/{quote['id']}"
    seen = {clinic.get(path).headers["ETag"]}
    for number in range(2, 5):
        made(post(clinic, quote, "revise"))
        seen |= {clinic.get(f"{path}?revision={each}").headers["ETag"] for each in range(1, number + 1)}
        assert clinic.get(path).headers["ETag"] == clinic.get(f"{path}?revision={number}").headers["ETag"]
    # Each of the three former ones was seen alive and then superseded.
    assert len(seen) == 4 + 3


def test_the_revision_meant_can_be_said(clinic):
    quote = clinic.quote((MSCT, None))
    made(post(clinic, quote, "revise", revision=1))
    for move in ("revise", "reprice", "send", "accept", "decline"):
        assert refused(post(clinic, quote, move, revision=1), "quote_not_open")["revision"] == 2
    refused(post(clinic, quote, "cancel", revision=1, reason="x"), "quote_not_open")
    assert clinic.get(f"/v1/quotes/{quote['id']}?revision=3").status_code == 404


def test_lines_that_ask_for_what_was_quoted_keep_its_price(clinic):
    with given.day("2027-03-10"):
        clinic = given.caller(clinic.app, "*", discount_ceiling=Decimal(100))
        by_hand = line("US-LIVER", unit_price="2500.00", price_reason="сложный случай")
        quote = clinic.quote((MSCT, None), by_hand, ("ONC-CONS-1", "none"))
        made(post(clinic, quote, "send"))
    with given.day("2027-03-12") as today:
        prices_rise(clinic, today)
        given.price("ONC-CONS-1", "4000.00", today, "none")
        other = given.caller(clinic.app, "*", discount_ceiling=Decimal(100))
        lines = [
            line("ONC-CONS-1", "doctor"),
            by_hand,
            line(MSCT, quantity="2"),
            line(MSCT),
            line("ONC-CONS-1", "none"),
        ]
        revised = made(post(other, quote, "revise", lines=lines, discount_percent="10", discount_reason="repeat"))
    # The second MSCT was never quoted.
    prices = [each["unit_price"] for each in revised["lines"]]
    assert prices == ["8500.00", "2500.00", "8840.00", "9000.00", "3700.00"]
    assert [each["position"] for each in revised["lines"]] == [1, 2, 3, 4, 5]
    assert revised["lines"][1]["priced_by"] == quote["lines"][1]["priced_by"]
    assert revised["lines"][2]["price_source"] == quote["lines"][0]["price_source"]
    assert (revised["valid_until"], revised["date"]) == (quote["valid_until"], "2027-03-12")
    assert revised["totals"]["subtotal"] == "41380.00"
    assert revised["totals"]["total"] == "37242.00"


@pytest.mark.parametrize("asked", [{"valid_until": "2027-05-01"}, {"price_list": "staff"}])
def test_prices_are_asked_anew_for_a_longer_promise_or_another_list(clinic, asked):
    wanted = {"code": "staff", "name": {"ru": "С", "en": "S"}, "kind": "staff", "fallback": "base"}
    made(clinic.post("/v1/price-lists", wanted))
    with given.day("2027-03-10"):
        clinic = given.caller(clinic.app, "*")
        quote = clinic.quote((MSCT, None))
    with given.day("2027-03-12") as today:
        prices_rise(clinic, today)
        assert made(post(clinic, quote, "revise"))["totals"]["total"] == "8840.00"
        assert made(post(clinic, quote, "revise", **asked))["totals"]["total"] == "9000.00"


def test_a_quote_that_is_over_is_revised_at_todays_prices(clinic):
    with given.day("2027-03-10"):
        clinic = given.caller(clinic.app, "*")
        quote = clinic.quote((MSCT, None), valid_until="2027-03-11")
        made(post(clinic, quote, "send"))
    with given.day("2027-03-12") as today:
        prices_rise(clinic, today)
        revised = made(post(clinic, quote, "revise"))
        assert (revised["totals"]["total"], revised["valid_until"]) == ("9000.00", "2027-04-11")
        assert read(clinic, quote, 1)["status"] == "expired"
    assert events(clinic, quote) == [("created", 1), ("sent", 1), ("expired", 1), ("revised", 2)]


def test_a_package_keeps_the_price_it_was_quoted_at(clinic):
    given.package(clinic, "DAY")
    quote = clinic.quote({"package": "DAY", "quantity": 1}, (BOLUS, None))
    made(post(clinic, quote, "send"))
    revised = made(post(clinic, quote, "revise", lines=[line(BOLUS), {"package": "DAY"}]))
    was = [each["amount"] for each in quote["lines"]]
    assert [each["amount"] for each in revised["lines"]] == [was[2], was[0], was[1]]
    assert revised["packages"] == quote["packages"]
    assert revised["totals"]["total"] == quote["totals"]["total"]


def test_a_revision_of_what_is_invoiced_is_refused_by_name_until_the_invoice_is_gone(clinic):
    quote = clinic.quote((MSCT, None), line(MRI, quantity="2"))
    invoice = clinic.invoice(quote, lines=[{"position": 2, "quantity": "1"}], issue=False)
    for move, body in (("revise", {}), ("reprice", {}), ("cancel", {"reason": "x"})):
        said = refused(post(clinic, quote, move, **body), "quote_on_invoices")
        assert said["invoices"] == [invoice["id"]]
    made(clinic.post(f"/v1/invoices/{invoice['id']}/discard"))
    whole = clinic.invoice(quote)
    assert refused(post(clinic, quote, "revise"), "quote_on_invoices")["invoices"] == [whole["id"]]
    made(clinic.post(f"/v1/invoices/{whole['id']}/cancel", {"reason": "Ошибка"}))
    assert made(post(clinic, quote, "revise"))["revision"] == 2
    # Nothing of the former revision can be invoiced any more.
    refused(clinic.post(f"/v1/quotes/{quote['id']}/invoice", {"payer": given.PAYER, "revision": 1}), "quote_not_open")


def test_a_revision_is_approved_anew(clinic):
    author = given.caller(clinic.app, "quotes:read", "quotes:write")
    chief = given.caller(clinic.app, "*", discount_ceiling=Decimal(100))
    quote = author.quote(line(MSCT, discount_percent="20", discount_reason="goodwill"))
    made(post(chief, quote, "approve"))
    made(post(author, quote, "send"))
    assert made(post(author, quote, "revise"))["approval"] == "required"


def test_a_repeated_call_makes_one_revision(clinic):
    quote = clinic.quote((MSCT, None))
    path = f"/v1/quotes/{quote['id']}/revise"
    answers = [clinic.post(path, {}, key="revised-but-once") for _ in range(2)]
    assert answers[0].get_json() == answers[1].get_json()
    assert answers[1].headers["Idempotency-Replayed"] == "true"
    assert read(clinic, quote)["revision"] == 2


# ---- Today's prices ----


def test_an_expired_quote_is_repriced_with_old_and_new_side_by_side(clinic):
    with given.day("2027-03-10"):
        clinic = given.caller(clinic.app, "*")
        quote = clinic.quote(line(MSCT, quantity="2"), (MRI, None), valid_until="2027-03-11")
        made(post(clinic, quote, "send"))
    with given.day("2027-03-12") as today:
        prices_rise(clinic, today)
        refused(post(clinic, quote, "accept"), "quote_expired")
        repriced = made(post(clinic, quote, "reprice"))
        assert made(post(clinic, quote, "accept"))["totals"]["total"] == "31700.00"
    changes = repriced.pop("changes")
    assert (repriced["revision"], repriced["valid_until"]) == (2, "2027-04-11")
    assert changes["former_revision"] == 1
    msct, mri = changes["lines"]
    assert msct == {
        "position": 1, "former_position": 1, "article": MSCT, "name": quote["lines"][0]["name"],
        "quantity": {"old": "2", "new": "2"}, "unit_price": {"old": "8840.00", "new": "9000.00"},
        "amount": {"old": "17680.00", "new": "18000.00"}, "difference": "320.00",
    }  # fmt: skip
    assert mri["difference"] == "0.00"
    assert (changes["total"], changes["difference"]) == ({"old": "31380.00", "new": "31700.00"}, "320.00")
    assert events(clinic, quote) == [("created", 1), ("sent", 1), ("expired", 1), ("repriced", 2), ("accepted", 2)]


def test_a_line_without_a_price_today_is_named_where_it_stands(clinic):
    given.package(clinic, "DAY")
    quote = clinic.quote({"package": "DAY"}, (BOLUS, None), ("ONC-CONS-1", "none"))
    gone = {"lines": [line(BOLUS, kind="withdrawn")], "effective_from": "2027-03-12"}
    order = made(clinic.post("/v1/price-orders", gone))
    made(clinic.post(f"/v1/price-orders/{order['id']}/publish"))
    with given.day("2027-03-12"):
        clinic = given.caller(clinic.app, "*")
        # The package stands there as two lines.
        assert faults(post(clinic, quote, "reprice")) == [("/lines/2/article", "service_withdrawn")]
        assert read(clinic, quote)["revision"] == 1
        without = [{"package": "DAY"}, line("ONC-CONS-1", "none")]
        assert len(made(post(clinic, quote, "revise", lines=without))["lines"]) == 3


def test_a_price_by_hand_stays_where_todays_price_leaves_it_open(clinic):
    by_hand = line("US-LIVER", unit_price="2500.00", price_reason="сложный случай")
    quote = clinic.quote(by_hand)
    again = made(post(clinic, quote, "reprice"))
    assert again["lines"][0]["unit_price"] == "2500.00"
    fixed = {"lines": [line("US-LIVER", kind="fixed", amount="2700.00")], "effective_from": "2027-03-12"}
    order = made(clinic.post("/v1/price-orders", fixed))
    made(clinic.post(f"/v1/price-orders/{order['id']}/publish"))
    with given.day("2027-03-12"):
        repriced = made(post(given.caller(clinic.app, "*"), quote, "reprice"))
    assert (repriced["lines"][0]["unit_price"], repriced["lines"][0]["price_reason"]) == ("2700.00", None)


# ---- Cancelling ----


@pytest.mark.parametrize("moves", [(), ("send",), ("accept",)])
def test_what_is_open_or_accepted_is_cancelled_for_a_reason(clinic, moves):
    quote = clinic.quote((MSCT, None))
    for move in moves:
        made(post(clinic, quote, move))
    assert faults(post(clinic, quote, "cancel")) == [("/reason", "required")]
    cancelled = made(post(clinic, quote, "cancel", reason="Пациентка Петрова передумала"))
    assert (cancelled["status"], cancelled["cancel_reason"]) == ("cancelled", "Пациентка Петрова передумала")
    assert read(clinic, quote) == cancelled
    for move, body in (("cancel", {"reason": "x"}), ("accept", {}), ("send", {}), ("decline", {})):
        assert refused(post(clinic, quote, move, **body), "quote_not_open")["state"] == "cancelled"
    with db.reading() as conn:
        assert not db.value(conn, "SELECT count(*) FROM journal WHERE data::text LIKE '%%Петрова%%'")
    assert events(clinic, quote)[-1] == ("cancelled", 1)


# ---- All revisions ----


def test_all_revisions_are_read_newest_first(clinic):
    quote = clinic.quote((MSCT, None))
    made(post(clinic, quote, "revise", lines=[line(MRI)]))
    made(post(clinic, quote, "extend", valid_until="2199-01-01", reason="Отпуск"))
    made(post(clinic, quote, "revise", comment="Третья"))
    items = made(clinic.get(f"/v1/quotes/{quote['id']}/revisions"))["items"]
    assert [(each["revision"], each["status"], each["lines"][0]["article"]) for each in items] == [
        (3, "draft", MRI), (2, "superseded", MRI), (1, "superseded", MSCT),
    ]  # fmt: skip
    (extension,) = items[1]["extensions"]
    assert (extension["valid_until"], extension["reason"]) == ("2199-01-01", "Отпуск")
    assert [{**each, "extensions": None} for each in items] == [
        {**read(clinic, quote, each["revision"]), "extensions": None} for each in items
    ]
    assert len(made(clinic.get("/v1/quotes"))["items"]) == 1


def test_a_quote_of_another_branch_is_like_none(clinic):
    quote = clinic.quote((MSCT, None))
    with change(COMMAND_LINE) as made_:
        branches.create(made_, "north", "Северный", "С")
    north = given.caller(clinic.app, "*", branch="north")
    path = f"/v1/quotes/{quote['id']}"
    assert north.get(f"{path}/revisions").status_code == 404
    assert north.patch(path, {"lines": [line("NO-SUCH")], "kind": 1}, match='"x"').status_code == 404
    for move in ("revise", "reprice", "cancel", "extend"):
        body = {"reason": "x"} | ({"valid_until": "2199-01-01"} if move == "extend" else {})
        assert north.post(f"{path}/{move}", body if move in ("cancel", "extend") else {}).status_code == 404


def test_an_edit_of_a_further_revision_keeps_what_was_quoted(clinic):
    with given.day("2027-03-10"):
        clinic = given.caller(clinic.app, "*")
        quote = clinic.quote((MSCT, None))
        made(post(clinic, quote, "send"))
    with given.day("2027-03-12") as today:
        prices_rise(clinic, today)
        made(post(clinic, quote, "revise"))
        edited = made(edit(clinic, quote, lines=[line(MSCT, quantity="2"), line(MRI)]))
    assert [each["unit_price"] for each in edited["lines"]] == ["8840.00", "13700.00"]
