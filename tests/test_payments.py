"""Payments: what came, what it is for, what is left of it (domain rules 35, 56, 57)."""

from __future__ import annotations

from typing import Any

import pytest

from clinic import branches, db
from clinic.auth import COMMAND_LINE
from clinic.command import change
from tests import given, given_money
from tests.given import ORGANISATION, PAYER, faults, made
from tests.given_money import allocations, invoice, must_tie, paid, payment, refunded

NOBODYS = "00000000-0000-0000-0000-000000000000"
OTHER = {"kind": "person", "ref": "P-2", "name": "Петров Пётр"}


@pytest.fixture(autouse=True)
def books_that_tie(clinic):
    yield
    must_tie()


def refusal(answer: Any, code: str) -> Any:
    body = answer.get_json()
    assert (answer.status_code, body["code"]) == (409, code), body
    return body


def read(clinic, document):
    kind = "payments" if "tender" in document else "invoices"
    return made(clinic.get(f"/v1/{kind}/{document['id']}"))


def sums(document):
    return tuple(document[name] for name in ("allocated", "refunded", "advance"))


def state(clinic, document):
    shown = read(clinic, document)
    return shown["payment_status"], shown["paid"], shown["balance"]


# ---- Received ----


def test_a_payment_for_an_invoice_pays_it(clinic):
    owed = invoice(clinic, "67200.00")
    answer = paid(clinic, "5000.00", (owed, "5000.00"), tender="card")
    came = made(answer)
    assert (answer.status_code, answer.headers["Location"]) == (201, f"/v1/payments/{came['id']}")
    assert (came["status"], came["amount"], *sums(came)) == ("received", "5000.00", "5000.00", "0.00", "0.00")
    assert came["allocations"] == [{"invoice": owed["id"], "number": owed["number"], "amount": "5000.00"}]
    assert state(clinic, owed) == ("partially_paid", "5000.00", "62200.00")
    assert read(clinic, came) == came
    payment(clinic, "62200.00", owed)
    assert state(clinic, owed) == ("paid", "67200.00", "0.00")


def test_what_is_too_much_is_the_payers_advance(clinic):
    owed = invoice(clinic, "100.00")
    came = payment(clinic, "150.00", owed)
    assert sums(came) == ("100.00", "0.00", "50.00")
    assert state(clinic, owed) == ("paid", "100.00", "0.00")


def test_more_than_is_owed_is_refused_when_it_is_said(clinic):
    owed = invoice(clinic, "100.00")
    payment(clinic, "60.00", owed)
    body = refusal(paid(clinic, "60.00", (owed, "60.00")), "amount_exceeds_balance")
    assert (body["invoice"], body["balance"]) == (owed["id"], "40.00")
    payment(clinic, "40.00", owed)
    assert refusal(paid(clinic, "1.00", owed), "amount_exceeds_balance")["balance"] == "0.00"


def test_allocations_are_no_more_than_the_payment(clinic):
    owed = [invoice(clinic, "100.00"), invoice(clinic, "100.00")]
    body = refusal(paid(clinic, "150.00", (owed[0], "100.00"), (owed[1], "60.00")), "amount_exceeds_payment")
    assert body["left"] == "150.00"
    came = payment(clinic, "150.00", *owed)
    assert [each["amount"] for each in came["allocations"]] == ["100.00", "50.00"]


def test_the_payer_may_be_left_out_when_an_invoice_is_named(clinic):
    owed = invoice(clinic, payer=ORGANISATION | {"ref": "ORG-1"})
    came = payment(clinic, "100.00", owed, payer=None)
    assert (came["payer"]["ref"], came["payer"]["name"], came["payer"]["inn"]) == (
        "ORG-1",
        "ООО «Ромашка»",
        "1234567894",
    )
    assert faults(paid(clinic, "100.00", payer=None)) == [("/payer", "required")]


