"""A quote (смета): what services will cost, promised until a day.

`draft → sent → accepted`, or declined, expired, superseded, cancelled; «invoiced» is seen from its lines. A quote
has revisions, one of them alive, and no more changes once it is sent. A quote with nobody's name is normal: a
phone call. Validity counts at acceptance, to the end of its last day in the clinic's zone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date as Date
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import marshmallow as ma

from billing import discounts, legal_references, quote_codes, quote_purge
from billing.lines import Line, LineOut, TotalsOut, shown_quantity, totals_json
from billing.package_lines import DocumentWarningOut, PackageSumsOut, packages_json, warnings_json
from clinic import db, fields, money
from clinic.auth import Actor
from clinic.command import Change
from clinic.errors import Conflict, NotFound


class QuoteExpired(Conflict):
    """The quote is no longer valid.

    Its last day, `valid_until`, is over. `reprice` makes a revision of it at today's prices."""

    ru = (
        "Срок действия сметы истёк\n\n"
        "Последний день, `valid_until`, прошёл. Вызов `reprice` делает новую редакцию по сегодняшним ценам."
    )


class QuoteNotOpen(Conflict):
    """The quote's state does not allow this.

    The member `state` says what has become of it."""

    ru = "Состояние сметы этого не допускает\n\nПоле `state` говорит, что с ней стало."


class PersonOut(ma.Schema):
    id = ma.fields.String(required=True, allow_none=True)
    name = ma.fields.String(required=True, allow_none=True)


class QuoteLineOut(LineOut):
    invoiced_quantity = ma.fields.String(required=True)


class QuoteDocumentOut(ma.Schema):
    """A priced quote, kept or not."""

    kind = ma.fields.String(required=True)
    branch = ma.fields.String(required=True)
    date = ma.fields.Date(required=True)
    valid_until = ma.fields.Date(required=True)
    currency = ma.fields.String(required=True)
    price_list = ma.fields.String(required=True)
    patient = ma.fields.Nested(PersonOut, required=True, allow_none=True)
    comment = ma.fields.String(required=True, allow_none=True)
    discount_percent = ma.fields.String(required=True, allow_none=True)
    discount_amount = ma.fields.String(required=True, allow_none=True)
    discount_reason = ma.fields.String(required=True, allow_none=True)
    approval = ma.fields.String(required=True, metadata={"enum": ["none", "required", "granted"]})
    lines = ma.fields.List(ma.fields.Nested(QuoteLineOut), required=True)
    packages = ma.fields.List(ma.fields.Nested(PackageSumsOut), required=True)
    warnings = ma.fields.List(ma.fields.Nested(DocumentWarningOut), required=True)
    totals = ma.fields.Nested(TotalsOut, required=True)


class QuoteOut(QuoteDocumentOut):
    """A quote at one revision."""

    id = ma.fields.UUID(required=True)
    code = ma.fields.String(required=True, metadata={"example": "7K3Q-92MT-F"})
    revision = ma.fields.Integer(required=True)
    status = ma.fields.String(
        required=True,
        metadata={"enum": ["draft", "sent", "accepted", "invoiced", "declined", "expired", "superseded", "cancelled"]},
    )
    cancel_reason = ma.fields.String(required=True, allow_none=True)
    created_at = ma.fields.DateTime(required=True)
    updated_at = ma.fields.DateTime(required=True)


class RevisionIn(fields.Shape):
    """Which revision is meant, when it must be that one and no newer."""

    revision = fields.Whole(1, 100_000, load_default=None, allow_none=True)


@dataclass(frozen=True)
class QuoteLine(Line):
    """A line that knows how much of it stands on invoices."""

    invoiced_quantity: Decimal

    def as_json(self) -> dict[str, Any]:
        return {**super().as_json(), "invoiced_quantity": shown_quantity(self.invoiced_quantity)}


