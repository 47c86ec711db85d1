"""Rendering: lines of an issued invoice were done on a day, and an act says so.

A line may be rendered in pieces, never more than was invoiced; the last piece takes the exact remainder. The VAT rate
follows the day of the service, whatever the invoice expected (domain rule 17).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

from billing import acts, invoices, numbering, totals
from billing.acts import Act, ActLine
from billing.invoices import Invoice, InvoiceLine
from billing.lines import MOST, packed, shown_quantity
from billing.totals import Vat
from catalog import vat
from clinic import db, errors, fields, ids, money
from clinic.command import Change
from clinic.errors import Conflict, Fault, InvalidInput
from clinic.money import ZERO

errors.describe(
    {
        "quantity_exceeds_invoice": (
            "Не оказано ещё {left}; больше, чем в счёте, нельзя.",
            "{left} is left to render; more than the invoice has cannot be.",
        ),
        "after_the_act": ("Услуга позже даты акта.", "The service is later than the act."),
    }
)


class NothingToRender(Conflict):
    """Everything on this invoice is rendered.

    Its acts are listed by `GET /v1/acts?invoice=`."""

    ru = "По этому счёту всё оказано\n\nЕго акты показывает `GET /v1/acts?invoice=`."


class ActCancelled(Conflict):
    """The act is cancelled already.

    Its number stays and is not used again."""

    ru = "Акт уже аннулирован\n\nЕго номер остаётся и повторно не даётся."


class RenderedIn(fields.Shape):
    """A line of the invoice that was done: all that is left of it, unless a quantity is given."""

    position = fields.Whole(1, MOST, required=True)
    quantity = fields.Quantity(load_default=None, allow_none=True)
    service_date = fields.Day(
        load_default=None, allow_none=True, metadata={"description": "else the invoice line's, else the act's date"}
    )


class ActIn(fields.Shape):
    """An act of an invoice: without `lines`, of all that is not rendered yet."""

    date = fields.Day(load_default=None, allow_none=True, metadata={"description": "of the act; today by default"})
    lines = fields.Many(fields.Nested(RenderedIn), least=1, most=MOST, load_default=None, allow_none=True)


class CancelActIn(fields.Shape):
    """Why the act is taken back."""

    reason = fields.Text(500, required=True)


@dataclass(frozen=True)
class _Done:
    """How much of an invoice's line its acts say was rendered."""

    invoice_position: int
    quantity: Decimal
    amount: Decimal


@dataclass(frozen=True)
class _Piece:
    """A piece of an invoice's line about to be put on an act."""

    line: InvoiceLine
    quantity: Decimal
    service_date: date


@dataclass(frozen=True)
class _Row:
    """A line of an act as it is stored."""

    position: int
    invoice_position: int
    quantity: Decimal
    service_date: date
    amount: Decimal
    vat_rate: Decimal | None
    vat_amount: Decimal | None


def render(change: Change, invoice_id: UUID, wanted: dict[str, Any]) -> tuple[Act, list[ActLine]]:
    """Issue an act of what was done of an invoice.

    Raises:
        InvoiceNotIssued: the invoice is a draft, discarded or cancelled.
        NothingToRender: all of it is rendered.
        InvalidInput: a line does not exist or exceeds what is left, a day has not come yet; all faults at once.
        Forbidden: the act's day is past and the caller lacks `admin`.
        NumberDateOrder: the series has a later date.
    """
    invoice = invoices.locked(change.conn, change.actor, invoice_id)
    invoice.must_be_issued()
    day = wanted["date"] or change.today
    lines = invoices.lines_of(change.conn, [invoice.id])[invoice.id]
    done = _done(change.conn, invoice.id)
    pieces, faults = _pieces(lines, done, wanted["lines"], day)
    if day > change.today:
        faults.append(Fault("/date", "in_the_future"))
    if faults:
        raise InvalidInput(faults)
    if not pieces:
        raise NothingToRender(invoice=invoice.id)
    if day < change.today:
        change.actor.must("admin")
    act_id = _write(change, invoice, day, _shares(change.conn, pieces, done))
    number = _number(change, invoice, act_id, day, day_given=wanted["date"] is not None)
    act = acts.get(change.conn, change.actor, act_id)
    change.record(
        "act.issued", act_id, invoice.branch_id, number=number, invoice=invoice.id, date=day.isoformat(),
        total=money.text(act.total),
    )  # fmt: skip
    return act, acts.lines_of(change.conn, [act_id])[act_id]


def _done(conn: db.Connection, invoice_id: UUID) -> dict[int, _Done]:
    rows = db.many(
        conn,
        _Done,
        """
        SELECT line.invoice_position, sum(line.quantity) AS quantity, sum(line.amount) AS amount
          FROM act_line AS line
          JOIN act ON act.id = line.act_id
         WHERE line.invoice_id = %(invoice)s::uuid AND act.status = 'issued'
         GROUP BY line.invoice_position
        """,
        {"invoice": invoice_id},
    )
    return {row.invoice_position: row for row in rows}


def left(conn: db.Connection, invoice_id: UUID, lines: Sequence[InvoiceLine]) -> dict[int, Decimal]:
    """How much of each line of an invoice is neither rendered nor taken back by credit notes, by position."""
    return _left(lines, _done(conn, invoice_id))


