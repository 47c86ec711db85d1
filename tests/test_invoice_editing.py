"""What of a draft invoice may be changed: a direct one is priced anew, one made from a quote takes other parts."""

from datetime import date, timedelta
from decimal import Decimal

import pytest

from tests import given, given_payers
from tests.given import PAYER, Caller, faults, line, made
from tests.running import AGAIN, CONSULTATION, at_once

pytestmark = pytest.mark.xdist_group("server")

MSCT, MRI = "CT-ABD-RP", "MRI-ABD-RP"
GOODWILL = {"discount_reason": "goodwill"}


def path(invoice):
    return f"/v1/invoices/{invoice['id']}"


def edit(clinic, invoice, **members):
    return clinic.patch(path(invoice), members, match=clinic.get(path(invoice)).headers["ETag"])


def read(clinic, invoice):
    return made(clinic.get(path(invoice)))


def articles(invoice):
    return [(each["article"], each["quantity"]) for each in invoice["lines"]]


def parts(invoice):
    return [(each["quote_position"], each["quantity"]) for each in invoice["lines"]]


def taken(clinic, quote):
    return [each["invoiced_quantity"] for each in made(clinic.get(f"/v1/quotes/{quote['id']}"))["lines"]]


def part_draft(clinic, quote, *lines):
    """A draft of these (position, quantity) of the quote."""
    wanted = [{"position": position, "quantity": quantity} for position, quantity in lines]
    return clinic.invoice(quote, issue=False, lines=wanted)


@pytest.fixture
def author(clinic: Caller) -> Caller:
    return given.caller(clinic.app, "*", discount_ceiling=Decimal(10))


@pytest.fixture
def head(clinic: Caller) -> Caller:
    return given.caller(clinic.app, "*", discount_ceiling=Decimal(100))


# ---- A direct draft ----


def test_a_member_that_is_left_out_stays(clinic):
    draft = clinic.draft((MSCT, None), patient={"id": "P-1", "name": "Иванова"}, comment="Первый")
    edited = made(edit(clinic, draft, comment="Второй"))
    assert edited["comment"] == "Второй"
    same = draft.keys() - {"comment", "updated_at"}
    assert {name: edited[name] for name in same} == {name: draft[name] for name in same}
    assert read(clinic, draft) == edited


def test_every_member_may_be_given(head):
    draft = head.draft((MSCT, None))
    due = (date.fromisoformat(draft["date"]) + timedelta(days=9)).isoformat()
    edited = made(
        edit(
            head,
            draft,
            lines=[line(MRI, quantity="2"), line("ONC-CONS-1", "doctor", discount_percent="10", **GOODWILL)],
            discount_amount="35.00",
            **GOODWILL,
            patient={"id": "P-7", "name": "Иванова"},
            payer={"kind": "person", "is_patient": True},
            due_date=due,
            comment="Так",
        )
    )
    assert articles(edited) == [(MRI, "2"), ("ONC-CONS-1", "1")]
    assert (edited["totals"]["subtotal"], edited["totals"]["discount"]) == ("35900.00", "885.00")
    assert (edited["payer"]["ref"], edited["payer"]["name"], edited["patient"]["id"]) == ("P-7", "Иванова", "P-7")
    assert (edited["due_date"], edited["comment"]) == (due, "Так")
    assert read(head, draft) == edited
    assert made(head.post(f"{path(draft)}/issue"))["totals"] == edited["totals"]


def test_null_empties_a_member(clinic):
    draft = clinic.draft((MSCT, None), patient={"id": "P-1"}, comment="Был", discount_percent="10", **GOODWILL)
    edited = made(edit(clinic, draft, patient=None, comment=None, discount_percent=None, discount_reason=None))
    assert (edited["patient"], edited["comment"], edited["totals"]["discount"]) == (None, None, "0.00")


def test_new_lines_have_todays_prices_and_the_draft_is_of_today(clinic):
    with given.day("2027-03-10"):
        clinic = given.caller(clinic.app, "*")
        draft = clinic.draft((MSCT, None))
    with given.day("2027-03-12") as today:
        given.price(MSCT, "9000.00", today)
        issue = f"{path(draft)}/issue"
        assert clinic.post(issue).get_json()["code"] == "price_changed"
        edited = made(edit(clinic, draft, lines=[line(MSCT, quantity="2")]))
        assert (edited["totals"]["total"], edited["date"]) == ("18000.00", "2027-03-12")
        assert made(clinic.post(issue))["totals"] == edited["totals"]


