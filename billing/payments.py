"""A payment: money that came, by what tender, from whom, and what it is for.

What is neither allocated to invoices nor refunded is the payer's advance, so an advance is no document of its own:
offsetting it is allocating it later, and makes no new money. This module is the noun and its reading; `receiving`
takes money, `allocating` says what it is for, `refunding` gives it back.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date as Date
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import marshmallow as ma

from billing.payers import PayerOut
from clinic import db, money
from clinic.auth import Actor
from clinic.errors import Conflict, NotFound
from clinic.money import ZERO

TENDERS = ("cash", "card", "transfer", "online")
"""How money comes. `offset` is none of them: it spends an advance that has come before."""


class AmountExceedsPayment(Conflict):
    """The payment has less than that left.

    The member `left` says how much is neither allocated nor refunded. To refund more, name in `release` what is to be
    taken off invoices first."""

    ru = (
        "В платеже столько не осталось\n\n"
        "Поле `left` говорит, сколько не распределено и не возвращено. Чтобы вернуть больше, назовите в `release`, "
        "что сначала снять со счетов."
    )


class ShiftReferenceOut(ma.Schema):
    id = ma.fields.UUID(required=True)
    desk = ma.fields.String(required=True)


class AllocatedOut(ma.Schema):
    """What of the payment now pays an invoice."""

    invoice = ma.fields.UUID(required=True)
    number = ma.fields.String(required=True)
    amount = ma.fields.String(required=True)


class MoveOut(ma.Schema):
    """One step of a payment: to an invoice at once (`payment`), to it out of the advance (`offset`), or off it."""

    id = ma.fields.UUID(required=True)
    kind = ma.fields.String(required=True, metadata={"enum": ["payment", "offset", "release"]})
    invoice = ma.fields.UUID(required=True)
    number = ma.fields.String(required=True)
    amount = ma.fields.String(required=True, metadata={"description": "never negative: `kind` says which way"})
    on_behalf = ma.fields.Boolean(required=True)
    split = ma.fields.UUID(required=True, allow_none=True)
    created_at = ma.fields.DateTime(required=True)


class RefundOut(ma.Schema):
    id = ma.fields.UUID(required=True)
    amount = ma.fields.String(required=True)
    tender = ma.fields.String(required=True, metadata={"enum": list(TENDERS)})
    reason_code = ma.fields.String(required=True)
    reason = ma.fields.String(required=True)
    refunded_on = ma.fields.Date(required=True)
    shift = ma.fields.UUID(required=True, allow_none=True)
    created_at = ma.fields.DateTime(required=True)


class SplitPaymentOut(ma.Schema):
    """One payment of a split. amount = allocated + refunded + advance, in rubles."""

    id = ma.fields.UUID(required=True)
    status = ma.fields.String(required=True, metadata={"enum": ["received", "partially_refunded", "refunded"]})
    branch = ma.fields.String(required=True)
    tender = ma.fields.String(required=True, metadata={"enum": list(TENDERS)})
    amount = ma.fields.String(required=True)
    currency = ma.fields.String(required=True)
    source = ma.fields.String(required=True, allow_none=True)
    external_ref = ma.fields.String(required=True, allow_none=True)
    received_on = ma.fields.Date(required=True)
    shift = ma.fields.Nested(ShiftReferenceOut, required=True, allow_none=True)
    split = ma.fields.UUID(required=True, allow_none=True)
    comment = ma.fields.String(required=True, allow_none=True)
    allocated = ma.fields.String(required=True)
    refunded = ma.fields.String(required=True)
    advance = ma.fields.String(required=True)
    allocations = ma.fields.List(ma.fields.Nested(AllocatedOut), required=True)
    moves = ma.fields.List(ma.fields.Nested(MoveOut), required=True)
    refunds = ma.fields.List(ma.fields.Nested(RefundOut), required=True)
    created_at = ma.fields.DateTime(required=True)


class PaymentOut(SplitPaymentOut):
    """A payment. amount = allocated + refunded + advance, in rubles."""

    payer = ma.fields.Nested(PayerOut, required=True)


class OffsetOut(ma.Schema):
    """What of an advance went to an invoice."""

    payment = ma.fields.UUID(required=True)
    invoice = ma.fields.UUID(required=True)
    number = ma.fields.String(required=True)
    amount = ma.fields.String(required=True)


class SplitOut(ma.Schema):
    """Tenders handed over at once: a payment each, and what of the payer's advances was spent."""

    id = ma.fields.UUID(required=True)
    branch = ma.fields.String(required=True)
    payer = ma.fields.Nested(PayerOut, required=True)
    currency = ma.fields.String(required=True)
    amount = ma.fields.String(required=True, metadata={"description": "new money"})
    offset = ma.fields.String(required=True, metadata={"description": "spent of advances; no new money"})
    payments = ma.fields.List(ma.fields.Nested(SplitPaymentOut), required=True)
    offsets = ma.fields.List(ma.fields.Nested(OffsetOut), required=True)


