"""JSON of discounts: decisions on those that wait, reasons, ceilings of roles."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response

from billing import answers, approvals, discounts, examples, invoices, quotes
from billing.approvals import (
    AboveOwnLimit,
    ApproveIn,
    ApproveInvoiceIn,
    DecisionOut,
    NoDiscountWaiting,
    OwnDiscount,
    RefuseIn,
    RefuseInvoiceIn,
)
from billing.discounts import CeilingsIn, CeilingsOut, DiscountReasonTaken, Reason, ReasonIn, ReasonOut, ReasonPatch
from billing.invoices import InvoiceNotDraft, InvoiceOut
from billing.quotes import QuoteExpired, QuoteNotOpen, QuoteOut
from clinic import db, errors, http, ids

bp = http.Blueprint("discounts", __name__, url_prefix="/v1", description="Discounts: approvals, reasons, ceilings")

_REASON_AT = "/discount-reasons/<string:discount_reason>"
_DECIDING = (errors.NotFound, NoDiscountWaiting, OwnDiscount, AboveOwnLimit)


class DecisionsOut(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(DecisionOut), required=True)


class ReasonsOut(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(ReasonOut), required=True)


# ---- Decisions ----


@bp.post("/quotes/<uuid:quote_id>/approve")
@bp.contract(
    may="discounts:approve", takes=ApproveIn, gives={200: QuoteOut}, refuses=(*_DECIDING, QuoteNotOpen, QuoteExpired),
    key="optional", answers=examples.QUOTE,
)  # fmt: skip
def approve_quote(wanted: dict[str, Any], quote_id: UUID) -> Response:
    """Approve the discounts of a quote

    By somebody other than who wrote it last, whose own ceiling covers them. Any later edit drops the approval."""
    return _quote_decided(quote_id, "granted", wanted)


@bp.post("/quotes/<uuid:quote_id>/refuse-discount")
@bp.contract(
    may="discounts:approve", takes=RefuseIn, gives={200: QuoteOut}, refuses=(*_DECIDING, QuoteNotOpen, QuoteExpired),
    key="optional", example=examples.REFUSAL_IN, answers=examples.QUOTE,
)  # fmt: skip
def refuse_quote_discount(wanted: dict[str, Any], quote_id: UUID) -> Response:
    """Refuse the discounts of a quote

    With a reason for its author, who lowers them; as it stands it goes out no more than before."""
    return _quote_decided(quote_id, "refused", wanted)


@bp.get("/quotes/<uuid:quote_id>/approvals")
@bp.contract(may="quotes:read", gives={200: DecisionsOut}, refuses=(errors.NotFound,), answers=examples.DECISIONS)
def list_quote_approvals(quote_id: UUID) -> Response:
    """Decisions on a quote's discounts, newest first"""
    with db.reading() as conn:
        quote = quotes.get(conn, http.actor(), quote_id)
        found = approvals.of_quote(conn, quote.id)
    return http.reply({"items": [each.as_json() for each in found]})


@bp.post("/invoices/<uuid:invoice_id>/approve")
@bp.contract(
    may="discounts:approve", takes=ApproveInvoiceIn, gives={200: InvoiceOut}, refuses=(*_DECIDING, InvoiceNotDraft),
    key="optional",
)  # fmt: skip
def approve_invoice(wanted: dict[str, Any], invoice_id: UUID) -> Response:
    """Approve the discounts of a direct draft

    By somebody other than who wrote it, whose own ceiling covers them. Any later edit drops the approval."""
    return _invoice_decided(invoice_id, "granted", wanted)


@bp.post("/invoices/<uuid:invoice_id>/refuse-discount")
@bp.contract(
    may="discounts:approve", takes=RefuseInvoiceIn, gives={200: InvoiceOut}, refuses=(*_DECIDING, InvoiceNotDraft),
    key="optional", example=examples.REFUSAL_IN,
)  # fmt: skip
def refuse_invoice_discount(wanted: dict[str, Any], invoice_id: UUID) -> Response:
    """Refuse the discounts of a direct draft

    With a reason for its author."""
    return _invoice_decided(invoice_id, "refused", wanted)


@bp.get("/invoices/<uuid:invoice_id>/approvals")
@bp.contract(may="invoices:read", gives={200: DecisionsOut}, refuses=(errors.NotFound,), answers=examples.DECISIONS)
def list_invoice_approvals(invoice_id: UUID) -> Response:
    """Decisions on an invoice's discounts, newest first"""
    with db.reading() as conn:
        invoice = invoices.get(conn, http.actor(), invoice_id)
        found = approvals.of_invoice(conn, invoice.id)
    return http.reply({"items": [each.as_json() for each in found]})


