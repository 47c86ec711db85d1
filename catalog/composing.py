"""Composing packages: a new one is judged part by part at the prices of its first day; later only its end moves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import marshmallow as ma
from psycopg import errors as pg

from catalog import packages, price_lists, prices, ranks, services
from catalog.package_split import Package, Part
from catalog.prices import Priced, Unpriced
from clinic import clock, db, errors, fields, ids, money
from clinic.command import Change
from clinic.errors import Conflict, Fault, InvalidInput

MOST = 50
"""Parts a package may have."""

errors.describe(
    {
        "total_or_percent": (
            "Укажите total или percent_off: одно из двух.",
            "Give total or percent_off: one of the two.",
        ),
        "repeated_part": (
            "Услуга {article} для этого звания в программе уже есть: увеличьте её количество.",
            "{article} is in the package already for this rank: raise its quantity.",
        ),
        "package_part_not_fixed": (
            "На {day} у услуги {article} нет твёрдой цены: в программу она не входит.",
            "{article} has no fixed price on {day}: it cannot be part of a package.",
        ),
        "package_begins_in_past": (
            "Программа не может действовать с прошедшего дня: {day} уже прошло.",
            "A package cannot be in force from a day that is over: {day}.",
        ),
        "package_ends_too_soon": (
            "valid_until — первый день, когда программы уже нет: не раньше сегодняшнего и позже {day}.",
            "valid_until is the first day without the package: today at the earliest, and after {day}.",
        ),
        "package_ended": (
            "Программа закончилась {day}: заведите под этим кодом новую.",
            "The package ended on {day}: make another one under its code.",
        ),
        "package_begun": (
            "Отозвать программу можно не позже её первого дня, {day}; теперь её можно только закончить.",
            "A package can be withdrawn until its first day, {day}; now it can only be ended.",
        ),
        "package_withdrawn": (
            "Программа отозвана, вернуть её нельзя.",
            "The package is withdrawn and does not come back.",
        ),
    }
)


class PackagesOverlap(Conflict):
    """Another package of this code is in force on some of these days.

    End that one first, or begin on the day it ends; on its first day at the latest it can also be withdrawn."""

    ru = (
        "В часть этих дней действует другая программа с тем же кодом\n\n"
        "Сначала закончите её или начните со дня её окончания; не позже её первого дня её можно и отозвать."
    )


class PackagePartIn(fields.Shape):
    """A service in the package."""

    article = fields.Form(services.ARTICLE, required=True, metadata={"example": "MRI-ABD-RP"})
    doctor_rank = fields.Form(
        ranks.FORM, load_default=None, allow_none=True,
        metadata={"example": "none", "description": "needed where the service is priced by rank, and only there"},
    )  # fmt: skip
    quantity = fields.Quantity(load_default=Decimal(1))


class PackageIn(fields.Shape):
    """A new package: its parts, and what all of it costs or what is taken off the sum of its parts."""

    code = fields.Form(packages.CODE, required=True, metadata={"example": "CT-MRI-DAY"})
    price_list = fields.Form(price_lists.FORM, load_default=price_lists.BASE, metadata={"example": "base"})
    name = fields.Nested(fields.Words, required=True)
    note = fields.Text(2000, load_default=None, allow_none=True)
    parts = fields.Many(fields.Nested(PackagePartIn), least=1, most=MOST, required=True)
    total = fields.Money(load_default=None, allow_none=True)
    percent_off = fields.Percent(load_default=None, allow_none=True)
    valid_from = fields.Day(
        load_default=None, allow_none=True, metadata={"description": "today unless given; never earlier"}
    )
    valid_until = fields.Day(load_default=None, allow_none=True, metadata={"description": "the first day without it"})

    @ma.validates_schema(pass_original=True, skip_on_field_errors=False)
    def one_price(self, given: dict[str, Any], raw: Any, **_: Any) -> None:
        if isinstance(raw, Mapping) and (raw.get("total") is None) == (raw.get("percent_off") is None):
            raise ma.ValidationError("total_or_percent", "total")

    def beyond(self, raw: Any) -> list[Fault]:
        """What the catalog has against the readable parts of a body that is wrong elsewhere."""
        parts = raw.get("parts") if isinstance(raw, dict) else None
        if not isinstance(parts, list):
            return []
        readable = {place: part for place, each in enumerate(parts[:MOST]) if (part := _readable(each))}
        price_list, today = raw.get("price_list"), clock.today()
        first = max(_day(raw.get("valid_from")) or today, today)
        known = isinstance(price_list, str) and re.fullmatch(price_lists.FORM, price_list)
        with db.reading() as conn:
            return _judged(conn, price_list if known else price_lists.BASE, first, readable)[1]


class PackagePatch(fields.Shape):
    """What may change of a package; a member that is left out stays."""

    name = fields.Nested(fields.Words)
    note = fields.Text(2000, allow_none=True)
    valid_until = fields.Day(
        allow_none=True, metadata={"description": "the first day without it, today at the earliest; null: no end"}
    )
    withdrawn = fields.Flag(metadata={"description": "true: made by mistake; until its first day only, and for good"})


def _readable(raw: Any) -> dict[str, Any] | None:
    try:
        part: dict[str, Any] = PackagePartIn().load(raw)
    except ma.ValidationError:
        return None
    return part


def _day(raw: Any) -> date | None:
    try:
        return fields.Day().deserialize(raw) if isinstance(raw, str) else None
    except ma.ValidationError:
        return None


def work_out(conn: db.Connection, at: datetime, wanted: dict[str, Any]) -> Package:
    """The wanted package, not kept anywhere.

    Raises:
        InvalidInput: names every wrong place.
    """
    today = clock.day_of(at)
    first, until = wanted["valid_from"] or today, wanted["valid_until"]
    answers, faults = _judged(conn, wanted["price_list"], max(first, today), dict(enumerate(wanted["parts"])))
    if first < today:
        faults.append(Fault("/valid_from", "package_begins_in_past", (("day", first.isoformat()),)))
    faults += _end_faults(until, first, today)
    if faults:
        raise InvalidInput(faults)
    return Package(
        id=ids.new(),
        code=wanted["code"],
        price_list=wanted["price_list"],
        name_ru=wanted["name"]["ru"],
        name_en=wanted["name"]["en"],
        note=wanted["note"],
        total=wanted["total"],
        percent_off=wanted["percent_off"],
        valid_from=first,
        valid_until=until,
        withdrawn=False,
        row_version=1,
        created_at=at,
        updated_at=at,
        parts=tuple(_part(each, answer) for each, answer in zip(wanted["parts"], answers, strict=True)),
    )


def _part(wanted: dict[str, Any], priced: Priced) -> Part:
    return Part(
        priced.article,
        priced.name_ru,
        priced.name_en,
        priced.doctor_rank,
        priced.rank_name_ru,
        priced.rank_name_en,
        wanted["quantity"],
    )


def _judged(
    conn: db.Connection, price_list: str, first: date, parts: Mapping[int, dict[str, Any]]
) -> tuple[list[Priced], list[Fault]]:
    """The prices of the parts on the first day, by their places, and what is wrong with them."""
    asked = [prices.Wanted(each["article"], each["doctor_rank"], first, first) for each in parts.values()]
    try:
        answers = prices.on(conn, price_list, asked)
    except InvalidInput as unknown_list:
        return [], list(unknown_list.faults)
    faults: list[Fault] = []
    seen: set[tuple[str, str]] = set()
    for (place, part), answer in zip(parts.items(), answers, strict=True):
        faults += _against(f"/parts/{place}", answer, part["article"], first)
        which = (part["article"], part["doctor_rank"] or ranks.NONE)
        if which in seen:
            faults.append(Fault(f"/parts/{place}", "repeated_part", (("article", part["article"]),)))
        seen.add(which)
    return [answer for answer in answers if isinstance(answer, Priced)], list(dict.fromkeys(faults))


def _against(pointer: str, answer: Priced | Unpriced, article: str, day: date) -> list[Fault]:
    not_fixed = Fault(f"{pointer}/article", "package_part_not_fixed", (("article", article), ("day", day.isoformat())))
    if isinstance(answer, Priced):
        return [] if answer.kind == "fixed" else [not_fixed]
    return [
        not_fixed
        if each.code in ("price_not_set", "service_withdrawn")
        # A list that is not in force is wrong for all parts alike.
        else Fault("/price_list" if each.member == "price_list" else f"{pointer}/{each.member}", each.code, each.values)
        for each in answer.every()
    ]


def _end_faults(until: date | None, first: date, today: date) -> list[Fault]:
    if until is not None and (until <= first or until < today):
        return [Fault("/valid_until", "package_ends_too_soon", (("day", first.isoformat()),))]
    return []


def refuse_overlap(conn: db.Connection, package: Package) -> None:
    """Say before anything is kept what the database would say.

    Raises:
        PackagesOverlap: another package of this code is in force on some of its days.
    """
    taken = db.value(
        conn,
        """
        SELECT id FROM package
         WHERE code = %(code)s::text AND price_list = %(price_list)s::text AND NOT withdrawn
           AND valid && daterange(%(valid_from)s::date, %(valid_until)s::date)
         LIMIT 1
        """,
        vars(package),
    )
    if taken:
        raise _overlap(package)


def _overlap(package: Package) -> PackagesOverlap:
    return PackagesOverlap(package=package.code, price_list=package.price_list)


def create(change: Change, wanted: dict[str, Any]) -> Package:
    """Add a package: it is sold from its first day on.

    Raises:
        InvalidInput: names every wrong place.
        PackagesOverlap: another one of this code is in force on some of its days.
    """
    price_lists.lock(change.conn, wanted["price_list"])
    package = work_out(change.conn, change.at, wanted)
    try:
        _insert(change, package)
    except pg.ExclusionViolation as exc:
        raise _overlap(package) from exc
    change.record(
        "package.created",
        package.id,
        code=package.code,
        price_list=package.price_list,
        valid_from=package.valid_from.isoformat(),
        total=money.text_or_none(package.total),
        percent_off=money.text_or_none(package.percent_off),
    )
    return package


def _insert(change: Change, package: Package) -> None:
    change.conn.execute(
        """
        WITH made AS (
          INSERT INTO package (id, code, price_list, name_ru, name_en, note, total, percent_off, parts, valid, author,
                               created_at, updated_at)
          VALUES (%(id)s, %(code)s, %(price_list)s, %(name_ru)s, %(name_en)s, %(note)s, %(total)s, %(percent_off)s,
                  %(count)s, daterange(%(valid_from)s::date, %(valid_until)s::date), %(by)s, %(created_at)s,
                  %(updated_at)s))
        INSERT INTO package_part (package_id, position, service_id, doctor_rank, quantity)
        SELECT %(id)s, wanted.position, service.id, wanted.doctor_rank, wanted.quantity
          FROM unnest(%(articles)s::text[], %(ranks)s::text[], %(quantities)s::numeric[])
               WITH ORDINALITY AS wanted (article, doctor_rank, quantity, position)
          JOIN medical_service AS service ON service.article = wanted.article
        """,
        vars(package)
        | {
            "by": change.actor.label,
            "count": len(package.parts),
            "articles": [part.article for part in package.parts],
            "ranks": [part.doctor_rank for part in package.parts],
            "quantities": [part.quantity for part in package.parts],
        },
    )


def edit(change: Change, package: Package, wanted: dict[str, Any]) -> Package:
    """Change names, note or end of a package that is locked, or withdraw it. What it sold stays sold.

    Raises:
        InvalidInput: an end that has passed, before today or on its first day; withdrawn after its first day.
        PackagesOverlap: the new end reaches into another package of this code.
    """
    wanted = dict(wanted)
    if name := wanted.pop("name", None):
        wanted |= {"name_ru": name["ru"], "name_en": name["en"]}
    changed = {member: value for member, value in wanted.items() if value != getattr(package, member)}
    if not changed:
        return package
    if faults := _edit_faults(package, changed, change.today):
        raise InvalidInput(faults)
    after = replace(package, **changed, row_version=package.row_version + 1, updated_at=change.at)
    try:
        change.conn.execute(
            """
            UPDATE package
               SET name_ru = %(name_ru)s, name_en = %(name_en)s, note = %(note)s,
                   valid = daterange(%(valid_from)s::date, %(valid_until)s::date), withdrawn = %(withdrawn)s,
                   row_version = %(row_version)s, updated_at = %(updated_at)s
             WHERE id = %(id)s
            """,
            vars(after),
        )
    except pg.ExclusionViolation as exc:
        raise _overlap(package) from exc
    change.record("package.changed", package.id, code=package.code, changed=sorted(changed))
    return after


def _edit_faults(package: Package, changed: dict[str, Any], today: date) -> list[Fault]:
    faults = []
    if "valid_until" in changed:
        if package.valid_until is not None and package.valid_until <= today:
            ended = (("day", package.valid_until.isoformat()),)
            faults.append(Fault("/valid_until", "package_ended", ended))
        else:
            faults += _end_faults(changed["valid_until"], package.valid_from, today)
    if "withdrawn" in changed:
        if package.withdrawn:
            faults.append(Fault("/withdrawn", "package_withdrawn"))
        elif package.valid_from < today:
            faults.append(Fault("/withdrawn", "package_begun", (("day", package.valid_from.isoformat()),)))
    return faults
