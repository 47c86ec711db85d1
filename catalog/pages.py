"""The public price list as a page: the same reading as the JSON feed, laid out for people and for paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby

from flask import Blueprint, Response, g, render_template, request
from marshmallow import ValidationError
from werkzeug.wrappers import Response as AnyResponse

from catalog import feed, listing
from catalog.listing import Item, Offer
from clinic import clock, fields, forms, html, http

bp = Blueprint("catalog_pages", __name__, template_folder="templates")
html.door(
    1,
    "/prices",
    ("Цены", "Prices"),
    ("Прейскурант клиники: найти услугу и узнать цену", "The clinic's price list: find a service and its price"),
)


@dataclass(frozen=True)
class Section:
    """The services of one category. `ranks` head the columns where prices depend on the doctor's rank."""

    items: Sequence[Item]

    @property
    def first(self) -> Offer:
        return self.items[0].service

    @property
    def ranks(self) -> list[tuple[str, str, str]]:
        """(code, Russian name, English name), each once, in the order in which the offers have them."""
        by_rank = [offer for item in self.items if item.service.priced_by_rank for offer in item.offers]
        return list(dict.fromkeys((offer.doctor_rank, offer.rank_ru, offer.rank_en) for offer in by_rank))


@bp.get("/prices")
@html.page(may=http.PUBLIC)
def prices() -> AnyResponse:
    words = forms.search_words(request.args.get("q"))
    on = _day(request.args.get("on"))
    found = listing.read(on or clock.today(), words=words or None)
    sections = [Section(list(items)) for _, items in groupby(found.items, key=lambda item: item.service.category)]
    response = Response(
        render_template(
            "prices.html",
            listing=found,
            sections=sections,
            q=words,
            on=on,
            last_day=lambda end: end - timedelta(days=1),
        )
    )
    return _cacheable(response) if "actor" not in g else response


def _day(asked: str | None) -> date | None:
    """The day of the address; today's prices when it cannot be read."""
    try:
        return fields.Day(allow_none=True).deserialize(asked)
    except ValidationError:
        return None


def _cacheable(response: Response) -> AnyResponse:
    """As long as the feed's answers; a page of somebody who is signed in names him and is kept by nobody."""
    response.headers["Cache-Control"] = f"public, max-age={feed.fresh_for()}, stale-if-error=86400"
    response.vary.update(("Accept-Language", "Cookie"))
    response.add_etag()
    return response.make_conditional(request)
