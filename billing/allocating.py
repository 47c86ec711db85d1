"""What money is for: allocating payments to invoices, and taking it off them again.

Whoever moves money holds the invoices by their ids first and the payments by theirs after; the running totals are moved
by the database itself, when the rows are written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

import marshmallow as ma
from psycopg.types.json import Jsonb

from billing import invoices, payments
from billing.invoices import Invoice
from billing.payments import AmountExceedsPayment, Payment
from clinic import errors, fields, ids, money
from clinic.command import Change
from clinic.errors import Conflict, Fault, InvalidInput
from clinic.money import ZERO

MOST = 200
errors.describe(
    {
        "unknown_invoice": ("Такого счёта нет.", "There is no such invoice."),
        "repeated_invoice": ("Счёт назван дважды.", "The invoice is named twice."),
        "other_branch": (
            "Счёт другого филиала: деньги остаются в своём.",
            "The invoice is another branch's; money stays in its own.",
        ),
        "either_or": ("Укажите одно из двух: это или allocations.", "Give either this or allocations."),
    }
)


class AmountExceedsBalance(Conflict):
    """Less than that is owed on the invoice.

    The member `balance` says how much. Leave the amount out to pay what is owed; what is left over is the payer's
    advance."""

    ru = (
        "По счёту должны меньше\n\n"
        "Поле `balance` говорит сколько. Без суммы оплачивается остаток; лишнее станет авансом плательщика."
    )


class AmountExceedsAllocation(Conflict):
    """Less than that of this payment is on the invoice.

    The member `allocated` says how much can be taken off it."""

    ru = "На счёт из этого платежа зачтено меньше\n\nПоле `allocated` говорит, сколько можно снять."


class OtherPayer(Conflict):
    """The invoice is another payer's.

    The member `payer` is the reference of the payer of the invoice. Say `on_behalf` if this one pays for that one;
    leave the payer of a new payment out to take the invoice's."""

    ru = (
        "Счёт другого плательщика\n\n"
        "Поле `payer` — код плательщика по счёту. Скажите `on_behalf`, если один платит за другого; в новом платеже "
        "плательщика можно не указывать, тогда это плательщик счёта."
    )


class AllocationIn(fields.Shape):
    """Money for an invoice; without an amount as much as is owed and there is."""

    invoice = fields.Uuid(required=True)
    amount = fields.PositiveMoney(load_default=None, allow_none=True)
    on_behalf = fields.Flag(
        load_default=False, metadata={"description": "the invoice is another payer's, and it is meant"}
    )


class AllocateIn(fields.Shape):
    """Which invoices get what is left of a payment: the ones named, or by `auto` the payer's own, oldest due first."""

    allocations = fields.Many(fields.Nested(AllocationIn), least=1, most=MOST, load_default=None, allow_none=True)
    auto = fields.Flag(load_default=False)

    @ma.validates_schema(skip_on_field_errors=True)
    def says_one_way(self, given: dict[str, Any], **_: Any) -> None:
        if not given["auto"] and not given["allocations"]:
            raise ma.ValidationError({"allocations": "required"})
        must_be_one_way(given)


def must_be_one_way(given: dict[str, Any]) -> None:
    """Raises:
    ValidationError: both `auto` and allocations are given.
    """
    if given["auto"] and given["allocations"]:
        raise ma.ValidationError({"auto": "either_or"})


@dataclass(frozen=True)
class Part:
    """An invoice that money is wanted for, and how much: all that is owed when `amount` is None."""

    invoice: Invoice
    amount: Decimal | None = None
    on_behalf: bool = False

    @property
    def wanted(self) -> Decimal:
        return self.invoice.balance if self.amount is None else self.amount

    def must_be_owed_by(self, payer_ref: str | None) -> None:
        """Raises:
        InvoiceNotIssued: nobody owes it.
        OtherPayer: somebody else does, and it was not said that this is meant.
        AmountExceedsBalance: less is owed than wanted, or nothing.
        """
        self.invoice.must_be_issued()
        if self.invoice.payer_ref != payer_ref and not self.on_behalf:
            raise OtherPayer(invoice=self.invoice.id, payer=self.invoice.payer_ref)
        if self.wanted > self.invoice.balance or not self.wanted:
            raise AmountExceedsBalance(invoice=self.invoice.id, balance=money.text(self.invoice.balance))


@dataclass
class Source:
    """Money that can be given to invoices: what is left of a payment, in rubles."""

    payment_id: UUID
    branch_id: UUID
    left: Decimal
    kind: str


@dataclass(frozen=True)
class Move:
    """A row about to be written: so much of the payment for the invoice, or off it when negative."""

    payment_id: UUID
    branch_id: UUID
    invoice_id: UUID
    kind: str
    amount: Decimal
    on_behalf: bool = False


def named(change: Change, wanted: Sequence[dict[str, Any]]) -> list[Part]:
    """The invoices that a request names, held until the end of the transaction.

    Raises:
        InvalidInput: one does not exist here, or is named twice.
    """
    found = invoices.locked_all(change.conn, change.actor, {each["invoice"] for each in wanted})
    times = Counter(each["invoice"] for each in wanted)
    faults = [
        Fault(f"/allocations/{place}/invoice", "repeated_invoice" if each["invoice"] in found else "unknown_invoice")
        for place, each in enumerate(wanted)
        if each["invoice"] not in found or times[each["invoice"]] > 1
    ]
    if faults:
        raise InvalidInput(faults)
    return [Part(found[each["invoice"]], each["amount"], each["on_behalf"]) for each in wanted]


