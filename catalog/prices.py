"""Prices: what a service costs on a day, in a list, by a doctor of a rank, and by which order.

The price question has one answer: one price, or a named reason why there is none. Never 0 by default, never the
cheapest, never another rank's. A list without the price may fall back to another list, and the answer says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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
        "unknown_doctor": ("Такого врача нет.", "There is no such doctor."),
        "doctor_inactive": (
            "Этот врач в клинике больше не принимает.",
            "This doctor does not work in the clinic any more.",
        ),
        "price_list_not_in_force": (
            "На {day} прейскурант {price_list} не действует; его дни: {since} … {until}.",
            "The price list {price_list} is not in force on {day}; its days: {since} … {until}.",
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
    """A question: the service, the doctor's rank if it matters, the day of the price, the day of the VAT rate.

    A `doctor` stands in place of the rank, which is then the one he has on `day`; `former_doctor` lets him be one who
    has left since.
    """

    article: str
    doctor_rank: str | None
    day: date
    vat_day: date
    doctor: UUID | None = None
    former_doctor: bool = False


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
    doctor_id: UUID | None
    doctor_name_ru: str | None
    doctor_name_en: str | None
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
    """Why there is no price: which member of the line is wrong, a fault code, and the values of the fault's text.

    The member `price_list` is the document's. `further` are the other wrong places of the same line.
    """

    member: str
    code: str
    values: tuple[tuple[str, str], ...]
    further: tuple[Unpriced, ...] = ()

    def every(self) -> tuple[Unpriced, ...]:
        """This reason and the further ones."""
        return (self, *self.further)


@dataclass(frozen=True)
class _Found:
    list_known: bool
    in_force: bool
    list_since: date | None
    list_until: date | None
    name_ru: str | None
    name_en: str
    nomenclature_codes: list[str]
    unit: str
    vat_category: str
    vat_rate: Decimal | None
    tax_deduction_code: str
    discountable: bool
    priced_by_rank: bool | None
    sold: bool
    doctor_rank: str | None
    rank_name_ru: str
    rank_name_en: str
    doctor_id: UUID | None
    doctor_name_ru: str | None
    doctor_name_en: str | None
    doctor_active: bool | None
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
        WITH list AS MATERIALIZED (SELECT code, valid, step FROM price_lists_asked(%(list)s::text))
        SELECT asked.code IS NOT NULL AS list_known, asked.valid @> wanted.day AS in_force,
               lower(asked.valid) AS list_since, upper(asked.valid) - 1 AS list_until,
               service.name_ru, service.name_en, service.nomenclature_codes, service.unit, service.vat_category,
               vat.rate AS vat_rate, service.tax_deduction_code, service.discountable, service.priced_by_rank,
               (wanted.day < service.inactive_since) IS NOT FALSE AS sold,
               rank.code AS doctor_rank, rank.name_ru AS rank_name_ru, rank.name_en AS rank_name_en,
               doctor.id AS doctor_id, doctor.name_ru AS doctor_name_ru, doctor.name_en AS doctor_name_en,
               doctor.active AS doctor_active,
               found.kind, found.amount, found.id AS price_id, found.price_list, found.order_id,
               price_order.number AS order_number, price_order.date AS order_date, found.step > 0 AS fallback
          FROM unnest(%(articles)s::text[], %(ranks)s::text[], %(doctors)s::uuid[], %(days)s::date[],
                      %(vat_days)s::date[])
               WITH ORDINALITY AS wanted (article, doctor_rank, doctor, day, vat_day, place)
          LEFT JOIN list AS asked ON asked.step = 0
          LEFT JOIN medical_service AS service ON service.article = wanted.article
          LEFT JOIN doctor ON doctor.id = wanted.doctor
          LEFT JOIN doctor_rank AS rank ON rank.code =
               CASE WHEN doctor.id IS NULL THEN coalesce(wanted.doctor_rank, 'none')
                    WHEN NOT service.priced_by_rank THEN 'none'
                    ELSE (SELECT promotion.doctor_rank FROM doctor_promotion AS promotion
                           WHERE promotion.doctor_id = doctor.id AND promotion.since <= wanted.day
                           ORDER BY promotion.since DESC, promotion.id DESC
                           LIMIT 1) END
          LEFT JOIN vat_rate AS vat ON vat.category = service.vat_category AND vat.valid @> wanted.vat_day
          LEFT JOIN LATERAL (
            SELECT price.id, price.kind, price.amount, price.price_list, price.order_id, list.step
              FROM list
              JOIN price ON price.service_id = service.id
               AND price.price_list = list.code
               AND price.doctor_rank = rank.code
               AND price.valid @> wanted.day
               AND price.corrected_by IS NULL
             WHERE list.valid @> wanted.day
             ORDER BY list.step
             LIMIT 1) AS found ON true
          LEFT JOIN price_order ON price_order.id = found.order_id
         ORDER BY wanted.place
        """,
        {
            "list": price_list,
            "articles": [each.article for each in wanted],
            "ranks": [each.doctor_rank for each in wanted],
            "doctors": [each.doctor for each in wanted],
            "days": [each.day for each in wanted],
            "vat_days": [each.vat_day for each in wanted],
        },
    )
    if found and not found[0].list_known:
        raise price_lists.unknown()
    return [_answer(each, row, price_list) for each, row in zip(wanted, found, strict=True)]


