"""JSON of payments, refunds, balances and cash-desk shifts."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response

from billing import allocating, balances, examples, payments, receiving, refunding, shifts
from billing.allocating import AllocateIn, AmountExceedsAllocation, AmountExceedsBalance, OtherPayer
from billing.balances import BalanceOut
from billing.invoices import InvoiceNotIssued
from billing.payments import TENDERS, AmountExceedsPayment, Payment, PaymentOut, SplitOut
from billing.receiving import AmountExceedsAdvance, PaymentIn, PaymentReferenceTaken, SplitIn, Taken
from billing.refunding import RefundIn
from billing.shifts import CloseIn, NoOpenShift, Shift, ShiftAlreadyOpen, ShiftClosed, ShiftIn, ShiftOut
from clinic import access_log, db, errors, fields, http, lists, parties
from clinic.command import Change
from clinic.errors import NotFound

bp = http.Blueprint("payments", __name__, url_prefix="/v1", description="Payments, refunds, cash-desk shifts")


class PaymentFilter(lists.Page):
    payer = fields.Form(parties.REF, load_default=None)
    tender = fields.Choice(*TENDERS, load_default=None)
    source = fields.Form(receiving.SOURCE, load_default=None)
    external_ref = fields.Form(receiving.REFERENCE, load_default=None)
    shift = fields.Uuid(load_default=None)
    since = fields.Day(load_default=None)
    until = fields.Day(load_default=None)


class PaymentsOut(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(PaymentOut), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)


class ShiftFilter(lists.Page):
    desk = fields.Text(64, load_default=None)
    status = fields.Choice("open", "closed", load_default=None)


class ShiftsOut(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(ShiftOut), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)


# ---- Payments ----

_ALLOCATING = (InvoiceNotIssued, OtherPayer, AmountExceedsBalance, AmountExceedsPayment)
_RECEIVING = (*_ALLOCATING, PaymentReferenceTaken, NoOpenShift)


@bp.post("/payments")
@bp.contract(
    may="payments:write",
    takes=PaymentIn,
    gives={201: PaymentOut, 200: PaymentOut},
    refuses=_RECEIVING,
    key="required",
    example=examples.PAYMENT_IN,
    answers=examples.PAYMENT,
)
def receive_payment(wanted: dict[str, Any]) -> Response:
    """Take a payment

    What the allocations leave of it is the payer's advance. The same `source` and `external_ref` is the same payment
    for ever: told again with the same content it is answered 200, marked `Idempotency-Replayed`, and changes nothing.
    """
    with http.change() as change:
        taken = receiving.receive(change, wanted)
        return _payment_answer(change, 200 if taken.again else 201, taken.payments[0], again=taken.again)


@bp.post("/payments/split")
@bp.contract(
    may="payments:write",
    takes=SplitIn,
    gives={201: SplitOut, 200: SplitOut},
    refuses=(*_RECEIVING, AmountExceedsAdvance),
    key="required",
    example=examples.SPLIT_IN,
)
def split_payment(wanted: dict[str, Any]) -> Response:
    """Take several tenders at once

    Each becomes a payment of its own, all or none. The one without an amount pays the rest. `offset` makes no payment:
    it spends the payer's advance, oldest money first."""
    with http.change() as change:
        return _split_answer(change, receiving.split(change, wanted))


@bp.get("/payments")
@bp.contract(may="payments:read", query=PaymentFilter, gives={200: PaymentsOut}, refuses=(errors.BadCursor,))
def list_payments(wanted: dict[str, Any]) -> Response:
    """List payments, the latest received first

    `since` and `until` are days on which money was received, both included."""
    behind = lists.place_of("payments", lists.filters_of(wanted), wanted["cursor"])
    with db.transaction() as conn:
        rows = payments.page(conn, http.actor(), wanted, behind)
        found, cursor = lists.page_of(
            "payments", wanted, rows, lambda each: [each.received_on.isoformat(), str(each.id)]
        )
        _note(conn, "list", "payment", [each.id for each in found])
    return http.reply({"items": [payments.as_json(each) for each in found], "next_cursor": cursor})


@bp.get("/payments/<uuid:payment_id>")
@bp.contract(may="payments:read", gives={200: PaymentOut}, refuses=(NotFound,), answers=examples.PAYMENT)
def get_payment(payment_id: UUID) -> Response:
    """Read a payment with its allocations and refunds

    `allocations` is what it pays now, `moves` every step of its money."""
    with db.transaction() as conn:
        payment = payments.get(conn, http.actor(), payment_id)
        _note(conn, "read", "payment", [payment.id])
    return http.reply(payments.as_json(payment))


@bp.post("/payments/<uuid:payment_id>/allocations")
@bp.contract(
    may="payments:write",
    takes=AllocateIn,
    gives={200: PaymentOut},
    refuses=(NotFound, *_ALLOCATING),
    key="required",
    example=examples.ALLOCATE_IN,
)
def allocate_payment(wanted: dict[str, Any], payment_id: UUID) -> Response:
    """Give what is left of a payment to invoices

    To those named, or by `auto` to the payer's own open ones, oldest due first. So an advance is offset."""
    with http.change() as change:
        return _payment_answer(change, 200, allocating.allocate(change, payment_id, wanted))