@dataclass(frozen=True)
class Quote:
    """One revision of a quote, without its lines."""

    id: UUID
    code: str
    revision: int
    branch_id: UUID
    branch: str
    status: str
    kind: str
    date: Date
    valid_until: Date
    price_list: str
    patient_party: UUID | None
    patient_ref: str | None
    patient_name: str | None
    comment: str | None
    discount_percent: Decimal | None
    discount_amount: Decimal | None
    discount_reason: str | None
    approval: str
    edited_by: str
    total: Decimal
    lacking: list[str]
    """Legal references without a text in force on its date."""
    cancel_reason: str | None
    row_version: int
    created_at: datetime
    updated_at: datetime

    def state_on(self, today: Date) -> str:
        """Its state, whether somebody has written down yet that its last day is over or not."""
        return "expired" if self.status in OPEN and today > self.valid_until else self.status

    def must_be(self, *statuses: str) -> None:
        """Raises:
        QuoteExpired: it has expired, and that is none of `statuses`.
        QuoteNotOpen: it is in none of `statuses`.
        """
        if self.status == "expired" and "expired" not in statuses:
            raise self.expired()
        if self.status not in statuses:
            raise QuoteNotOpen(quote=self.id, state=self.status)

    def expired(self) -> QuoteExpired:
        """The refusal that its last day is over."""
        return QuoteExpired(quote=self.id, valid_until=self.valid_until.isoformat())

    def must_be_firm_on(self, today: Date) -> None:
        """Raises:
        QuoteExpired: it was not accepted by the end of its last day.
        """
        if self.state_on(today) == "expired":
            raise self.expired()


OPEN = ("draft", "sent")
"""States in which the patient may still agree."""

_EVERY_REVISION = """
SELECT quote.id, quote.code, revision.revision, quote.branch_id, branch.code AS branch, revision.kind, revision.date,
       CASE WHEN revision.invoiced THEN 'invoiced' ELSE revision.status END AS status, revision.valid_until,
       revision.price_list, revision.patient_party, revision.patient_ref,
       party.name AS patient_name, revision.comment, revision.discount_percent, revision.discount_amount,
       revision.discount_reason, revision.approval, revision.edited_by, revision.total,
       legal_references_lacking(revision.date) AS lacking,
       revision.cancel_reason, revision.row_version, quote.created_at, revision.updated_at
  FROM quote_revision AS revision
  LEFT JOIN party ON party.id = revision.patient_party
  JOIN quote ON quote.id = revision.quote_id
  JOIN branch ON branch.id = quote.branch_id
"""
_SELECT = _EVERY_REVISION + "AND revision.newest\n"


def get(conn: db.Connection, actor: Actor, quote_id: UUID, revision: int | None = None) -> Quote:
    """The quote at its newest revision, or at the one asked for.

    Raises:
        NotFound: there is none, or it belongs to a branch `actor` does not see.
        QuotePurged: there was one.
    """
    found = (
        db.find(conn, Quote, _SELECT + "WHERE quote.id = %(id)s", {"id": quote_id})
        if revision is None
        else at_revision(conn, quote_id, revision)
    )
    if found is None:
        quote_purge.must_not_be_purged(conn, actor, quote_id)
    return _seen(actor, found)


def at_revision(conn: db.Connection, quote_id: UUID, revision: int) -> Quote | None:
    """The quote as one of its revisions says it, whoever asks; None when there is no such revision."""
    return db.find(
        conn,
        Quote,
        _EVERY_REVISION + "WHERE revision.quote_id = %(id)s::uuid AND revision.revision = %(revision)s::int",
        {"id": quote_id, "revision": revision},
    )


def revisions(conn: db.Connection, actor: Actor, quote_id: UUID) -> list[Quote]:
    """The quote at all its revisions, newest first.

    Raises:
        NotFound, QuotePurged: as `get`.
    """
    found = db.many(
        conn, Quote, _EVERY_REVISION + "WHERE quote.id = %(id)s ORDER BY revision.revision DESC", {"id": quote_id}
    )
    if not found:
        quote_purge.must_not_be_purged(conn, actor, quote_id)
    _seen(actor, found[0] if found else None)
    return found


