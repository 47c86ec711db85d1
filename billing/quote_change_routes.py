"""JSON of what becomes of a quote: edits, further revisions, a later last day, cancelling."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from flask import Response, current_app, request

from billing import answers, examples, quote_differences, quote_edits, quote_revisions, quote_validity, quotes
from billing.pricing import catalog_faults
from billing.quote_edits import QuotePatch
from billing.quote_revisions import CancelQuoteIn, QuoteOnInvoices, RepricedOut, RepriceIn, ReviseIn, RevisionsOut
from billing.quote_validity import ExtendIn
from billing.quotes import Quote, QuoteExpired, QuoteNotOpen, QuoteOut
from clinic import access_log, clock, db, errors, http
from clinic.command import Change
from clinic.errors import Fault
from clinic.settings import Settings

bp = http.Blueprint("quote_changes", __name__, url_prefix="/v1", description="Revisions of quotes")


class QuotePatchIn(QuotePatch):
    def beyond(self, raw: Any) -> list[Fault]:
        return _catalog_faults(raw)


class ReviseQuoteIn(ReviseIn):
    def beyond(self, raw: Any) -> list[Fault]:
        return _catalog_faults(raw)


QuotePatchIn.__doc__, ReviseQuoteIn.__doc__ = QuotePatch.__doc__, ReviseIn.__doc__


def _catalog_faults(raw: Any) -> list[Fault]:
    """What the catalog has against the lines of a body that is wrong elsewhere, by the quote's own price list."""
    if not isinstance(raw, dict) or "lines" not in raw:
        return []
    quote_id = (request.view_args or {})["quote_id"]
    with db.reading() as conn:
        price_list = quotes.get(conn, http.actor(), quote_id).price_list
    return catalog_faults({"price_list": price_list} | raw, clock.today())


def _valid_days() -> int:
    return cast(Settings, current_app.config["CLINIC"]).quote_days


@bp.patch("/quotes/<uuid:quote_id>")
@bp.contract(
    may="quotes:write",
    takes=QuotePatchIn,
    gives={200: QuoteOut},
    refuses=(errors.NotFound, QuoteNotOpen, QuoteExpired),
    match=True,
    example=examples.QUOTE_PATCH_IN,
    answers=examples.QUOTE,
)
def edit_quote(wanted: dict[str, Any], quote_id: UUID) -> Response:
    """Change a draft

    A member that is left out stays; `lines` are all of them. With `lines`, another `price_list` or a later
    `valid_until` the draft is priced again, at today's prices; behind a former revision lines that ask for what was
    quoted keep its price as in `revise`. An approval of its discounts is dropped."""
    with http.change() as change:
        quote = quotes.locked(change.conn, change.actor, quote_id)
        quote_edits.must_be_editable(change, quote)
        http.must_match(http.etag(quote.id, quote.row_version))
        lines = quotes.lines_of(change.conn, [quote])[quote.id]
        return answers.of_quote(change, 200, *quote_edits.edit(change, _valid_days(), quote, lines, wanted))


@bp.post("/quotes/<uuid:quote_id>/revise")
@bp.contract(
    may="quotes:write",
    takes=ReviseQuoteIn,
    gives={200: QuoteOut},
    refuses=(errors.NotFound, QuoteNotOpen, QuoteOnInvoices),
    key="optional",
    example=examples.REVISE_IN,
    answers=examples.QUOTE_REVISED,
)
def revise_quote(wanted: dict[str, Any], quote_id: UUID) -> Response:
    """Make a further revision

    A draft with the members given changed; the former revision is superseded, or stays declined, expired or cancelled.
    While the quote is valid and is not to be valid for longer, lines that ask for what was quoted keep its price."""
    with http.change() as change:
        return answers.of_quote(change, 200, *quote_revisions.revise(change, _valid_days(), quote_id, wanted))


@bp.post("/quotes/<uuid:quote_id>/reprice")
@bp.contract(
    may="quotes:write",
    takes=RepriceIn,
    gives={200: RepricedOut},
    refuses=(errors.NotFound, QuoteNotOpen, QuoteOnInvoices),
    key="optional",
    answers=examples.QUOTE_REPRICED,
)
def reprice_quote(wanted: dict[str, Any], quote_id: UUID) -> Response:
    """Make a revision at today's prices

    Also of a quote that has expired. `changes` has old and new side by side. A line whose service has no price today
    is a fault at its place among the quote's lines: revise the quote without it."""
    with http.change() as change:
        (former, old), (quote, new) = quote_revisions.reprice(change, _valid_days(), quote_id, wanted)
        changes = quote_differences.as_json(former.revision, old, new)
        return answers.of_quote(change, 200, quote, new, changes=changes)


@bp.post("/quotes/<uuid:quote_id>/extend")
@bp.contract(
    may="quotes:extend",
    takes=ExtendIn,
    gives={200: QuoteOut},
    refuses=(errors.NotFound, QuoteNotOpen),
    key="optional",
    example=examples.EXTEND_IN,
)
def extend_quote(wanted: dict[str, Any], quote_id: UUID) -> Response:
    """Move the last day of a quote to a later one

    Its prices stay. An expired quote is again what it was before."""
    with http.change() as change:
        return _moved(change, quote_validity.extend(change, quote_id, wanted))


@bp.post("/quotes/<uuid:quote_id>/cancel")
@bp.contract(
    may="quotes:write",
    takes=CancelQuoteIn,
    gives={200: QuoteOut},
    refuses=(errors.NotFound, QuoteNotOpen, QuoteExpired, QuoteOnInvoices),
    key="optional",
    example=examples.CANCEL_QUOTE_IN,
)
def cancel_quote(wanted: dict[str, Any], quote_id: UUID) -> Response:
    """Take a quote back

    A draft, a sent or an accepted one, as long as no invoice stands on it."""
    with http.change() as change:
        return _moved(change, quote_revisions.cancel(change, quote_id, wanted))


@bp.get("/quotes/<uuid:quote_id>/revisions")
@bp.contract(may="quotes:read", gives={200: RevisionsOut}, refuses=(errors.NotFound,), answers=examples.QUOTE_REVISIONS)
def list_revisions(quote_id: UUID) -> Response:
    """Read all revisions of a quote, newest first

    Each as it was; `extensions` are the last days that were moved, with their reasons."""
    with db.transaction() as conn:
        revisions = quotes.revisions(conn, http.actor(), quote_id)
        items = quote_revisions.as_json(conn, revisions)
        if any(each.patient_party for each in revisions):
            access_log.note(conn, http.actor().label, "read", "quote", [quote_id], http.request_id())
    return http.reply({"items": items})


def _moved(change: Change, quote: Quote) -> Response:
    return answers.of_quote(change, 200, quote, quotes.lines_of(change.conn, [quote])[quote.id])