@dataclass(frozen=True)
class Payment:
    """A payment with every step of its money, in their order."""

    id: UUID
    branch_id: UUID
    branch: str
    payer_party: UUID
    payer_ref: str
    payer_name: str | None
    payer: dict[str, Any]
    tender: str
    amount: Decimal
    source: str | None
    external_ref: str | None
    asked_sha256: bytes | None
    received_on: Date
    shift_id: UUID | None
    desk: str | None
    split_id: UUID | None
    comment: str | None
    allocated: Decimal
    refunded: Decimal
    created_at: datetime
    moves: list[dict[str, Any]]
    refunds: list[dict[str, Any]]

    @property
    def advance(self) -> Decimal:
        """What is left of it, in rubles: the payer's advance."""
        return self.amount - self.allocated - self.refunded

    @property
    def status(self) -> str:
        if self.refunded == self.amount:
            return "refunded"
        return "partially_refunded" if self.refunded else "received"

    def standing(self) -> dict[UUID, Decimal]:
        """How much of it pays each invoice now, in rubles; an invoice it was taken off again is not there."""
        sums: dict[UUID, Decimal] = {}
        for move in self.moves:
            invoice_id = UUID(move["invoice"])
            sums[invoice_id] = sums.get(invoice_id, ZERO) + Decimal(move["amount"])
        return {invoice_id: amount for invoice_id, amount in sums.items() if amount}

    def paid_invoices(self) -> list[tuple[UUID, str, Decimal]]:
        """The invoices it pays now: id, number and how much, in rubles."""
        numbers = {UUID(move["invoice"]): move["number"] for move in self.moves}
        return [(invoice_id, numbers[invoice_id], amount) for invoice_id, amount in self.standing().items()]

    def paid_on(self, invoice_id: UUID) -> Decimal:
        """How much of it pays this invoice now, in rubles."""
        return self.standing().get(invoice_id, ZERO)


_SELECT = """
SELECT payment.id, payment.branch_id, branch.code AS branch, payment.payer_party, payer_ref, party.name AS payer_name,
       payer, payment.tender, payment.amount, source, external_ref, asked_sha256, received_on, payment.shift_id,
       shift.desk, payment.split_id, comment, allocated, refunded, payment.created_at, moved.moves, given.refunds
  FROM payment
  JOIN branch ON branch.id = payment.branch_id
  JOIN party ON party.id = payment.payer_party
  LEFT JOIN shift ON shift.id = payment.shift_id
  CROSS JOIN LATERAL (
    SELECT coalesce(jsonb_agg(jsonb_build_object(
             'id', part.id, 'kind', kind, 'invoice', invoice_id, 'number', number, 'amount', amount::text,
             'on_behalf', on_behalf, 'split', part.split_id, 'at', part.created_at) ORDER BY part.id), '[]') AS moves
      FROM payment_allocation AS part JOIN invoice ON invoice.id = invoice_id
     WHERE payment_id = payment.id) AS moved
  CROSS JOIN LATERAL (
    SELECT coalesce(jsonb_agg(jsonb_build_object(
             'id', id, 'amount', amount::text, 'tender', tender, 'reason_code', reason_code, 'reason', reason,
             'refunded_on', refunded_on, 'shift', shift_id, 'at', created_at) ORDER BY id), '[]') AS refunds
      FROM refund WHERE payment_id = payment.id) AS given
"""


def get(conn: db.Connection, actor: Actor, payment_id: UUID) -> Payment:
    """The payment.

    Raises:
        NotFound: there is none, or it belongs to a branch `actor` does not see.
    """
    found = db.find(conn, Payment, _SELECT + "WHERE payment.id = %(id)s::uuid", {"id": payment_id})
    if found is None or actor.branch_id not in (None, found.branch_id):
        raise NotFound()
    return found


def locked(conn: db.Connection, actor: Actor, payment_id: UUID) -> Payment:
    """The payment, held until the end of the transaction.

    Raises:
        NotFound: as `get`.
    """
    lock(conn, [payment_id])
    return get(conn, actor, payment_id)


def lock(conn: db.Connection, payment_ids: Collection[UUID]) -> None:
    """Hold these payments, in the order of their ids, until the end of the transaction.

    A statement of its own: one that waits for the lock would look for the rows that were there before it waited.
    """
    conn.execute(
        "SELECT FROM payment WHERE id = ANY(%(ids)s::uuid[]) ORDER BY id FOR NO KEY UPDATE", {"ids": list(payment_ids)}
    )


def of_ids(conn: db.Connection, payment_ids: Collection[UUID]) -> list[Payment]:
    """These payments, in the order in which they were made."""
    return db.many(
        conn,
        Payment,
        _SELECT + "WHERE payment.id = ANY(%(ids)s::uuid[]) ORDER BY payment.id",
        {"ids": list(payment_ids)},
    )


