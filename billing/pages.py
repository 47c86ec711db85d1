"""Pages of the reception desk and of accounting. They call the same nouns, by the same shapes, as the JSON routes."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from flask import Blueprint, Flask, Response, current_app, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from billing import (
    approvals,
    desk_page,
    exports,
    invoices,
    invoicing,
    issuing,
    legal_references,
    quote_codes,
    quote_page,
    quote_verification,
    quotes,
    quoting,
    receiving,
    till,
    words,
)
from billing import desk as desks
from billing.desk import Desk
from billing.exports import Period, Place
from billing.quote_page import InvoiceForm
from billing.till import PaymentForm
from clinic import access_log, branches, budgets, clock, db, forms, html, http
from clinic.command import Change
from clinic.errors import Fault, IdempotencyKeyReused, InvalidInput, NotFound, Problem
from clinic.settings import Settings

bp = Blueprint("billing_pages", __name__, template_folder="templates")
bp.record_once(lambda state: cast(Flask, state.app).jinja_env.globals.update(words=words))
html.door(
    2,
    "/desk",
    ("Стойка", "Desk"),
    (
        "Сметы и счета: подобрать услуги, назвать сумму, напечатать",
        "Quotes and invoices: find services, see the sum, print",
    ),
    "quotes:write",
)
html.door(
    3,
    "/accounting",
    ("Бухгалтерия", "Accounting"),
    ("Счета за период, итоги, выгрузка в CSV", "Invoices of a period, totals, export to CSV"),
    "invoices:read",
    "exports:read",
)


# ---- The desk ----


@bp.get("/desk")
@html.page(may="quotes:write")
def desk() -> Response:
    return desk_page.shown(Desk(forms.new_key()))


@bp.post("/desk")
@html.page(may="quotes:write")
def desk_sent() -> AnyResponse:
    desk = Desk.read(request.form)
    if request.form.get("do") != "save" or not desk.rows:
        return desk_page.shown(desk)
    try:
        quote_id = _make_quote(desk)
    except InvalidInput as wrong:
        return desk_page.shown(desk, wrong.faults, status=422)
    except IdempotencyKeyReused:
        # Sent once, gone back to, changed and sent again: it is another quote, and a person says whether it is wanted.
        return desk_page.shown(desk.with_key(forms.new_key()), sent_before=True, status=409)
    return redirect(f"/desk/quotes/{quote_id}", 303)


def _make_quote(desk: Desk) -> UUID:
    wanted = forms.loaded(quoting.QuoteIn(), desk.wanted())
    return forms.once(
        desk.key, desk.wanted(), lambda change: quoting.create(change, _settings().quote_days, wanted)[0].id
    )


@bp.get("/desk/quotes")
@html.page(may="quotes:read")
def find_quote() -> AnyResponse:
    code = quote_codes.read(request.args.get("code", ""))
    if code is None:
        raise NotFound()
    with db.reading() as conn:
        found = quotes.page(conn, http.actor(), {"code": code, "limit": 1}, None)
    if not found:
        raise NotFound()
    return redirect(f"/desk/quotes/{found[0].id}", 303)


# ---- A quote ----


@bp.get("/desk/quotes/<uuid:quote_id>")
@html.page(may="quotes:read")
def quote(quote_id: UUID) -> Response:
    return quote_page.shown(quote_id, InvoiceForm(forms.new_key()))


_MOVES = {"send": quotes.send, "accept": quotes.accept, "decline": quotes.decline}


@bp.post("/desk/quotes/<uuid:quote_id>/<any(send, accept, decline):move>")
@html.page(may="quotes:write")
def move_quote(quote_id: UUID, move: str) -> AnyResponse:
    try:
        with forms.change() as change:
            _MOVES[move](change, quote_id, quote_page.revision_seen())
    except NotFound:
        raise
    except Problem as refusal:
        return quote_page.shown(quote_id, InvoiceForm(forms.new_key()), refusal=refusal)
    return redirect(f"/desk/quotes/{quote_id}", 303)


@bp.post("/desk/quotes/<uuid:quote_id>/invoice")
@html.page(may="invoices:write")
def invoice_quote(quote_id: UUID) -> AnyResponse:
    http.actor().must("invoices:issue")
    form = InvoiceForm(forms.known_key(request.form.get("key")), request.form.to_dict())
    raw = form.wanted(quote_page.revision_seen())
    try:
        wanted = forms.loaded(invoicing.FromQuoteIn(), raw)
        invoice_id = forms.once(form.key, raw, lambda change: _make_invoice(change, quote_id, wanted))
    except InvalidInput as wrong:
        return quote_page.shown(quote_id, form, faults=wrong.faults, status=422)
    except NotFound:
        raise
    except IdempotencyKeyReused as refusal:
        return quote_page.shown(quote_id, InvoiceForm(forms.new_key(), form.typed), refusal=refusal)
    except Problem as refusal:
        return quote_page.shown(quote_id, form, refusal=refusal)
    return redirect(f"/desk/invoices/{invoice_id}", 303)


def _make_invoice(change: Change, quote_id: UUID, wanted: dict[str, Any]) -> UUID:
    document = invoicing.from_quote(change, quote_id, invoicing.due(change, wanted, _settings().due_days))
    issued, _ = issuing.issue(change, *document, wanted["date"], production=_settings().production)
    return issued.id


@bp.get("/desk/quotes/<uuid:quote_id>/print")
@html.page(may="quotes:read")
def print_quote(quote_id: UUID) -> str:
    with db.transaction() as conn:
        quote, lines = quote_page.read(conn, http.actor(), quote_id, "print")
        branch = branches.of_id(conn, quote.branch_id)
        fingerprint = quote_verification.fingerprint(conn, quote)
        references = legal_references.printed(conn, quote.date, lines)
    return render_template(
        "quote_print.html",
        document=quotes.as_json(quote, lines),
        requisites=branch.requisites,
        fingerprint=fingerprint,
        references=references,
    )


# ---- An invoice ----


@bp.get("/desk/invoices/<uuid:invoice_id>")
@html.page(may="invoices:read")
def invoice(invoice_id: UUID) -> Response:
    return _invoice_page(invoice_id, PaymentForm.new())


@bp.post("/desk/invoices/<uuid:invoice_id>/<any(payments, offset):way>")
@html.page(may="payments:write")
def pay_invoice(invoice_id: UUID, way: str) -> AnyResponse:
    form = PaymentForm.read(request.form.to_dict())
    with db.reading() as conn:
        paid = invoices.get(conn, http.actor(), invoice_id)
    raw = form.payment(paid) if way == "payments" else form.offset(paid)
    shape, take = _TAKE[way]
    try:
        wanted = forms.loaded(shape(), raw)
        forms.once(form.key, raw, lambda change: take(change, wanted).payments[0].id)
    except InvalidInput as wrong:
        return _invoice_page(invoice_id, form, faults=wrong.faults, status=422)
    except IdempotencyKeyReused:
        # Sent, gone back to, changed and sent again: it is more money, and a person says whether that is meant.
        return _invoice_page(invoice_id, form.again(), sent_before=True, status=409)
    except Problem as refusal:
        return _invoice_page(invoice_id, form, refusal=refusal)
    return redirect(f"/desk/invoices/{invoice_id}", 303)


_TAKE = {
    "payments": (receiving.PaymentIn, receiving.receive),
    "offset": (receiving.SplitIn, receiving.split),
}


def _invoice_page(
    invoice_id: UUID,
    form: PaymentForm,
    *,
    faults: list[Fault] | None = None,
    refusal: Problem | None = None,
    sent_before: bool = False,
    status: int | None = None,
) -> Response:
    shown = render_template(
        "invoice.html",
        **_invoice(invoice_id, "read"),
        form=form,
        faults=forms.by_field(faults or [], desks.SAID),
        refusal=refusal and refusal.words(http.lang()),
        sent_before=sent_before,
    )
    return Response(shown, status or (refusal.status if refusal else 200))


@bp.get("/desk/invoices/<uuid:invoice_id>/print")
@html.page(may="invoices:read")
def print_invoice(invoice_id: UUID) -> str:
    return render_template("invoice_print.html", **_invoice(invoice_id, "print"))


def _invoice(invoice_id: UUID, action: str) -> dict[str, Any]:
    """What both pages of an invoice show. An issued one says who the clinic was when it was issued."""
    actor = http.actor()
    with db.transaction() as conn:
        invoice = invoices.get(conn, actor, invoice_id)
        access_log.note(conn, actor.label, action, "invoice", [invoice_id], http.request_id())
        lines = invoices.lines_of(conn, [invoice_id])[invoice_id]
        of_quote = quotes.get(conn, actor, invoice.quote_id) if invoice.quote_id else None
        branch = branches.of_id(conn, invoice.branch_id)
        money = till.of_invoice(conn, actor, invoice)
        approval = approvals.on_page_of(conn, actor, invoice)
        references = legal_references.printed(conn, invoice.date, lines)
    requisites = invoice.supplier["requisites"] if invoice.supplier else branch.requisites
    return {
        "document": invoices.as_json(invoice, lines),
        "version": invoice.row_version,
        "approval": approval,
        "requisites": requisites,
        "till": money,
        "references": references,
        "quote": of_quote and {"code": quote_codes.shown(of_quote.code), "date": of_quote.date},
    }


# ---- Accounting ----


@bp.get("/accounting")
@html.page(may="exports:read")
def accounting() -> Response:
    actor = http.actor()
    actor.must("invoices:read")
    period, faults = Period.asked(request.args, clock.today())
    with db.transaction() as conn:
        rows = exports.invoices_of(conn, actor, period, _behind(), exports.PAGE + 1)
        shown = rows[: exports.PAGE]
        access_log.note(conn, actor.label, "list", "invoice", [row.id for row in shown], http.request_id())
        sums = exports.sums_of(conn, actor, period)
        branch = branches.chosen(conn, actor, None)
    page = render_template(
        "accounting.html",
        period=period,
        typed=request.args,
        faults=forms.by_field(faults),
        rows=shown,
        further=shown[-1].place if len(rows) > len(shown) else None,
        sums=sums,
        sample=branch.requisites is None,
    )
    return Response(page, 422 if faults else 200)


def _behind() -> Place | None:
    """Where the page before ended; an address nobody could have been given begins at the beginning."""
    period, faults = Period.asked({"since": request.args.get("after", "")}, clock.today())
    number = request.args.get("number", "")
    return Place(period.since, number[:32]) if number.isprintable() and number and not faults else None


@bp.get("/accounting/invoices.csv")
@html.page(may="exports:read", a_minute=budgets.COSTLY)
def invoices_csv() -> Response:
    actor = http.actor()
    actor.must("invoices:read")
    period, faults = Period.asked(request.args, clock.today())
    if faults:
        raise InvalidInput(faults)
    response = Response(exports.csv_of(actor, period, http.lang(), http.request_id()), mimetype="text/csv")
    response.headers["Content-Disposition"] = f'attachment; filename="invoices-{period.since}-{period.until}.csv"'
    return response


def _settings() -> Settings:
    return cast(Settings, current_app.config["CLINIC"])
