"""Cash-desk shifts: what came and went at a desk, and what was counted in the end."""

from __future__ import annotations

import pytest

from clinic import branches
from clinic.auth import COMMAND_LINE
from clinic.command import change
from tests import given
from tests.given import faults, made
from tests.given_money import allocations, invoice, must_tie, paid, payment, refunded

DESK = "Касса 1"


@pytest.fixture(autouse=True)
def books_that_tie(clinic):
    yield
    must_tie()


def opened(clinic, desk=DESK, **more):
    return made(clinic.post("/v1/shifts", {"desk": desk, **more}))


def close(clinic, shift, cash, **more):
    return clinic.post(f"/v1/shifts/{shift['id']}/close", {"counted": {"cash": cash, **more}})


def code(answer):
    return answer.status_code, answer.get_json().get("code")


def test_a_shift_ties_to_its_payments_and_refunds(clinic):
    shift = opened(clinic, opening_cash="1000.00")
    assert (shift["status"], shift["expected"]) == ("open", {"cash": "1000.00", "card": "0.00"})
    came = payment(clinic, "500.00", tender="cash")
    payment(clinic, "300.00", tender="card", desk=DESK)
    payment(clinic, "9000.00", tender="transfer")
    made(refunded(clinic, came, "120.00"))
    assert came["shift"] == {"id": shift["id"], "desk": DESK}
    closed = made(close(clinic, shift, "1379.50", card="300.00"))
    assert closed["totals"] == [
        {"tender": "cash", "in": "500.00", "out": "120.00", "payments": 1, "refunds": 1},
        {"tender": "card", "in": "300.00", "out": "0.00", "payments": 1, "refunds": 0},
    ]
    assert closed["expected"] == {"cash": "1380.00", "card": "300.00"}
    assert closed["counted"] == {"cash": "1379.50", "card": "300.00"}
    assert closed["difference"] == {"cash": "-0.50", "card": "0.00"}
    assert made(clinic.get(f"/v1/shifts/{shift['id']}")) == closed
    listed = made(clinic.get(f"/v1/payments?shift={shift['id']}"))["items"]
    assert {each["tender"] for each in listed} == {"cash", "card"}
    told = clinic.events()[-1]
    assert (told["type"], told["data"]["totals"]) == ("shift.closed", closed["totals"])


def test_a_desk_has_one_open_shift(clinic):
    shift = opened(clinic)
    refused = clinic.post("/v1/shifts", {"desk": DESK})
    assert (code(refused), refused.get_json()["shift"]) == ((409, "shift_already_open"), shift["id"])
    made(close(clinic, shift, "0.00"))
    assert code(close(clinic, shift, "0.00")) == (409, "shift_closed")
    assert opened(clinic)["id"] != shift["id"]


def test_cash_needs_no_shift_until_the_branch_has_opened_one(clinic):
    with change(COMMAND_LINE) as made_:
        branches.create(made_, "north", "Северный филиал", "С")
    assert payment(clinic, "1.00", tender="cash")["shift"] is None
    made(close(clinic, opened(clinic), "0.00"))
    refused = paid(clinic, "1.00", tender="cash")
    assert (code(refused), refused.get_json()["desks"]) == ((409, "no_open_shift"), [])
    assert payment(clinic, "1.00", tender="card")["shift"] is None
    assert payment(clinic, "1.00", tender="cash", branch="north")["shift"] is None


def test_of_several_open_desks_cash_names_its_own(clinic):
    first, second = opened(clinic), opened(clinic, "Касса 2")
    refused = paid(clinic, "1.00", tender="cash")
    assert (code(refused), refused.get_json()["desks"]) == ((409, "no_open_shift"), [DESK, "Касса 2"])
    assert payment(clinic, "1.00", tender="cash", desk="Касса 2")["shift"]["id"] == second["id"]
    assert payment(clinic, "1.00", tender="card", desk=DESK)["shift"]["id"] == first["id"]
    assert payment(clinic, "1.00", tender="card")["shift"] is None
    assert code(paid(clinic, "1.00", tender="card", desk="Касса 3")) == (409, "no_open_shift")


def test_cash_given_back_leaves_a_drawer_too(clinic):
    came = payment(clinic, "100.00")
    shift = opened(clinic, opening_cash="100.00")
    assert faults(refunded(clinic, came, "1.00", desk=DESK)) == [("/desk", "no_desk_here")]
    made(refunded(clinic, came, "60.00", tender="cash"))
    assert made(clinic.get(f"/v1/shifts/{shift['id']}"))["expected"]["cash"] == "40.00"
    made(close(clinic, shift, "40.00"))
    assert code(refunded(clinic, came, "1.00", tender="cash")) == (409, "no_open_shift")


def test_only_the_tenders_of_a_split_that_pass_the_desk_are_in_its_shift(clinic):
    shift = opened(clinic)
    wanted = [{"tender": "online", "amount": "30.00"}, {"tender": "cash", "amount": "50.00"}, {"tender": "card"}]
    body = made(
        clinic.post(
            "/v1/payments/split", {"tenders": wanted, "allocations": allocations(invoice(clinic)), "desk": DESK}
        )
    )
    assert [each["shift"] and each["shift"]["id"] for each in body["payments"]] == [None, shift["id"], shift["id"]]


def test_shifts_are_listed_by_desk_and_state(clinic):
    first = opened(clinic)
    second = opened(clinic, "Касса 2")
    made(close(clinic, first, "0.00"))

    def listed(query=""):
        return [each["id"] for each in made(clinic.get(f"/v1/shifts?{query}"))["items"]]

    assert listed() == [second["id"], first["id"]]
    assert listed("status=open") == [second["id"]]
    assert listed(f"desk={DESK}&status=closed") == [first["id"]]
    page = made(clinic.get("/v1/shifts?limit=1"))
    assert listed(f"limit=1&cursor={page['next_cursor']}") == [first["id"]]


def test_a_shift_of_another_branch_is_like_none(clinic):
    with change(COMMAND_LINE) as made_:
        branches.create(made_, "north", "Северный филиал", "С")
    shift = opened(clinic)
    north = given.caller(clinic.app, "*", branch="north")
    assert north.get(f"/v1/shifts/{shift['id']}").status_code == 404
    assert close(north, shift, "0.00").status_code == 404
    assert made(north.get("/v1/shifts"))["items"] == []
    assert opened(north)["branch"] == "north"


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({}, [("/counted", "required")]),
        ({"counted": {}}, [("/counted/cash", "required")]),
        ({"counted": {"cash": "-1.00"}}, [("/counted/cash", "not_money")]),
    ],
)
def test_a_count_is_well_formed(clinic, body, wrong):
    shift = opened(clinic)
    assert faults(clinic.post(f"/v1/shifts/{shift['id']}/close", body)) == wrong