def test_an_insurer_pays_without_a_letter(clinic):
    insurer = {"kind": "insurer", "ref": "INS-1", "name": "АО «Полис»", "inn": "1234567894", "kpp": "770101001"}
    came = payment(clinic, "900.00", payer=insurer)
    assert came["payer"]["guarantee_letter"] is None
    assert faults(paid(clinic, "900.00", payer=insurer | {"inn": "1"})) == [("/payer/inn", "wrong_inn")]


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        ({"amount": "0.00"}, ("/amount", "not_positive")),
        ({"amount": "1.005"}, ("/amount", "not_money")),
        ({"amount": 100}, ("/amount", "not_money")),
        ({"tender": "offset"}, ("/tender", "not_a_choice")),
        ({"source": "terminal-3"}, ("/external_ref", "required")),
        ({"external_ref": "1"}, ("/source", "required")),
        ({"received_on": "2190-01-01"}, ("/received_on", "in_the_future")),
        ({"branch": "nowhere"}, ("/branch", "unknown_branch")),
        ({"desk": "Касса 1"}, ("/desk", "no_desk_here")),
        ({"allocations": [{"invoice": NOBODYS}]}, ("/allocations/0/invoice", "unknown_invoice")),
    ],
)  # fmt: skip
def test_a_payment_is_well_formed(clinic, wrong, fault):
    assert faults(paid(clinic, "100.00", **wrong)) == [fault]


def test_auto_and_allocations_are_not_said_together(clinic):
    owed = invoice(clinic)
    assert faults(paid(clinic, "100.00", owed, auto=True)) == [("/auto", "either_or")]
    assert faults(paid(clinic, "100.00", owed, owed)) == [
        ("/allocations/0/invoice", "repeated_invoice"),
        ("/allocations/1/invoice", "repeated_invoice"),
    ]


def test_only_an_issued_invoice_takes_money(clinic):
    draft = clinic.draft(("CT-ABD-RP", None))
    assert refusal(paid(clinic, "100.00", draft), "invoice_not_issued")["state"] == "draft"
    cancelled = invoice(clinic)
    made(clinic.post(f"/v1/invoices/{cancelled['id']}/cancel", {"reason": "Ошибка"}))
    assert refusal(paid(clinic, "100.00", cancelled), "invoice_not_issued")["state"] == "cancelled"


def test_one_pays_for_another_only_when_it_is_said(clinic):
    owed = invoice(clinic)
    assert refusal(paid(clinic, "100.00", owed, payer=OTHER), "other_payer")["payer"] == "P-1"
    meant = [{"invoice": owed["id"], "on_behalf": True}]
    came = payment(clinic, "100.00", payer=OTHER, allocations=meant)
    assert (came["payer"]["ref"], came["moves"][0]["on_behalf"]) == ("P-2", True)
    assert state(clinic, owed)[0] == "paid"


def test_taking_money_and_giving_it_back_are_two_rights(clinic):
    came = payment(clinic, "100.00")
    reception = given.caller(clinic.app, "payments:read", "payments:write")
    assert refunded(reception, came, "1.00").get_json()["scope"] == "payments:refund"
    assert paid(given.caller(clinic.app, "payments:read"), "1.00").get_json()["scope"] == "payments:write"
    assert clinic.post("/v1/payments", {}, key="").get_json()["code"] == "idempotency_key_required"


# ---- A reference is one payment ----


SLIP = {"tender": "card", "source": "terminal-3", "external_ref": "000123456789"}


def test_the_same_slip_told_twice_is_one_payment(clinic):
    owed = invoice(clinic)
    first = paid(clinic, "100.00", owed, **SLIP)
    again = paid(clinic, "100.00", owed, **SLIP)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.get_json() == first.get_json()
    assert len(made(clinic.get("/v1/payments"))["items"]) == 1


def test_the_same_slip_with_other_content_is_refused_and_named(clinic):
    first = payment(clinic, "100.00", **SLIP)
    for other in ({"amount": "100.01"}, {"payer": OTHER}, {"tender": "online"}, {"received_on": "2026-01-01"}):
        body = refusal(paid(clinic, "100.00", **SLIP | other), "payment_reference_taken")
        assert (body["payment"], body["external_ref"]) == (first["id"], "000123456789")
    assert payment(clinic, "100.00", **SLIP | {"source": "terminal-4"})["id"] != first["id"]