def test_a_discount_is_spread_over_the_lines_at_the_prices_they_have(clinic):
    with given.day("2027-03-10"):
        clinic = given.caller(clinic.app, "*", discount_ceiling=Decimal(100))
        draft = clinic.draft((MSCT, None), (MRI, None))
    with given.day("2027-03-12") as today:
        given.price(MSCT, "9000.00", today)
        edited = made(edit(clinic, draft, discount_percent="10", **GOODWILL))
        assert [each["document_discount"] for each in edited["lines"]] == ["884.00", "1370.00"]
        assert edited["date"] == "2027-03-10"


def test_another_price_list_prices_the_lines_anew(clinic):
    given_payers.price_list(clinic, "staff", "staff")
    draft = clinic.draft((MSCT, None))
    edited = made(edit(clinic, draft, price_list="staff"))
    assert (edited["price_list"], edited["lines"][0]["price_source"]["fallback"]) == ("staff", True)


def test_an_insurers_list_takes_that_insurer_as_payer(clinic):
    given_payers.price_list(clinic)
    draft = clinic.draft((MSCT, None))
    assert faults(edit(clinic, draft, price_list="dms")) == [("/payer", "price_list_not_for_payer")]
    assert read(clinic, draft) == draft


def test_everything_wrong_is_told_at_once(clinic):
    draft = clinic.draft((MSCT, None))
    wrong = edit(
        clinic,
        draft,
        lines=[line("NOBODY"), line("ONC-CONS-1"), {"position": 1}],
        discount_percent="10",
        due_date="2020-01-01",
        payer={"kind": "person", "is_patient": True},
    )
    assert faults(wrong) == [
        ("/discount_reason", "discount_needs_reason"),
        ("/due_date", "before_date"),
        ("/lines/0/article", "unknown_article"),
        ("/lines/1/doctor_rank", "rank_required"),
        ("/lines/2/position", "only_of_quotes"),
        ("/payer/is_patient", "needs_patient"),
    ]
    assert read(clinic, draft) == draft


def test_what_the_shape_and_what_the_catalog_have_against_it_come_together(clinic):
    draft = clinic.draft((MSCT, None))
    wrong = edit(clinic, draft, lines=[line("NOBODY"), line(MSCT, quantity=0)], number="1", due_date="soon")
    assert faults(wrong) == [
        ("/due_date", "not_day"),
        ("/lines/0/article", "unknown_article"),
        ("/lines/1/quantity", "not_positive"),
        ("/number", "unknown_member"),
    ]


def test_a_due_date_that_has_passed_is_told_when_the_draft_becomes_todays(clinic):
    with given.day("2027-03-10"):
        clinic = given.caller(clinic.app, "*")
        draft = clinic.draft((MSCT, None), due_date="2027-03-11")
    with given.day("2027-03-12"):
        assert faults(edit(clinic, draft, lines=[line(MRI)])) == [("/due_date", "before_date")]
        assert articles(made(edit(clinic, draft, lines=[line(MRI)], due_date=None))) == [(MRI, "1")]


def test_an_edit_needs_the_version_that_was_read(clinic):
    draft = clinic.draft((MSCT, None))
    etag = clinic.get(path(draft)).headers["ETag"]
    assert clinic.patch(path(draft), {"lines": [line(MRI)]}).status_code == 428
    made(clinic.patch(path(draft), {"lines": [line(MRI)]}, match=etag))
    assert clinic.patch(path(draft), {"lines": [line(MSCT)]}, match=etag).status_code == 412
    assert articles(read(clinic, draft)) == [(MRI, "1")]


def test_edits_are_no_events_and_an_issued_invoice_is_not_edited(clinic):
    draft = clinic.draft((MSCT, None))
    made(edit(clinic, draft, lines=[line(MRI)]))
    made(clinic.post(f"{path(draft)}/issue"))
    assert edit(clinic, draft, lines=[line(MSCT)]).get_json()["code"] == "invoice_not_draft"
    told = [each["type"] for each in clinic.events() if each["object"]["id"] == draft["id"]]
    assert told == ["invoice.created", "invoice.issued"]


# ---- Whose discount it is ----