def owed(change: Change, branch_id: UUID, payer_ref: str | None, enough: Decimal | None) -> list[Part]:
    """The payer's open invoices in this branch, oldest due first, held; no more than take `enough` rubles."""
    rows = change.conn.execute(
        """
        SELECT id
          FROM (SELECT id, coalesce(due_date, date) AS due, date, sequence,
                       sum(total - paid - credited) OVER in_turn - (total - paid - credited) AS before
                  FROM invoice
                 WHERE status = 'issued' AND paid + credited < total
                   AND payer_ref = %(payer)s::text AND branch_id = %(branch)s::uuid
                WINDOW in_turn AS (ORDER BY coalesce(due_date, date), date, sequence)) AS open
         WHERE %(enough)s::numeric IS NULL OR before < %(enough)s::numeric
         ORDER BY due, date, sequence
         LIMIT %(most)s::int
        """,
        {"payer": payer_ref, "branch": branch_id, "enough": enough, "most": MOST},
    ).fetchall()
    found = invoices.locked_all(change.conn, change.actor, [row[0] for row in rows])
    in_turn = [found[invoice_id] for (invoice_id,) in rows]
    return [Part(each) for each in in_turn if each.status == "issued" and each.balance]


def spread(parts: Sequence[Part], sources: Sequence[Source]) -> list[Move]:
    """Money over invoices, each in their order: a tender is used up before the next one is touched.

    Raises:
        AmountExceedsPayment: amounts that were named come to more than there is.
    """
    moves = []
    left = sum((source.left for source in sources), ZERO)
    for part in parts:
        missing = part.wanted
        for source in sources:
            if amount := min(source.left, missing):
                source.left -= amount
                missing -= amount
                moves.append(
                    Move(source.payment_id, source.branch_id, part.invoice.id, source.kind, amount, part.on_behalf)
                )
        if missing and part.amount is not None:
            raise AmountExceedsPayment(left=money.text(left))
    return moves


def allocate(change: Change, payment_id: UUID, wanted: dict[str, Any]) -> Payment:
    """Give what is left of a payment to invoices.

    Raises:
        NotFound: there is no such payment here.
        InvalidInput: an invoice does not exist here, is named twice, or is another branch's.
        InvoiceNotIssued, OtherPayer, AmountExceedsBalance: the invoice does not take it.
        AmountExceedsPayment: the payment has not so much left.
    """
    seen = payments.get(change.conn, change.actor, payment_id)
    if wanted["auto"]:
        parts = owed(change, seen.branch_id, seen.payer_ref, seen.advance)
    else:
        parts = named(change, wanted["allocations"])
    payment = payments.locked(change.conn, change.actor, payment_id)
    must_be_of_branch(parts, payment.branch_id)
    for part in parts:
        part.must_be_owed_by(payment.payer_ref)
    if not payment.advance:
        raise AmountExceedsPayment(payment=payment.id, left=money.text(ZERO))
    write(change, spread(parts, [Source(payment.id, payment.branch_id, payment.advance, "offset")]))
    return payments.get(change.conn, change.actor, payment_id)


def must_be_of_branch(parts: Sequence[Part], branch_id: UUID) -> None:
    """Raises:
    InvalidInput: an invoice is another branch's, which may be another firm.
    """
    faults = [
        Fault(f"/allocations/{place}/invoice", "other_branch")
        for place, part in enumerate(parts)
        if part.invoice.branch_id != branch_id
    ]
    if faults:
        raise InvalidInput(faults)


def release(change: Change, invoice: Invoice, amount: Decimal) -> Decimal:
    """Take so much money off an invoice that is held, what came last first: it is its payers' advance again.

    Returns what was taken off, which is no more than there is.
    """
    if amount <= 0 or not invoice.paid:
        return ZERO
    # What stands on an invoice moves only under its lock; the payments are locked by the rows' own trigger.
    rows = change.conn.execute(
        """
        SELECT payment_id, payment.branch_id, sum(part.amount)
          FROM payment_allocation AS part JOIN payment ON payment.id = payment_id
         WHERE invoice_id = %(id)s::uuid
         GROUP BY payment_id, payment.branch_id HAVING sum(part.amount) > 0
         ORDER BY max(part.id::text) FILTER (WHERE part.amount > 0) DESC
        """,
        {"id": invoice.id},
    ).fetchall()
    moves, missing = [], amount
    for payment_id, branch_id, there in rows:
        if off := min(there, missing):
            moves.append(Move(payment_id, branch_id, invoice.id, "release", -off))
            missing -= off
    write(change, moves)
    return amount - missing


def write(change: Change, moves: Sequence[Move], split_id: UUID | None = None) -> None:
    """Keep the moves and note them; the database moves the totals of payments and invoices by them."""
    if not moves:
        return
    rows = [
        {
            "id": str(move_id),
            "payment_id": str(move.payment_id),
            "invoice_id": str(move.invoice_id),
            "kind": move.kind,
            "amount": str(move.amount),
            "on_behalf": move.on_behalf,
        }
        for move, move_id in zip(moves, sorted(ids.new() for _ in moves), strict=True)
    ]
    change.conn.execute(
        """
        INSERT INTO payment_allocation
               (id, payment_id, invoice_id, kind, amount, on_behalf, split_id, created_at, created_by)
        SELECT id, payment_id, invoice_id, kind, amount, on_behalf, %(split)s::uuid, %(at)s::timestamptz, %(by)s::text
          FROM jsonb_populate_recordset(NULL::payment_allocation, %(rows)s::jsonb)
        """,
        {"rows": Jsonb(rows), "split": split_id, "at": change.at, "by": change.actor.label},
    )
    for move in moves:
        change.record(
            "payment.released" if move.kind == "release" else "payment.allocated",
            move.payment_id,
            move.branch_id,
            invoice=move.invoice_id,
            amount=money.text(abs(move.amount)),
            **({"kind": move.kind} if move.kind != "release" else {}),
        )
