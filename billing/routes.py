"""JSON of quotes and invoices."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response, current_app, request

from billing import (
    answers,
    examples,
    guarantee_letters,
    invoice_editing,
    invoices,
    invoicing,
    issuing,
    numbering,
    quote_codes,
    quotes,
    quoting,
)
from billing.discounts import DiscountAboveLimit
from billing.invoice_editing import InvoicePatch
from billing.invoices import Invoice, InvoiceNotDraft, InvoiceOut
from billing.invoicing import FromQuoteIn, InvoiceIn, QuoteAlreadyInvoiced
from billing.issuing import IssueIn, PriceChanged, RequisitesMissing
from billing.numbering import NumberDateOrder
from billing.pricing import catalog_faults
from billing.quote_purge import QuotePurged
from billing.quotes import Quote, QuoteDocumentOut, QuoteExpired, QuoteNotOpen, QuoteOut, RevisionIn
from billing.quoting import QuoteIn
from clinic import access_log, clock, db, errors, fields, http, lists, parties
from clinic.command import Change
from clinic.errors import Fault
from clinic.settings import Settings

bp = http.Blueprint("billing", __name__, url_prefix="/v1", description="Quotes and invoices")


class QuoteQuery(http.Query):
    revision = fields.Whole(
        1, 100_000, query=True, load_default=None, metadata={"description": "the newest one, unless given"}
    )


class QuoteFilter(lists.Page):
    status = fields.Choice(
        "draft", "sent", "accepted", "invoiced", "declined", "expired", "superseded", "cancelled", load_default=None
    )
    patient = fields.Form(parties.REF, load_default=None)
    code = fields.Text(16, load_default=None, metadata={"description": "the code printed on the quote"})
    since = fields.Day(load_default=None)
    until = fields.Day(load_default=None)


class QuotesOut(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(QuoteOut), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)


class InvoiceFilter(lists.Page):
    status = fields.Choice("draft", "issued", "cancelled", "discarded", load_default=None)
    payment_status = fields.Choice("unpaid", "partially_paid", "paid", "settled", load_default=None)
    payer = fields.Form(parties.REF, load_default=None)
    patient = fields.Form(parties.REF, load_default=None)
    quote = fields.Uuid(load_default=None)
    number = fields.Text(32, load_default=None)
    since = fields.Day(load_default=None)
    until = fields.Day(load_default=None)


class InvoicesOut(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(InvoiceOut), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)


class SeriesProofOut(ma.Schema):
    branch = ma.fields.String(required=True)
    kind = ma.fields.String(required=True)
    year = ma.fields.Integer(required=True)
    prefix = ma.fields.String(required=True)
    first = ma.fields.Integer(required=True, allow_none=True)
    last = ma.fields.Integer(required=True, allow_none=True)
    count = ma.fields.Integer(required=True)
    whole = ma.fields.Boolean(required=True)


class ProofOut(ma.Schema):
    series = ma.fields.List(ma.fields.Nested(SeriesProofOut), required=True)


def _settings() -> Settings:
    settings: Settings = current_app.config["CLINIC"]
    return settings


# ---- Quotes ----


@bp.post("/quotes/preview")
@bp.contract(may="quotes:write", takes=QuoteIn, gives={200: QuoteDocumentOut}, example=examples.QUOTE_IN)
def preview_quote(wanted: dict[str, Any]) -> Response:
    """Work a quote out without keeping it

    The same body, prices and sums as a quote that is kept."""
    with db.transaction() as conn:
        quote, lines = quoting.work_out(conn, http.actor(), clock.now(), _settings().quote_days, wanted)
    return http.reply(quotes.document_json(quote, lines))


@bp.post("/quotes")
@bp.contract(
    may="quotes:write",
    takes=QuoteIn,
    gives={201: QuoteOut},
    refuses=(errors.AlreadyExists,),
    key="optional",
    example=examples.QUOTE_IN,
    answers=examples.QUOTE,
)
def create_quote(wanted: dict[str, Any]) -> Response:
    """Make a quote

    Prices every line as of today, or of the line's `service_date`, and keeps the result as a draft."""
    with http.change() as change:
        quote, lines = quoting.create(change, _settings().quote_days, wanted)
        return answers.of_quote(change, 201, quote, lines)


@bp.get("/quotes")
@bp.contract(may="quotes:read", query=QuoteFilter, gives={200: QuotesOut}, refuses=(errors.BadCursor,))
def list_quotes(wanted: dict[str, Any]) -> Response:
    """List quotes, newest first

    `since` and `until` are days of the quotes, both included."""
    behind = lists.place_of("quotes", lists.filters_of(wanted), wanted["cursor"])
    code = wanted["code"] and (quote_codes.read(wanted["code"]) or "?")
    with db.transaction() as conn:
        rows = quotes.page(conn, http.actor(), wanted | {"code": code}, behind)
        found, cursor = lists.page_of("quotes", wanted, rows, lambda quote: [quote.date.isoformat(), str(quote.id)])
        lines = quotes.lines_of(conn, found)
        _note(conn, "list", "quote", [quote.id for quote in found if quote.patient_party])
    return http.reply({"items": [quotes.as_json(quote, lines[quote.id]) for quote in found], "next_cursor": cursor})