def test_an_approval_is_dropped_by_an_edit_of_the_lines(author, head):
    half = {"discount_percent": "50", **GOODWILL}
    draft = made(author.post("/v1/invoices", {"lines": [line(MSCT, **half)], "payer": PAYER}))
    assert draft["approval"] == "required"
    made(head.post(f"{path(draft)}/approve", {}))
    edited = made(edit(author, draft, lines=[line(MRI, **half)]))
    assert edited["approval"] == read(author, draft)["approval"] == "required"
    assert author.post(f"{path(draft)}/issue").get_json()["code"] == "discount_above_limit"
    made(head.post(f"{path(draft)}/approve", {}))
    made(author.post(f"{path(draft)}/issue"))


def test_the_ceiling_of_who_edits_counts(author, head):
    draft = made(
        head.post("/v1/invoices", {"lines": [line(MSCT)], "payer": PAYER, "discount_percent": "50"} | GOODWILL)
    )
    assert draft["approval"] == "none"
    assert made(edit(author, draft, lines=[line(MRI)]))["approval"] == "required"
    assert head.post(f"{path(draft)}/issue").get_json()["code"] == "discount_above_limit"
    assert made(edit(head, draft, comment="Моё"))["approval"] == "none"
    made(author.post(f"{path(draft)}/issue"))


def test_a_discount_taken_away_needs_nobody(author):
    draft = made(
        author.post("/v1/invoices", {"lines": [line(MSCT)], "payer": PAYER, "discount_percent": "50"} | GOODWILL)
    )
    assert made(edit(author, draft, discount_percent="5"))["approval"] == "none"
    made(author.post(f"{path(draft)}/issue"))


# ---- A draft made from a quote ----


def test_other_parts_are_taken_and_the_former_given_back(clinic):
    quote = clinic.quote(line(MSCT, quantity="3"), line(MRI))
    draft = part_draft(clinic, quote, (1, "2"))
    edited = made(edit(clinic, draft, lines=[{"position": 1, "quantity": "3"}, {"position": 2}]))
    assert parts(edited) == parts(read(clinic, draft)) == [(1, "3"), (2, "1")]
    assert (edited["totals"], taken(clinic, quote)) == (quote["totals"], ["3", "1"])
    assert parts(made(edit(clinic, draft, lines=[{"position": 2}]))) == [(2, "1")]
    assert taken(clinic, quote) == ["0", "1"]
    assert parts(clinic.invoice(quote)) == [(1, "3")]


def test_parts_keep_the_quotes_prices(clinic):
    with given.day("2027-03-10"):
        clinic = given.caller(clinic.app, "*")
        quote = clinic.quote(line(MSCT, quantity="3"))
        draft = part_draft(clinic, quote, (1, "1"))
    with given.day("2027-03-12") as today:
        given.price(MSCT, "9000.00", today)
        edited = made(edit(clinic, draft, lines=[{"position": 1, "quantity": "2"}]))
        assert (edited["totals"]["total"], edited["date"]) == ("17680.00", "2027-03-10")


def test_parts_add_up_to_the_kopeck_after_they_were_edited(clinic):
    quote = clinic.quote(line("US-LIVER", quantity="1.5", unit_price="33.33", price_reason="проба"))
    drafts = [part_draft(clinic, quote, (1, "0.5")) for _ in range(3)]
    assert [each["totals"]["total"] for each in drafts] == ["16.67", "16.67", "16.66"]
    for quantity in ("0.25", "0.5"):
        made(edit(clinic, drafts[0], lines=[{"position": 1, "quantity": quantity}]))
    assert sum(Decimal(read(clinic, each)["totals"]["total"]) for each in drafts) == Decimal("50.00")


def test_more_than_the_quote_is_refused_with_all_that_is_wrong(clinic):
    quote = clinic.quote(line(MSCT, quantity="3"), line(MRI))
    other, draft = part_draft(clinic, quote, (1, "1")), part_draft(clinic, quote, (1, "1"))
    wanted = [
        {"position": 1, "quantity": "2.5"},
        {"position": 2},
        {"position": 2},
        {"position": 9},
        line(MSCT),
        {"package": "CT-MRI-DAY"},
    ]
    assert faults(edit(clinic, draft, lines=wanted, due_date="2020-01-01", patient=None, discount_percent="1")) == [
        ("/discount_percent", "fixed_by_quote"),
        ("/due_date", "before_date"),
        ("/lines/0/quantity", "quantity_exceeds_quote"),
        ("/lines/2/position", "repeated_position"),
        ("/lines/3/position", "unknown_position"),
        ("/lines/4/article", "fixed_by_quote"),
        ("/lines/5/package", "fixed_by_quote"),
        ("/patient", "fixed_by_quote"),
    ]
    assert (read(clinic, draft), read(clinic, other), taken(clinic, quote)) == (draft, other, ["2", "0"])


