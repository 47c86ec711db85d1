"""Issuing and cancelling: where an invoice takes its number and freezes."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from uuid import UUID

from psycopg.types.json import Jsonb

from billing import invoices, invoicing, numbering, quotes, totals
from billing.invoices import Invoice, InvoiceLine, InvoiceNotIssued
from catalog import prices, vat
from catalog.prices import Priced
from clinic import branches, errors, fields, ids, money
from clinic.branches import Branch
from clinic.command import Change
from clinic.errors import Conflict, Fault, InvalidInput

errors.describe({"in_the_future": ("День ещё не наступил.", "The day has not come yet.")})


class RequisitesMissing(Conflict):
    """The branch has no requisites.

    In production nothing is issued without them: set them with PUT /v1/branches/{code}/requisites."""

    ru = (
        "У филиала нет реквизитов\n\n"
        "В рабочем режиме без них ничего не выставляется: задайте их через PUT /v1/branches/{code}/requisites."
    )


class PriceChanged(Conflict):
    """A price has changed since this draft was made.

    The list `changes` has old and new; make a new draft."""

    ru = (
        "С тех пор, как сделан черновик, изменилась цена\n\n"
        "Список `changes` показывает прежнюю и новую; сделайте новый черновик."
    )


class IssueIn(fields.Shape):
    """The day on the document: today by default, an earlier one by right, never a later one."""

    date = fields.Day(load_default=None, allow_none=True)


class CancelIn(fields.Shape):
    """Why the invoice is taken back."""

    reason = fields.Text(500, required=True)


def issue(change: Change, invoice_id: UUID, wanted_date: date | None, *, production: bool) -> None:
    """Give a draft its number and freeze it.

    Raises:
        InvoiceNotDraft: it is no draft.
        InvalidInput: the day is in the future.
        Forbidden: the day is past and the caller lacks `admin`.
        NumberDateOrder: the series has a later date.
        PriceChanged: a direct draft was made at other prices than this day's.
        RequisitesMissing: production, and the branch has no requisites.
    """
    invoice = invoices.locked(change.conn, change.actor, invoice_id)
    invoice.must_be_draft()
    day = _day_of_issue(change, invoice, wanted_date)
    branch = branches.of_id(change.conn, invoice.branch_id)
    if production and branch.requisites is None:
        raise RequisitesMissing(branch=branch.code)
    lines = invoices.lines_of(change.conn, [invoice.id])[invoice.id]
    if invoice.quote_id is None:
        _same_prices(change, invoice, lines, day)
    _tax(change, invoice.id, lines, day)
    number = _take_number(change, invoice, branch, day, day_given=wanted_date is not None)
    change.record(
        "invoice.issued", invoice.id, branch.id, number=number, date=day.isoformat(), total=money.text(invoice.total)
    )


def _day_of_issue(change: Change, invoice: Invoice, wanted: date | None) -> date:
    day = wanted or change.today
    faults = []
    if day > change.today:
        faults.append(Fault("/date", "in_the_future"))
    if invoice.due_date is not None and invoice.due_date < day:
        faults.append(Fault("/date" if wanted else "/due_date", "before_date"))
    if faults:
        raise InvalidInput(faults)
    if day < change.today:
        change.actor.must("admin")
    return day


def _same_prices(change: Change, invoice: Invoice, lines: list[InvoiceLine], day: date) -> None:
    wanted = [
        prices.Wanted(line.article, line.doctor_rank if line.rank_name_ru else None, on, on)
        for line in lines
        for on in [line.service_date or day]
    ]
    changes = []
    for line, now in zip(lines, prices.on(change.conn, invoice.price_list, wanted), strict=True):
        if not isinstance(now, Priced) or now.kind != line.price_kind or _differs(line, now):
            new = money.text(now.amount) if isinstance(now, Priced) and now.amount is not None else None
            changes.append({"position": line.position, "old": money.text(line.unit_price), "new": new})
    if changes:
        raise PriceChanged(invoice=invoice.id, changes=changes)


def _differs(line: InvoiceLine, now: Priced) -> bool:
    if now.kind == "fixed" or (now.kind == "from" and line.price_reason is None):
        return now.amount != line.unit_price
    return now.kind == "from" and now.amount is not None and line.unit_price < now.amount


def _tax(change: Change, invoice_id: UUID, lines: list[InvoiceLine], day: date) -> None:
    """Put the VAT rate of the day of service, else of issue, into lines that have one (domain.md rule 17)."""
    for line in lines:
        if line.vat_rate is None:
            continue
        rate = vat.rate_on(change.conn, line.vat_category, line.service_date or day)
        if rate != line.vat_rate:
            taxed = totals.Vat.inside(line.amount, rate)
            change.conn.execute(
                """
                UPDATE invoice_line SET vat_rate = %(rate)s, vat_amount = %(amount)s
                 WHERE invoice_id = %(id)s AND position = %(position)s
                """,
                {"rate": taxed.rate, "amount": taxed.amount, "id": invoice_id, "position": line.position},
            )


def _take_number(change: Change, invoice: Invoice, branch: Branch, day: date, *, day_given: bool) -> str:
    """The last statement but the journal's: number, date, requisites, and by a trigger the hash."""
    written = {
        "id": invoice.id,
        "branch": branch.id,
        "day": day,
        "at": change.at,
        "supplier": Jsonb(
            {"branch": branch.code, "sample": branch.requisites is None, "requisites": branch.requisites}
        ),
    }
    for _ in range(2):
        row = change.conn.execute(_ISSUE, written).fetchone()
        if row is not None:
            return str(row[0])
        if refused := numbering.refusal(change.conn, branch.id, "invoice", day, day_given=day_given):
            raise refused
        numbering.open_series(change.conn, branch, "invoice", day.year)
    raise AssertionError("a series that was just opened gives a number")


