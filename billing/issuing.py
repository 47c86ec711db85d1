"""Issuing: where an invoice takes its number and freezes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from typing import Any
from uuid import UUID

from billing import (
    discounts,
    guarantee_letters,
    invoicing,
    numbering,
    package_lines,
    pricing,
    totals,
)
from billing.invoices import Invoice, InvoiceLine
from billing.invoicing import Document
from billing.lines import Line
from catalog import prices, vat
from catalog.package_split import Share, Split
from catalog.prices import Priced
from clinic import errors, fields, money
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

    The list `changes` has old and new; send its `lines` once more by PATCH, or make a new draft."""

    ru = (
        "С тех пор, как сделан черновик, изменилась цена\n\n"
        "Список `changes` показывает прежнюю и новую; пришлите её строки `lines` ещё раз через PATCH "
        "или сделайте новый черновик."
    )


class IssueIn(fields.Shape):
    """The day on the document: today by default, an earlier one by right, never a later one."""

    date = fields.Day(load_default=None, allow_none=True)


def of_quote(
    change: Change, quote_id: UUID, wanted: dict[str, Any], *, due_days: int | None, production: bool
) -> Document:
    """Make an invoice of a quote, a draft unless `issue` is wanted too.

    Raises:
        Forbidden: it is to be issued, and the caller lacks `invoices:issue`.
        What `invoicing.from_quote` and `issue` raise.
    """
    if wanted["issue"]:
        change.actor.must("invoices:issue")
    document = invoicing.from_quote(change, quote_id, invoicing.due(change, wanted, due_days))
    if not wanted["issue"]:
        return document
    return issue(change, *document, wanted["date"], production=production)


def issue(
    change: Change, invoice: Invoice, lines: list[InvoiceLine], wanted_date: date | None, *, production: bool
) -> Document:
    """Give a draft that is locked its number and freeze it.

    Raises:
        InvoiceNotDraft: it is no draft.
        InvalidInput: the day is in the future.
        Forbidden: the day is past and the caller lacks `admin`.
        NumberDateOrder: the series has a later date.
        PriceChanged: a direct draft was made at other prices than this day's.
        DiscountAboveLimit: a discount waits for approval.
        RequisitesMissing: production, and the branch has no requisites.
        GuaranteeLetterDiffers, GuaranteeLetterExpired, GuaranteeLimitExceeded: its guarantee letter does not cover it.
    """
    invoice.must_be_draft()
    day = _day_of_issue(change, invoice, wanted_date)
    # What comes from a quote is never priced again; what goes beyond it is, as in a direct draft.
    if own := [line for line in lines if line.quote_position is None]:
        _same_prices(change, invoice, own, day)
    lines = [_taxed(change, invoice.id, line, day) for line in lines]
    guarantee_letters.promised(change.conn, invoice, lines, day)
    issued = _numbered(change, invoice, day, day_given=wanted_date is not None)
    if production and issued.supplier and issued.supplier["sample"]:
        raise RequisitesMissing(branch=issued.branch)
    change.record(
        "invoice.issued",
        issued.id,
        issued.branch_id,
        number=issued.number,
        date=day.isoformat(),
        total=money.text(issued.total),
    )
    return issued, lines


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
    single = [line for line in lines if line.package_no is None]
    wanted = [_asked_again(line, line.service_date or day) for line in single]
    changes: list[dict[str, Any]] = []
    for line, now in zip(single, prices.on(change.conn, invoice.price_list, wanted), strict=True):
        if not isinstance(now, Priced) or now.kind != line.price_kind or _differs(line, now):
            new = money.text(now.amount) if isinstance(now, Priced) and now.amount is not None else None
            changes.append({"position": line.position, "old": money.text(line.unit_price), "new": new})
    changes += _changed_packages(change, invoice, lines, day)
    if changes:
        raise PriceChanged(invoice=invoice.id, changes=sorted(changes, key=lambda each: int(each["position"])))


