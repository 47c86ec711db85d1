"""The public price list as a page shows it: whole while it is small, else its categories first and each by pages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import groupby
from uuid import UUID

from catalog import categories, listing, package_offers, price_chart, price_history, price_lists, search, services, vat
from catalog.listing import Days, Item, Offer, OrderHead
from catalog.price_chart import Chart
from catalog.price_history import PublicPast
from catalog.price_lists import PriceList
from catalog.services import Service
from clinic import branches, db
from clinic.auth import COMMAND_LINE
from clinic.branches import Branch
from clinic.errors import NotFound

WHOLE = 300
"""So many services are one page; more of them would be slow to load and to read on a phone."""
PER_PAGE = 100


@dataclass(frozen=True)
class Category:
    """A section of the list with its services in their order; more of them than one page shows, perhaps."""

    code: str
    name_ru: str
    name_en: str
    services: list[UUID]


@dataclass(frozen=True)
class Row:
    """A service, and by rank what it costs on the day and what is ordered ahead, from the earliest on."""

    item: Item
    by_rank: dict[str, list[Offer]]

    @property
    def service(self) -> Offer:
        return self.item.service


@dataclass(frozen=True)
class Section:
    """The services of one category that this page shows. `ranks` head the columns where prices depend on them."""

    rows: Sequence[Row]

    @property
    def first(self) -> Offer:
        return self.rows[0].service

    @property
    def ranks(self) -> list[tuple[str, str, str]]:
        """(code, Russian name, English name) of each rank that some service here has a price for, from the lowest."""
        offers = [offer for row in self.rows if row.service.priced_by_rank for offer in row.item.offers]
        offers.sort(key=lambda offer: offer.rank_position)
        return list(dict.fromkeys((offer.doctor_rank, offer.rank_ru, offer.rank_en) for offer in offers))


@dataclass(frozen=True)
class Page:
    """What one page shows of the list of a day. Without `sections` there are only `categories` to choose from.

    Without `order` nothing had been priced up to the day. `number` of `pages` counts from 1; `total` is how many
    services were asked for, of which the page may show but some.
    """

    on: date
    price_list: PriceList
    order: OrderHead | None
    clinic: Branch | None
    categories: Sequence[Category]
    sections: Sequence[Section]
    packages: Sequence[package_offers.Offer]
    number: int
    pages: int
    total: int

    @property
    def items(self) -> list[Item]:
        return [row.item for section in self.sections for row in section.rows]

    def has_kind(self, kind: str) -> bool:
        """Whether some price on this page is of this kind."""
        return any(offer.kind == kind for item in self.items for offer in item.offers)


def page(on: date, *, category: str | None, words: str | None, number: int) -> Page:
    """A page of the list as it is on a day, with what is ordered for later days.

    Raises:
        InvalidInput: there is no such category.
    """
    days = Days(on)
    with db.moment() as conn:
        within = None if category is None else categories.within(conn, category)
        found = _categories(conn, days, within, search.understood_in_public(conn, words, days.as_range()))
        wanted = [each for of_one in found for each in of_one.services]
        total = len(wanted)
        pages = -(-total // PER_PAGE) if total > WHOLE else 1
        number = min(number, pages)
        if pages > 1:
            wanted = wanted[(number - 1) * PER_PAGE : number * PER_PAGE]
            if within is None and not words:
                wanted, pages = [], 1
        sections = _sections(listing.items(conn, days, services=wanted) if wanted else [])
        return Page(
            on=on,
            price_list=price_lists.get(conn, price_lists.BASE),
            order=listing.newest_order(conn, on),
            clinic=clinic(conn),
            categories=found,
            sections=sections,
            packages=_packages(conn, on, sections, all_of_them=within is None and not words) if number == 1 else [],
            number=number,
            pages=pages,
            total=total,
        )


def _packages(
    conn: db.Connection, on: date, sections: Sequence[Section], *, all_of_them: bool
) -> list[package_offers.Offer]:
    if all_of_them:
        return package_offers.listed(conn, price_lists.BASE, on)
    return listing.packages_of(conn, on, {row.service.article for section in sections for row in section.rows})


@dataclass(frozen=True)
class ServicePage:
    """A service as its page shows it. Without `item` it has no price, neither today nor on a day to come."""

    today: date
    service: Service
    category: categories.Category
    vat_rate: Decimal | None
    history: Sequence[PublicPast]
    item: Item | None
    clinic: Branch | None

    @property
    def chart(self) -> Chart | None:
        return price_chart.of(self.history, self.today)


def service(article: str, today: date) -> ServicePage:
    """A service with all its public prices.

    Raises:
        NotFound: there is none, or the public list never had it: strangers cannot tell these apart.
    """
    if not re.fullmatch(services.ARTICLE, article, re.ASCII):
        raise NotFound()
    with db.moment() as conn:
        found = services.get(conn, article)
        history = price_history.public(conn, found.id)
        if not history:
            raise NotFound()
        return ServicePage(
            today=today,
            service=found,
            category=next(each for each in categories.every(conn) if each.code == found.category),
            vat_rate=vat.rate_on(conn, found.vat_category, today),
            history=history,
            item=next(iter(listing.items(conn, Days(today), services=[found.id])), None),
            clinic=clinic(conn),
        )


def clinic(conn: db.Connection) -> Branch | None:
    """Whose list it is: the main branch, by the requisites that documents have."""
    return next((each for each in branches.every(conn, COMMAND_LINE) if each.code == branches.MAIN), None)


def _sections(items: Sequence[Item]) -> list[Section]:
    return [
        Section([_row(each) for each in of_one]) for _, of_one in groupby(items, lambda item: item.service.category)
    ]


def _row(item: Item) -> Row:
    by_rank = groupby(item.offers, lambda offer: offer.doctor_rank)
    return Row(item, {rank: list(offers) for rank, offers in by_rank})


def _categories(conn: db.Connection, days: Days, within: Sequence[str] | None, found: search.Search) -> list[Category]:
    """The categories of what is asked for, with their services, in the order of `listing.items`."""
    return db.filtered(
        conn,
        Category,
        """
        SELECT category.code, category.name_ru, category.name_en,
               array_agg(service.id ORDER BY service.article COLLATE "C") AS services
          FROM medical_service AS service
          JOIN category ON category.code = service.category
         WHERE EXISTS (SELECT FROM public_price AS price
                        WHERE price.service_id = service.id AND price.valid && %(days)s::daterange)
           AND (%(within)s::text[] IS NULL OR service.category = ANY (%(within)s::text[]))
           AND (%(patterns)s::text[] IS NULL OR service.search LIKE ALL (%(patterns)s::text[]))
           AND (%(meant)s::uuid[] IS NULL OR service.id = ANY (%(meant)s::uuid[]))
         GROUP BY category.code
         ORDER BY category.position, category.code
        """,
        {
            "days": days.as_range(),
            "within": None if within is None else list(within),
            "patterns": found.patterns,
            "meant": found.meant,
        },
    )
