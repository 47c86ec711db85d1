"""Revisions: a quote that is out is changed by a further revision, and the former one stays as it was.

The newest revision is the only one that can be alive. Of what stands on invoices no revision is made and nothing is
cancelled: the invoices go first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Any
from uuid import UUID

import marshmallow as ma

from billing import legal_references, quote_differences, quote_edits, quote_validity, quotes
from billing.quote_differences import DifferencesOut, LineDifference
from billing.quote_edits import Document, QuotePatch, Terms
from billing.quote_validity import ExtensionOut
from billing.quotes import Quote, QuoteOut, RevisionIn
from billing.quoting import REVISION, revision_row
from clinic import db, fields, money
from clinic.auth import Actor
from clinic.command import Change
from clinic.errors import Conflict


class QuoteOnInvoices(Conflict):
    """Invoices have been made of this quote.

    The list `invoices` names them: discard or cancel them first."""

    ru = "По этой смете есть счета\n\nСписок `invoices` называет их: сначала отбросьте или аннулируйте эти счета."


class ReviseIn(QuotePatch, RevisionIn):
    """What the new revision changes; without anything it says the same."""


class RepriceIn(RevisionIn):
    """The last day of the new revision; as for a new quote, unless it is given."""

    valid_until = fields.Day(load_default=None, allow_none=True)


class CancelQuoteIn(RevisionIn):
    """Why the quote is taken back."""

    reason = fields.Text(500, required=True)


class QuoteRevisionOut(QuoteOut):
    """A quote at one of its revisions."""

    extensions = ma.fields.List(ma.fields.Nested(ExtensionOut), required=True)


class RevisionsOut(ma.Schema):
    """All revisions, newest first."""

    items = ma.fields.List(ma.fields.Nested(QuoteRevisionOut), required=True)


class RepricedOut(QuoteOut):
    """The new revision, and what it changes."""

    changes = ma.fields.Nested(DifferencesOut, required=True)


def revise(change: Change, valid_days: int, quote_id: UUID, wanted: dict[str, Any]) -> Document:
    """Make a draft revision with what is `wanted` changed.

    Lines that ask for what was quoted keep its price while the quote is valid and is not to be valid for longer.

    Raises:
        QuoteOnInvoices: invoices stand on the newest revision.
        QuoteNotOpen: the newest revision is another one than the one meant.
        InvalidInput: names every wrong place.
    """
    former = quotes.locked(change.conn, change.actor, quote_id, wanted["revision"])
    given = {name: value for name, value in wanted.items() if name != "revision"}
    terms = Terms.of(change.actor, change.today, valid_days, former)
    return _followed(change, former, terms, given, "revised")[1]


def reprice(change: Change, valid_days: int, quote_id: UUID, wanted: dict[str, Any]) -> tuple[Document, Document]:
    """Make a draft revision at today's prices; the former document, and the new one.

    A price given by hand stays where today's price still leaves it open.

    Raises:
        QuoteOnInvoices, QuoteNotOpen: as `revise`.
        InvalidInput: names every line that has no price today.
    """
    former = quotes.locked(change.conn, change.actor, quote_id, wanted["revision"])
    terms = Terms(change.actor, change.today, valid_days, anew=True)
    return _followed(change, former, terms, {"valid_until": wanted["valid_until"]}, "repriced")


def at_todays_prices(
    conn: db.Connection, actor: Actor, today: date, valid_days: int, quote: Quote
) -> list[LineDifference]:
    """What `reprice` would come to, without keeping it.

    Raises:
        InvalidInput: as `reprice`.
    """
    lines = quotes.lines_of(conn, [quote])[quote.id]
    _, new = quote_edits.worked_out(conn, Terms(actor, today, valid_days, anew=True), quote, lines, {})
    return quote_differences.of_lines(lines, new)


def cancel(change: Change, quote_id: UUID, wanted: dict[str, Any]) -> Quote:
    """Take back what is open or accepted, for a reason.

    Raises:
        QuoteOnInvoices: invoices stand on it.
        QuoteExpired, QuoteNotOpen: it is over already.
    """
    quote = quotes.locked(change.conn, change.actor, quote_id, wanted["revision"])
    _must_not_be_invoiced(change.conn, quote)
    quote.must_be_firm_on(change.today)
    quote.must_be("draft", "sent", "accepted")
    return quotes.set_status(change, quote, "cancelled", cancel_reason=wanted["reason"])


def _must_not_be_invoiced(conn: db.Connection, quote: Quote) -> None:
    on = db.value(
        conn,
        """
        SELECT coalesce((SELECT array_agg(id ORDER BY created_at)
                           FROM invoice
                          WHERE quote_id = %(id)s AND quote_revision = %(revision)s
                            AND status IN ('draft', 'issued')), '{}')
         WHERE EXISTS (SELECT FROM quote_line
                        WHERE quote_id = %(id)s AND revision = %(revision)s AND invoiced_quantity > 0)
        """,
        {"id": quote.id, "revision": quote.revision},
    )
    if on is not None:
        raise QuoteOnInvoices(quote=quote.id, invoices=on)


def _followed(
    change: Change, former: Quote, terms: Terms, given: dict[str, Any], how: str
) -> tuple[Document, Document]:
    """The former document, and the new one behind it."""
    _must_not_be_invoiced(change.conn, former)
    lines = quotes.lines_of(change.conn, [former])[former.id]
    quote, new_lines = quote_edits.changed(change, terms, former, lines, given)
    quote = replace(
        quote,
        revision=former.revision + 1,
        status="draft",
        date=change.today,
        lacking=legal_references.lacking(change.conn, change.today),
        cancel_reason=None,
        # The former one goes up by one too: no two revisions ever share an ETag.
        row_version=former.row_version + 2,
    )
    _retire(change, former)
    change.conn.execute(REVISION + "SELECT", revision_row(quote, new_lines))
    change.record(
        f"quote.{how}", quote.id, quote.branch_id,
        revision=quote.revision, former=former.revision, total=money.text(quote.total),
    )  # fmt: skip
    return (former, lines), (quote, new_lines)


def _retire(change: Change, former: Quote) -> None:
    """The former revision is superseded, unless it was over by itself."""
    state = former.state_on(change.today)
    final = "superseded" if state in ("draft", "sent", "accepted") else state
    change.conn.execute(
        """
        UPDATE quote_revision
           SET status = %(to)s, newest = false, row_version = row_version + 1, updated_at = %(at)s
         WHERE quote_id = %(id)s AND revision = %(revision)s
        """,
        {"to": final, "at": change.at, "id": former.id, "revision": former.revision},
    )
    if final != former.status and final == "expired":
        quote_validity.record_expiry(change, former.id, former.branch_id, former.revision, former.total)


def as_json(conn: db.Connection, revisions: Sequence[Quote]) -> list[dict[str, Any]]:
    """These revisions of one quote, each with its lines and extensions."""
    extensions = quote_validity.extensions_of(conn, revisions[0].id)
    lines = quotes.lines_of_revisions(conn, revisions)
    return [
        quotes.as_json(each, lines[each.id, each.revision])
        | {"extensions": [one.as_json() for one in extensions if one.revision == each.revision]}
        for each in revisions
    ]
