"""The public price list as pages: the same reading as the feed, laid out for people, for paper and search engines."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import cast

from flask import Blueprint, Response, current_app, g, render_template, request
from marshmallow import ValidationError
from werkzeug.wrappers import Response as AnyResponse

from catalog import browsing, categories, feed, linked_data, negotiation, vat
from catalog.browsing import Category, Page
from clinic import clock, fields, forms, html, http
from clinic.errors import InvalidInput, NotFound
from clinic.settings import Settings

bp = Blueprint("catalog_pages", __name__, template_folder="templates")
html.door(
    1,
    "/prices",
    ("Цены", "Prices"),
    ("Прейскурант клиники: найти услугу и узнать цену", "The clinic's price list: find a service and its price"),
)


@bp.get("/prices")
@html.page(may=http.PUBLIC)
def prices() -> AnyResponse:
    words = forms.search_words(request.args.get("q"))
    on = _day(request.args.get("on"))
    category = request.args.get("category") or None
    if category and not re.fullmatch(categories.FORM, category, re.ASCII):
        raise NotFound()
    try:
        page = browsing.page(on or clock.today(), category=category, words=words or None, number=_number())
    except InvalidInput as unknown:
        raise NotFound() from unknown
    shown = render_template(
        "prices.html",
        page=page,
        q=words,
        on=on,
        category=_category_of(page, category),
        # Found services are told where they stand in the list; twice would be noise.
        linked_data=None if words or not page.sections else linked_data.of_page(page, _base(), http.lang()),
        last_day=_day_before,
        vat_mark=vat.mark,
    )
    return _given(shown)


@bp.get("/prices/<string:article>")
@html.page(may=http.PUBLIC)
def service_prices(article: str) -> AnyResponse:
    found = browsing.service(article, clock.today())
    shown = render_template(
        "service_prices.html",
        found=found,
        service=found.service,
        vat_mark=vat.mark(found.vat_rate, http.lang()),
        linked_data=found.item and linked_data.of_service(found.item, found.clinic, _base(), http.lang()),
        last_day=_day_before,
    )
    return _given(shown)


def _day(asked: str | None) -> date | None:
    """The day of the address; today's prices when it cannot be read."""
    try:
        return fields.Day(allow_none=True).deserialize(asked)
    except ValidationError:
        return None


def _number() -> int:
    """The page of the address; the first one when it cannot be read."""
    asked = request.args.get("page", "")
    return int(asked) if re.fullmatch(r"[1-9][0-9]{0,4}", asked) else 1


def _category_of(page: Page, code: str | None) -> Category | None:
    return next((each for each in page.categories if each.code == code), None)


def _day_before(end: date) -> date:
    return end - timedelta(days=1)


def _base() -> str:
    """The address people open, where the settings name it; without it links are read from the page they stand on."""
    return (cast(Settings, current_app.config["CLINIC"]).public_url or "").rstrip("/")


def _given(shown: str) -> AnyResponse:
    """For as long as the feed's answers; a page of somebody who is signed in names him and is kept by nobody."""
    response = Response(shown)
    if "actor" in g:
        return response
    response.headers["Cache-Control"] = f"public, max-age={feed.fresh_for()}, stale-if-error=86400"
    response.vary.update(("Accept-Language", "Accept-Encoding", "Cookie"))
    _pack(response)
    response.add_etag()
    return response.make_conditional(request)


def _pack(response: Response) -> None:
    # A stranger's page holds no secret, so that its length tells nothing.
    encoding = negotiation.encoding(request.headers.get("Accept-Encoding")) or negotiation.PLAIN
    if encoding != negotiation.PLAIN:
        response.set_data(negotiation.packed(response.get_data(), encoding))
        response.content_encoding = encoding
