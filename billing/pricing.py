"""Pricing: wanted lines become priced lines, or every fault of theirs is named.

The catalog answers what a service costs on a day; here kinds of price, discounts and their ceilings are applied.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any

import marshmallow as ma

from billing import discounts, package_lines, totals
from billing.lines import MOST, Line, LineIn, taxed
from billing.package_lines import Group
from billing.totals import Discount, Vat
from catalog import price_lists, prices
from catalog.package_split import Package, Split, split
from catalog.prices import Priced, Unpriced
from clinic import db, errors, money
from clinic.auth import Actor
from clinic.errors import Fault, InvalidInput
from clinic.money import ZERO

errors.describe(
    {
        "price_on_request": (
            "Цена услуги {article} — по запросу: укажите unit_price и price_reason.",
            "The price of {article} is on request: give unit_price and price_reason.",
        ),
        "price_below_from": (
            "Цена услуги {article} — от {from} ₽; ниже нельзя.",
            "The price of {article} is from {from} rubles; it cannot be lower.",
        ),
        "price_needs_reason": (
            "К цене, назначенной вручную, нужна причина price_reason.",
            "A price given by hand needs a price_reason.",
        ),
        "unit_price_not_allowed": (
            "У услуги {article} твёрдая цена: unit_price не указывается.",
            "{article} has a fixed price: unit_price cannot be given.",
        ),
        "discount_needs_reason": (
            "Скидке нужна причина discount_reason.",
            "A discount needs a discount_reason.",
        ),
        "unknown_discount_reason": ("Такой причины скидки нет.", "There is no such discount reason."),
        "one_discount_only": (
            "Укажите процент или сумму скидки, не то и другое.",
            "Give the discount in percent or in rubles, not both.",
        ),
        "discount_too_large": ("Скидка больше суммы.", "The discount is larger than the sum."),
        "not_discountable": (
            "На {article} скидки не даются.",
            "No discount is given on {article}.",
        ),
        "one_of_doctor_and_rank": (
            "Укажите врача или звание врача, не то и другое: звание следует из врача.",
            "Give the doctor or the rank, not both: the rank follows from the doctor.",
        ),
        "total_too_large": ("Сумма слишком велика.", "The sum is too large."),
        "article_or_package": (
            "Укажите услугу (article) или программу (package), не то и другое.",
            "Give an article or a package, not both.",
        ),
        "not_with_package": (
            "В строке программы указываются только quantity и service_date.",
            "A line of a package has only quantity and service_date.",
        ),
        "too_many_lines": (
            "Вместе с частями программ в документе больше {most} строк.",
            "With the parts of packages the document has more than {most} lines.",
        ),
    }
)


_LARGEST = Decimal(10) ** 13
"""Rubles no sum in the database reaches (the domain `rub`): a document's lines together stay below it."""

Answer = Priced | Unpriced | Split


@dataclass(frozen=True)
class Quoted(Priced):
    """A price as it was quoted before, and who gave it where it was given by hand."""

    priced_by: str | None


def discount_in(given: dict[str, Any]) -> Discount:
    """The discount a line or a document asks for."""
    return Discount(given.get("discount_percent"), given.get("discount_amount"))


def priced(
    conn: db.Connection,
    actor: Actor,
    today: date,
    price_list: str,
    document: dict[str, Any],
    kept: Mapping[int, Line | Group] | None = None,
) -> tuple[list[Line], list[Fault]]:
    """Price every wanted line of `document` as of its service date, else `today`; all faults at once.

    `kept` has, by their places among the wanted lines, those that keep the price they were quoted at. With faults the
    lines are not complete and must not be used.
    """
    wanted: list[dict[str, Any]] = document["lines"]
    lines: list[Line] = []
    faults = discounts.unknown_reasons(conn, today, document)
    told = _told(conn, price_list, wanted, today, kept or {})
    for place, (each, answer) in enumerate(zip(wanted, told, strict=True)):
        found = _faults_of(each, answer)
        faults += _placed(place, each, found)
        if not found:
            lines += _lines(lines, actor, each, answer)
    if not faults and len(lines) > MOST:
        faults.append(Fault("/lines", "too_many_lines", (("most", str(MOST)),)))
    if not faults:
        lines, faults = _with_document_discount(lines, discount_in(document))
    return lines, list(dict.fromkeys(faults))


