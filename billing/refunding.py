"""Giving money back: never more than a payment has left, and with a reason."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from billing import allocating, invoices, payments, shifts
from billing.allocating import AmountExceedsAllocation, Move
from billing.payments import TENDERS, AmountExceedsPayment, Payment
from clinic import db, errors, fields, ids, money
from clinic.command import Change
from clinic.errors import Fault, InvalidInput
from clinic.money import ZERO

errors.describe({"unknown_refund_reason": ("Такой причины возврата нет.", "There is no such refund reason.")})


class ReleaseIn(fields.Shape):
    """What is taken off an invoice before it is given back."""

    invoice = fields.Uuid(required=True)
    amount = fields.PositiveMoney(required=True)


class RefundIn(fields.Shape):
    """Money given back today, by the payment's own tender unless another one is named."""

    amount = fields.PositiveMoney(required=True)
    reason_code = fields.Form(r"[a-z][a-z0-9_]{0,31}", required=True, metadata={"example": "service_not_rendered"})
    reason = fields.Text(500, required=True)
    tender = fields.Choice(*TENDERS, load_default=None, allow_none=True)
    desk = fields.Text(64, load_default=None, allow_none=True, metadata={"description": "the cash desk's open shift"})
    release = fields.Many(fields.Nested(ReleaseIn), most=allocating.MOST, load_default=list)


def refund(change: Change, payment_id: UUID, wanted: dict[str, Any]) -> Payment:
    """Give money of a payment back, after it was taken off the invoices named.

    Raises:
        NotFound: there is no such payment here.
        InvalidInput: there is no such reason today, or no such invoice.
        AmountExceedsAllocation: less of the payment is on an invoice than is to be taken off.
        AmountExceedsPayment: less is left of the payment.
        NoOpenShift: cash needs a shift.
    """
    seen = payments.get(change.conn, change.actor, payment_id)
    tender = wanted["tender"] or seen.tender
    if faults := _faults(change, wanted, tender):
        raise InvalidInput(faults)
    released = wanted["release"]
    held = invoices.locked_all(change.conn, change.actor, {each["invoice"] for each in released})
    if unknown := [place for place, each in enumerate(released) if each["invoice"] not in held]:
        raise InvalidInput([Fault(f"/release/{place}/invoice", "unknown_invoice") for place in unknown])
    payment = payments.locked(change.conn, change.actor, payment_id)
    _must_stand(payment, released)
    left = payment.advance + sum((each["amount"] for each in released), ZERO)
    if wanted["amount"] > left:
        raise AmountExceedsPayment(payment=payment.id, left=money.text(left))
    shift_id = None
    if tender in shifts.AT_THE_DESK:
        shift_id = shifts.taking(change, payment.branch_id, wanted["desk"], cash=tender == "cash")
    allocating.write(
        change,
        [Move(payment.id, payment.branch_id, each["invoice"], "release", -each["amount"]) for each in released],
    )
    _insert(change, payment, wanted, tender, shift_id)
    return payments.get(change.conn, change.actor, payment_id)


def _faults(change: Change, wanted: dict[str, Any], tender: str) -> list[Fault]:
    faults = []
    known = db.value(
        change.conn,
        "SELECT true FROM refund_reason WHERE code = %(code)s::text AND valid @> %(day)s::date",
        {"code": wanted["reason_code"], "day": change.today},
    )
    if not known:
        faults.append(Fault("/reason_code", "unknown_refund_reason"))
    if wanted["desk"] and tender not in shifts.AT_THE_DESK:
        faults.append(Fault("/desk", "no_desk_here"))
    named = [each["invoice"] for each in wanted["release"]]
    faults += [
        Fault(f"/release/{place}/invoice", "repeated_invoice")
        for place, invoice_id in enumerate(named)
        if invoice_id in named[:place]
    ]
    return faults


def _must_stand(payment: Payment, released: Sequence[dict[str, Any]]) -> None:
    standing = payment.standing()
    for each in released:
        allocated = standing.get(each["invoice"], ZERO)
        if each["amount"] > allocated:
            raise AmountExceedsAllocation(invoice=each["invoice"], allocated=money.text(allocated))


def _insert(change: Change, payment: Payment, wanted: dict[str, Any], tender: str, shift_id: UUID | None) -> None:
    amount: Decimal = wanted["amount"]
    refund_id = ids.new()
    change.conn.execute(
        """
        INSERT INTO refund (id, payment_id, branch_id, tender, amount, reason_code, reason, refunded_on, shift_id,
                            created_at, created_by)
        VALUES (%(id)s::uuid, %(payment)s::uuid, %(branch)s::uuid, %(tender)s::text, %(amount)s::rub, %(code)s::text,
                %(reason)s::text, %(day)s::date, %(shift)s::uuid, %(at)s::timestamptz, %(by)s::text)
        """,
        {
            "id": refund_id,
            "payment": payment.id,
            "branch": payment.branch_id,
            "tender": tender,
            "amount": amount,
            "code": wanted["reason_code"],
            "reason": wanted["reason"],
            "day": change.today,
            "shift": shift_id,
            "at": change.at,
            "by": change.actor.label,
        },
    )
    change.record(
        "payment.refunded",
        payment.id,
        payment.branch_id,
        refund=refund_id,
        tender=tender,
        amount=money.text(amount),
        reason_code=wanted["reason_code"],
        **({"shift": shift_id} if shift_id else {}),
    )