def _answer(wanted: Wanted, found: _Found, price_list: str) -> Priced | Unpriced:
    reasons = [
        *_against_list(wanted, found, price_list),
        *_against_service(wanted, found),
        *(_against_rank(wanted, found) if wanted.doctor is None else _against_doctor(wanted, found)),
    ]
    if not reasons and found.kind in (None, "withdrawn"):
        code = "service_withdrawn" if found.kind else "price_not_set"
        reasons = [Unpriced("article", code, _dated(wanted))]
    if reasons:
        return replace(reasons[0], further=tuple(reasons[1:]))
    assert found.name_ru and found.doctor_rank and found.kind, "without a service, a rank or a price there is a reason"
    return _priced(wanted.article, found, found.name_ru, found.doctor_rank, found.kind)


def _named(wanted: Wanted) -> tuple[tuple[str, str], ...]:
    return (("article", wanted.article),)


def _dated(wanted: Wanted) -> tuple[tuple[str, str], ...]:
    return (*_named(wanted), ("day", wanted.day.isoformat()))


def _against_list(wanted: Wanted, found: _Found, price_list: str) -> Iterator[Unpriced]:
    if not found.in_force:
        days = (found.list_since, found.list_until)
        since, until = (day.isoformat() if day else "∞" for day in days)
        values = (("price_list", price_list), ("day", wanted.day.isoformat()), ("since", since), ("until", until))
        yield Unpriced("price_list", "price_list_not_in_force", values)


def _against_service(wanted: Wanted, found: _Found) -> Iterator[Unpriced]:
    if found.name_ru is None:
        yield Unpriced("article", "unknown_article", _named(wanted))
    elif not found.sold:
        yield Unpriced("article", "service_withdrawn", _dated(wanted))


def _against_rank(wanted: Wanted, found: _Found) -> Iterator[Unpriced]:
    if found.doctor_rank is None:
        yield Unpriced("doctor_rank", "unknown_rank", (("doctor_rank", str(wanted.doctor_rank)),))
    elif found.priced_by_rank and wanted.doctor_rank is None:
        yield Unpriced("doctor_rank", "rank_required", _named(wanted))
    elif found.priced_by_rank is False and found.doctor_rank != ranks.NONE:
        yield Unpriced("doctor_rank", "rank_not_applicable", _named(wanted))


def _against_doctor(wanted: Wanted, found: _Found) -> Iterator[Unpriced]:
    if found.doctor_id is None:
        yield Unpriced("doctor", "unknown_doctor", ())
    elif not found.doctor_active and not wanted.former_doctor:
        yield Unpriced("doctor", "doctor_inactive", ())
    elif found.priced_by_rank and found.doctor_rank is None:
        yield Unpriced("doctor", "rank_required", _named(wanted))


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
        priced_by_rank=bool(found.priced_by_rank),
        doctor_rank=doctor_rank,
        rank_name_ru=found.rank_name_ru if found.priced_by_rank else None,
        rank_name_en=found.rank_name_en if found.priced_by_rank else None,
        doctor_id=found.doctor_id,
        doctor_name_ru=found.doctor_name_ru,
        doctor_name_en=found.doctor_name_en,
        kind=kind,
        amount=found.amount,
        price_id=found.price_id,
        price_list=found.price_list,
        order_id=found.order_id,
        order_number=found.order_number,
        order_date=found.order_date,
        fallback=found.fallback,
    )
