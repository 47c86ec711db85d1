"""A price list as people read it: every service on offer on a day with its prices; and a service's prices over time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import groupby
from typing import Any
from uuid import UUID

from catalog import categories, price_lists, ranks, search
from catalog.price_lists import PriceList
from clinic import db, money
from clinic.errors import Fault, InvalidInput


@dataclass(frozen=True)
class Offer:
    """One price on offer on a day, with what the list says of its service. `valid_until` is exclusive."""

    article: str
    name_ru: str
    name_en: str
    category: str
    category_ru: str
    category_en: str
    nomenclature_codes: list[str]
    unit: str
    note: str | None
    priced_by_rank: bool
    doctor_rank: str
    rank_ru: str
    rank_en: str
    kind: str
    amount: Decimal | None
    valid_from: date
    valid_until: date | None
    order: str


@dataclass(frozen=True)
class NewestOrder:
    """The order that was the last to take effect."""

    number: str
    effective_from: date
    date: date


@dataclass(frozen=True)
class Item:
    """A service with its prices, from the lowest rank."""

    offers: Sequence[Offer]

    @property
    def service(self) -> Offer:
        """Any of the offers: they say the same of the service."""
        return self.offers[0]

    @property
    def amounts(self) -> list[Decimal]:
        return [each.amount for each in self.offers if each.amount is not None]


@dataclass(frozen=True)
class Listing:
    """A price list on a day. Without `order` nothing has ever been priced up to that day."""

    on: date
    price_list: PriceList
    order: NewestOrder | None
    items: Sequence[Item]

    def as_json(self, lang: str) -> dict[str, Any]:
        """The answer of `GET /v1/prices`."""
        order = self.order
        return {
            "on": self.on,
            "lang": lang,
            "currency": "RUB",
            "price_list": {
                "code": self.price_list.code,
                "name": self.price_list.name_ru if lang == "ru" else self.price_list.name_en,
            },
            "order": order and {"number": order.number, "date": order.date, "effective_from": order.effective_from},
            "items": [_item_json(each, russian=lang == "ru") for each in self.items],
        }


def _item_json(item: Item, *, russian: bool) -> dict[str, Any]:
    service, amounts = item.service, item.amounts
    return {
        "article": service.article,
        "name": service.name_ru if russian else service.name_en,
        "category": {"code": service.category, "name": service.category_ru if russian else service.category_en},
        "nomenclature_codes": service.nomenclature_codes,
        "unit": service.unit,
        "note": service.note,
        "min": money.text(min(amounts)) if amounts else None,
        "max": money.text(max(amounts)) if amounts else None,
        "prices": [_offer_json(each, russian=russian) for each in item.offers],
    }


def _offer_json(offer: Offer, *, russian: bool) -> dict[str, Any]:
    return {
        "doctor_rank": offer.doctor_rank,
        "rank_name": offer.rank_ru if russian else offer.rank_en,
        "kind": offer.kind,
        "amount": None if offer.amount is None else money.text(offer.amount),
        "valid_from": offer.valid_from,
        "valid_until": offer.valid_until,
        "order": offer.order,
    }


def read(on: date, *, category: str | None = None, words: str | None = None, rank: str | None = None) -> Listing:
    """The public price list on a day, of one moment, however many are publishing.

    Args:
        on: the day of the prices; services sold no longer are still shown for days before that.
        category: only this one and those inside it.
        words: only services that have all these words, see `search`.
        rank: of prices that depend on the doctor's rank only those of this one.

    Raises:
        InvalidInput: there is no such category or rank.
    """
    with db.moment() as conn:
        if rank is not None and rank not in {each.code for each in ranks.every(conn)}:
            raise InvalidInput([Fault("?rank", "unknown_rank", (("doctor_rank", rank),))])
        within = None if category is None else categories.within(conn, category)
        found = search.understood(conn, words)
        price_list = price_lists.get(conn, price_lists.BASE)
        offers = _offers(conn, on, within, found, rank)
        return Listing(on, price_list, _newest_order(conn, on), _items(offers))


def _items(offers: Iterable[Offer]) -> list[Item]:
    return [Item(list(of_one)) for _, of_one in groupby(offers, key=lambda each: each.article)]


def _offers(
    conn: db.Connection, on: date, within: Sequence[str] | None, found: search.Search, rank: str | None
) -> list[Offer]:
    return db.many(
        conn,
        Offer,
        """
        SELECT service.article, service.name_ru, service.name_en, service.category,
               category.name_ru AS category_ru, category.name_en AS category_en,
               service.nomenclature_codes, service.unit, service.note, service.priced_by_rank,
               price.doctor_rank, rank.name_ru AS rank_ru, rank.name_en AS rank_en, price.kind, price.amount,
               lower(price.valid) AS valid_from, upper(price.valid) AS valid_until, price_order.number AS order
          FROM price
          JOIN price_list ON price_list.code = price.price_list AND price_list.public
          JOIN price_order ON price_order.id = price.order_id
          JOIN doctor_rank AS rank ON rank.code = price.doctor_rank
          JOIN medical_service AS service ON service.id = price.service_id
          JOIN category ON category.code = service.category
         WHERE price.price_list = %(list)s::text
           AND price.valid @> %(on)s::date
           AND price.corrected_by IS NULL
           AND price.kind <> 'withdrawn'
           AND (%(on)s::date < service.inactive_since) IS NOT FALSE
           AND (%(within)s::text[] IS NULL OR service.category = ANY (%(within)s::text[]))
           AND (%(patterns)s::text[] IS NULL OR service.search LIKE ALL (%(patterns)s::text[]))
           AND (%(meant)s::uuid[] IS NULL OR service.id = ANY (%(meant)s::uuid[]))
           AND (%(rank)s::text IS NULL OR NOT service.priced_by_rank OR price.doctor_rank = %(rank)s::text)
         ORDER BY category.position, category.code, service.article COLLATE "C", rank.position
        """,
        {
            "list": price_lists.BASE,
            "on": on,
            "within": None if within is None else list(within),
            "patterns": found.patterns,
            "meant": found.meant,
            "rank": rank,
        },
    )


def _newest_order(conn: db.Connection, on: date) -> NewestOrder | None:
    return db.find(
        conn,
        NewestOrder,
        """
        SELECT number, date, effective_from FROM price_order
         WHERE price_list = %(list)s::text AND status = 'published' AND effective_from <= %(on)s::date
         ORDER BY effective_from DESC, published_at DESC, id DESC
         LIMIT 1
        """,
        {"list": price_lists.BASE, "on": on},
    )


@dataclass(frozen=True)
class Past:
    """A price of a service at any time, and who ordered it.

    One that a later order of the same first day put right has that order in `corrected_by`.
    """

    price_list: str
    doctor_rank: str
    kind: str
    amount: Decimal | None
    valid_from: date
    valid_until: date | None
    order: str
    order_date: date
    order_id: UUID
    author: str
    published_by: str
    published_at: datetime
    corrected_by: UUID | None
    corrected_by_number: str | None
    corrected_by_date: date | None

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "amount": None if self.amount is None else money.text(self.amount)}


def history(conn: db.Connection, service_id: UUID) -> list[Past]:
    """All prices of a service, past, present and ordered ahead, of every list and rank."""
    return db.many(
        conn,
        Past,
        """
        SELECT price.price_list, price.doctor_rank, price.kind, price.amount,
               lower(price.valid) AS valid_from, upper(price.valid) AS valid_until,
               price_order.number AS order, price_order.date AS order_date, price_order.id AS order_id,
               price_order.author, price_order.published_by, price_order.published_at,
               price.corrected_by, correction.number AS corrected_by_number, correction.date AS corrected_by_date
          FROM price
          JOIN price_order ON price_order.id = price.order_id
          LEFT JOIN price_order AS correction ON correction.id = price.corrected_by
          JOIN doctor_rank AS rank ON rank.code = price.doctor_rank
         WHERE price.service_id = %(service)s::uuid
         ORDER BY price.price_list <> 'base', price.price_list, rank.position, lower(price.valid),
                  price.corrected_by IS NULL, price_order.published_at, price_order.id
        """,
        {"service": service_id},
    )