@bp.post("/payments/<uuid:payment_id>/refunds")
@bp.contract(
    may="payments:refund",
    takes=RefundIn,
    gives={201: PaymentOut},
    refuses=(NotFound, InvoiceNotIssued, AmountExceedsAllocation, AmountExceedsPayment, NoOpenShift),
    key="required",
    example=examples.REFUND_IN,
)
def refund_payment(wanted: dict[str, Any], payment_id: UUID) -> Response:
    """Give money back

    Never more than the payment has left; `release` takes it off invoices first. The new one is the last of `refunds`.
    """
    with http.change() as change:
        return _payment_answer(change, 201, refunding.refund(change, payment_id, wanted))


def _payment_answer(change: Change, status: int, payment: Payment, *, again: bool = False) -> Response:
    headers = {"Location": f"/v1/payments/{payment.id}"} if status == 201 else {}
    headers |= _mark(again)
    answer = change.give(status, payments.as_json(payment), headers=headers, names=payments.names(payment))
    return http.shown(answer)


def _split_answer(change: Change, taken: Taken) -> Response:
    assert taken.split_id is not None
    body = payments.split_json(taken.split_id, taken.payments)
    made = [each for each in taken.payments if each.split_id == taken.split_id] or taken.payments
    answer = change.give(200 if taken.again else 201, body, headers=_mark(taken.again), names=payments.names(made[0]))
    return http.shown(answer)


def _mark(again: bool) -> dict[str, str]:
    return {"Idempotency-Replayed": "true"} if again else {}


# ---- Payers ----


@bp.get("/payers/<ref>/balance")
@bp.contract(may="payments:read", gives={200: BalanceOut}, refuses=(NotFound,))
def get_balance(ref: str) -> Response:
    """Tell what a payer owes and has

    Over the branches that the caller sees, and for each of them."""
    if not re.fullmatch(parties.REF, ref):
        raise NotFound()
    with db.transaction() as conn:
        balance = balances.of_payer(conn, http.actor(), ref)
        _note(conn, "read", "payer", [balance.party])
    return http.reply(balance.as_json())


# ---- Shifts ----


@bp.post("/shifts")
@bp.contract(
    may="payments:write",
    takes=ShiftIn,
    gives={201: ShiftOut},
    refuses=(ShiftAlreadyOpen,),
    key="optional",
    example=examples.SHIFT_IN,
    answers=examples.SHIFT,
)
def open_shift(wanted: dict[str, Any]) -> Response:
    """Open a cash desk's shift

    From the first one on, cash of the branch belongs to a shift."""
    with http.change() as change:
        return _shift_answer(change, 201, shifts.open_(change, wanted))


@bp.get("/shifts")
@bp.contract(may="payments:read", query=ShiftFilter, gives={200: ShiftsOut}, refuses=(errors.BadCursor,))
def list_shifts(wanted: dict[str, Any]) -> Response:
    """List shifts, the latest opened first"""
    behind = lists.place_of("shifts", lists.filters_of(wanted), wanted["cursor"])
    with db.reading() as conn:
        rows = shifts.page(conn, http.actor(), wanted, behind)
    found, cursor = lists.page_of("shifts", wanted, rows, lambda each: [each.opened_at.isoformat(), str(each.id)])
    return http.reply({"items": [shifts.as_json(each) for each in found], "next_cursor": cursor})


@bp.get("/shifts/<uuid:shift_id>")
@bp.contract(may="payments:read", gives={200: ShiftOut}, refuses=(NotFound,), answers=examples.SHIFT)
def get_shift(shift_id: UUID) -> Response:
    """Read a shift with its totals by tender"""
    with db.reading() as conn:
        return http.reply(shifts.as_json(shifts.get(conn, http.actor(), shift_id)))


@bp.post("/shifts/<uuid:shift_id>/close")
@bp.contract(
    may="payments:write",
    takes=CloseIn,
    gives={200: ShiftOut},
    refuses=(NotFound, ShiftClosed),
    key="optional",
    example=examples.CLOSE_IN,
)
def close_shift(wanted: dict[str, Any], shift_id: UUID) -> Response:
    """Close a shift

    With what was counted; the answer has what should have been there, and the difference. It takes no more money."""
    with http.change() as change:
        return _shift_answer(change, 200, shifts.close(change, shift_id, wanted["counted"]))


def _shift_answer(change: Change, status: int, shift: Shift) -> Response:
    headers = {"Location": f"/v1/shifts/{shift.id}"} if status == 201 else {}
    return http.shown(change.give(status, shifts.as_json(shift), headers=headers))


def _note(conn: db.Connection, action: str, kind: str, ids: list[UUID]) -> None:
    access_log.note(conn, http.actor().label, action, kind, ids, http.request_id())