def of_invoice(conn: db.Connection, invoice_id: UUID) -> list[Payment]:
    """The payments that pay, or have paid, this invoice, in their order."""
    rows = conn.execute(
        "SELECT DISTINCT payment_id FROM payment_allocation WHERE invoice_id = %(id)s::uuid", {"id": invoice_id}
    ).fetchall()
    return of_ids(conn, [row[0] for row in rows]) if rows else []


def page(conn: db.Connection, actor: Actor, wanted: dict[str, Any], behind: list[str] | None) -> list[Payment]:
    """Payments, the latest received first: one more than `limit`, so that the caller sees whether there is a next."""
    return db.filtered(
        conn,
        Payment,
        _SELECT
        + """
         WHERE (%(branch)s::uuid IS NULL OR payment.branch_id = %(branch)s::uuid)
           AND (%(payer)s::text IS NULL OR payer_ref = %(payer)s::text)
           AND (%(tender)s::text IS NULL OR payment.tender = %(tender)s::text)
           AND (%(source)s::text IS NULL OR source = %(source)s::text)
           AND (%(external_ref)s::text IS NULL OR external_ref = %(external_ref)s::text)
           AND (%(shift)s::uuid IS NULL OR payment.shift_id = %(shift)s::uuid)
           AND (%(since)s::date IS NULL OR received_on >= %(since)s::date)
           AND (%(until)s::date IS NULL OR received_on <= %(until)s::date)
           AND (%(day)s::date IS NULL OR (received_on, payment.id) < (%(day)s::date, %(id)s::uuid))
         ORDER BY received_on DESC, payment.id DESC
         LIMIT %(limit)s::int
        """,
        {name: wanted.get(name) for name in ("payer", "tender", "source", "external_ref", "shift", "since", "until")}
        | {
            "branch": actor.branch_id,
            "day": behind and behind[0],
            "id": behind and behind[1],
            "limit": wanted["limit"] + 1,
        },
    )


def as_json(payment: Payment) -> dict[str, Any]:
    return {
        "id": payment.id,
        "status": payment.status,
        "branch": payment.branch,
        "payer": payer_json(payment),
        "tender": payment.tender,
        "amount": money.text(payment.amount),
        "currency": "RUB",
        "source": payment.source,
        "external_ref": payment.external_ref,
        "received_on": payment.received_on,
        "shift": {"id": payment.shift_id, "desk": payment.desk} if payment.shift_id else None,
        "split": payment.split_id,
        "comment": payment.comment,
        "allocated": money.text(payment.allocated),
        "refunded": money.text(payment.refunded),
        "advance": money.text(payment.advance),
        "allocations": [
            {"invoice": invoice_id, "number": number, "amount": money.text(amount)}
            for invoice_id, number, amount in payment.paid_invoices()
        ],
        "moves": [_move_json(move) for move in payment.moves],
        "refunds": [_refund_json(each) for each in payment.refunds],
        "created_at": payment.created_at,
    }


def split_json(split_id: UUID, touched: Sequence[Payment]) -> dict[str, Any]:
    """What came of a split, from the payments it made and those whose advances it spent."""
    made = [each for each in touched if each.split_id == split_id]
    offsets = [
        {"payment": each.id} | {name: shown[name] for name in ("invoice", "number", "amount")}
        for each in touched
        for shown in map(_move_json, each.moves)
        if (shown["split"], shown["kind"]) == (str(split_id), "offset")
    ]
    of_split = [as_json(each) for each in made]
    return {
        "id": split_id,
        "branch": touched[0].branch,
        "payer": payer_json((made or touched)[0]),
        "currency": "RUB",
        "amount": money.text(sum((each.amount for each in made), ZERO)),
        "offset": money.text(sum((Decimal(each["amount"]) for each in offsets), ZERO)),
        "payments": [{name: value for name, value in each.items() if name != "payer"} for each in of_split],
        "offsets": offsets,
    }


def payer_json(payment: Payment) -> dict[str, Any]:
    return {"guarantee_letter": None, **payment.payer, "ref": payment.payer_ref, "name": payment.payer_name}


def _move_json(move: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": move["id"],
        "kind": move["kind"],
        "invoice": move["invoice"],
        "number": move["number"],
        "amount": money.text(abs(Decimal(move["amount"]))),
        "on_behalf": move["on_behalf"],
        "split": move["split"],
        "created_at": datetime.fromisoformat(move["at"]),
    }


def _refund_json(refund: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in refund.items() if name != "at"} | {
        "amount": money.text(Decimal(refund["amount"])),
        "created_at": datetime.fromisoformat(refund["at"]),
    }


def names(payment: Payment) -> dict[str, UUID]:
    """Which member of the payment's JSON holds whose name."""
    return {"payer": payment.payer_party}