def test_a_slip_is_still_the_same_one_when_its_invoice_is_cancelled_and_its_money_gone(clinic):
    owed = invoice(clinic)
    first = payment(clinic, "100.00", owed, **SLIP)
    made(clinic.post(f"/v1/invoices/{owed['id']}/cancel", {"reason": "Ошибка"}))
    made(refunded(clinic, first, "100.00"))
    again = made(paid(clinic, "100.00", owed, **SLIP))
    assert (again["id"], again["status"]) == (first["id"], "refunded")


def test_a_slip_of_another_branch_is_taken_and_not_shown(clinic):
    with change(COMMAND_LINE) as made_:
        branches.create(made_, "north", "Северный филиал", "С")
    payment(clinic, "100.00", **SLIP)
    north = given.caller(clinic.app, "*", branch="north")
    assert "payment" not in refusal(paid(north, "100.00", **SLIP), "payment_reference_taken")


# ---- Allocated later ----


def allocate(clinic, came, **body):
    return clinic.post(f"/v1/payments/{came['id']}/allocations", body)


def test_an_advance_is_offset_by_allocating_it(clinic):
    came = payment(clinic, "5000.00")
    assert sums(came) == ("0.00", "0.00", "5000.00")
    owed = invoice(clinic, "67200.00")
    after = made(allocate(clinic, came, allocations=allocations((owed, "4000.00"))))
    assert sums(after) == ("4000.00", "0.00", "1000.00")
    assert [each["kind"] for each in after["moves"]] == ["offset"]
    assert (
        refusal(allocate(clinic, came, allocations=allocations((owed, "1000.01"))), "amount_exceeds_payment")["left"]
        == "1000.00"
    )
    made(allocate(clinic, came, allocations=allocations(owed)))
    assert refusal(allocate(clinic, came, auto=True), "amount_exceeds_payment")["left"] == "0.00"
    assert state(clinic, owed) == ("partially_paid", "5000.00", "62200.00")


def test_auto_pays_the_oldest_debt_first(clinic):
    with given.day("2026-11-25"):
        caller = given.caller(clinic.app, "*")
        late = invoice(caller, "100.00", due_date="2026-12-31")
        soon = invoice(caller, "100.00", due_date="2026-12-01")
        foreign = invoice(caller, "100.00", payer=OTHER)
        paid_already = invoice(caller, "100.00")
        payment(caller, "100.00", paid_already)
        undated = invoice(caller, "100.00")
        came = payment(caller, "250.00", auto=True)
    assert [(each["invoice"], each["amount"]) for each in came["allocations"]] == [
        (undated["id"], "100.00"),
        (soon["id"], "100.00"),
        (late["id"], "50.00"),
    ]
    assert state(clinic, foreign)[0] == "unpaid"
    more = payment(clinic, "60.00")
    after = made(allocate(clinic, more, auto=True))
    assert (after["allocations"][0]["invoice"], sums(after)) == (late["id"], ("50.00", "0.00", "10.00"))


def test_allocating_says_one_way(clinic):
    came = payment(clinic, "10.00")
    assert faults(allocate(clinic, came)) == [("/allocations", "required")]
    assert faults(allocate(clinic, came, auto=True, allocations=allocations(invoice(clinic)))) == [
        ("/auto", "either_or")
    ]


# ---- Several tenders ----


def split(clinic, *tenders, **more):
    shaped = [
        {"tender": each[0], **({"amount": each[1]} if len(each) > 1 else {}), **(each[2] if len(each) > 2 else {})}
        for each in tenders
    ]
    return clinic.post("/v1/payments/split", {"tenders": shaped, **more})


def test_five_thousand_by_card_and_the_rest_in_cash(clinic):
    owed = invoice(clinic, "19300.00")
    answer = split(clinic, ("card", "5000.00"), ("cash",), allocations=allocations(owed))
    body = made(answer)
    assert (answer.status_code, body["amount"], body["offset"]) == (201, "19300.00", "0.00")
    assert [(each["tender"], each["amount"]) for each in body["payments"]] == [
        ("card", "5000.00"),
        ("cash", "14300.00"),
    ]
    assert {each["split"] for each in body["payments"]} == {body["id"]}
    assert state(clinic, owed) == ("paid", "19300.00", "0.00")


