"""Pages of credit notes: what of an invoice is taken back, shown before it is done; cancelling; the note on paper."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

from flask import Blueprint, Response, current_app, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from billing import acts, credit_notes, crediting, invoices, rendering
from billing.crediting import Row
from billing.invoices import Invoice, InvoiceLine
from billing.lines import MOST
from clinic import access_log, db, forms, html, http
from clinic.command import Change
from clinic.errors import Fault, InvalidInput, NotFound, Problem
from clinic.money import ZERO
from clinic.settings import Settings

bp = Blueprint("credit_note_pages", __name__, template_folder="templates")
_SAID = {
    "not_quantity": (
        "Нужно количество: число, не больше трёх знаков после запятой.",
        "A quantity is needed: a number of at most three decimals.",
    ),
    "not_money": ("Нужна сумма в рублях: 1500 или 1500,50.", "A sum in rubles is needed: 1500 or 1500.50."),
    "wrong_count": ("Укажите, что вернуть, хотя бы в одной строке.", "Say in one line at least what is taken back."),
    "wrong_length": ("Укажите причину.", "Give a reason."),
}


@dataclass(frozen=True)
class Preview:
    """What a credit note would take, and what would be left of the invoice; sums in rubles."""

    rows: dict[int, Row]
    total: Decimal
    left: Decimal
    advance: Decimal

    @classmethod
    def of(cls, invoice: Invoice, rows: list[Row]) -> Preview:
        total = sum((row.amount for row in rows), ZERO)
        left = invoice.total - invoice.credited - total
        return cls({row.invoice_position: row for row in rows}, total, left, max(invoice.paid - left, ZERO))


@bp.get("/desk/invoices/<uuid:invoice_id>/credit-notes")
@html.page(may="invoices:read")
def credit_notes_of_invoice(invoice_id: UUID) -> Response:
    return _page(invoice_id, forms.new_key(), {})


@bp.post("/desk/invoices/<uuid:invoice_id>/credit-notes")
@html.page(may="invoices:cancel")
def credit_invoice(invoice_id: UUID) -> AnyResponse:
    key, typed = forms.known_key(request.form.get("key")), request.form.to_dict()
    lines = _lines(typed)
    raw = {"lines": lines, "reason": typed.get("reason", "")}
    try:
        wanted = forms.loaded(crediting.CreditIn(), raw)
        if typed.get("do") == "issue":
            forms.once(key, raw, lambda change: _credit(change, invoice_id, wanted))
            return redirect(f"/desk/invoices/{invoice_id}/credit-notes", 303)
        preview = _preview(invoice_id, wanted)
    except InvalidInput as wrong:
        return _page(invoice_id, key, typed, faults=_by_position(wrong.faults, lines), status=422)
    except NotFound:
        raise
    except Problem as refusal:
        return _page(invoice_id, forms.new_key(), typed, refusal=refusal, status=refusal.status)
    return _page(invoice_id, key, typed, preview=preview)


@bp.post("/desk/invoices/<uuid:invoice_id>/cancel")
@html.page(may="invoices:read")
def cancel_invoice(invoice_id: UUID) -> AnyResponse:
    # Whether this reader may is judged by the command: it depends on who issued the invoice, and when.
    reason = request.form.get("reason", "")
    typed = {"cancel-reason": reason}
    try:
        wanted = forms.loaded(crediting.CancelIn(), {"reason": reason})
        with forms.change() as change:
            crediting.cancel(change, invoice_id, wanted["reason"], grace_minutes=_grace())
    except InvalidInput as wrong:
        faults = {f"cancel-{name}": said for name, said in forms.by_field(wrong.faults, _SAID).items()}
        return _page(invoice_id, forms.new_key(), typed, faults=faults, status=422)
    except NotFound:
        raise
    except Problem as refusal:
        return _page(invoice_id, forms.new_key(), typed, refusal=refusal, status=refusal.status)
    return redirect(f"/desk/invoices/{invoice_id}/credit-notes", 303)


@bp.get("/desk/credit-notes/<uuid:credit_note_id>/print")
@html.page(may="invoices:read")
def print_credit_note(credit_note_id: UUID) -> str:
    actor = http.actor()
    with db.transaction() as conn:
        note = credit_notes.get(conn, actor, credit_note_id)
        lines = credit_notes.lines_of(conn, [credit_note_id])[credit_note_id]
        access_log.note(conn, actor.label, "print", "credit_note", [credit_note_id], http.request_id())
    document = credit_notes.as_json(note, lines)
    return render_template("credit_note_print.html", document=document, requisites=note.supplier["requisites"])


def _grace() -> int:
    return cast(Settings, current_app.config["CLINIC"]).cancel_grace_minutes


def _lines(typed: dict[str, str]) -> list[dict[str, Any]]:
    given = [
        {
            "position": position,
            "quantity": forms.plain_number(typed.get(f"quantity-{position}", "")) or None,
            "amount": forms.plain_number(typed.get(f"amount-{position}", "")) or None,
        }
        for position in range(1, MOST + 1)
    ]
    return [line for line in given if line["quantity"] or line["amount"]]


def _by_position(faults: list[Fault], lines: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Faults by the form's fields, which are named by the invoice's positions and not by their place in the request."""
    named = []
    for fault in faults:
        _, _, rest = fault.pointer.partition("/lines/")
        place, _, member = rest.partition("/")
        pointer = f"/{member}-{lines[int(place)]['position']}" if member else fault.pointer
        named.append(Fault(pointer, fault.code, fault.values))
    return forms.by_field(named, _SAID)


def _credit(change: Change, invoice_id: UUID, wanted: dict[str, Any]) -> UUID:
    note, _ = crediting.credit(change, invoice_id, wanted)
    return note.id


def _preview(invoice_id: UUID, wanted: dict[str, Any]) -> Preview:
    with db.reading() as conn:
        invoice = invoices.get(conn, http.actor(), invoice_id)
        invoice.must_be_issued()
        lines = invoices.lines_of(conn, [invoice_id])[invoice_id]
        return Preview.of(invoice, crediting.worked_out(conn, invoice_id, lines, wanted["lines"]))


def _page(
    invoice_id: UUID,
    key: str,
    typed: dict[str, str],
    *,
    preview: Preview | None = None,
    faults: dict[str, list[str]] | None = None,
    refusal: Problem | None = None,
    status: int = 200,
) -> Response:
    actor = http.actor()
    with db.transaction() as conn:
        invoice = invoices.get(conn, actor, invoice_id)
        access_log.note(conn, actor.label, "read", "invoice", [invoice_id], http.request_id())
        lines = invoices.lines_of(conn, [invoice_id])[invoice_id]
        made = credit_notes.page(conn, actor, {"invoice": invoice_id, "limit": 100}, None)
        open_ = rendering.left(conn, invoice_id, lines)
        rendered = acts.numbers_of(conn, invoice_id)
    shown = render_template(
        "credit_notes.html",
        invoice=invoice,
        lines=[line for line in lines if _is_open(line)],
        open=open_,
        rendered=rendered,
        notes=made,
        key=key,
        typed=typed,
        preview=preview,
        faults=faults or {},
        refusal=forms.told(refusal),
    )
    return Response(shown, status)


def _is_open(line: InvoiceLine) -> bool:
    return bool(line.left_quantity or line.left_amount)