def _changed_packages(
    change: Change, invoice: Invoice, lines: list[InvoiceLine], day: date
) -> Iterator[dict[str, Any]]:
    """The lines of packages whose share or list price is another one now; `old` and `new` are the shares."""
    packages = package_lines.groups(lines)
    wanted = [package.wanted() for package in packages]
    told = pricing.answers(change.conn, invoice.price_list, wanted, day) if packages else []
    for package, now in zip(packages, told, strict=True):
        shares = now.shares if isinstance(now, Split) else ()
        new = {(share.part.article, share.part.doctor_rank): share for share in shares}
        same_parts = new.keys() == {(line.article, line.doctor_rank) for line in package.lines}
        for line in package.lines:
            share = new.get((line.article, line.doctor_rank))
            if share is None or not same_parts or _differs_in_package(line, share):
                yield {
                    "position": line.position,
                    "package": line.package_code,
                    "old": money.text(line.gross),
                    "new": share and money.text(share.amount),
                    "old_list_amount": money.text_or_none(line.list_amount),
                    "new_list_amount": share and money.text(share.list_amount),
                }


def _differs_in_package(line: Line, share: Share) -> bool:
    return (share.unit_price, share.quantity, share.amount) != (line.unit_price, line.quantity, line.gross)


def _asked_again(line: InvoiceLine, on: date) -> prices.Wanted:
    if line.doctor_id is not None:
        return prices.Wanted(line.article, None, on, on, line.doctor_id, former_doctor=True)
    return prices.Wanted(line.article, line.doctor_rank if line.rank_name_ru else None, on, on)


def _differs(line: InvoiceLine, now: Priced) -> bool:
    if now.kind == "fixed" or (now.kind == "from" and line.price_reason is None):
        return now.amount != line.unit_price
    return now.kind == "from" and now.amount is not None and line.unit_price < now.amount


def _taxed(change: Change, invoice_id: UUID, line: InvoiceLine, day: date) -> InvoiceLine:
    """The line at the VAT rate of its day of service, else of the day of issue (domain.md rule 17)."""
    if line.vat_rate is None:
        return line
    rate = vat.rate_on(change.conn, line.vat_category, line.service_date or day)
    if rate == line.vat_rate:
        return line
    tax = totals.Vat.inside(line.amount, rate)
    change.conn.execute(
        """
        UPDATE invoice_line SET vat_rate = %(rate)s, vat_amount = %(amount)s
         WHERE invoice_id = %(id)s AND position = %(position)s
        """,
        {"rate": tax.rate, "amount": tax.amount, "id": invoice_id, "position": line.position},
    )
    return replace(line, vat_rate=tax.rate, vat_amount=tax.amount)


def _numbered(change: Change, invoice: Invoice, day: date, *, day_given: bool) -> Invoice:
    """The last statement but the journal's: number, date, requisites, and by a trigger the hash."""
    written = {"id": invoice.id, "at": change.at, "by": change.actor.label}
    with discounts.within_limits(invoice=invoice.id):
        taken = numbering.taken(change.conn, _ISSUE, invoice.branch_id, "invoice", day, written, day_given=day_given)
    sequence, number, supplier, sha256, approval, lacking = taken
    return replace(
        invoice,
        status="issued",
        sequence=sequence,
        number=number,
        approval=approval,
        supplier=supplier,
        lacking=lacking,
        content_sha256=sha256,
        date=day,
        issued_at=change.at,
        issued_by=change.actor.label,
        row_version=invoice.row_version + 1,
        updated_at=change.at,
    )


_ISSUE = (
    numbering.TAKE
    + """
UPDATE invoice
   SET status = 'issued', series_id = taken.id, sequence = taken.sequence, number = taken.number,
       date = %(day)s::date, issued_at = %(at)s, issued_by = %(by)s, row_version = invoice.row_version + 1,
       updated_at = %(at)s,
       supplier = jsonb_build_object(
         'branch', branch.code, 'sample', branch.requisites IS NULL, 'requisites', branch.requisites)
  FROM taken, branch
 WHERE invoice.id = %(id)s AND status = 'draft' AND branch.id = invoice.branch_id
RETURNING invoice.sequence, invoice.number, invoice.supplier, invoice.content_sha256, invoice.approval,
          legal_references_lacking(invoice.date)
"""
)