def locked(conn: db.Connection, actor: Actor, quote_id: UUID, revision: int | None = None) -> Quote:
    """The quote at its newest revision, held until the end of the transaction.

    Raises:
        NotFound, QuotePurged: as `get`.
        QuoteNotOpen: its newest revision is another one than `revision`.
    """
    found = db.find(conn, Quote, _SELECT + "WHERE quote.id = %(id)s FOR UPDATE OF quote, revision", {"id": quote_id})
    if found is None:
        # There is none, or it got a newer revision while we waited for the lock.
        conn.execute("SELECT FROM quote WHERE id = %(id)s FOR UPDATE", {"id": quote_id})
        found = get(conn, actor, quote_id)
    quote = _seen(actor, found)
    if revision not in (None, quote.revision):
        raise QuoteNotOpen(quote=quote.id, state="superseded", revision=quote.revision)
    return quote


def of_ids(conn: db.Connection, quote_ids: Sequence[UUID]) -> list[Quote]:
    """These quotes at their newest revisions, the longest untouched first."""
    return db.many(
        conn,
        Quote,
        _SELECT + "WHERE quote.id = ANY(%(ids)s::uuid[]) ORDER BY revision.updated_at, quote.id",
        {"ids": list(quote_ids)},
    )


def _seen(actor: Actor, quote: Quote | None) -> Quote:
    if quote is None or actor.branch_id not in (None, quote.branch_id):
        raise NotFound()
    return quote


def page(conn: db.Connection, actor: Actor, wanted: dict[str, Any], behind: list[str] | None) -> list[Quote]:
    """Newest revisions, newest first: one more than `limit`, so that the caller sees whether there is a next page."""
    return db.filtered(
        conn,
        Quote,
        _SELECT
        + """
         WHERE (%(branch)s::uuid IS NULL OR revision.branch_id = %(branch)s::uuid)
           AND (%(patient)s::text IS NULL OR revision.patient_ref = %(patient)s::text)
           AND (%(code)s::text IS NULL OR quote.code = %(code)s::text)
           AND (%(since)s::date IS NULL OR revision.date >= %(since)s::date)
           AND (%(until)s::date IS NULL OR revision.date <= %(until)s::date)
           AND (%(day)s::date IS NULL OR (revision.date, revision.quote_id) < (%(day)s::date, %(id)s::uuid))
           AND (%(status)s::text IS NULL OR
                revision.status = CASE %(status)s::text WHEN 'invoiced' THEN 'accepted' ELSE %(status)s::text END
                AND revision.invoiced = (%(status)s::text = 'invoiced'))
         ORDER BY revision.date DESC, revision.quote_id DESC
         LIMIT %(limit)s::int
        """,
        {
            "branch": actor.branch_id,
            "patient": wanted.get("patient"),
            "code": wanted.get("code"),
            "since": wanted.get("since"),
            "until": wanted.get("until"),
            "status": wanted.get("status"),
            "day": behind and behind[0],
            "id": behind and behind[1],
            "limit": wanted["limit"] + 1,
        },
    )


@dataclass(frozen=True)
class _OwnedLine(QuoteLine):
    quote_id: UUID
    revision: int


def lines_of(conn: db.Connection, quotes: Sequence[Quote]) -> dict[UUID, list[QuoteLine]]:
    """The lines of these quotes, each at one revision, in their order."""
    return {quote_id: lines for (quote_id, _), lines in lines_of_revisions(conn, quotes).items()}


def lines_of_revisions(conn: db.Connection, quotes: Sequence[Quote]) -> dict[tuple[UUID, int], list[QuoteLine]]:
    """The same for several revisions of a quote, by the quote's id and the revision."""
    found = db.many(
        conn,
        _OwnedLine,
        """
        SELECT line.quote_id, line.revision, line.position, article, name_ru, name_en, nomenclature_codes, unit,
               doctor_rank, rank_name_ru, rank_name_en, quantity, service_date, price_kind, unit_price, price_reason,
               priced_by, gross, discount_percent, discount_amount, discount_reason, discount, document_discount,
               amount, discountable, vat_category, vat_rate, vat_amount, tax_deduction_code, price_id, price_list,
               order_id, order_number, order_date, fallback, doctor_id, doctor_name_ru, doctor_name_en,
               invoiced_quantity, package_id, package_code, package_name_ru, package_name_en, package_no,
               package_quantity, list_amount
          FROM unnest(%(ids)s::uuid[], %(revisions)s::int[]) AS wanted (id, revision)
          JOIN quote_line AS line ON line.quote_id = wanted.id AND line.revision = wanted.revision
         ORDER BY line.quote_id, line.revision, line.position
        """,
        {"ids": [quote.id for quote in quotes], "revisions": [quote.revision for quote in quotes]},
    )
    lines: dict[tuple[UUID, int], list[QuoteLine]] = {(quote.id, quote.revision): [] for quote in quotes}
    for line in found:
        lines[line.quote_id, line.revision].append(line)
    return lines


