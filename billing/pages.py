"""Pages of the reception desk and of accounting. They call the same nouns, by the same shapes, as the JSON routes."""

from __future__ import annotations

from typing import cast
from uuid import UUID

from flask import Blueprint, Flask, Response, current_app, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from billing import (
    desk_page,
    exports,
    invoicing,
    legal_references,
    quote_codes,
    quote_page,
    quote_verification,
    quotes,
    quoting,
    words,
)
from billing.desk import Desk
from billing.exports import Period, Place
from billing.quote_page import InvoiceForm
from clinic import access_log, branches, budgets, clock, db, forms, html, http
from clinic.errors import IdempotencyKeyReused, InvalidInput, NotFound, Problem
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
    form = InvoiceForm(forms.known_key(request.form.get("key")), request.form.to_dict())
    raw = form.wanted(quote_page.revision_seen())
    try:
        wanted = forms.loaded(invoicing.FromQuoteIn(), raw)
        invoice_id = forms.once(form.key, raw, lambda change: quote_page.invoiced(change, quote_id, wanted))
    except InvalidInput as wrong:
        return quote_page.shown(quote_id, form, faults=wrong.faults, status=422)
    except NotFound:
        raise
    except IdempotencyKeyReused as refusal:
        return quote_page.shown(quote_id, InvoiceForm(forms.new_key(), form.typed), refusal=refusal)
    except Problem as refusal:
        return quote_page.shown(quote_id, form, refusal=refusal)
    return redirect(f"/desk/invoices/{invoice_id}", 303)


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
