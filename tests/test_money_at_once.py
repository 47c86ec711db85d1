"""Money under many hands: real threads, real commits, two server processes. Whatever the order, every sum ties."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from tests.given_money import costing
from tests.running import AGAIN, Answer, Desk, at_once, made, seen

pytestmark = pytest.mark.xdist_group("server")


def invoice(desk: Desk, amount: str = "100.00") -> Any:
    return made(desk.invoice(desk.quote(costing(amount))))


def pay(desk: Desk, amount: str, *for_: tuple[Any, str | None], key: str | None = None, **more: Any) -> Answer:
    wanted = [{"invoice": owed["id"], "amount": part} for owed, part in for_]
    payer = {"kind": "person", "ref": "P-1", "name": "Иванова Анна"}
    body = {"tender": "transfer", "amount": amount, "payer": payer, "allocations": wanted, **more}
    return desk.post("/v1/payments", body, key=key)


def read(desk: Desk, kind: str, document: Any) -> Any:
    return made(desk.get(f"/v1/{kind}/{document['id']}"))


# ---- One invoice, one payment, many who want it ----


@AGAIN
def test_four_payments_of_60_on_an_invoice_of_100_pay_it_once(desk, _):
    owed = invoice(desk)
    answers = at_once(4, lambda n: pay(desk, "60.00", (owed, "60.00")))
    assert seen(answers) == {"201": 1, "409 amount_exceeds_balance": 3}
    assert {each.json["balance"] for each in answers if each.status == 409} == {"40.00"}
    assert read(desk, "invoices", owed)["paid"] == "60.00"


@AGAIN
def test_four_payments_of_60_for_what_is_owed_leave_the_rest_as_advances(desk, _):
    owed = invoice(desk)
    answers = at_once(4, lambda n: pay(desk, "60.00", (owed, None)))
    assert seen(answers) == {"201": 2, "409 amount_exceeds_balance": 2}
    came = sorted(each.json["allocated"] for each in answers if each.status == 201)
    assert came == ["40.00", "60.00"]
    shown = read(desk, "invoices", owed)
    assert (shown["payment_status"], shown["paid"]) == ("paid", "100.00")


@AGAIN
def test_four_advances_allocated_at_once_pay_an_invoice_once(desk, _):
    owed = invoice(desk)
    came = [made(pay(desk, "60.00")) for _ in range(4)]
    wanted = {"allocations": [{"invoice": owed["id"], "amount": "60.00"}]}
    answers = at_once(4, lambda n: desk.post(f"/v1/payments/{came[n]['id']}/allocations", wanted))
    assert seen(answers) == {"200": 1, "409 amount_exceeds_balance": 3}


@AGAIN
def test_one_advance_is_spent_once(desk, _):
    came = made(pay(desk, "100.00"))
    owed = [invoice(desk, "70.00") for _ in range(3)]

    def spend(n):
        wanted = {"allocations": [{"invoice": owed[n]["id"], "amount": "70.00"}]}
        if n < 2:
            return desk.post(f"/v1/payments/{came['id']}/allocations", wanted)
        return desk.post("/v1/payments/split", {"tenders": [{"tender": "offset", "amount": "70.00"}], **wanted})

    answers = at_once(3, spend)
    assert sum(each.status in (200, 201) for each in answers) == 1
    assert {each.code for each in answers} <= {None, "amount_exceeds_payment", "amount_exceeds_advance"}
    assert read(desk, "payments", came)["advance"] == "30.00"


@AGAIN
def test_s06_of_two_refunds_of_70_of_a_payment_of_100_one_is_given(desk, _):
    came = made(pay(desk, "100.00"))
    wanted = {"amount": "70.00", "reason_code": "mistake", "reason": "Ошибка"}
    answers = at_once(2, lambda _: desk.post(f"/v1/payments/{came['id']}/refunds", wanted))
    assert seen(answers) == {"201": 1, "409 amount_exceeds_payment": 1}
    assert [each.json["left"] for each in answers if each.status == 409] == ["30.00"]
    assert read(desk, "payments", came)["refunded"] == "70.00"


@AGAIN
def test_a_slip_told_by_eight_at_once_is_one_payment(desk, _):
    owed = invoice(desk)
    slip = {"tender": "card", "source": f"terminal-{desk.branch}", "external_ref": "1"}
    answers = at_once(8, lambda n: pay(desk, "100.00", (owed, "100.00"), **slip))
    assert seen(answers) == {"200": 7, "201": 1}
    assert len({each.json["id"] for each in answers}) == 1
    assert [each.replayed for each in answers].count(True) == 7
    assert desk.count("payment") == 1


@AGAIN
def test_a_slip_that_eight_tell_with_other_sums_is_one_payment(desk, _):
    slip = {"tender": "card", "source": f"terminal-{desk.branch}", "external_ref": "1"}
    answers = at_once(8, lambda n: pay(desk, f"{n + 1}.00", **slip))
    assert seen(answers) == {"201": 1, "409 payment_reference_taken": 7}
    (first,) = (each.json["id"] for each in answers if each.status == 201)
    assert {each.json["payment"] for each in answers if each.status == 409} == {first}


@AGAIN
def test_two_splits_with_the_same_slips_the_other_way_round_do_not_stand_in_each_others_way(desk, _):
    slips = [{"source": f"terminal-{desk.branch}", "external_ref": str(n)} for n in range(2)]
    tenders = [{"tender": "card", "amount": "10.00", **slip} for slip in slips]
    payer = {"kind": "person", "ref": "P-1", "name": "Иванова Анна"}
    answers = at_once(
        6, lambda n: desk.post("/v1/payments/split", {"tenders": tenders[:: 1 if n % 2 else -1], "payer": payer})
    )
    assert seen(answers) == {"201": 1, "200": 2, "409 payment_reference_taken": 3}
    assert desk.count("payment") == 2


@AGAIN
def test_a_paid_invoice_is_cancelled_once_and_its_money_freed_once(desk, _):
    owed = invoice(desk)
    came = [made(pay(desk, "50.00", (owed, "50.00"))) for _ in range(2)]
    answers = at_once(2, lambda _: desk.post(f"/v1/invoices/{owed['id']}/cancel", {"reason": "Ошибка"}))
    assert seen(answers) == {"200": 1, "409 invoice_not_issued": 1}
    assert [read(desk, "payments", each)["advance"] for each in came] == ["50.00", "50.00"]
    assert desk.count("credit_note") == 1


@AGAIN
def test_money_that_meets_a_cancellation_is_an_advance_or_refused(desk, _):
    owed = invoice(desk)
    came = made(pay(desk, "100.00"))
    wanted = {"allocations": [{"invoice": owed["id"]}]}
    cancelled, allocated = at_once(
        2,
        lambda n: (
            desk.post(f"/v1/payments/{came['id']}/allocations", wanted)
            if n
            else desk.post(f"/v1/invoices/{owed['id']}/cancel", {"reason": "Ошибка"})
        ),
    )
    assert str(cancelled) == "200"
    assert str(allocated) in {"200", "409 invoice_not_issued"}
    assert read(desk, "payments", came)["advance"] == "100.00"


# ---- Many invoices, many payments, in every order ----


def test_five_hundred_payments_over_random_invoices_meet_no_deadlock(desk):
    """With refunds, releases and cancellations between them; each takes its invoices in another order."""
    draw = random.Random(7)
    owed = [invoice(desk, "40000.00") for _ in range(12)]
    plans = [
        [(each, f"{draw.randint(1, 500)}.0{draw.randint(0, 9)}") for each in draw.sample(owed, 4)] for _ in range(500)
    ]
    came: list[Any] = []

    def work(number: int) -> list[Answer]:
        plan = plans[number]
        amount = str(sum(Decimal(part) for _, part in plan))
        answers = [pay(desk, amount, *plan if number % 3 else [(each, None) for each, _ in plan])]
        if answers[0].status == 201 and number % 4 == 0:
            put = answers[0].json["allocations"]
            back = [{"invoice": each["invoice"], "amount": each["amount"]} for each in put[::-1]]
            wanted = {"amount": "1.00", "reason_code": "mistake", "reason": "Ошибка", "release": back}
            answers.append(desk.post(f"/v1/payments/{answers[0].json['id']}/refunds", wanted))
        if number % 10 == 0:
            first = answers[0].json["id"] if answers[0].status == 201 else None
            came.extend([first] if first else [])
            if came:
                answers.append(desk.post(f"/v1/payments/{draw.choice(came)}/allocations", {"auto": True}))
        if number in (100, 200, 300):
            answers.append(desk.post(f"/v1/invoices/{owed[number // 100]['id']}/cancel", {"reason": "Ошибка"}))
        return answers

    with ThreadPoolExecutor(12) as callers:
        answers = [each for some in callers.map(work, range(500)) for each in some]
    told = seen(answers)
    refusals = {"409 amount_exceeds_balance", "409 amount_exceeds_payment", "409 invoice_not_issued"}
    assert told.keys() <= {"200", "201", *refusals, "409 amount_exceeds_allocation"}, told
    assert told["201"] > 250
    assert deadlocks(desk) == 0


def deadlocks(desk: Desk) -> int:
    """How many deadlocks the database has broken up, whether or not a caller saw anything of them."""
    with psycopg.connect(desk.urls.owner, autocommit=True) as conn:
        # A connection tells what it counted when it likes, and at the latest when it ends.
        others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ended = conn.execute(f"SELECT pid, pg_terminate_backend(pid, 5000) {others}").fetchall()
        assert all(done for _, done in ended)
        row = conn.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").fetchone()
    assert row is not None
    return int(row[0])


# ---- A shift ----


def test_a_shift_that_is_closed_while_payments_arrive_has_those_that_came_before(desk):
    shift = made(desk.post("/v1/shifts", {"desk": "Касса 1"}))
    closed: list[Answer] = []
    over = threading.Event()

    def work(_: int) -> list[Answer]:
        answers = []
        while not over.is_set():
            answers.append(pay(desk, "10.00", tender="cash"))
        return answers

    def close() -> None:
        time.sleep(0.5)
        closed.append(desk.post(f"/v1/shifts/{shift['id']}/close", {"counted": {"cash": "0.00"}}))
        time.sleep(0.3)
        over.set()

    closer = threading.Thread(target=close)
    closer.start()
    with ThreadPoolExecutor(6) as callers:
        answers = [each for some in callers.map(work, range(6)) for each in some]
    closer.join()
    told = seen(answers)
    assert told.keys() == {"201", "409 no_open_shift"}
    cash = made(closed[0])["totals"][0]
    assert (cash["payments"], cash["in"]) == (told["201"], f"{told['201'] * 10}.00")
    assert read(desk, "shifts", shift)["totals"][0] == cash


@AGAIN
def test_of_two_who_open_a_desk_one_does(desk, _):
    answers = at_once(4, lambda _: desk.post("/v1/shifts", {"desk": "Касса 1"}))
    assert seen(answers) == {"201": 1, "409 shift_already_open": 3}


@AGAIN
def test_s06_a_shift_is_closed_once(desk, _):
    shift = made(desk.post("/v1/shifts", {"desk": "Касса 1"}))
    counted = {"counted": {"cash": "0.00"}}
    answers = at_once(4, lambda _: desk.post(f"/v1/shifts/{shift['id']}/close", counted))
    assert seen(answers) == {"200": 1, "409 shift_closed": 3}