def _left(lines: Sequence[InvoiceLine], done: dict[int, _Done]) -> dict[int, Decimal]:
    return {line.position: line.left_quantity - _of(done, line).quantity for line in lines}


def _pieces(
    lines: Sequence[InvoiceLine], done: dict[int, _Done], wanted: list[dict[str, Any]] | None, day: date
) -> tuple[list[_Piece], list[Fault]]:
    left = _left(lines, done)
    if wanted is None:
        wanted = [
            {"position": line.position, "quantity": None, "service_date": None} for line in lines if left[line.position]
        ]
    by_position = {line.position: line for line in lines}
    pieces: list[_Piece] = []
    faults: list[Fault] = []
    for place, each in enumerate(wanted):
        line = by_position.get(each["position"])
        if line is None:
            faults.append(Fault(f"/lines/{place}/position", "unknown_position"))
            continue
        quantity = each["quantity"] or left[line.position]
        if not quantity or quantity > left[line.position]:
            named = (("left", shown_quantity(left[line.position])),)
            faults.append(Fault(f"/lines/{place}/quantity", "quantity_exceeds_invoice", named))
        served = each["service_date"] or line.service_date or day
        if served > day:
            faults.append(Fault(f"/lines/{place}/service_date", "after_the_act"))
        left[line.position] -= quantity
        pieces.append(_Piece(line, quantity, served))
    return pieces, faults


def _of(done: dict[int, _Done], line: InvoiceLine) -> _Done:
    return done.get(line.position) or _Done(line.position, ZERO, ZERO)


def _shares(conn: db.Connection, pieces: Sequence[_Piece], done: dict[int, _Done]) -> list[_Row]:
    """What each piece comes to, with the VAT of its day."""
    rates: dict[tuple[str, date], Decimal | None] = {}
    so_far = dict(done)
    found = []
    for position, piece in enumerate(pieces, 1):
        line, before = piece.line, _of(so_far, piece.line)
        last = before.quantity + piece.quantity == line.left_quantity
        amount = totals.part(line.left_amount, before.amount, piece.quantity, line.left_quantity, last=last)
        amount = max(amount, ZERO)  # the price of what was rendered before may have been put right below it
        so_far[line.position] = _Done(line.position, before.quantity + piece.quantity, before.amount + amount)
        taxed = line.vat_category, piece.service_date
        if taxed not in rates:
            rates[taxed] = vat.rate_on(conn, *taxed)
        tax = Vat.inside(amount, rates[taxed])
        found.append(_Row(position, line.position, piece.quantity, piece.service_date, amount, tax.rate, tax.amount))
    return found


def _write(change: Change, invoice: Invoice, day: date, rows: Sequence[_Row]) -> UUID:
    act_id = ids.new()
    change.conn.execute(
        """
        WITH made AS (
          INSERT INTO act (id, invoice_id, branch_id, status, date, total, issued_at, issued_by)
          VALUES (%(act)s, %(invoice)s, %(branch)s, 'draft', %(day)s, %(total)s, %(at)s, %(by)s))
        INSERT INTO act_line
        SELECT filled.*
          FROM jsonb_array_elements(%(lines)s::jsonb) AS line,
               jsonb_populate_record(
                 NULL::act_line,
                 line || jsonb_build_object('act_id', %(act)s::uuid, 'invoice_id', %(invoice)s::uuid)) AS filled
        """,
        {
            "act": act_id,
            "invoice": invoice.id,
            "branch": invoice.branch_id,
            "day": day,
            "total": sum((row.amount for row in rows), ZERO),
            "at": change.at,
            "by": change.actor.label,
            "lines": packed(rows),
        },
    )
    return act_id


def _number(change: Change, invoice: Invoice, act_id: UUID, day: date, *, day_given: bool) -> str:
    (number,) = numbering.taken(
        change.conn, _ISSUE, invoice.branch_id, "act", day, {"act": act_id}, day_given=day_given
    )
    return str(number)


_ISSUE = (
    numbering.TAKE
    + """
UPDATE act
   SET status = 'issued', series_id = taken.id, sequence = taken.sequence, number = taken.number,
       supplier = jsonb_build_object(
         'branch', branch.code, 'sample', branch.requisites IS NULL, 'requisites', branch.requisites)
  FROM taken, branch
 WHERE act.id = %(act)s AND branch.id = act.branch_id
RETURNING act.number
"""
)


def cancel(change: Change, act_id: UUID, reason: str) -> tuple[Act, list[ActLine]]:
    """Take an act back; its services can be put on another one, its number stays.

    Raises:
        NotFound: there is none, or the caller does not see its branch.
        ActCancelled: it is cancelled already.
    """
    invoices.locked(change.conn, change.actor, acts.get(change.conn, change.actor, act_id).invoice_id)
    act = acts.get(change.conn, change.actor, act_id)
    if act.status != "issued":
        raise ActCancelled(act=act.id)
    change.conn.execute(
        """
        UPDATE act SET status = 'cancelled', cancelled_at = %(at)s, cancelled_by = %(by)s, cancel_reason = %(reason)s
         WHERE id = %(id)s
        """,
        {"id": act.id, "at": change.at, "by": change.actor.label, "reason": reason},
    )
    change.record("act.cancelled", act.id, act.branch_id, number=act.number, invoice=act.invoice_id)
    return acts.get(change.conn, change.actor, act_id), acts.lines_of(change.conn, [act_id])[act_id]
