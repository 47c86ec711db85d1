"""A price list of a day, whole: what its files and its printed form are made from.

What a list does not price itself may come from the list it falls back to; each entry says where it comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import groupby
from typing import Any

from catalog import price_lists, vat
from catalog.price_lists import PriceList
from clinic import branches, db, money
from clinic.errors import NotFound


@dataclass(frozen=True)
class Entry:
    """A price of the list on its day. `vat_rate` is in percent, None where VAT is not charged."""

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
    vat_category: str
    vat_rate: Decimal | None
    tax_deduction_code: str
    valid_from: date
    valid_until: date | None
    order: str
    order_date: date
    price_list: str

    def as_json(self, asked: str, lang: str) -> dict[str, Any]:
        return {
            "doctor_rank": self.doctor_rank,
            "rank_name": self.rank_ru if lang == "ru" else self.rank_en,
            "kind": self.kind,
            "amount": money.text_or_none(self.amount),
            "valid_from": self.valid_from,
            "valid_until": self.valid_until,
            "order": self.order,
            "order_date": self.order_date,
            "price_list": self.price_list,
            "fallback": self.price_list != asked,
        }


@dataclass(frozen=True)
class Order:
    """The order of this list that was the last to take effect."""

    number: str
    effective_from: date
    date: date


@dataclass(frozen=True)
class PriceSheet:
    """A list on a day. Without `order` nothing of its own has been priced up to that day; `requisites` are those of
    the main branch, None while it has none. `fallback` is the list that is asked next."""

    on: date
    price_list: PriceList
    fallback: PriceList | None
    order: Order | None
    entries: Sequence[Entry]
    clinic: str
    requisites: dict[str, Any] | None

    @property
    def own(self) -> list[Entry]:
        """The entries that the list itself prices."""
        return [each for each in self.entries if each.price_list == self.price_list.code]

    def as_json(self, lang: str) -> dict[str, Any]:
        """The members of the public feed, and for each price the list and the order it comes from."""
        code, order = self.price_list.code, self.order
        return {
            "on": self.on,
            "lang": lang,
            "currency": "RUB",
            "price_list": {"code": code, "name": self.price_list.name_ru if lang == "ru" else self.price_list.name_en},
            "fallback": self.price_list.fallback,
            "order": order and {"number": order.number, "date": order.date, "effective_from": order.effective_from},
            "items": [
                _item(list(of_one), code, lang) for _, of_one in groupby(self.entries, lambda each: each.article)
            ],
        }


def _item(entries: Sequence[Entry], asked: str, lang: str) -> dict[str, Any]:
    service, russian = entries[0], lang == "ru"
    amounts = [each.amount for each in entries if each.amount is not None]
    return {
        "article": service.article,
        "name": service.name_ru if russian else service.name_en,
        "category": {"code": service.category, "name": service.category_ru if russian else service.category_en},
        "nomenclature_codes": service.nomenclature_codes,
        "unit": service.unit,
        "note": service.note,
        "vat": {
            "category": service.vat_category,
            "rate": None if service.vat_rate is None else vat.shown(service.vat_rate),
            "text": vat.mark(service.vat_rate, lang),
        },
        "min": money.text(min(amounts)) if amounts else None,
        "max": money.text(max(amounts)) if amounts else None,
        "prices": [each.as_json(asked, lang) for each in entries],
    }


def read(code: str, on: date, *, public: bool = False) -> PriceSheet:
    """The list `code` on a day, of one moment; with `public` only if it is for everybody.

    Raises:
        NotFound: there is no such list, or it is not for everybody.
    """
    with db.transaction() as conn:
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        lists = {each.code: each for each in price_lists.every(conn)}
        if code not in lists or (public and not lists[code].public):
            raise NotFound()
        clinic, requisites = conn.execute(
            "SELECT name, requisites FROM branch WHERE code = %(main)s::text", {"main": branches.MAIN}
        ).fetchone() or ("", None)
        return PriceSheet(
            on=on,
            price_list=lists[code],
            fallback=lists.get(lists[code].fallback or ""),
            order=_order(conn, code, on),
            entries=[each for each in _entries(conn, code, on) if each.kind != "withdrawn"],
            clinic=clinic,
            requisites=requisites,
        )


def _entries(conn: db.Connection, code: str, on: date) -> list[Entry]:
    """By section, article and rank. A withdrawal is among them: it keeps the other lists' price away."""
    return db.many(
        conn,
        Entry,
        """
        WITH list AS MATERIALIZED (SELECT code, valid, step FROM price_lists_asked(%(list)s::text)),
        found AS (
          SELECT DISTINCT ON (price.service_id, price.doctor_rank)
                 price.service_id, price.doctor_rank, price.kind, price.amount, price.valid, price.order_id, list.code
            FROM list
            JOIN price ON price.price_list = list.code AND price.valid @> %(on)s::date AND price.corrected_by IS NULL
           WHERE list.step = 0 OR list.valid @> %(on)s::date
           ORDER BY price.service_id, price.doctor_rank, list.step)
        SELECT service.article, service.name_ru, service.name_en, service.category,
               category.name_ru AS category_ru, category.name_en AS category_en,
               service.nomenclature_codes, service.unit, service.note, service.priced_by_rank,
               found.doctor_rank, rank.name_ru AS rank_ru, rank.name_en AS rank_en, found.kind, found.amount,
               service.vat_category, vat.rate AS vat_rate, service.tax_deduction_code,
               lower(found.valid) AS valid_from, upper(found.valid) AS valid_until,
               price_order.number AS order, price_order.date AS order_date, found.code AS price_list
          FROM found
          JOIN price_order ON price_order.id = found.order_id
          JOIN doctor_rank AS rank ON rank.code = found.doctor_rank
          JOIN medical_service AS service ON service.id = found.service_id
          JOIN category ON category.code = service.category
          LEFT JOIN vat_rate AS vat ON vat.category = service.vat_category AND vat.valid @> %(on)s::date
         WHERE (%(on)s::date < service.inactive_since) IS NOT FALSE
         ORDER BY category.position, category.code, service.article COLLATE "C", rank.position
        """,
        {"list": code, "on": on},
    )


def _order(conn: db.Connection, code: str, on: date) -> Order | None:
    return db.find(
        conn,
        Order,
        """
        SELECT number, date, effective_from FROM price_order
         WHERE price_list = %(list)s::text AND status = 'published' AND effective_from <= %(on)s::date
         ORDER BY effective_from DESC, published_at DESC, id DESC
         LIMIT 1
        """,
        {"list": code, "on": on},
    )
