"""Pages for the person who keeps prices: price orders, what each will change, and their publishing.

They call the same nouns, by the same shapes, as the JSON routes. A form says which version of the order its reader
saw, so nobody changes what he has not seen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Blueprint, Response, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from catalog import (
    categories,
    drafting,
    order_lines,
    previewing,
    price_lists,
    price_orders,
    prices,
    publishing,
    ranks,
    repricing,
    search,
    services,
)
from catalog.drafting import PriceOrderIn, PriceOrderPatch
from catalog.order_lines import Line, OrderLineIn
from catalog.previewing import Preview
from catalog.price_orders import Order
from catalog.prices import Priced
from clinic import clock, db, fields, forms, html, http, staff
from clinic.command import Change
from clinic.errors import Fault, InvalidInput, NotFound, Problem

bp = Blueprint("order_pages", __name__, template_folder="templates")
html.door(
    4,
    "/catalog",
    ("Прейскурант", "Catalog"),
    ("Приказы о ценах: составить, посмотреть, что изменится, опубликовать", "Price orders: draft, preview, publish"),
    "catalog:write",
)
SHOWN = 200
"""Prices of an order that one page shows."""
_FOUND = 20
_KINDS = {
    "fixed": ("твёрдая", "fixed"),
    "from": ("от", "from"),
    "on_request": ("по запросу", "on request"),
    "withdrawn": ("снята", "withdrawn"),
}
_STATUSES = {
    "draft": ("черновик", "draft"),
    "published": ("опубликован", "published"),
    "discarded": ("отложен", "discarded"),
}
# The faults' own texts name the members of JSON; a person is told the same by the names of the fields.
_SAID = {
    "not_money": ("Нужна сумма в рублях, например 1500 или 1500,50.", "A sum in rubles, such as 1500 or 1500.50."),
    "price_missing": ("Впишите цену.", "Enter the price."),
    "price_not_expected": ("При таком виде цены сумма не указывается.", "This kind of price has no sum."),
    "not_percent_change": ("Нужен процент: 7, -5 или 2,5.", "A percentage is needed: 7, -5 or 2.5."),
    "required": ("Заполните это поле.", "Fill in this field."),
}


# ---- All orders ----


@bp.get("/catalog")
@html.page(may="catalog:read")
def orders() -> Response:
    return _orders_page({})


@bp.post("/catalog/orders")
@html.page(may="catalog:write")
def create_order() -> AnyResponse:
    typed = request.form.to_dict()
    key = forms.known_key(typed.get("key"))
    names = ("number", "date", "price_list", "effective_from", "note")
    raw = {name: typed[name].strip() for name in names if typed.get(name, "").strip()}
    try:
        wanted = forms.loaded(PriceOrderIn(), raw)
        order_id = forms.once(key, raw, lambda change: _create(change, wanted))
    except InvalidInput as wrong:
        return _orders_page(typed, key=key, faults=wrong.faults, status=422)
    except Problem as refusal:
        return _orders_page(typed, refusal=refusal, status=refusal.status)
    return redirect(f"/catalog/orders/{order_id}", 303)


def _create(change: Change, wanted: dict[str, Any]) -> UUID:
    rest = {member: value for member, value in wanted.items() if member != "lines"}
    rest["date"] = rest["date"] or change.today
    return price_orders.create(change, price_orders.Wanted(**rest), []).id


def _orders_page(
    typed: dict[str, str],
    *,
    key: str | None = None,
    faults: Sequence[Fault] = (),
    refusal: Problem | None = None,
    status: int = 200,
) -> Response:
    asked = {name: request.args.get(name) or None for name in ("status", "price_list")}
    asked["status"] = asked["status"] if asked["status"] in _STATUSES else None
    with db.moment() as conn:
        found = price_orders.page(conn, asked | {"since": None, "until": None, "limit": SHOWN}, None)
        lists = price_lists.every(conn)
        authors = staff.logins(conn, [each.author for each in found])
    shown = render_template(
        "orders.html",
        orders=found[:SHOWN],
        further=len(found) > SHOWN,
        asked=asked,
        lists=lists,
        authors=authors,
        statuses=_STATUSES,
        today=clock.today(),
        typed=defaultdict(str, typed),
        key=key or forms.new_key(),
        faults=forms.by_field(faults, _SAID),
        refusal=forms.told(refusal),
    )
    return Response(shown, status)


# ---- One order ----


@dataclass(frozen=True)
class _Sent:
    """What a form of an order's page sent, when something of it was refused: shown again, with what is wrong."""

    typed: dict[str, str] = field(default_factory=dict)
    faults: Sequence[Fault] = ()
    refusal: Problem | None = None

    @property
    def status(self) -> int:
        if self.refusal:
            return self.refusal.status
        return 422 if self.faults else 200