def _told(
    conn: db.Connection,
    price_list: str,
    wanted: Sequence[dict[str, Any]],
    today: date,
    kept: Mapping[int, Line | Group],
) -> list[Answer | Quoted | Group]:
    """What the catalog says to each wanted line, or what it was quoted at; the catalog is asked for the rest only."""
    asked = [each for place, each in enumerate(wanted) if place not in kept]
    told = iter(answers(conn, price_list, asked, today) if asked else ())
    return [_quoted(kept[place]) if place in kept else next(told) for place in range(len(wanted))]


def _quoted(line: Line | Group) -> Quoted | Group:
    if isinstance(line, Group):
        return line
    # Of a price given by hand no other one is known; it was not too low when it was given.
    told: dict[str, Any] = {
        "priced_by_rank": line.rank_name_ru is not None,
        "kind": line.price_kind,
        "amount": line.unit_price,
        "priced_by": line.priced_by,
    }
    copied: dict[str, Any] = {name: getattr(line, name) for name in Priced.__dataclass_fields__ if name not in told}
    return Quoted(**copied, **told)


def answers(conn: db.Connection, price_list: str, wanted: Sequence[dict[str, Any]], today: date) -> list[Answer]:
    """What the catalog says to each wanted line, by one statement, and one more where packages are wanted.

    Raises:
        InvalidInput: there is no such price list.
    """
    packages = package_lines.sold(conn, price_list, wanted, today)
    questions = [_questions(line, package, today) for line, package in zip(wanted, packages, strict=True)]
    told = iter(prices.on(conn, price_list, [each for of_line in questions for each in of_line]))
    return [
        _answer(line, package, [next(told) for _ in of_line], today)
        for line, package, of_line in zip(wanted, packages, questions, strict=True)
    ]


def _questions(line: dict[str, Any], package: Package | Unpriced | None, today: date) -> list[prices.Wanted]:
    if package is None:
        return [_wanted(line, today)]
    return package.questions(package_lines.day_of(line, today)) if isinstance(package, Package) else []


def _answer(
    line: dict[str, Any], package: Package | Unpriced | None, told: list[Priced | Unpriced], today: date
) -> Answer:
    if package is None:
        return told[0]
    if isinstance(package, Unpriced):
        return package
    return split(package, told, package_lines.day_of(line, today), int(line.get("quantity") or 1))


def _placed(place: int, wanted: dict[str, Any], found: Sequence[Fault]) -> list[Fault]:
    """The faults of a line with their places in the document.

    A list that is not in force is the document's fault, said once, unless a line chose a day of its own.
    """
    at = f"/lines/{place}/"
    day = f"{at}service_date" if wanted.get("service_date") else "/price_list"
    return [replace(each, pointer=day if each.pointer == "price_list" else at + each.pointer) for each in found]


def _faults_of(wanted: dict[str, Any], answer: Answer | Quoted | Group) -> list[Fault]:
    if isinstance(answer, Group):
        return []
    if isinstance(answer, Unpriced):
        return [Fault(each.member, each.code, each.values) for each in answer.every()]
    if isinstance(answer, Split):
        return _faults_of_package(wanted, answer)
    faults = []
    named = (("article", answer.article),)
    unit_price = wanted.get("unit_price")
    match answer.kind:
        case "fixed" if unit_price is not None:
            faults.append(Fault("unit_price", "unit_price_not_allowed", named))
        case "on_request" if unit_price is None:
            faults.append(Fault("unit_price", "price_on_request", named))
        case "from" if unit_price is not None and unit_price < _known(answer.amount):
            least = money.text(_known(answer.amount))
            faults.append(Fault("unit_price", "price_below_from", (*named, ("from", least))))
    if unit_price is not None and answer.kind != "fixed" and not wanted.get("price_reason"):
        faults.append(Fault("price_reason", "price_needs_reason"))
    discount = discount_in(wanted)
    if (discount.percent or discount.amount) and not answer.discountable:
        faults.append(Fault("article", "not_discountable", named))
    return faults or _too_large(wanted, answer, discount)


