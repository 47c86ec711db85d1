"""Prices: what a service costs on a day, in a list, by a doctor of a rank, and by which order.

The price question has one answer: one price, or a named reason why there is none. Never 0 by default, never the
cheapest, never another rank's. A list without the price may fall back to another list, and the answer says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from uuid import UUID

from catalog import price_lists, ranks
from clinic import db, errors

errors.describe(
    {
        "unknown_article": ("Услуги с артикулом {article} нет.", "There is no service with the article {article}."),
        "rank_required": (
            "Цена услуги {article} зависит от звания врача: укажите doctor_rank («none» — врач без степени).",
            "The price of {article} depends on the doctor's rank: give doctor_rank, none for one without a degree.",
        ),
        "rank_not_applicable": (
            "Цена услуги {article} от звания врача не зависит: уберите doctor_rank.",
            "The price of {article} does not depend on the doctor's rank: leave doctor_rank out.",
        ),
        "price_not_set": ("На {day} у услуги {article} нет цены.", "{article} has no price on {day}."),
        "service_withdrawn": (
            "На {day} услуга {article} снята с прейскуранта.",
            "{article} is withdrawn from the price list on {day}.",
        ),
    }
)


@dataclass(frozen=True)
class Wanted:
    """A question: the service, the doctor's rank if it matters, the day of the price, the day of the VAT rate."""

    article: str
    doctor_rank: str | None
    day: date
    vat_day: date


@dataclass(frozen=True)
class Priced:
    """The answer, with everything a document copies of the service and why the price is this one.

    `amount` is in rubles and None for the kind `on_request`; `vat_rate` is in percent and None where VAT is not
    charged; the names of the rank are None where the price does not depend on it; `fallback` tells that
    `price_list`, where the price was found, is not the one asked.
    """

    article: str
    name_ru: str
    name_en: str
    nomenclature_codes: list[str]
    unit: str
    vat_category: str
    vat_rate: Decimal | None
    tax_deduction_code: str
    discountable: bool
    priced_by_rank: bool
    doctor_rank: str
    rank_name_ru: str | None
    rank_name_en: str | None
    kind: str
    amount: Decimal | None
    price_id: UUID
    price_list: str
    order_id: UUID
    order_number: str
    order_date: date
    fallback: bool


@dataclass(frozen=True)
class Unpriced:
    """Why there is no price: which member of the line is wrong, a fault code, and the values of the fault's text."""

    member: str
    code: str
    values: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _Found:
    list_known: bool
    name_ru: str | None
    name_en: str
    nomenclature_codes: list[str]
    unit: str
    vat_category: str
    vat_rate: Decimal | None
    tax_deduction_code: str
    discountable: bool
    priced_by_rank: bool
    sold: bool
    doctor_rank: str | None
    rank_name_ru: str
    rank_name_en: str
    kind: str | None
    amount: Decimal | None
    price_id: UUID
    price_list: str
    order_id: UUID
    order_number: str
    order_date: date
    fallback: bool


def on(conn: db.Connection, price_list: str, wanted: Sequence[Wanted]) -> list[Priced | Unpriced]:
    """The answers to `wanted`, in its order, by one statement.

    Raises:
        InvalidInput: there is no such price list.
    """
    found = db.many(
        conn,
        _Found,
        """
        WITH RECURSIVE list AS (
          SELECT code, fallback, 0 AS step FROM price_list WHERE code = %(list)s::text
           UNION ALL
          SELECT next.code, next.fallback, list.step + 1
            FROM list
            JOIN price_list AS next ON next.code = list.fallback
           WHERE list.step < 8)
        SELECT EXISTS (SELECT FROM list) AS list_known,
               service.name_ru, service.name_en, service.nomenclature_codes, service.unit, service.vat_category,
               vat.rate AS vat_rate, service.tax_deduction_code, service.discountable, service.priced_by_rank,
               (wanted.day < service.inactive_since) IS NOT FALSE AS sold,
               rank.code AS doctor_rank, rank.name_ru AS rank_name_ru, rank.name_en AS rank_name_en,
               found.kind, found.amount, found.id AS price_id, found.price_list, found.order_id,
               price_order.number AS order_number, price_order.date AS order_date, found.step > 0 AS fallback
          FROM unnest(%(articles)s::text[], %(ranks)s::text[], %(days)s::date[], %(vat_days)s::date[])
               WITH ORDINALITY AS wanted (article, doctor_rank, day, vat_day, place)
          LEFT JOIN medical_service AS service ON service.article = wanted.article
          LEFT JOIN doctor_rank AS rank ON rank.code = coalesce(wanted.doctor_rank, 'none')
          LEFT JOIN vat_rate AS vat ON vat.category = service.vat_category AND vat.valid @> wanted.vat_day
          LEFT JOIN LATERAL (
            SELECT price.id, price.kind, price.amount, price.price_list, price.order_id, list.step
              FROM list
              JOIN price ON price.service_id = service.id
               AND price.price_list = list.code
               AND price.doctor_rank = rank.code
               AND price.valid @> wanted.day
               AND price.corrected_by IS NULL
             ORDER BY list.step
             LIMIT 1) AS found ON true
          LEFT JOIN price_order ON price_order.id = found.order_id
         ORDER BY wanted.place
        """,
        {
            "list": price_list,
            "articles": [each.article for each in wanted],
            "ranks": [each.doctor_rank for each in wanted],
            "days": [each.day for each in wanted],
            "vat_days": [each.vat_day for each in wanted],
        },
    )
    if found and not found[0].list_known:
        raise price_lists.unknown()
    return [_answer(each, row) for each, row in zip(wanted, found, strict=True)]


def _answer(wanted: Wanted, found: _Found) -> Priced | Unpriced:
    named = (("article", wanted.article),)
    dated = (*named, ("day", wanted.day.isoformat()))
    if found.name_ru is None:
        return Unpriced("article", "unknown_article", named)
    if not found.sold:
        return Unpriced("article", "service_withdrawn", dated)
    if found.doctor_rank is None:
        return Unpriced("doctor_rank", "unknown_rank", (("doctor_rank", str(wanted.doctor_rank)),))
    if found.priced_by_rank and wanted.doctor_rank is None:
        return Unpriced("doctor_rank", "rank_required", named)
    if not found.priced_by_rank and found.doctor_rank != ranks.NONE:
        return Unpriced("doctor_rank", "rank_not_applicable", named)
    if found.kind is None:
        return Unpriced("article", "price_not_set", dated)
    if found.kind == "withdrawn":
        return Unpriced("article", "service_withdrawn", dated)
    return _priced(wanted.article, found, found.name_ru, found.doctor_rank, found.kind)


def _priced(article: str, found: _Found, name_ru: str, doctor_rank: str, kind: str) -> Priced:
    return Priced(
        article=article,
        name_ru=name_ru,
        name_en=found.name_en,
        nomenclature_codes=found.nomenclature_codes,
        unit=found.unit,
        vat_category=found.vat_category,
        vat_rate=found.vat_rate,
        tax_deduction_code=found.tax_deduction_code,
        discountable=found.discountable,
        priced_by_rank=found.priced_by_rank,
        doctor_rank=doctor_rank,
        rank_name_ru=found.rank_name_ru if found.priced_by_rank else None,
        rank_name_en=found.rank_name_en if found.priced_by_rank else None,
        kind=kind,
        amount=found.amount,
        price_id=found.price_id,
        price_list=found.price_list,
        order_id=found.order_id,
        order_number=found.order_number,
        order_date=found.order_date,
        fallback=found.fallback,
    )