@bp.get("/catalog/orders/<uuid:order_id>")
@html.page(may="catalog:read")
def order(order_id: UUID) -> Response:
    return _order_page(order_id)


@bp.post("/catalog/orders/<uuid:order_id>")
@html.page(may="catalog:write")
def change_order(order_id: UUID) -> AnyResponse:
    typed = request.form.to_dict()
    raw = {name: typed.get(name, "").strip() or None for name in ("number", "date", "effective_from", "note")}
    raw |= {"corrects": typed.get("corrects") or None}
    return _changed(order_id, lambda change, order: drafting.edit(change, order, forms.loaded(PriceOrderPatch(), raw)))


@bp.post("/catalog/orders/<uuid:order_id>/lines")
@html.page(may="catalog:write")
def put_line(order_id: UUID) -> AnyResponse:
    """Write one line, in place of what the order said of the service and rank before, or take it out."""
    typed = request.form.to_dict()
    raw = {
        "article": typed.get("article", ""),
        "doctor_rank": typed.get("doctor_rank") or ranks.NONE,
        "kind": typed.get("kind", "fixed"),
        "amount": forms.plain_number(typed.get("amount", "")) or None,
    }
    return _changed(order_id, lambda change, order: _put_line(change, order, raw, take="take" in typed))


def _put_line(change: Change, order: Order, raw: dict[str, Any], *, take: bool) -> None:
    before = order_lines.of(change.conn, order.id)
    line = Line(raw["article"], raw["doctor_rank"], "withdrawn", None) if take else Line(**_loaded_line(raw))
    # A line that withdraws every rank is shown as a row for each, and goes as a whole.
    meant = (line.rank, None) if take else (line.rank,)
    same = [place for place, each in enumerate(before) if each.article == line.article and each.rank in meant]
    after = [each for place, each in enumerate(before) if place not in same]
    if not take:
        after.insert(same[0] if same else len(after), line)
    try:
        drafting.put_lines(change, order, after)
    except InvalidInput as wrong:
        # One line was sent, so its members are the form's fields.
        place = f"/lines/{after.index(line)}/"
        raise InvalidInput(
            [Fault("/" + each.pointer.removeprefix(place), each.code, each.values) for each in wrong.faults]
        ) from wrong


def _loaded_line(raw: dict[str, Any]) -> dict[str, Any]:
    return forms.loaded(OrderLineIn(), raw)


@bp.post("/catalog/orders/<uuid:order_id>/bulk")
@html.page(may="catalog:write")
def move_prices(order_id: UUID) -> AnyResponse:
    typed = request.form.to_dict()
    numbers = {name: forms.plain_number(typed.get(name, "")) for name in ("percent", "round_to")}
    chosen = {name: typed.get(name, "") for name in ("category", "doctor_rank")}
    raw = {name: value for name, value in (numbers | chosen).items() if value}
    return _changed(
        order_id, lambda change, order: repricing.move(change, order, forms.loaded(repricing.PriceOrderBulkIn(), raw))
    )


@bp.post("/catalog/orders/<uuid:order_id>/discard")
@html.page(may="catalog:write")
def discard_order(order_id: UUID) -> AnyResponse:
    return _changed(order_id, lambda change, order: drafting.discard(change, order.id))


def _changed(order_id: UUID, work: Callable[[Change, Order], Any]) -> AnyResponse:
    """Do `work` on the draft the reader saw, then show it; what was refused is said beside what was typed."""
    typed = request.form.to_dict()
    try:
        with forms.change() as change:
            order = price_orders.locked(change.conn, order_id)
            forms.must_have_seen(order.row_version)
            work(change, order)
    except InvalidInput as wrong:
        return _order_page(order_id, _Sent(typed, faults=wrong.faults))
    except NotFound:
        raise
    except Problem as refusal:
        return _order_page(order_id, _Sent(typed, refusal=refusal))
    back = html.local(typed.get("back"))
    return redirect(back if back.startswith("/catalog/") else f"/catalog/orders/{order_id}", 303)


def _order_page(order_id: UUID, sent: _Sent | None = None) -> Response:
    sent = sent or _Sent()
    only = request.args.get("only", "")
    with db.moment() as conn:
        order = price_orders.get(conn, order_id)
        given = {
            "order": order,
            "list": price_lists.get(conn, order.price_list),
            "by": staff.logins(conn, [order.author, order.published_by or ""]),
        }
        if order.status == "draft":
            given |= _draft(conn, order, only) | _choices(conn, order)
        else:
            lines = order_lines.of(conn, order_id)
            given |= {"lines": lines[:SHOWN], "names": _names(conn, lines[:SHOWN]), "ranks": ranks.every(conn)}
    shown = render_template(
        "order.html" if order.status == "draft" else "order_done.html",
        **given,
        kinds=_KINDS,
        statuses=_STATUSES,
        today=clock.today(),
        typed=defaultdict(str, sent.typed),
        faults=forms.by_field(sent.faults, _SAID),
        refusal=forms.told(sent.refusal),
        most_shown=SHOWN,
    )
    return Response(shown, sent.status)