def _quote_decided(quote_id: UUID, decision: str, wanted: dict[str, Any]) -> Response:
    with http.change() as change:
        quote = approvals.decide_on_quote(change, quote_id, decision, wanted["reason"], wanted["revision"])
        return answers.of_quote(change, 200, quote, quotes.lines_of(change.conn, [quote])[quote.id])


def _invoice_decided(invoice_id: UUID, decision: str, wanted: dict[str, Any]) -> Response:
    with http.change() as change:
        invoice = approvals.decide_on_invoice(change, invoice_id, decision, wanted["reason"])
        return answers.of_invoice(change, 200, invoice, invoices.lines_of(change.conn, [invoice.id])[invoice.id])


# ---- Reasons ----


@bp.get("/discount-reasons")
@bp.contract(may="quotes:read", gives={200: ReasonsOut})
def list_reasons() -> Response:
    """Reasons of discounts, those that have ended too"""
    with db.reading() as conn:
        return http.reply({"items": [each.as_json() for each in discounts.reasons(conn)]})


@bp.post("/discount-reasons")
@bp.contract(
    may="admin", takes=ReasonIn, gives={201: ReasonOut}, refuses=(DiscountReasonTaken,), key="optional",
    example=examples.REASON, answers=examples.REASON,
)  # fmt: skip
def create_reason(wanted: dict[str, Any]) -> Response:
    """Add a reason of discounts

    Valid from today or a later day; a document may give it on the days it is valid."""
    with http.change() as change:
        reason = discounts.add_reason(change, wanted)
        headers = {"Location": f"/v1/discount-reasons/{reason.code}", "ETag": _reason_etag(reason)}
        answer = change.give(201, reason.as_json(), headers=headers)
    return http.shown(answer)


@bp.get(_REASON_AT)
@bp.contract(may="quotes:read", gives={200: ReasonOut}, refuses=(errors.NotFound,), answers=examples.REASON)
def read_reason(discount_reason: str) -> Response:
    """A reason of discounts"""
    with db.reading() as conn:
        reason = discounts.reason(conn, discount_reason)
    return http.reply(reason.as_json(), headers={"ETag": _reason_etag(reason)})


@bp.patch(_REASON_AT)
@bp.contract(
    may="admin", takes=ReasonPatch, gives={200: ReasonOut}, refuses=(errors.NotFound,), match=True,
    example={"valid_until": None}, answers=examples.REASON,
)  # fmt: skip
def change_reason(wanted: dict[str, Any], discount_reason: str) -> Response:
    """Change a reason of discounts

    Its names or its days. Nothing is deleted, and days that are over stay as they were: a reason ends."""
    with http.change() as change:
        reason = discounts.locked_reason(change.conn, discount_reason)
        http.must_match(_reason_etag(reason))
        reason = discounts.edit_reason(change, reason, wanted)
    return http.reply(reason.as_json(), headers={"ETag": _reason_etag(reason)})


def _reason_etag(reason: Reason) -> str:
    return http.etag(ids.of_code("discount_reason", reason.code), reason.row_version)


# ---- Ceilings ----


@bp.get("/discount-ceilings")
@bp.contract(may="admin", gives={200: CeilingsOut}, answers=examples.CEILINGS)
def read_ceilings() -> Response:
    """How much of a line, in percent, each role may take off alone"""
    with db.reading() as conn:
        return _ceilings(discounts.ceilings(conn))


@bp.put("/discount-ceilings")
@bp.contract(
    may="admin", takes=CeilingsIn, gives={200: CeilingsOut}, match=True,
    example={"reception": "7.00"}, answers=examples.CEILINGS,
)  # fmt: skip
def set_ceilings(wanted: dict[str, Any]) -> Response:
    """Give roles other ceilings

    A role that is left out keeps its own. Documents are judged by the new ceilings when they next go out."""
    with http.change() as change:
        known = discounts.locked_ceilings(change.conn)
        http.must_match(http.etag(discounts.CEILINGS_ID, known.row_version))
        known = discounts.set_ceilings(change, known, wanted)
    return _ceilings(known)


def _ceilings(known: discounts.Ceilings) -> Response:
    return http.reply(known.as_json(), headers={"ETag": http.etag(discounts.CEILINGS_ID, known.row_version)})