def test_an_advance_and_a_card_pay_together(clinic):
    older, newer = payment(clinic, "3000.00"), payment(clinic, "4000.00")
    owed = invoice(clinic, "67200.00")
    body = made(split(clinic, ("offset", "5000.00"), ("card",), allocations=allocations(owed)))
    assert (body["amount"], body["offset"]) == ("62200.00", "5000.00")
    assert [(each["payment"], each["amount"]) for each in body["offsets"]] == [
        (older["id"], "3000.00"),
        (newer["id"], "2000.00"),
    ]
    assert [(each["tender"], each["amount"]) for each in body["payments"]] == [("card", "62200.00")]
    assert state(clinic, owed)[0] == "paid"
    assert sums(read(clinic, newer)) == ("2000.00", "0.00", "2000.00")


def test_an_offset_makes_no_new_money(clinic):
    came = payment(clinic, "300.00")
    owed = invoice(clinic, "100.00")
    body = made(split(clinic, ("offset",), allocations=allocations(owed)))
    assert (body["amount"], body["offset"], body["payments"]) == ("0.00", "100.00", [])
    assert sums(read(clinic, came)) == ("100.00", "0.00", "200.00")
    assert len(made(clinic.get("/v1/payments"))["items"]) == 1
    other = invoice(clinic, "250.00")
    assert (
        refusal(split(clinic, ("offset",), allocations=allocations(other)), "amount_exceeds_advance")["advance"]
        == "200.00"
    )


def test_a_split_told_twice_is_one(clinic):
    owed = invoice(clinic, "100.00")
    payment(clinic, "10.00")
    wanted = (("offset", "10.00"), ("card", "50.00", SLIP_REF), ("cash",))
    first = split(clinic, *wanted, allocations=allocations(owed))
    again = split(clinic, *wanted, allocations=allocations(owed))
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.get_json() == first.get_json()
    refusal(split(clinic, ("card", "50.00", SLIP_REF), auto=True, payer=PAYER), "payment_reference_taken")
    refusal(paid(clinic, "50.00", **SLIP), "payment_reference_taken")


SLIP_REF = {name: SLIP[name] for name in ("source", "external_ref")}


@pytest.mark.parametrize(
    ("tenders", "more", "wrong"),
    [
        ([("card",), ("cash",)], {}, [("/tenders/1/amount", "one_rest_only")]),
        ([("offset", "1.00"), ("offset", "1.00")], {}, [("/tenders/1/tender", "one_offset_only")]),
        ([("offset", "1.00", SLIP_REF)], {}, [("/tenders/0/source", "no_reference_here")]),
        ([("card", "1.00", SLIP_REF), ("online", "1.00", SLIP_REF)], {},
         [("/tenders/0/external_ref", "repeated_reference"), ("/tenders/1/external_ref", "repeated_reference")]),
        ([("card", "100.00"), ("cash",)], {}, [("/tenders/1/amount", "nothing_left")]),
        ([("card", "1.00"), ("cash",)], {"allocations": []}, [("/allocations", "needs_allocations")]),
        ([("online", "1.00")], {"desk": "Касса 1"}, [("/desk", "no_desk_here")]),
        ([], {}, [("/tenders", "wrong_count")]),
    ],
)  # fmt: skip
def test_a_split_is_well_formed(clinic, tenders, more, wrong):
    owed = invoice(clinic, "100.00")
    assert faults(split(clinic, *tenders, **{"allocations": allocations(owed), "payer": PAYER} | more)) == wrong


# ---- Released and refunded ----


def test_cancelling_a_paid_invoice_turns_its_money_into_an_advance(clinic):
    owed, kept = invoice(clinic, "100.00"), invoice(clinic, "30.00")
    first = payment(clinic, "90.00", (owed, "60.00"), kept)
    second = payment(clinic, "40.00", owed)
    cancelled = clinic.post(f"/v1/invoices/{owed['id']}/cancel", {"reason": "Ошибка"})
    body = made(cancelled)
    assert (body["status"], body["paid"], body["credited"], body["balance"]) == ("cancelled", "0.00", "100.00", "0.00")
    assert cancelled.headers["ETag"] == clinic.get(f"/v1/invoices/{owed['id']}").headers["ETag"]
    assert (sums(read(clinic, first)), sums(read(clinic, second))) == (
        ("30.00", "0.00", "60.00"),
        ("0.00", "0.00", "40.00"),
    )
    assert [(each["kind"], each["amount"]) for each in read(clinic, second)["moves"]] == [
        ("payment", "40.00"),
        ("release", "40.00"),
    ]
    assert state(clinic, kept)[0] == "paid"
    events = [each["type"] for each in clinic.events()][-4:]
    assert events == ["payment.released", "payment.released", "invoice.cancelled", "credit_note.issued"]