def _draft(conn: db.Connection, order: Order, only: str) -> dict[str, Any]:
    preview = previewing.of(conn, order, clock.today())
    body = preview.as_json(http.lang())
    rows = [each for each in body["lines"] if _is_asked(each, only)]
    return {"preview": body, "rows": rows[:SHOWN], "matching": len(rows), "only": only, "sums": _sums(preview)}


def _is_asked(row: dict[str, Any], only: str) -> bool:
    if only == "warnings":
        return bool(row["warnings"])
    return only in ("", row["effect"])


def _sums(preview: Preview) -> dict[str, Any]:
    """How the prices that stay sums move, taken together: the mean in percent."""
    moved = [each.percent for each in preview.effects if each.percent is not None]
    return {"mean": sum(moved) / len(moved) if moved else None}


def _choices(conn: db.Connection, order: Order) -> dict[str, Any]:
    """What the forms of a draft choose from, and what was found by the words searched for."""
    words = forms.search_words(request.args.get("q"))
    found = services.listed(conn, found=search.understood(conn, words), limit=_FOUND) if words else []
    known = ranks.every(conn)
    return {
        "categories": categories.every(conn),
        "ranks": known,
        "q": words,
        "found": [(each, _now(conn, order, each, known)) for each in found],
        "corrigible": price_orders.page(
            conn,
            {"status": "published", "price_list": order.price_list, "since": None, "until": None, "limit": 20},
            None,
        ),
    }


def _now(
    conn: db.Connection, order: Order, service: services.Service, known: Sequence[ranks.Rank]
) -> list[tuple[ranks.Rank | None, Priced | None]]:
    """The ranks a service may be priced for, with its prices on the order's first day."""
    of = list(known) if service.priced_by_rank else [None]
    day = order.effective_from
    asked = [prices.Wanted(service.article, rank.code if rank else None, day, day) for rank in of]
    answers = prices.on(conn, order.price_list, asked)
    return [(rank, each if isinstance(each, Priced) else None) for rank, each in zip(of, answers, strict=True)]


def _names(conn: db.Connection, lines: Sequence[Line]) -> dict[str, services.Service]:
    return services.named(conn, sorted({each.article for each in lines}))


# ---- Publishing ----


class _ConfirmIn(fields.Shape):
    """That somebody has looked at what will change."""

    class Meta:
        unknown = ma.EXCLUDE

    confirmed = fields.Choice("yes", required=True, error_messages={"required": "required"})


@bp.get("/catalog/orders/<uuid:order_id>/publish")
@html.page(may="prices:publish")
def confirm(order_id: UUID) -> AnyResponse:
    return _confirm_page(order_id)


@bp.post("/catalog/orders/<uuid:order_id>/publish")
@html.page(may="prices:publish")
def publish(order_id: UUID) -> AnyResponse:
    typed = request.form.to_dict()
    key = forms.known_key(typed.get("key"))
    version = typed.get("version", "")
    try:
        forms.loaded(_ConfirmIn(), typed)
        forms.once(key, {"order": str(order_id), "version": version}, lambda change: _publish(change, order_id))
    except InvalidInput as wrong:
        return _confirm_page(order_id, key=key, faults=wrong.faults)
    except NotFound:
        raise
    except Problem as refusal:
        return _confirm_page(order_id, refusal=refusal)
    return redirect(f"/catalog/orders/{order_id}", 303)


def _publish(change: Change, order_id: UUID) -> UUID:
    forms.must_have_seen(price_orders.locked(change.conn, order_id).row_version)
    return publishing.publish(change, order_id).id


def _confirm_page(
    order_id: UUID, *, key: str | None = None, faults: Sequence[Fault] = (), refusal: Problem | None = None
) -> AnyResponse:
    with db.moment() as conn:
        order = price_orders.get(conn, order_id)
        if order.status != "draft":
            return redirect(f"/catalog/orders/{order_id}", 303)
        preview = previewing.of(conn, order, clock.today()).as_json(http.lang())
        price_list = price_lists.get(conn, order.price_list)
    shown = render_template(
        "order_publish.html",
        order=order,
        list=price_list,
        preview=preview,
        warned=sum(bool(each["warnings"]) for each in preview["lines"]) + len(preview["warnings"]),
        today=clock.today(),
        key=key or forms.new_key(),
        faults=forms.by_field(faults, _SAID),
        refusal=forms.told(refusal),
    )
    return Response(shown, refusal.status if refusal else 422 if faults else 200)
