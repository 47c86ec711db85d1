"""The public price list as people and programs read it: every service on offer with its prices.

It is read of one day, or of a period with all that is ordered ahead in it. No other list is ever looked at.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import groupby
from typing import Any
from uuid import UUID

from psycopg.types.range import DateRange

from catalog import categories, package_offers, price_lists, ranks, search, vat
from catalog.price_lists import PriceList
from clinic import db, errors, money
from clinic.errors import Fault, InvalidInput

errors.describe(
    {
        "day_and_period": (
            "Укажите либо день `on`, либо период `from` и `until`.",
            "Give either the day `on`, or the period `from` and `until`.",
        ),
        "until_before_from": ("Период кончается раньше, чем начинается.", "The period ends before it begins."),
    }
)


@dataclass(frozen=True)
class Days:
    """The days that are asked about, both included; without `last` there is no end."""

    first: date
    last: date | None = None

    @classmethod
    def of_query(cls, on: date | None, first: date | None, last: date | None, today: date) -> Days | None:
        """The period that an address asks for, from today unless it says otherwise; None when it asks for a day.

        Raises:
            InvalidInput: it asks for both, or the period ends before it begins.
        """
        if first is None and last is None:
            return None
        faults = [Fault("?on", "day_and_period")] if on else []
        if last and last < (first or today):
            faults.append(Fault("?until", "until_before_from"))
        if faults:
            raise InvalidInput(faults)
        return cls(first or today, last)

    def as_range(self) -> DateRange:
        return DateRange(self.first, self.last, "[]" if self.last else "[)")


@dataclass(frozen=True)
class Offer:
    """One price on offer, with what the list says of its service. `valid_until` is exclusive."""

    service_id: UUID
    article: str
    name_ru: str
    name_en: str
    category: str
    category_ru: str
    category_en: str
    nomenclature_codes: list[str]
    unit: str
    vat_category: str
    vat_rate: Decimal | None
    note: str | None
    priced_by_rank: bool
    doctor_rank: str
    rank_position: int
    rank_ru: str
    rank_en: str
    kind: str
    amount: Decimal | None
    valid_from: date
    valid_until: date | None
    order: str
    order_date: date


@dataclass(frozen=True)
class OrderHead:
    """An order as the list names it."""

    number: str
    effective_from: date
    date: date

    def as_json(self) -> dict[str, Any]:
        return {"number": self.number, "date": self.date, "effective_from": self.effective_from}


@dataclass(frozen=True)
class Item:
    """A service with its prices, from the lowest rank and the earliest day."""

    offers: Sequence[Offer]

    @property
    def service(self) -> Offer:
        """Any of the offers: they say the same of the service."""
        return self.offers[0]

    @property
    def amounts(self) -> list[Decimal]:
        return [each.amount for each in self.offers if each.amount is not None]

    @property
    def least(self) -> Decimal | None:
        """The lowest price there is over all ranks and days of the list; None when every one is on request."""
        return min(self.amounts, default=None)

    @property
    def most(self) -> Decimal | None:
        """The highest one, likewise."""
        return max(self.amounts, default=None)


@dataclass(frozen=True)
class Listing:
    """The public price list of a day, or of a period where there is one.

    Without `order` nothing had ever been priced up to the (first) day. `orders` are those that take effect within
    the period. `packages` are those sold on the day of which some part is among the items. `changed_at` is when the
    catalog changed last, as this reading saw it.
    """

    on: date
    period: Days | None
    price_list: PriceList
    order: OrderHead | None
    orders: Sequence[OrderHead]
    items: Sequence[Item]
    packages: Sequence[package_offers.Offer]
    changed_at: datetime

    def as_json(self, lang: str) -> dict[str, Any]:
        """The answer of `GET /v1/prices`."""
        russian = lang == "ru"
        return {
            **self._days_json(),
            "lang": lang,
            "currency": "RUB",
            "price_list": {
                "code": self.price_list.code,
                "name": self.price_list.name_ru if russian else self.price_list.name_en,
            },
            "order": self.order and self.order.as_json(),
            **({"orders": [each.as_json() for each in self.orders]} if self.period else {}),
            "items": [_item_json(each, lang) for each in self.items],
            **({} if self.period else {"packages": [each.public_json(lang) for each in self.packages]}),
        }

    def _days_json(self) -> dict[str, Any]:
        if self.period is None:
            return {"on": self.on}
        return {"on": None, "from": self.period.first, "until": self.period.last}


def _item_json(item: Item, lang: str) -> dict[str, Any]:
    service, russian = item.service, lang == "ru"
    return {
        "article": service.article,
        "name": service.name_ru if russian else service.name_en,
        "category": {"code": service.category, "name": service.category_ru if russian else service.category_en},
        "nomenclature_codes": service.nomenclature_codes,
        "unit": service.unit,
        "vat": {
            "category": service.vat_category,
            "rate": None if service.vat_rate is None else vat.shown(service.vat_rate),
            "text": vat.mark(service.vat_rate, lang),
        },
        "note": service.note,
        "min": money.text_or_none(item.least),
        "max": money.text_or_none(item.most),
        "prices": [_offer_json(each, russian=russian) for each in item.offers],
    }


def _offer_json(offer: Offer, *, russian: bool) -> dict[str, Any]:
    return {
        "doctor_rank": offer.doctor_rank,
        "rank_name": offer.rank_ru if russian else offer.rank_en,
        "kind": offer.kind,
        "amount": money.text_or_none(offer.amount),
        "valid_from": offer.valid_from,
        "valid_until": offer.valid_until,
        "order": offer.order,
        "order_date": offer.order_date,
    }


def read(on: date, *, category: str | None = None, words: str | None = None, rank: str | None = None) -> Listing:
    """The public price list of a day, of one moment.

    Args:
        on: the day of the prices; services sold no longer are still shown for days before that.
        category: only this one and those inside it.
        words: only services that have all these words, see `search`.
        rank: of prices that depend on the doctor's rank only those of this one.

    Raises:
        InvalidInput: there is no such category or rank.
    """
    with db.moment() as conn:
        return _listing(conn, Days(on, on), None, category, words, rank)


def read_period(
    period: Days, *, category: str | None = None, words: str | None = None, rank: str | None = None
) -> Listing:
    """The public price list of a period: every price that is in force on one of its days; see `read`.

    A withdrawal is no price: the one before it ends on a day on which no other one begins.

    Raises:
        InvalidInput: there is no such category or rank.
    """
    with db.moment() as conn:
        return _listing(conn, period, period, category, words, rank)


def _listing(
    conn: db.Connection, days: Days, period: Days | None, category: str | None, words: str | None, rank: str | None
) -> Listing:
    if rank is not None and rank not in {each.code for each in ranks.every(conn)}:
        raise InvalidInput([Fault("?rank", "unknown_rank", (("doctor_rank", rank),))])
    within = None if category is None else categories.within(conn, category)
    found = search.understood_in_public(conn, words, days.as_range())
    shown = items(conn, days, within=within, found=found, rank=rank)
    return Listing(
        on=days.first,
        period=period,
        price_list=price_lists.get(conn, price_lists.BASE),
        order=newest_order(conn, days.first),
        orders=_orders(conn, period) if period else [],
        items=shown,
        packages=[] if period else packages_of(conn, days.first, {each.service.article for each in shown}),
        changed_at=changed_at(conn),
    )


def packages_of(conn: db.Connection, day: date, articles: Collection[str]) -> list[package_offers.Offer]:
    """The public packages sold on `day` that have one of these services as a part."""
    offers = package_offers.listed(conn, price_lists.BASE, day)
    return [each for each in offers if any(part.article in articles for part in each.package.parts)]


def items(
    conn: db.Connection,
    days: Days,
    *,
    services: Sequence[UUID] | None = None,
    within: Sequence[str] | None = None,
    found: search.Search | None = None,
    rank: str | None = None,
) -> list[Item]:
    """Services with their public prices on `days`, in the list's order; all of them but for what is asked for."""
    offers = db.filtered(
        conn,
        Offer,
        """
        SELECT service.id AS service_id, service.article, service.name_ru, service.name_en, service.category,
               category.name_ru AS category_ru, category.name_en AS category_en,
               service.nomenclature_codes, service.unit, service.vat_category, vat.rate AS vat_rate, service.note,
               service.priced_by_rank, price.doctor_rank, rank.position AS rank_position, rank.name_ru AS rank_ru,
               rank.name_en AS rank_en, price.kind, price.amount,
               lower(price.valid) AS valid_from, upper(price.valid) AS valid_until,
               price_order.number AS order, price_order.date AS order_date
          FROM public_price AS price
          JOIN price_order ON price_order.id = price.order_id
          JOIN doctor_rank AS rank ON rank.code = price.doctor_rank
          JOIN medical_service AS service ON service.id = price.service_id
          JOIN category ON category.code = service.category
          LEFT JOIN vat_rate AS vat
            ON vat.category = service.vat_category AND vat.valid @> greatest(%(first)s::date, lower(price.valid))
         WHERE price.valid && %(days)s::daterange
           AND (%(services)s::uuid[] IS NULL OR service.id = ANY (%(services)s::uuid[]))
           AND (%(within)s::text[] IS NULL OR service.category = ANY (%(within)s::text[]))
           AND (%(patterns)s::text[] IS NULL OR service.search LIKE ALL (%(patterns)s::text[]))
           AND (%(meant)s::uuid[] IS NULL OR service.id = ANY (%(meant)s::uuid[]))
           AND (%(rank)s::text IS NULL OR NOT service.priced_by_rank OR price.doctor_rank = %(rank)s::text)
         ORDER BY category.position, category.code, service.article COLLATE "C", rank.position, valid_from
        """,
        {
            "first": days.first,
            "days": days.as_range(),
            "services": None if services is None else list(services),
            "within": None if within is None else list(within),
            "patterns": found and found.patterns,
            "meant": found and found.meant,
            "rank": rank,
        },
    )
    return [Item(list(of_one)) for _, of_one in groupby(offers, key=lambda each: each.article)]


def newest_order(conn: db.Connection, on: date) -> OrderHead | None:
    """The order of the public list that was the last to take effect up to `on`."""
    return db.find(
        conn,
        OrderHead,
        """
        SELECT number, date, effective_from FROM price_order
         WHERE price_list = %(list)s::text AND status = 'published' AND effective_from <= %(on)s::date
         ORDER BY effective_from DESC, published_at DESC, id DESC
         LIMIT 1
        """,
        {"list": price_lists.BASE, "on": on},
    )


def _orders(conn: db.Connection, period: Days) -> list[OrderHead]:
    return db.many(
        conn,
        OrderHead,
        """
        SELECT number, date, effective_from FROM price_order
         WHERE price_list = %(list)s::text AND status = 'published' AND %(days)s::daterange @> effective_from
         ORDER BY effective_from, published_at, id
        """,
        {"list": price_lists.BASE, "days": period.as_range()},
    )


def changed_at(conn: db.Connection) -> datetime:
    """When what the public list shows changed last: a whole second that no other version of it has."""
    instant: datetime = db.value(conn, "SELECT changed_at FROM catalog_version")
    return instant
