"""Making quotes: wanted services are priced and kept as a draft, or shown without being kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from billing import legal_references, quote_codes
from billing.lines import MOST, DiscountIn, LineIn, Sums, kept, packed
from billing.pricing import catalog_faults, needs_approval, priced
from billing.quotes import Quote, QuoteLine
from catalog import price_lists
from clinic import branches, clock, db, errors, fields, ids, money, parties
from clinic.auth import Actor
from clinic.command import Change
from clinic.errors import Fault, InvalidInput
from clinic.money import ZERO

errors.describe({"before_date": ("День раньше даты документа.", "The day is before the document's date.")})


class PersonIn(fields.Shape):
    """A person by the caller's opaque identifier; name and contacts are for paper only."""

    id = fields.Form(parties.REF, load_default=None, allow_none=True, metadata={"example": "P-000017"})
    name = fields.Text(300, load_default=None, allow_none=True)
    phone = fields.Text(64, load_default=None, allow_none=True)
    email = fields.Text(64, load_default=None, allow_none=True)


class DocumentIn(DiscountIn):
    """What quotes and direct invoices have in common: services for a patient, at the prices of a list."""

    id = fields.Uuid(load_default=None, allow_none=True, metadata={"description": "the document's id, if you give it"})
    lines = fields.Many(fields.Nested(LineIn), least=1, most=MOST, required=True)
    price_list = fields.Form(price_lists.FORM, load_default=price_lists.BASE, metadata={"example": "base"})
    branch = fields.Form(branches.CODE, load_default=None, allow_none=True, metadata={"example": "main"})
    patient = fields.Nested(PersonIn, load_default=None, allow_none=True)
    comment = fields.Text(1000, load_default=None, allow_none=True)

    def beyond(self, raw: Any) -> list[Fault]:
        return catalog_faults(raw, clock.today())


class QuoteIn(DocumentIn):
    """A wanted quote: all but `lines` may be left out."""

    kind = fields.Choice("firm", "approximate", load_default="firm")
    valid_until = fields.Day(load_default=None, allow_none=True, metadata={"description": "the last day it is valid"})


def work_out(
    conn: db.Connection, actor: Actor, at: datetime, valid_days: int, wanted: dict[str, Any]
) -> tuple[Quote, list[QuoteLine]]:
    """The wanted quote at the prices of the clinic's day at `at`, not kept anywhere.

    Raises:
        InvalidInput: names every wrong place.
    """
    today = clock.day_of(at)
    branch = branches.chosen(conn, actor, wanted["branch"])
    valid_until = wanted["valid_until"] or today + timedelta(days=valid_days)
    lines, faults = priced(conn, actor, today, wanted["price_list"], wanted)
    if valid_until < today:
        faults.append(Fault("/valid_until", "before_date"))
    if faults:
        raise InvalidInput(faults)
    person = wanted["patient"] or {"id": None, "name": None}
    quote = Quote(
        id=wanted["id"] or ids.new(),
        code=quote_codes.new(),
        revision=1,
        branch_id=branch.id,
        branch=branch.code,
        status="draft",
        kind=wanted["kind"],
        date=today,
        valid_until=valid_until,
        price_list=wanted["price_list"],
        patient_party=None,
        patient_ref=person["id"],
        patient_name=person["name"],
        comment=wanted["comment"],
        discount_percent=wanted["discount_percent"],
        discount_amount=wanted["discount_amount"],
        discount_reason=wanted["discount_reason"],
        approval="required" if needs_approval(conn, actor, lines) else "none",
        edited_by=actor.label,
        total=Sums.of(lines).total,
        lacking=legal_references.lacking(conn, today),
        cancel_reason=None,
        row_version=1,
        created_at=at,
        updated_at=at,
    )
    return quote, [QuoteLine(**kept(line), invoiced_quantity=ZERO) for line in lines]


def create(change: Change, valid_days: int, wanted: dict[str, Any]) -> tuple[Quote, list[QuoteLine]]:
    """Price every wanted line as of today and keep the result as a draft, revision 1.

    Raises:
        InvalidInput: names every wrong place.
    """
    quote, lines = work_out(change.conn, change.actor, change.at, valid_days, wanted)
    if person := wanted["patient"]:
        patient = parties.of_person(change.conn, person)
        quote = replace(quote, patient_party=patient.id, patient_ref=patient.ref)
    change.conn.execute(
        REVISION
        + """
        INSERT INTO quote (id, code, branch_id, created_at, created_by)
        SELECT %(id)s, %(code)s, %(branch_id)s, %(created_at)s::timestamptz, %(edited_by)s
        """,
        revision_row(quote, lines),
    )
    change.record("quote.created", quote.id, quote.branch_id, revision=1, total=money.text(quote.total))
    return quote, lines


def revision_row(quote: Quote, lines: Sequence[QuoteLine]) -> dict[str, Any]:
    """The parameters of `REVISION`."""
    sums = Sums.of(lines)
    return vars(quote) | {"subtotal": sums.subtotal, "discount": sums.discount, "lines": packed(lines)}


REVISION = """
        WITH revised AS (
          INSERT INTO quote_revision
                 (quote_id, revision, branch_id, status, kind, date, valid_until, price_list, patient_party,
                  patient_ref, comment, discount_percent, discount_amount, discount_reason, approval, edited_by,
                  subtotal, discount, total, row_version, created_at, updated_at)
          VALUES (%(id)s, %(revision)s, %(branch_id)s, %(status)s, %(kind)s, %(date)s, %(valid_until)s,
                  %(price_list)s, %(patient_party)s, %(patient_ref)s, %(comment)s, %(discount_percent)s,
                  %(discount_amount)s, %(discount_reason)s, %(approval)s, %(edited_by)s, %(subtotal)s, %(discount)s,
                  %(total)s, %(row_version)s, %(updated_at)s, %(updated_at)s)),
        written AS (
          INSERT INTO quote_line
          SELECT filled.*
            FROM jsonb_array_elements(%(lines)s::jsonb) AS line,
                 jsonb_populate_record(
                   NULL::quote_line,
                   line || jsonb_build_object('quote_id', %(id)s::uuid, 'revision', %(revision)s::int)) AS filled)
"""
"""Keeps a revision and its lines, see `revision_row`; what follows is the last part of the statement."""