_ISSUE = """
WITH taken AS (
  UPDATE number_series SET next_no = next_no + 1, last_on = %(day)s::date
   WHERE branch_id = %(branch)s AND kind = 'invoice' AND year = date_part('year', %(day)s::date)::int
     AND open AND (last_on IS NULL OR last_on <= %(day)s::date)
  RETURNING id, next_no - 1 AS sequence, prefix || year || '-' || lpad((next_no - 1)::text,
            greatest(6, length((next_no - 1)::text)), '0') AS number)
UPDATE invoice
   SET status = 'issued', series_id = taken.id, sequence = taken.sequence, number = taken.number,
       date = %(day)s::date, issued_at = %(at)s, supplier = %(supplier)s, row_version = row_version + 1,
       updated_at = %(at)s
  FROM taken
 WHERE invoice.id = %(id)s AND status = 'draft'
RETURNING invoice.number
"""


def cancel(change: Change, invoice_id: UUID, reason: str) -> None:
    """Take an issued invoice back by a full credit note; its number is not used again.

    Raises:
        InvoiceNotIssued: it is a draft, discarded, or cancelled already.
    """
    quote_id = invoices.get(change.conn, change.actor, invoice_id).quote_id
    if quote_id is not None:
        quotes.locked(change.conn, change.actor, quote_id)
    invoice = invoices.locked(change.conn, change.actor, invoice_id)
    if invoice.status != "issued":
        raise InvoiceNotIssued(invoice=invoice.id, state=invoice.status)
    left = invoice.total - invoice.credited
    change.conn.execute(
        """
        UPDATE invoice
           SET status = 'cancelled', credited = total, row_version = row_version + 1, updated_at = %(at)s
         WHERE id = %(id)s
        """,
        {"at": change.at, "id": invoice.id},
    )
    invoicing.give_back(change.conn, invoice.id)
    note_id, number = _credit(change, invoice, left, reason)
    change.record("invoice.cancelled", invoice.id, invoice.branch_id, credit_note=note_id)
    change.record(
        "credit_note.issued", note_id, invoice.branch_id, number=number, invoice=invoice.id, amount=money.text(left)
    )


def _credit(change: Change, invoice: Invoice, amount: Decimal, reason: str) -> tuple[UUID, str]:
    branch = branches.of_id(change.conn, invoice.branch_id)
    written = {
        "id": ids.new(),
        "invoice": invoice.id,
        "branch": branch.id,
        "day": change.today,
        "amount": amount,
        "reason": reason,
        "at": change.at,
        "by": change.actor.label,
    }
    for _ in range(2):
        row = change.conn.execute(_CREDIT, written).fetchone()
        if row is not None:
            return row[0], str(row[1])
        if refused := numbering.refusal(change.conn, branch.id, "credit_note", change.today, day_given=False):
            raise refused
        numbering.open_series(change.conn, branch, "credit_note", change.today.year)
    raise AssertionError("a series that was just opened gives a number")


_CREDIT = """
WITH taken AS (
  UPDATE number_series SET next_no = next_no + 1, last_on = %(day)s::date
   WHERE branch_id = %(branch)s AND kind = 'credit_note' AND year = date_part('year', %(day)s::date)::int
     AND open AND (last_on IS NULL OR last_on <= %(day)s::date)
  RETURNING id, next_no - 1 AS sequence, prefix || year || '-' || lpad((next_no - 1)::text,
            greatest(6, length((next_no - 1)::text)), '0') AS number)
INSERT INTO credit_note (id, invoice_id, branch_id, cancels, series_id, sequence, number, date, amount, reason,
                         created_at, created_by)
SELECT %(id)s, %(invoice)s, %(branch)s, true, taken.id, taken.sequence, taken.number, %(day)s, %(amount)s, %(reason)s,
       %(at)s, %(by)s
  FROM taken
RETURNING id, number
"""