def _faults_of_package(wanted: dict[str, Any], sold: Split) -> list[Fault]:
    discount = discount_in(wanted)
    if discount.percent or discount.amount:
        return [Fault("package", "not_discountable", (("article", sold.package.code),))]
    if max(max(share.amount, share.list_amount) for share in sold.shares) >= _LARGEST / MOST:
        return [Fault("quantity", "total_too_large")]
    return []


def _too_large(wanted: dict[str, Any], answer: Priced, discount: Discount) -> list[Fault]:
    gross = totals.gross(_unit_price(wanted, answer), wanted.get("quantity", Decimal(1)))
    if gross >= _LARGEST / MOST:
        return [Fault("quantity", "total_too_large")]
    if discount.amount is not None and discount.amount > gross:
        return [Fault("discount_amount", "discount_too_large")]
    return []


def _unit_price(wanted: dict[str, Any], answer: Priced) -> Decimal:
    by_hand: Decimal | None = wanted.get("unit_price")
    return by_hand if by_hand is not None else _known(answer.amount)


def _known(amount: Decimal | None) -> Decimal:
    assert amount is not None, "a fixed price and a price from have amounts, by a CHECK"
    return amount


def _lines(before: Sequence[Line], actor: Actor, wanted: dict[str, Any], answer: Answer | Quoted | Group) -> list[Line]:
    """The line of a service, or one line for each part of a package, behind those `before`."""
    if isinstance(answer, Priced):
        return [_line(len(before) + 1, actor, wanted, answer)]
    no = 1 + max((line.package_no or 0 for line in before), default=0)
    if isinstance(answer, Group):
        first = len(before) + 1
        return [replace(line, position=place, package_no=no) for place, line in enumerate(answer.lines, first)]
    assert isinstance(answer, Split), "a line without a price has a fault"
    day = {"service_date": wanted["service_date"]}
    return [
        package_lines.as_part(
            _line(position, actor, day | {"quantity": share.quantity}, share.price), answer, share, no
        )
        for position, share in enumerate(answer.shares, len(before) + 1)
    ]


def _line(position: int, actor: Actor, wanted: dict[str, Any], answer: Priced) -> Line:
    unit_price = _unit_price(wanted, answer)
    quantity = wanted["quantity"]
    gross = totals.gross(unit_price, quantity)
    asked = discount_in(wanted)
    discount = asked.of(gross)
    by_hand = wanted.get("unit_price") is not None
    vat = Vat.inside(gross - discount, answer.vat_rate)
    return Line(
        position=position,
        article=answer.article,
        name_ru=answer.name_ru,
        name_en=answer.name_en,
        nomenclature_codes=answer.nomenclature_codes,
        unit=answer.unit,
        doctor_rank=answer.doctor_rank,
        rank_name_ru=answer.rank_name_ru,
        rank_name_en=answer.rank_name_en,
        doctor_id=answer.doctor_id,
        doctor_name_ru=answer.doctor_name_ru,
        doctor_name_en=answer.doctor_name_en,
        quantity=quantity,
        service_date=wanted.get("service_date"),
        price_kind=answer.kind,
        unit_price=unit_price,
        price_reason=wanted.get("price_reason") if by_hand else None,
        priced_by=(answer.priced_by if isinstance(answer, Quoted) else actor.label) if by_hand else None,
        gross=gross,
        discount_percent=asked.percent,
        discount_amount=asked.amount,
        discount_reason=wanted.get("discount_reason"),
        discount=discount,
        document_discount=ZERO,
        amount=gross - discount,
        discountable=answer.discountable,
        vat_category=answer.vat_category,
        vat_rate=vat.rate,
        vat_amount=vat.amount,
        tax_deduction_code=answer.tax_deduction_code,
        price_id=answer.price_id,
        price_list=answer.price_list,
        order_id=answer.order_id,
        order_number=answer.order_number,
        order_date=answer.order_date,
        fallback=answer.fallback,
        package_id=None,
        package_code=None,
        package_name_ru=None,
        package_name_en=None,
        package_no=None,
        package_quantity=None,
        list_amount=None,
    )


