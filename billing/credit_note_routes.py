"""JSON of credit notes, and of cancelling an invoice by one."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

import marshmallow as ma
from flask import Response, current_app

from billing import answers, credit_notes, crediting, examples, invoices
from billing.credit_notes import CreditNoteOut
from billing.crediting import CancelIn, CreditIn, InvoiceRendered, NothingToCredit
from billing.invoices import InvoiceNotIssued, InvoiceOut
from clinic import access_log, db, errors, fields, http, lists, parties
from clinic.settings import Settings

bp = http.Blueprint("credit_notes", __name__, url_prefix="/v1", description="Credit notes and cancellation")


class CreditNoteFilter(lists.Page):
    invoice = fields.Uuid(load_default=None)
    payer = fields.Form(parties.REF, load_default=None)
    number = fields.Text(32, load_default=None)
    cancels = fields.Flag(query=True, load_default=None)
    since = fields.Day(load_default=None)
    until = fields.Day(load_default=None)


class CreditNotesOut(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(CreditNoteOut), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)


@bp.post("/invoices/<uuid:invoice_id>/credit-notes")
@bp.contract(
    may="invoices:cancel",
    takes=CreditIn,
    gives={201: CreditNoteOut},
    refuses=(errors.NotFound, InvoiceNotIssued),
    key="required",
    example=examples.CREDIT_IN,
    answers=examples.CREDIT_NOTE,
)
def credit_invoice(wanted: dict[str, Any], invoice_id: UUID) -> Response:
    """Take a part of an invoice back

    A line by `quantity` takes services back that no act has rendered, with their share of the money; what came from a
    quote can be invoiced once more. A line by `amount` puts a price right and takes no service back. Money on the
    invoice that is then too much becomes its payers' advance."""
    with http.change() as change:
        note, lines = crediting.credit(change, invoice_id, wanted)
        headers = {"Location": f"/v1/credit-notes/{note.id}"}
        answer = change.give(201, credit_notes.as_json(note, lines), headers=headers, names=note.names())
        return http.shown(answer)


@bp.post("/invoices/<uuid:invoice_id>/cancel")
@bp.contract(
    may="invoices:cancel",
    or_may="invoices:issue",
    takes=CancelIn,
    gives={200: InvoiceOut},
    refuses=(errors.NotFound, InvoiceNotIssued, InvoiceRendered, NothingToCredit),
    key="required",
    example={"reason": "Ошибка в плательщике"},
)
def cancel_invoice(wanted: dict[str, Any], invoice_id: UUID) -> Response:
    """Cancel an issued invoice

    By a credit note of all that is left of it; the quote can be invoiced once more, and the number is not reused.
    Whoever issued it may do so with `invoices:issue` alone for some minutes (`CLINIC_CANCEL_GRACE_MINUTES`)."""
    grace = cast(Settings, current_app.config["CLINIC"]).cancel_grace_minutes
    with http.change() as change:
        document = crediting.cancel(change, invoice_id, wanted["reason"], grace_minutes=grace)
        return answers.of_invoice(change, 200, *document)


@bp.get("/invoices/<uuid:invoice_id>/credit-notes")
@bp.contract(
    may="invoices:read",
    query=lists.Page,
    gives={200: CreditNotesOut},
    refuses=(errors.NotFound, errors.BadCursor),
)
def list_credit_notes_of_invoice(wanted: dict[str, Any], invoice_id: UUID) -> Response:
    """List the credit notes of an invoice, newest first"""
    return _listed(wanted | {"invoice": invoice_id}, of_one=True)


@bp.get("/credit-notes")
@bp.contract(
    may="invoices:read", query=CreditNoteFilter, gives={200: CreditNotesOut}, refuses=(errors.BadCursor,)
)  # fmt: skip
def list_credit_notes(wanted: dict[str, Any]) -> Response:
    """List credit notes, newest first

    `since` and `until` are days of the notes, both included; `cancels` those that cancelled their invoice, or not."""
    return _listed(wanted)


def _listed(wanted: dict[str, Any], *, of_one: bool = False) -> Response:
    behind = lists.place_of("credit_notes", lists.filters_of(wanted), wanted["cursor"])
    with db.transaction() as conn:
        if of_one:
            invoices.get(conn, http.actor(), wanted["invoice"])
        rows = credit_notes.page(conn, http.actor(), wanted, behind)
        found, cursor = lists.page_of("credit_notes", wanted, rows, lambda note: [note.date.isoformat(), str(note.id)])
        lines = credit_notes.lines_of(conn, [note.id for note in found])
        _note(conn, "list", [note.id for note in found])
    return http.reply({"items": [credit_notes.as_json(note, lines[note.id]) for note in found], "next_cursor": cursor})


@bp.get("/credit-notes/<uuid:credit_note_id>")
@bp.contract(may="invoices:read", gives={200: CreditNoteOut}, refuses=(errors.NotFound,), answers=examples.CREDIT_NOTE)
def get_credit_note(credit_note_id: UUID) -> Response:
    """Read a credit note"""
    with db.transaction() as conn:
        note = credit_notes.get(conn, http.actor(), credit_note_id)
        lines = credit_notes.lines_of(conn, [note.id])[note.id]
        _note(conn, "read", [note.id])
    return http.reply(credit_notes.as_json(note, lines))


def _note(conn: db.Connection, action: str, ids: list[UUID]) -> None:
    access_log.note(conn, http.actor().label, action, "credit_note", ids, http.request_id())
