"""JSON of the catalog: the public price feed, services, categories, ranks, price lists."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import marshmallow as ma
from flask import Response, request

from catalog import (
    categories,
    examples,
    feed,
    feed_csv,
    listing,
    negotiation,
    nomenclature,
    price_history,
    price_lists,
    ranks,
    search,
    services,
    vat,
)
from catalog.categories import CategoryIn, CategoryOut, CategoryTaken
from catalog.price_lists import PriceList, PriceListIn, PriceListOut, PriceListPatch, PriceListTaken
from catalog.services import ArticleTaken, Service, ServiceHasPrices, ServiceIn, ServiceOut, ServicePatch
from clinic import clock, db, errors, fields, http, ids, lists

bp = http.Blueprint("catalog", __name__, url_prefix="/v1", description="What the clinic sells, and for how much")

_ARTICLE_AT = "/services/<string:article>"


class PricesQuery(http.Query):
    on = fields.Day(load_default=None, metadata={"description": "prices of this day; today unless given"})
    first = fields.Day(
        data_key="from", load_default=None,
        metadata={"description": "prices of a period, with what is ordered ahead: its first day; today unless given"},
    )  # fmt: skip
    last = fields.Day(
        data_key="until", load_default=None,
        metadata={"description": "its last day, included; without it there is no end"},
    )  # fmt: skip
    category = fields.Form(
        categories.FORM, load_default=None, metadata={"description": "only this category and those inside it"}
    )
    q = fields.Text(
        100, least=0, load_default=None,
        metadata={"description": "words of names in either language, or of articles; any order, small slips forgiven"},
    )  # fmt: skip
    rank = fields.Form(
        ranks.FORM, load_default=None,
        metadata={"description": "of prices that depend on the doctor's rank only those of this one"},
    )  # fmt: skip


class FeedPriceOut(ma.Schema):
    """A price; `valid_until` is exclusive."""

    doctor_rank = ma.fields.String(required=True)
    rank_name = ma.fields.String(required=True)
    kind = ma.fields.String(required=True, metadata={"enum": ["fixed", "from", "on_request"]})
    amount = ma.fields.String(required=True, allow_none=True)
    valid_from = ma.fields.Date(required=True)
    valid_until = ma.fields.Date(required=True, allow_none=True)
    order = ma.fields.String(required=True)
    order_date = ma.fields.Date(required=True)


class FeedNamedOut(ma.Schema):
    """A thing by its code, with its name in the language of the answer."""

    code = ma.fields.String(required=True)
    name = ma.fields.String(required=True)


class FeedVatOut(ma.Schema):
    """VAT inside the prices, on the (first) day; `rate` is in percent, and null where VAT is not charged."""

    category = ma.fields.String(required=True, metadata={"enum": list(vat.CATEGORIES)})
    rate = ma.fields.String(required=True, allow_none=True)
    text = ma.fields.String(required=True)


class FeedItemOut(ma.Schema):
    """A service on offer. `min` and `max` are of the prices listed here, and null when every one is on request."""

    article = ma.fields.String(required=True)
    name = ma.fields.String(required=True)
    category = ma.fields.Nested(FeedNamedOut, required=True)
    nomenclature_codes = ma.fields.List(ma.fields.String(), required=True)
    unit = ma.fields.String(required=True)
    vat = ma.fields.Nested(FeedVatOut, required=True)
    note = ma.fields.String(required=True, allow_none=True)
    min = ma.fields.String(required=True, allow_none=True)
    max = ma.fields.String(required=True, allow_none=True)
    prices = ma.fields.List(ma.fields.Nested(FeedPriceOut), required=True)


class FeedOrderOut(ma.Schema):
    """A price order."""

    number = ma.fields.String(required=True)
    date = ma.fields.Date(required=True)
    effective_from = ma.fields.Date(required=True)


class FeedPackagePartOut(ma.Schema):
    """A part of a package: what it costs alone, and its share of what the package costs."""

    article = ma.fields.String(required=True)
    name = ma.fields.String(required=True)
    doctor_rank = ma.fields.String(required=True)
    quantity = ma.fields.String(required=True)
    list_amount = ma.fields.String(required=True)
    share = ma.fields.String(required=True)


class FeedPackageOut(ma.Schema):
    """A package on offer. The shares of its parts add up to `total`; one by one they cost `list_amount`."""

    code = ma.fields.String(required=True)
    name = ma.fields.String(required=True)
    note = ma.fields.String(required=True, allow_none=True)
    total = ma.fields.String(required=True)
    list_amount = ma.fields.String(required=True)
    valid_from = ma.fields.Date(required=True)
    valid_until = ma.fields.Date(required=True, allow_none=True)
    parts = ma.fields.List(ma.fields.Nested(FeedPackagePartOut), required=True)


class FeedOut(ma.Schema):
    """The price list of a day, or of the period `from` to `until` with `orders`, in rubles.

    `order` is the last one that had taken effect by the (first) day, `orders` are those that do within the period.
    `packages` are there for a day: those of which some part is among the items."""

    on = ma.fields.Date(required=True, allow_none=True)
    first = ma.fields.Date(data_key="from")
    last = ma.fields.Date(data_key="until", allow_none=True)
    lang = ma.fields.String(required=True)
    currency = ma.fields.String(required=True)
    price_list = ma.fields.Nested(FeedNamedOut, required=True)
    order = ma.fields.Nested(FeedOrderOut, required=True, allow_none=True)
    orders = ma.fields.List(ma.fields.Nested(FeedOrderOut))
    items = ma.fields.List(ma.fields.Nested(FeedItemOut), required=True)
    packages = ma.fields.List(ma.fields.Nested(FeedPackageOut))


class ServicesQuery(lists.Page):
    category = fields.Form(
        categories.FORM, load_default=None, metadata={"description": "only this category and those inside it"}
    )
    q = fields.Text(100, least=0, load_default=None, metadata={"description": "words of names and articles"})
    active = fields.Flag(query=True, load_default=None)


class ServicesOut(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(ServiceOut), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)


class ServicePriceOut(ma.Schema):
    """A price of any time and who ordered it; `corrected_by` is the id of the order that put it right."""

    price_list = ma.fields.String(required=True)
    doctor_rank = ma.fields.String(required=True)
    kind = ma.fields.String(required=True, metadata={"enum": ["fixed", "from", "on_request", "withdrawn"]})
    amount = ma.fields.String(required=True, allow_none=True)
    valid_from = ma.fields.Date(required=True)
    valid_until = ma.fields.Date(required=True, allow_none=True)
    order = ma.fields.String(required=True)
    order_date = ma.fields.Date(required=True)
    order_id = ma.fields.UUID(required=True)
    author = ma.fields.String(required=True)
    published_by = ma.fields.String(required=True)
    published_at = ma.fields.DateTime(required=True)
    corrected_by = ma.fields.UUID(required=True, allow_none=True)
    corrected_by_number = ma.fields.String(required=True, allow_none=True)
    corrected_by_date = ma.fields.Date(required=True, allow_none=True)


class ServicePricesOut(ma.Schema):
    article = ma.fields.String(required=True)
    prices = ma.fields.List(ma.fields.Nested(ServicePriceOut), required=True)


class CategoriesOut(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(CategoryOut), required=True)


class PriceListsOut(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(PriceListOut), required=True)


# ---- The public feed ----


@bp.get("/prices")
@bp.contract(
    may=http.PUBLIC, gives={200: FeedOut, 304: None}, query=PricesQuery, refuses=(errors.NotAcceptable,),
    answers=examples.FEED, other_forms={negotiation.CSV: examples.FEED_CSV},
)  # fmt: skip
def read_prices(wanted: dict[str, Any]) -> Response:
    """Public prices of a day, or of a period

    For anyone and for pages of any site. With `from` or `until` every price that is in force on some day of the
    period is listed, with the `orders` that take effect in it; a withdrawal is a `valid_until` that no price follows.

    JSON, or by `Accept: text/csv` a row for each price: UTF-8, commas, decimal points, `min` and `max` those of the
    service's item. The answer has a strong ETag for each form and may be kept until it says so; it follows a new order
    within a second and turns over at the clinic's midnight. While the database is away the last answer is given, with
    the header `Warning: 110`."""
    media_type = negotiation.media_type(request.headers.get("Accept", ""))
    if media_type is None or negotiation.encoding(request.headers.get("Accept-Encoding")) is None:
        raise errors.NotAcceptable(types=[negotiation.JSON, negotiation.CSV], encodings=list(negotiation.ENCODINGS))
    answer = _feed_answer(wanted, media_type, clock.today())
    feed.offer(answer)
    return Response(answer.body, content_type=answer.content_type)


def _feed_answer(wanted: dict[str, Any], media_type: str, today: date) -> feed.Answer:
    filters = {"category": wanted["category"], "words": wanted["q"], "rank": wanted["rank"]}
    period = listing.Days.of_query(wanted["on"], wanted["first"], wanted["last"], today)
    shown = listing.read_period(period, **filters) if period else listing.read(wanted["on"] or today, **filters)
    lang = http.lang()
    as_csv = media_type == negotiation.CSV
    return feed.Answer.made(
        feed_csv.of(shown, lang) if as_csv else http.dumped(shown.as_json(lang)),
        feed_csv.TYPE if as_csv else negotiation.JSON,
        lang,
        shown.changed_at,
        None if wanted["on"] or wanted["first"] else clock.beginning_of(today),
    )


# ---- Services ----


def _etag(service: Service) -> str:
    return http.etag(service.id, service.row_version)


def _shown(conn: db.Connection, found: Sequence[Service]) -> list[dict[str, Any]]:
    """The services with what is worth a look about each."""
    told = nomenclature.warnings(conn, clock.today(), {each.article: each.nomenclature_codes for each in found})
    return [each.as_json(http.lang(), told[each.article]) for each in found]


@bp.get("/services")
@bp.contract(may="catalog:read", gives={200: ServicesOut}, query=ServicesQuery, refuses=(errors.BadCursor,))
def list_services(wanted: dict[str, Any]) -> Response:
    """Services, by article"""
    place = lists.place_of("services", lists.filters_of(wanted), wanted["cursor"])
    with db.reading() as conn:
        rows = services.listed(
            conn,
            within=None if wanted["category"] is None else categories.within(conn, wanted["category"]),
            found=search.understood(conn, wanted["q"]),
            active=wanted["active"],
            after=place[0] if place else None,
            limit=wanted["limit"] + 1,
        )
        rows, cursor = lists.page_of("services", wanted, rows, lambda service: [service.article])
        shown = _shown(conn, rows)
    return http.reply({"items": shown, "next_cursor": cursor})


@bp.post("/services")
@bp.contract(
    may="catalog:write", takes=ServiceIn, gives={201: ServiceOut}, refuses=(ArticleTaken,), key="optional",
    example=examples.SERVICE_IN, answers=examples.SERVICE,
)  # fmt: skip
def create_service(wanted: dict[str, Any]) -> Response:
    """Add a service

    It has no price until a price order gives one. The article never changes and is never given to another service."""
    with http.change() as change:
        service = services.create(change, wanted)
        headers = {"ETag": _etag(service), "Location": f"/v1/services/{service.article}"}
        answer = change.give(201, _shown(change.conn, [service])[0], headers=headers)
    return http.shown(answer)


@bp.get(_ARTICLE_AT)
@bp.contract(may="catalog:read", gives={200: ServiceOut}, refuses=(errors.NotFound,), answers=examples.SERVICE)
def read_service(article: str) -> Response:
    """A service"""
    with db.reading() as conn:
        service = services.get(conn, article)
        shown = _shown(conn, [service])[0]
    return http.reply(shown, headers={"ETag": _etag(service)})


@bp.patch(_ARTICLE_AT)
@bp.contract(
    may="catalog:write", takes=ServicePatch, gives={200: ServiceOut}, refuses=(errors.NotFound, ServiceHasPrices),
    match=True, example={"active": False}, answers=examples.SERVICE,
)  # fmt: skip
def change_service(wanted: dict[str, Any], article: str) -> Response:
    """Change a service

    Members left out stay as they are. Quotes and invoices already made keep what they copied."""
    with http.change() as change:
        service = services.locked(change.conn, article)
        http.must_match(_etag(service))
        service = services.edit(change, service, wanted)
        shown = _shown(change.conn, [service])[0]
    return http.reply(shown, headers={"ETag": _etag(service)})


@bp.get(f"{_ARTICLE_AT}/prices")
@bp.contract(may="catalog:read", gives={200: ServicePricesOut}, refuses=(errors.NotFound,))
def read_service_prices(article: str) -> Response:
    """All prices of a service: past, present and ordered ahead, of every price list"""
    with db.reading() as conn:
        past = price_history.of_every_list(conn, services.get(conn, article).id)
    return http.reply({"article": article, "prices": [each.as_json() for each in past]})


# ---- What services refer to ----


@bp.get("/categories")
@bp.contract(may="catalog:read", gives={200: CategoriesOut})
def list_categories() -> Response:
    """Categories, in the order of the price list"""
    with db.reading() as conn:
        return http.reply({"items": [each.as_json() for each in categories.every(conn)]})


@bp.post("/categories")
@bp.contract(
    may="catalog:write", takes=CategoryIn, gives={201: CategoryOut}, refuses=(CategoryTaken,), key="optional",
    example=examples.CATEGORY, answers=examples.CATEGORY,
)  # fmt: skip
def create_category(wanted: dict[str, Any]) -> Response:
    """Add a category

    Its Russian name is how files name it."""
    name = wanted["name"]
    with http.change() as change:
        category = categories.create(change, wanted["code"], name["ru"], name["en"], wanted["parent"])
        answer = change.give(201, category.as_json())
    return http.shown(answer)


@bp.get("/price-lists")
@bp.contract(may="catalog:read", gives={200: PriceListsOut})
def list_price_lists() -> Response:
    """Price lists

    `fallback` names the list that is asked next for a service without a price."""
    with db.reading() as conn:
        return http.reply({"items": [each.as_json() for each in price_lists.every(conn)]})


_LIST_AT = "/price-lists/<string:price_list>"


@bp.post("/price-lists")
@bp.contract(
    may="catalog:write", takes=PriceListIn, gives={201: PriceListOut}, refuses=(PriceListTaken,), key="optional",
    example=examples.PRICE_LIST_IN, answers={**examples.PRICE_LIST_IN},
)  # fmt: skip
def create_price_list(wanted: dict[str, Any]) -> Response:
    """Add a price list

    For an insurer, foreign citizens, staff or others. Its prices come with price orders that name it."""
    with http.change() as change:
        made = price_lists.create(change, wanted)
        headers = {"Location": f"/v1/price-lists/{made.code}", "ETag": _list_etag(made)}
        answer = change.give(201, made.as_json(), headers=headers)
    return http.shown(answer)


@bp.get(_LIST_AT)
@bp.contract(may="catalog:read", gives={200: PriceListOut}, refuses=(errors.NotFound,), answers=examples.PRICE_LIST_IN)
def read_price_list(price_list: str) -> Response:
    """A price list"""
    with db.reading() as conn:
        found = price_lists.find(conn, price_list)
    if found is None:
        raise errors.NotFound()
    return http.reply(found.as_json(), headers={"ETag": _list_etag(found)})


@bp.patch(_LIST_AT)
@bp.contract(
    may="catalog:write", takes=PriceListPatch, gives={200: PriceListOut}, refuses=(errors.NotFound,), match=True,
    example={"contract": {"valid_until": "2027-06-01"}}, answers=examples.PRICE_LIST_IN,
)  # fmt: skip
def change_price_list(wanted: dict[str, Any], price_list: str) -> Response:
    """Change a price list

    Names, number of the contract, end; members left out stay as they are. What was sold at it stays as it is."""
    with http.change() as change:
        found = price_lists.locked(change.conn, price_list)
        http.must_match(_list_etag(found))
        found = price_lists.edit(change, found, wanted)
    return http.reply(found.as_json(), headers={"ETag": _list_etag(found)})


def _list_etag(price_list: PriceList) -> str:
    return http.etag(ids.of_code("price_list", price_list.code), price_list.row_version)