def _with_document_discount(lines: list[Line], discount: Discount) -> tuple[list[Line], list[Fault]]:
    if not discount.percent and not discount.amount:
        return lines, []
    open_sum = sum((line.amount for line in lines if line.discountable), ZERO)
    if discount.amount is not None and discount.amount > open_sum:
        return lines, [Fault("/discount_amount", "discount_too_large")]
    parts = totals.spread(discount, [line.amount for line in lines], [line.discountable for line in lines])
    return [_less(line, part) for line, part in zip(lines, parts, strict=True)], []


def _less(line: Line, document_discount: Decimal) -> Line:
    amount = line.gross - line.discount - document_discount
    return taxed(replace(line, document_discount=document_discount, amount=amount), line.vat_rate)


def needs_approval(conn: db.Connection, actor: Actor, lines: Sequence[Line]) -> bool:
    """Whether some line's discounts together are above what `actor` may give alone."""
    if not any(line.discount or line.document_discount for line in lines):
        return False
    ceiling = discounts.ceiling_of(conn, actor)
    return any(line.is_discounted_above(ceiling) for line in lines)


def catalog_faults(raw: Any, today: date) -> list[Fault]:
    """What the catalog has against the readable lines of a body that is wrong elsewhere."""
    given = raw.get("lines") if isinstance(raw, dict) else None
    if not isinstance(given, list):
        return []
    readable = {place: line for place, each in enumerate(given[:MOST]) if (line := _readable(each))}
    if not readable:
        return []
    try:
        told = _asked(raw.get("price_list"), list(readable.values()), today)
    except InvalidInput as unknown_list:
        return unknown_list.faults
    found = [
        fault
        for (place, line), answer in zip(readable.items(), told, strict=True)
        # Of a line that is wrong in itself only the service, the doctor and the rank can be judged.
        if isinstance(answer, Unpriced) or "quantity" in line
        for fault in _placed(place, line, _faults_of(line, answer))
    ]
    return list(dict.fromkeys(found))


def _asked(price_list: Any, wanted: list[dict[str, Any]], today: date) -> list[Answer]:
    readable = isinstance(price_list, str) and re.fullmatch(price_lists.FORM, price_list)
    with db.reading() as conn:
        return answers(conn, price_list if readable else price_lists.BASE, wanted, today)


def _readable(raw: Any) -> dict[str, Any] | None:
    """The line, or of one that is wrong its article, doctor, rank and day, or nothing."""
    try:
        loaded: dict[str, Any] = LineIn().load(raw)
        return loaded
    except ma.ValidationError as wrong:
        valid = wrong.valid_data if isinstance(wrong.valid_data, dict) else {}
        judged = ("article", "package", "doctor", "doctor_rank", "service_date")
        if (valid.get("article") is None) == (valid.get("package") is None) or any(
            name in wrong.messages_dict and name not in valid for name in judged
        ):
            return None
        return {name: valid.get(name) for name in judged}


def _wanted(line: dict[str, Any], today: date) -> prices.Wanted:
    day = line.get("service_date") or today
    # Who has left may have rendered a service before: which day was his last nobody has told us.
    return prices.Wanted(
        line["article"], line.get("doctor_rank"), day, day, line.get("doctor"), former_doctor=day < today
    )