def test_what_the_quote_decides_is_told_beside_what_the_shape_refuses(clinic):
    draft = clinic.invoice(clinic.quote((MSCT, None)), issue=False)
    wrong = edit(clinic, draft, price_list="base", lines=[{"position": 1, "article": MSCT}], due_date="soon")
    assert faults(wrong) == [
        ("/due_date", "not_day"),
        ("/lines/0/article", "not_with_position"),
        ("/price_list", "fixed_by_quote"),
    ]


def test_payer_due_date_and_comment_of_a_draft_from_a_quote_are_its_own(clinic):
    draft = clinic.invoice(clinic.quote((MSCT, None), patient={"id": "P-3", "name": "Иванова"}), issue=False)
    payer = {"kind": "person", "is_patient": True}
    edited = made(edit(clinic, draft, payer=payer, due_date="2199-12-31", comment="Да"))
    assert (edited["payer"]["ref"], edited["due_date"], edited["comment"]) == ("P-3", "2199-12-31", "Да")
    assert edited["lines"] == draft["lines"]


def test_the_approval_of_the_quote_holds_for_other_parts_of_it(author, head):
    quote = author.quote(line(MSCT, quantity="2"), discount_percent="50", **GOODWILL)
    made(head.post(f"/v1/quotes/{quote['id']}/approve", {}))
    draft = part_draft(author, quote, (1, "1"))
    edited = made(edit(author, draft, lines=[{"position": 1}]))
    assert edited["approval"] == read(author, draft)["approval"] == "granted"
    assert made(author.post(f"{path(draft)}/issue"))["totals"]["total"] == "8840.00"


# ---- Two at once ----


"""Of two callers one comes first: a few times, so that both orders are seen."""


@AGAIN
def test_a_draft_gets_other_lines_or_is_issued_and_what_is_issued_says_one_of_both(desk, _):
    draft = desk.draft()
    at, other = path(draft.json), {"lines": [CONSULTATION, line(MRI)]}
    issued, edited = at_once(
        2, lambda n: desk.patch(at, other, draft.headers["ETag"]) if n else desk.post(f"{at}/issue", {})
    )
    assert str(issued) == "200"
    assert str(edited) in {"200", "409 invoice_not_draft"}
    total = "19000.00" if edited.status == 200 else "5300.00"
    assert desk.get(at).json["totals"]["total"] == issued.json["totals"]["total"] == total


@AGAIN
def test_parts_of_one_quote_edited_at_once_never_exceed_it(desk, _):
    """Each lets go of a line of its own: only the quote's lock stands between them."""
    quote = desk.quote(CONSULTATION, line(MRI), {**line(MSCT), "quantity": "3"})
    drafts = [
        desk.post(f"/v1/quotes/{quote['id']}/invoice", {"payer": PAYER, "lines": [{"position": position}]})
        for position in (1, 2)
    ]
    third = {"lines": [{"position": 3, "quantity": "2"}]}
    answers = at_once(2, lambda n: desk.patch(path(drafts[n].json), third, drafts[n].headers["ETag"]))
    assert sorted(map(str, answers)) == ["200", "422 invalid_input"]
    (lost,) = (n for n in range(2) if answers[n].status == 422)
    assert desk.get(path(drafts[lost].json)).json == drafts[lost].json
    lines = desk.get(f"/v1/quotes/{quote['id']}").json["lines"]
    assert [each["invoiced_quantity"] for each in lines] == ["01"[lost == 0], "01"[lost == 1], "2"]


@AGAIN
def test_a_part_is_edited_while_another_is_put_away(desk, _):
    quote = desk.quote({**CONSULTATION, "quantity": "2"})
    part = {"payer": PAYER, "lines": [{"position": 1, "quantity": "1"}]}
    one, other = (desk.post(f"/v1/quotes/{quote['id']}/invoice", part) for _ in range(2))
    both = {"lines": [{"position": 1, "quantity": "2"}]}
    edited, away = at_once(
        2,
        lambda n: (
            desk.post(f"{path(other.json)}/discard", {}) if n else desk.patch(path(one.json), both, one.headers["ETag"])
        ),
    )
    assert str(away) == "200"
    assert str(edited) in {"200", "422 invalid_input"}
    left = "2" if edited.status == 200 else "1"
    assert desk.get(f"/v1/quotes/{quote['id']}").json["lines"][0]["invoiced_quantity"] == left