@bp.get("/quotes/<uuid:quote_id>")
@bp.contract(
    may="quotes:read",
    query=QuoteQuery,
    gives={200: QuoteOut},
    refuses=(errors.NotFound, QuotePurged),
    answers=examples.QUOTE,
)
def get_quote(wanted: dict[str, Any], quote_id: UUID) -> Response:
    """Read a quote

    At its newest revision, or at the one asked for."""
    with db.transaction() as conn:
        quote = quotes.get(conn, http.actor(), quote_id, wanted["revision"])
        lines = quotes.lines_of(conn, [quote])[quote.id]
        if quote.patient_party:
            _note(conn, "read", "quote", [quote.id])
    return http.reply(quotes.as_json(quote, lines), headers={"ETag": http.etag(quote.id, quote.row_version)})


@bp.post("/quotes/<uuid:quote_id>/send")
@bp.contract(
    may="quotes:write",
    takes=RevisionIn,
    gives={200: QuoteOut},
    refuses=(errors.NotFound, QuoteNotOpen, QuoteExpired, DiscountAboveLimit),
    key="optional",
)
def send_quote(wanted: dict[str, Any], quote_id: UUID) -> Response:
    """Hand a quote out

    From now on this revision does not change."""
    with http.change() as change:
        return _moved(change, quotes.send(change, quote_id, wanted["revision"]))


@bp.post("/quotes/<uuid:quote_id>/accept")
@bp.contract(
    may="quotes:write",
    takes=RevisionIn,
    gives={200: QuoteOut},
    refuses=(errors.NotFound, QuoteNotOpen, QuoteExpired, DiscountAboveLimit),
    key="optional",
)
def accept_quote(wanted: dict[str, Any], quote_id: UUID) -> Response:
    """Accept a quote

    On its last day at the latest, in the clinic's time zone."""
    with http.change() as change:
        return _moved(change, quotes.accept(change, quote_id, wanted["revision"]))


@bp.post("/quotes/<uuid:quote_id>/decline")
@bp.contract(
    may="quotes:write",
    takes=RevisionIn,
    gives={200: QuoteOut},
    refuses=(errors.NotFound, QuoteNotOpen),
    key="optional",
)
def decline_quote(wanted: dict[str, Any], quote_id: UUID) -> Response:
    """Decline a quote"""
    with http.change() as change:
        return _moved(change, quotes.decline(change, quote_id, wanted["revision"]))


def _moved(change: Change, quote: Quote) -> Response:
    return answers.of_quote(change, 200, quote, quotes.lines_of(change.conn, [quote])[quote.id])


# ---- Invoices ----

_ISSUING = (DiscountAboveLimit, NumberDateOrder, PriceChanged, RequisitesMissing, *guarantee_letters.REFUSALS)


@bp.post("/quotes/<uuid:quote_id>/invoice")
@bp.contract(
    may="invoices:write",
    takes=FromQuoteIn,
    gives={201: InvoiceOut},
    refuses=(errors.NotFound, QuoteNotOpen, QuoteExpired, QuoteAlreadyInvoiced, *_ISSUING),
    key="required",
    example=examples.FROM_QUOTE_IN,
    answers=examples.INVOICE,
)
def invoice_quote(wanted: dict[str, Any], quote_id: UUID) -> Response:
    """Invoice a quote, whole or in part

    A draft or sent quote that is still valid is accepted by this call. With `issue` the invoice is issued in the
    same transaction; that takes the scope `invoices:issue`. Prices are the quote's, whatever the catalog says now."""
    settings = _settings()
    with http.change() as change:
        document = issuing.of_quote(
            change, quote_id, wanted, due_days=settings.due_days, production=settings.production
        )
        return answers.of_invoice(change, 201, *document)


@bp.post("/invoices")
@bp.contract(
    may="invoices:write",
    takes=InvoiceIn,
    gives={201: InvoiceOut},
    refuses=(errors.AlreadyExists,),
    key="optional",
    example=examples.INVOICE_IN,
)
def create_invoice(wanted: dict[str, Any]) -> Response:
    """Draft a direct invoice

    Lines as a quote's, and a payer. It takes its number when it is issued. A discount above what its author may give
    alone makes its `approval` required: until a second person approves it, it is not issued."""
    with http.change() as change:
        return answers.of_invoice(
            change, 201, *invoicing.direct(change, invoicing.due(change, wanted, _settings().due_days))
        )