def test_a_refund_takes_what_is_not_allocated(clinic):
    owed = invoice(clinic, "100.00")
    came = payment(clinic, "150.00", owed, tender="card")
    assert refusal(refunded(clinic, came, "50.01"), "amount_exceeds_payment")["left"] == "50.00"
    after = made(refunded(clinic, came, "50.00", reason_code="overpayment"))
    assert (after["status"], *sums(after)) == ("partially_refunded", "100.00", "50.00", "0.00")
    given_back = after["refunds"][0]
    assert (given_back["tender"], given_back["amount"], given_back["reason_code"]) == ("card", "50.00", "overpayment")
    assert refusal(refunded(clinic, came, "0.01"), "amount_exceeds_payment")["left"] == "0.00"


def test_a_refund_may_take_money_off_an_invoice_first(clinic):
    owed = invoice(clinic, "100.00")
    came = payment(clinic, "100.00", owed)
    release = [{"invoice": owed["id"], "amount": "70.00"}]
    body = refusal(
        refunded(clinic, came, "70.00", release=[{"invoice": owed["id"], "amount": "100.01"}]),
        "amount_exceeds_allocation",
    )
    assert body["allocated"] == "100.00"
    after = made(refunded(clinic, came, "70.00", release=release, tender="transfer"))
    assert sums(after) == ("30.00", "70.00", "0.00")
    assert state(clinic, owed) == ("partially_paid", "30.00", "70.00")
    assert faults(refunded(clinic, came, "1.00", release=release + release)) == [
        ("/release/1/invoice", "repeated_invoice")
    ]


def test_a_refund_needs_a_reason_of_the_day(clinic, opened):
    came = payment(clinic, "100.00")
    assert faults(refunded(clinic, came, "1.00", reason_code="no_reason")) == [
        ("/reason_code", "unknown_refund_reason")
    ]
    assert faults(refunded(clinic, came, "1.00", reason="")) == [("/reason", "wrong_length")]
    assert clinic.post(f"/v1/payments/{given_money.invoice(clinic)['id']}/refunds", {
        "amount": "1.00", "reason_code": "mistake", "reason": "x"}).status_code == 404  # fmt: skip


# ---- Read ----


def test_payments_are_listed_and_filtered(clinic):
    first = payment(clinic, "1.00", received_on="2026-01-01", **SLIP)
    second = payment(clinic, "2.00", received_on="2026-01-02", payer=OTHER)
    third = payment(clinic, "3.00", received_on="2026-01-03", tender="online")

    def listed(query=""):
        return [each["id"] for each in made(clinic.get(f"/v1/payments?{query}"))["items"]]

    assert listed() == [third["id"], second["id"], first["id"]]
    assert listed("payer=P-2") == [second["id"]]
    assert listed("tender=card") == [first["id"]]
    assert listed("source=terminal-3") == listed("external_ref=000123456789") == [first["id"]]
    assert listed("since=2026-01-02&until=2026-01-02") == [second["id"]]
    page = made(clinic.get("/v1/payments?limit=2"))
    assert [each["id"] for each in made(clinic.get(f"/v1/payments?limit=2&cursor={page['next_cursor']}"))["items"]] == [
        first["id"]
    ]


