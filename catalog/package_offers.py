"""A package as it is offered on a day: its price and the shares of its parts, or why it cannot be sold; and what of it
is worth a look."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import marshmallow as ma

from catalog import packages, prices
from catalog.package_split import Package, Part, Share, Split, split
from catalog.price_lists import NameOut
from catalog.prices import Priced, Unpriced
from clinic import db, errors, money
from clinic.errors import Fault
from clinic.money import ZERO

errors.describe(
    {
        "package_above_parts": (
            "Программа {package} дороже своих частей по отдельности: {total} ₽ против {list_amount} ₽.",
            "The package {package} costs more than its parts alone: {total} against {list_amount} rubles.",
        ),
    }
)


class PackageWarningOut(ma.Schema):
    """What is worth a look, and the first day on which it holds; it stops nothing by itself."""

    code = ma.fields.String(
        required=True, metadata={"enum": ["package_above_parts", "package_not_priced", "price_list_not_in_force"]}
    )
    on = ma.fields.Date(required=True)
    article = ma.fields.String(required=True, allow_none=True)
    message = ma.fields.String(required=True)


class PackagePartOut(ma.Schema):
    """A part; the sums are null on a day on which some part has no fixed price."""

    article = ma.fields.String(required=True)
    name = ma.fields.Nested(NameOut, required=True)
    doctor_rank = ma.fields.String(required=True)
    rank_name = ma.fields.Nested(NameOut, required=True, allow_none=True)
    quantity = ma.fields.String(required=True)
    price = ma.fields.String(required=True, allow_none=True, metadata={"description": "of the price list, for one"})
    list_amount = ma.fields.String(required=True, allow_none=True, metadata={"description": "what it costs alone"})
    share = ma.fields.String(required=True, allow_none=True, metadata={"description": "its part of the price"})


class PackageDocumentOut(ma.Schema):
    """A package and its split at the prices of the day `on`; the shares add up to `price`."""

    code = ma.fields.String(required=True)
    price_list = ma.fields.String(required=True)
    name = ma.fields.Nested(NameOut, required=True)
    note = ma.fields.String(required=True, allow_none=True)
    total = ma.fields.String(required=True, allow_none=True)
    percent_off = ma.fields.String(required=True, allow_none=True)
    valid_from = ma.fields.Date(required=True)
    valid_until = ma.fields.Date(required=True, allow_none=True, metadata={"description": "exclusive"})
    withdrawn = ma.fields.Boolean(required=True, metadata={"description": "taken back on its first day or before"})
    currency = ma.fields.String(required=True)
    on = ma.fields.Date(required=True)
    price = ma.fields.String(required=True, allow_none=True)
    list_amount = ma.fields.String(required=True, allow_none=True, metadata={"description": "the parts one by one"})
    saving = ma.fields.String(required=True, allow_none=True, metadata={"description": "never negative"})
    parts = ma.fields.List(ma.fields.Nested(PackagePartOut), required=True)
    warnings = ma.fields.List(ma.fields.Nested(PackageWarningOut), required=True)


class PackageOut(PackageDocumentOut):
    """A package that is kept."""

    id = ma.fields.UUID(required=True)
    created_at = ma.fields.DateTime(required=True)
    updated_at = ma.fields.DateTime(required=True)


@dataclass(frozen=True)
class Warned:
    """A warning, `on` the first day on which it holds."""

    on: date
    code: str
    values: tuple[tuple[str, str], ...]

    def as_json(self, lang: str) -> dict[str, Any]:
        return {
            "code": self.code,
            "on": self.on,
            "article": dict(self.values).get("article"),
            "message": Fault("", self.code, self.values).message(lang),
        }


@dataclass(frozen=True)
class Offer:
    """A package on a day: its split, or why it cannot be sold that day; and what is worth a look."""

    package: Package
    on: date
    split: Split | Unpriced
    warnings: tuple[Warned, ...]

    def as_json(self, lang: str) -> dict[str, Any]:
        package = self.package
        return {
            "id": package.id,
            **self.document_json(lang),
            "created_at": package.created_at,
            "updated_at": package.updated_at,
        }

    def document_json(self, lang: str) -> dict[str, Any]:
        """What a package says, whether it is kept or not."""
        package, sold = self.package, self.split if isinstance(self.split, Split) else None
        return {
            "code": package.code,
            "price_list": package.price_list,
            "name": {"ru": package.name_ru, "en": package.name_en},
            "note": package.note,
            "total": money.text_or_none(package.total),
            "percent_off": money.text_or_none(package.percent_off),
            "valid_from": package.valid_from,
            "valid_until": package.valid_until,
            "withdrawn": package.withdrawn,
            "currency": "RUB",
            "on": self.on,
            "price": sold and money.text(sold.total),
            "list_amount": sold and money.text(sold.list_amount),
            "saving": sold and money.text(max(sold.list_amount - sold.total, ZERO)),
            "parts": [
                {
                    **_part_json(part),
                    "price": sold and money.text(sold.shares[place].unit_price),
                    "list_amount": sold and money.text(sold.shares[place].list_amount),
                    "share": sold and money.text(sold.shares[place].amount),
                }
                for place, part in enumerate(package.parts)
            ],
            "warnings": [each.as_json(lang) for each in self.warnings],
        }

    def public_json(self, lang: str) -> dict[str, Any]:
        """What the public list says of a package that is sold that day; the shares of its parts add up to `total`."""
        package, russian = self.package, lang == "ru"
        sold = self.sold
        return {
            "code": package.code,
            "name": package.name_ru if russian else package.name_en,
            "note": package.note,
            "total": money.text(sold.total),
            "list_amount": money.text(sold.list_amount),
            "valid_from": package.valid_from,
            "valid_until": package.valid_until,
            "parts": [
                {
                    "article": part.article,
                    "name": part.name_ru if russian else part.name_en,
                    "doctor_rank": part.doctor_rank,
                    "quantity": f"{part.quantity.normalize():f}",
                    "list_amount": money.text(share.list_amount),
                    "share": money.text(share.amount),
                }
                for part, share in self.in_parts
            ],
        }

    @property
    def in_parts(self) -> list[tuple[Part, Share]]:
        """The parts of a package that is sold that day, each with its share."""
        return list(zip(self.package.parts, self.sold.shares, strict=True))

    @property
    def sold(self) -> Split:
        """The split of a package that is sold that day; ask no other one."""
        assert isinstance(self.split, Split), "only packages with a price are shown"
        return self.split


def _part_json(part: Part) -> dict[str, Any]:
    return {
        "article": part.article,
        "name": {"ru": part.name_ru, "en": part.name_en},
        "doctor_rank": part.doctor_rank,
        "rank_name": {"ru": part.rank_name_ru, "en": part.rank_name_en} if part.rank_name_ru else None,
        "quantity": f"{part.quantity.normalize():f}",
    }


def listed(conn: db.Connection, price_list: str, day: date) -> list[Offer]:
    """What strangers may see: the packages of a public list on a day with their splits, by two statements.

    Of a list that is not public there are none, and none that cannot be sold that day.
    """
    found = packages.public_on(conn, price_list, day)
    splits = _splits(conn, [(package, day) for package in found]) if found else []
    return [
        Offer(package, day, sold, tuple(_warnings([(day, sold)])))
        for package, sold in zip(found, splits, strict=True)
        if isinstance(sold, Split)
    ]


def of(conn: db.Connection, chosen: Sequence[Package], on: date) -> list[Offer]:
    """The packages on a day, each with what is worth a look on that day and on those whose prices are known to come."""
    days = _days(conn, chosen, on) if chosen else []
    asked = [(package, day) for package, of_one in zip(chosen, days, strict=True) for day in of_one]
    splits = iter(zip(asked, _splits(conn, asked), strict=True))
    found = []
    for package, of_one in zip(chosen, days, strict=True):
        by_day = [(day, sold) for (_, day), sold in (next(splits) for _ in of_one)]
        found.append(Offer(package, on, by_day[0][1], tuple(_warnings(by_day))))
    return found


def _splits(conn: db.Connection, asked: Sequence[tuple[Package, date]]) -> list[Split | Unpriced]:
    """The splits of these packages on these days, by one statement for each price list."""
    by_list: dict[str, list[tuple[int, prices.Wanted]]] = defaultdict(list)
    for place, (package, day) in enumerate(asked):
        by_list[package.price_list] += [(place, question) for question in package.questions(day)]
    answers: dict[int, list[Priced | Unpriced]] = defaultdict(list)
    for price_list, questions in by_list.items():
        answered = prices.on(conn, price_list, [question for _, question in questions])
        for (place, _), answer in zip(questions, answered, strict=True):
            answers[place].append(answer)
    return [split(package, answers[place], day) for place, (package, day) in enumerate(asked)]


def _warnings(by_day: Sequence[tuple[date, Split | Unpriced]]) -> Iterable[Warned]:
    """What holds on the first of these days or begins on a later one; what goes on is not said again."""
    before: set[tuple[str, str | None]] = set()
    for day, sold in by_day:
        now = [_warning(day, sold)]
        yield from (each for each in now if each and _what(each) not in before)
        before = {_what(each) for each in now if each}


def _what(warning: Warned) -> tuple[str, str | None]:
    return warning.code, dict(warning.values).get("article")


def _warning(day: date, sold: Split | Unpriced) -> Warned | None:
    if isinstance(sold, Unpriced):
        return Warned(day, sold.code, sold.values)
    if sold.total <= sold.list_amount:
        return None
    sums = (("total", money.text(sold.total)), ("list_amount", money.text(sold.list_amount)))
    return Warned(day, "package_above_parts", (("package", sold.package.code), *sums))


def _days(conn: db.Connection, chosen: Sequence[Package], on: date) -> list[list[date]]:
    """For each package the day `on`, and the later ones of its validity on which a price of a part is to change."""
    flat = [(place, part) for place, package in enumerate(chosen) for part in package.parts]
    found = conn.execute(
        """
        WITH RECURSIVE list AS (
          SELECT code AS asked, code, fallback, valid, 0 AS step FROM price_list
           WHERE code = ANY (%(lists)s::text[])
           UNION ALL
          SELECT list.asked, next.code, next.fallback, next.valid, list.step + 1
            FROM list
            JOIN price_list AS next ON next.code = list.fallback
           WHERE list.step < 8)
        SELECT DISTINCT part.place, turn.day
          FROM unnest(%(places)s::int[], %(lists)s::text[], %(articles)s::text[], %(ranks)s::text[])
            AS part (place, price_list, article, doctor_rank)
          JOIN medical_service AS service ON service.article = part.article
          JOIN list ON list.asked = part.price_list
          LEFT JOIN price
            ON price.service_id = service.id AND price.price_list = list.code
           AND price.doctor_rank = part.doctor_rank AND price.corrected_by IS NULL
          CROSS JOIN LATERAL (VALUES (lower(price.valid)), (upper(price.valid)), (service.inactive_since),
                                     (lower(list.valid)), (upper(list.valid))) AS turn (day)
         WHERE turn.day > %(on)s::date
         ORDER BY part.place, turn.day
        """,
        {
            "on": on,
            "places": [place for place, _ in flat],
            "lists": [chosen[place].price_list for place, _ in flat],
            "articles": [part.article for _, part in flat],
            "ranks": [part.doctor_rank for _, part in flat],
        },
    ).fetchall()
    later: dict[int, list[date]] = defaultdict(list)
    for place, day in found:
        if chosen[place].in_force(day):
            later[place].append(day)
    return [[on, *later[place]] for place in range(len(chosen))]