def as_json(quote: Quote, lines: Sequence[QuoteLine]) -> dict[str, Any]:
    return {
        "id": quote.id,
        "code": quote_codes.shown(quote.code),
        "revision": quote.revision,
        "status": quote.status,
        **document_json(quote, lines),
        "cancel_reason": quote.cancel_reason,
        "created_at": quote.created_at,
        "updated_at": quote.updated_at,
    }


def document_json(quote: Quote, lines: Sequence[QuoteLine]) -> dict[str, Any]:
    """What a quote says, whether it is kept or not."""
    named = quote.patient_ref or quote.patient_name
    return {
        "kind": quote.kind,
        "branch": quote.branch,
        "date": quote.date,
        "valid_until": quote.valid_until,
        "currency": "RUB",
        "price_list": quote.price_list,
        "patient": {"id": quote.patient_ref, "name": quote.patient_name} if named else None,
        "comment": quote.comment,
        "discount_percent": money.text_or_none(quote.discount_percent),
        "discount_amount": money.text_or_none(quote.discount_amount),
        "discount_reason": quote.discount_reason,
        "approval": quote.approval,
        "lines": [line.as_json() for line in lines],
        "packages": packages_json(lines),
        "warnings": warnings_json(lines) + legal_references.warnings_json(quote.lacking, quote.date, lines),
        "totals": totals_json(lines),
    }


def names(quote: Quote) -> dict[str, UUID]:
    """Which member of the quote's JSON holds whose name."""
    return {"patient": quote.patient_party} if quote.patient_party else {}


def send(change: Change, quote_id: UUID, revision: int | None = None) -> Quote:
    """Hand the quote out: from now on this revision does not change."""
    return _move(change, quote_id, revision, "sent", "draft")


def accept(change: Change, quote_id: UUID, revision: int | None = None) -> Quote:
    """The patient agrees, today or by the last day it is valid."""
    return _move(change, quote_id, revision, "accepted", "draft", "sent")


def decline(change: Change, quote_id: UUID, revision: int | None = None) -> Quote:
    """The patient does not want it; one that has expired may be declined too."""
    quote = locked(change.conn, change.actor, quote_id, revision)
    quote.must_be("draft", "sent", "expired")
    return set_status(change, quote, "declined")


def _move(change: Change, quote_id: UUID, revision: int | None, to: str, *since: str) -> Quote:
    quote = locked(change.conn, change.actor, quote_id, revision)
    quote.must_be_firm_on(change.today)
    quote.must_be(*since)
    return set_status(change, quote, to)


def set_status(change: Change, quote: Quote, to: str, *, cancel_reason: str | None = None) -> Quote:
    """Move a quote that is locked, and that may go there; to `cancelled` for a reason.

    Raises:
        DiscountAboveLimit: it would go out with a discount that waits for approval.
    """
    with discounts.within_limits(quote=quote.id):
        approval = db.value(
            change.conn,
            """
            UPDATE quote_revision
               SET status = %(to)s, cancel_reason = %(reason)s, row_version = row_version + 1, updated_at = %(at)s
             WHERE quote_id = %(id)s AND revision = %(revision)s
            RETURNING approval
            """,
            {"to": to, "reason": cancel_reason, "at": change.at, "id": quote.id, "revision": quote.revision},
        )
    change.record(f"quote.{to}", quote.id, quote.branch_id, revision=quote.revision, total=money.text(quote.total))
    return replace(
        quote,
        status=to,
        approval=approval,
        cancel_reason=cancel_reason,
        row_version=quote.row_version + 1,
        updated_at=change.at,
    )