@bp.get("/invoices")
@bp.contract(may="invoices:read", query=InvoiceFilter, gives={200: InvoicesOut}, refuses=(errors.BadCursor,))
def list_invoices(wanted: dict[str, Any]) -> Response:
    """List invoices, newest first

    `since` and `until` are days of the invoices, both included."""
    behind = lists.place_of("invoices", lists.filters_of(wanted), wanted["cursor"])
    with db.transaction() as conn:
        rows = invoices.page(conn, http.actor(), wanted, behind)
        found, cursor = lists.page_of(
            "invoices", wanted, rows, lambda invoice: [invoice.date.isoformat(), str(invoice.id)]
        )
        lines = invoices.lines_of(conn, [invoice.id for invoice in found])
        _note(conn, "list", "invoice", [invoice.id for invoice in found])
    return http.reply(
        {"items": [invoices.as_json(invoice, lines[invoice.id]) for invoice in found], "next_cursor": cursor}
    )


@bp.get("/invoices/<uuid:invoice_id>")
@bp.contract(may="invoices:read", gives={200: InvoiceOut}, refuses=(errors.NotFound,), answers=examples.INVOICE)
def get_invoice(invoice_id: UUID) -> Response:
    """Read an invoice"""
    with db.transaction() as conn:
        invoice = invoices.get(conn, http.actor(), invoice_id)
        lines = invoices.lines_of(conn, [invoice.id])[invoice.id]
        _note(conn, "read", "invoice", [invoice.id])
    return http.reply(invoices.as_json(invoice, lines), headers={"ETag": _etag(invoice)})


class InvoicePatchIn(InvoicePatch):
    def beyond(self, raw: Any) -> list[Fault]:
        """What the document has against a body that is wrong elsewhere: the quote it was made from, or the catalog."""
        if not isinstance(raw, dict):
            return []
        with db.reading() as conn:
            invoice = invoices.get(conn, http.actor(), (request.view_args or {})["invoice_id"])
        if invoice.quote_id is not None:
            return invoice_editing.fixed_by_quote(raw)
        return catalog_faults({"price_list": invoice.price_list} | raw, clock.today())


InvoicePatchIn.__doc__ = InvoicePatch.__doc__


@bp.patch("/invoices/<uuid:invoice_id>")
@bp.contract(
    may="invoices:write",
    takes=InvoicePatchIn,
    gives={200: InvoiceOut},
    refuses=(errors.NotFound, InvoiceNotDraft),
    match=True,
    example=examples.INVOICE_PATCH_IN,
)
def edit_invoice(wanted: dict[str, Any], invoice_id: UUID) -> Response:
    """Change a draft

    A member that is left out stays; `lines` are all of them. With `lines` or another `price_list` a direct draft is
    priced again, at today's prices, and is of today. Of a draft made from a quote `lines` are parts of it, at its
    prices: what the draft had is given back first. An approval of the discounts of a direct draft is dropped. An issued
    invoice never changes."""
    with http.change() as change:
        invoice = invoicing.locked_with_quote(change, invoice_id)
        invoice.must_be_draft()
        http.must_match(_etag(invoice))
        lines = invoices.lines_of(change.conn, [invoice_id])[invoice_id]
        return answers.of_invoice(change, 200, *invoice_editing.edit(change, invoice, lines, wanted))


@bp.post("/invoices/<uuid:invoice_id>/issue")
@bp.contract(
    may="invoices:issue",
    takes=IssueIn,
    gives={200: InvoiceOut},
    refuses=(errors.NotFound, InvoiceNotDraft, *_ISSUING),
    key="required",
    answers=examples.INVOICE,
)
def issue_invoice(wanted: dict[str, Any], invoice_id: UUID) -> Response:
    """Issue a draft

    It takes its number and freezes. A direct draft is priced again: if the money differs, 409 `price_changed`."""
    with http.change() as change:
        invoice = invoices.locked(change.conn, change.actor, invoice_id)
        lines = invoices.lines_of(change.conn, [invoice_id])[invoice_id]
        issued = issuing.issue(change, invoice, lines, wanted["date"], production=_settings().production)
        return answers.of_invoice(change, 200, *issued)


@bp.post("/invoices/<uuid:invoice_id>/discard")
@bp.contract(may="invoices:write", gives={200: InvoiceOut}, refuses=(errors.NotFound, InvoiceNotDraft), key="optional")
def discard_invoice(invoice_id: UUID) -> Response:
    """Put a draft away

    What it took of its quote can be invoiced again."""
    with http.change() as change:
        return answers.of_invoice(change, 200, *invoicing.discard(change, invoice_id))


@bp.get("/numbering/proof")
@bp.contract(may="invoices:read", gives={200: ProofOut})
def prove_numbering() -> Response:
    """Prove that no number is missing

    Every series with the first, the last and the count of the numbers its documents really bear."""
    with db.transaction() as conn:
        series = numbering.proof(conn, http.actor().branch_id)
    return http.reply({"series": [each.as_json() for each in series]})


def _etag(invoice: Invoice) -> str:
    return http.etag(invoice.id, invoice.row_version)


def _note(conn: db.Connection, action: str, kind: str, ids: list[UUID]) -> None:
    access_log.note(conn, http.actor().label, action, kind, ids, http.request_id())