def test_a_balance_tells_what_is_owed_and_what_is_there(clinic):
    owed, taken_back = invoice(clinic, "100.00"), invoice(clinic, "30.00")
    payment(clinic, "60.00", owed)
    came = payment(clinic, "50.00", taken_back)
    made(clinic.post(f"/v1/invoices/{taken_back['id']}/cancel", {"reason": "Ошибка"}))
    made(refunded(clinic, came, "20.00"))
    expected = {
        "invoiced": "130.00", "credited": "30.00", "paid": "60.00", "owed": "40.00",
        "received": "110.00", "allocated": "60.00", "refunded": "20.00", "advance": "30.00",
    }  # fmt: skip
    assert made(clinic.get("/v1/payers/P-1/balance")) == {
        "payer": "P-1", "currency": "RUB", **expected, "branches": [{"branch": "main", **expected}],
    }  # fmt: skip
    for nobody in ("P-9", "а", "%00"):
        assert clinic.get(f"/v1/payers/{nobody}/balance").status_code == 404


def test_what_is_another_branchs_is_not_there(clinic):
    with change(COMMAND_LINE) as made_:
        branches.create(made_, "north", "Северный филиал", "С")
    north = given.caller(clinic.app, "*", branch="north")
    owed, came = invoice(clinic), payment(clinic, "10.00")
    theirs = invoice(clinic, "40.00", branch="north")
    assert north.get(f"/v1/payments/{came['id']}").status_code == 404
    assert made(north.get("/v1/payments"))["items"] == []
    assert allocate(north, came, auto=True).status_code == refunded(north, came, "1.00").status_code == 404
    assert faults(paid(north, "1.00", owed)) == [("/allocations/0/invoice", "unknown_invoice")]
    assert faults(paid(clinic, "1.00", owed, theirs)) == [("/allocations/1/invoice", "other_branch")]
    assert faults(paid(clinic, "1.00", owed, branch="north")) == [("/allocations/0/invoice", "other_branch")]
    assert payment(clinic, "40.00", theirs)["branch"] == "north"
    assert made(north.get("/v1/payers/P-1/balance"))["invoiced"] == "40.00"
    both = made(clinic.get("/v1/payers/P-1/balance"))
    assert (both["invoiced"], [each["branch"] for each in both["branches"]]) == ("140.00", ["main", "north"])


def test_who_read_of_a_persons_money_is_remembered(clinic):
    came = payment(clinic, "10.00")
    clinic.get(f"/v1/payments/{came['id']}")
    clinic.get("/v1/payments")
    clinic.get("/v1/payers/P-1/balance")
    with db.reading() as conn:
        rows = conn.execute("SELECT action, object_type FROM access_log ORDER BY id").fetchall()
    assert rows == [("read", "payment"), ("list", "payment"), ("read", "payer")]


def test_events_tell_ids_and_sums_and_no_names(clinic):
    owed = invoice(clinic, "100.00")
    came = payment(clinic, "150.00", owed)
    made(refunded(clinic, came, "120.00", release=[{"invoice": owed["id"], "amount": "70.00"}]))
    told = [(each["type"], each["data"]) for each in clinic.events() if each["object"]["id"] == came["id"]]
    refund = told[-1][1].pop("refund")
    assert refund
    assert told == [
        ("payment.received", {"tender": "transfer", "amount": "150.00", "received_on": came["received_on"]}),
        ("payment.allocated", {"invoice": owed["id"], "amount": "100.00", "kind": "payment"}),
        ("payment.released", {"invoice": owed["id"], "amount": "70.00"}),
        ("payment.refunded", {"tender": "transfer", "amount": "120.00", "reason_code": "patient_request"}),
    ]


def test_a_repeated_call_gives_the_name_back_and_keeps_none(clinic):
    body = {"tender": "transfer", "amount": "10.00", "payer": PAYER}
    first, again = (clinic.post("/v1/payments", body, key="the-same-payment") for _ in range(2))
    assert again.get_json() == first.get_json()
    owed = invoice(clinic)
    wanted = {"tenders": [{"tender": "card"}], "allocations": allocations(owed)}
    first, again = (clinic.post("/v1/payments/split", wanted, key="the-same-split") for _ in range(2))
    assert again.get_json() == first.get_json()
    assert first.get_json()["payer"]["name"] == PAYER["name"]
    with db.reading() as conn:
        kept = conn.execute("SELECT string_agg(answer, '') FROM idempotency").fetchone()
    assert kept is not None
    assert PAYER["name"] not in kept[0]
