"""Many prices moved at once: «+7 % on MRI, rounded to 10 rubles» becomes lines of a draft.

It starts from the prices of the order's own list that are in force on the order's first day, never from the draft, so
it can be repeated with another percentage. Lines of the draft with an amount for the same service and rank are
replaced; what the draft withdraws or puts on request stays so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import marshmallow as ma

from catalog import categories, drafting, order_lines, ranks, services
from catalog.order_lines import Line
from catalog.price_orders import Order, PriceOrderOut
from clinic import db, errors, fields, money
from clinic.command import Change
from clinic.errors import Fault, InvalidInput

MOST = 10_000
"""Lines a draft may grow to."""
_LIMIT = Decimal(10) ** 13
_COARSEST = Decimal("10000.00")

errors.describe(
    {
        "not_percent_change": (
            "Нужен процент со знаком строкой, например «7.00» или «-5.00»: от −100 до 999.99.",
            'A percentage with its sign is needed as a string such as "7.00" or "-5.00", from -100 to 999.99.',
        ),
        "not_money_change": (
            "Нужна сумма со знаком строкой, например «+200.00» или «-150.00».",
            'A sum with its sign is needed as a string such as "+200.00" or "-150.00".',
        ),
        "one_change_only": ("Укажите либо percent, либо amount.", "Give percent or amount, one of the two."),
        "wrong_rounding": ("Округлять можно до 0.01–10000.00 рубля.", "Prices are rounded to 0.01 to 10000.00 rubles."),
        "nothing_selected": (
            "Под условия не подходит ни одна цена, действующая в прейскуранте на {day}.",
            "No price that is in force in the list on {day} is selected.",
        ),
        "price_too_large": (
            "Цена услуги {article} получится слишком велика.",
            "The price of {article} becomes too large.",
        ),
        "order_too_long": (
            "В приказе стало бы {count} строк, а можно не больше {most}: разделите его.",
            "The order would have {count} lines and may have {most}: split it.",
        ),
    }
)  # fmt: skip


class PriceOrderBulkIn(fields.Shape):
    """Which prices move and by how much. Members that select hold together; without any, the whole list moves."""

    percent = fields.Form(
        r"\+?[0-9]{1,3}(\.[0-9]{1,2})?|-(100(\.0{1,2})?|[0-9]{1,2}(\.[0-9]{1,2})?)",
        load_default=None, allow_none=True, error_messages={"invalid": "not_percent_change"},
        metadata={"example": "7.00", "description": "percent, with a sign where it lowers; else give `amount`"},
    )  # fmt: skip
    amount = fields.Form(
        r"[+-]?[0-9]{1,10}(\.[0-9]{1,2})?",
        load_default=None, allow_none=True, error_messages={"invalid": "not_money_change"},
        metadata={"example": "+200.00", "description": "rubles, with a sign where it lowers; else give `percent`"},
    )  # fmt: skip
    category = fields.Form(
        categories.FORM, load_default=None, allow_none=True,
        metadata={"example": "mri", "description": "only this category and those inside it"},
    )  # fmt: skip
    articles = fields.Many(
        fields.Form(services.ARTICLE, metadata={"example": "MRI-ABD-RP"}), least=1, most=order_lines.MOST,
        load_default=None, allow_none=True,
    )  # fmt: skip
    doctor_rank = fields.Form(
        ranks.FORM, load_default=None, allow_none=True,
        metadata={"example": "doctor", "description": "only prices of this rank, of services priced by rank"},
    )  # fmt: skip
    kinds = fields.Many(
        fields.Choice(*order_lines.WITH_AMOUNT), least=1, most=2, load_default=lambda: list(order_lines.WITH_AMOUNT)
    )
    round_to = fields.Money(
        load_default=money.KOPECK,
        metadata={"example": "10.00", "description": "0.01 to 10000.00 rubles, half away from zero; never below 0"},
    )

    @ma.validates("round_to")
    def not_too_coarse(self, step: Decimal, **_: Any) -> None:
        if not money.KOPECK <= step <= _COARSEST:
            raise ma.ValidationError("wrong_rounding")

    @ma.validates_schema(pass_original=True, skip_on_field_errors=False)
    def one_change(self, _data: Any, original: Any, **_: Any) -> None:
        if isinstance(original, dict):
            given = [name for name in ("percent", "amount") if original.get(name) is not None]
            if len(given) != 1:
                raise ma.ValidationError({"amount": ["one_change_only"]} if given else {"percent": ["required"]})

    def beyond(self, raw: Any) -> list[Fault]:
        try:
            found = self.load(raw)
        except ma.ValidationError as wrong:
            found = wrong.valid_data
        if not isinstance(raw, dict) or not isinstance(found, dict):
            return []
        # A list that was read in part has lost the places of its items.
        sent = raw["articles"] if isinstance(raw.get("articles"), list) else []
        with db.reading() as conn:
            return _faults(conn, {**found, "articles": [each if _is_article(each) else None for each in sent]})


def _is_article(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(services.ARTICLE, value, re.ASCII) is not None


class PriceOrderBulkOut(PriceOrderOut):
    """The order, and how many of its lines are new or have another amount than before."""

    lines_made = ma.fields.Integer(required=True)
    lines_replaced = ma.fields.Integer(required=True)


@dataclass(frozen=True)
class Moved:
    """The draft after its lines were made: `made` of them in all, `replaced` in place of older ones."""

    order: Order
    lines: Sequence[Line]
    made: int
    replaced: int

    def as_json(self) -> dict[str, Any]:
        return {
            **self.order.as_json(),
            "lines": [each.as_json() for each in self.lines],
            "lines_made": self.made,
            "lines_replaced": self.replaced,
        }


def move(change: Change, order: Order, wanted: Mapping[str, Any]) -> Moved:
    """Make lines of a draft, which was read under its lock, from the prices that `wanted` selects.

    Raises:
        InvalidInput: a category, rank or article is unknown, nothing is selected, a price or the order gets too large.
    """
    if faults := _faults(change.conn, wanted):
        raise InvalidInput(faults)
    before = order_lines.of(change.conn, order.id)
    said = {(each.article, each.rank): each for each in before}
    new = {
        (each.article, each.rank): _moved(each, wanted)
        for each in _in_force(change.conn, order, wanted)
        if not _is_settled(said, each)
    }
    after = [new.get((each.article, each.rank), each) for each in before]
    after += [line for key, line in new.items() if key not in said]
    if faults := _outcome_faults(order, list(new.values()), after, wanted):
        raise InvalidInput(faults)
    put = drafting.put_lines(change, order, after)
    return Moved(put, after, len(new), len(new.keys() & said.keys()))


def _is_settled(said: Mapping[tuple[str, str | None], Line], price: Line) -> bool:
    """Whether the draft already says of the service that it has no sum."""
    line = said.get((price.article, None)) or said.get((price.article, price.rank))
    return line is not None and line.amount is None


def _moved(price: Line, wanted: Mapping[str, Any]) -> Line:
    assert price.amount is not None
    percent, amount = (None if wanted[name] is None else Decimal(wanted[name]) for name in ("percent", "amount"))
    return replace(price, amount=moved(price.amount, percent=percent, amount=amount, round_to=wanted["round_to"]))


def moved(price: Decimal, *, percent: Decimal | None, amount: Decimal | None, round_to: Decimal) -> Decimal:
    """`price` moved by percent or by an amount, rounded once, half away from zero, and never below 0."""
    exact = price * (100 + percent) / 100 if percent is not None else price + (amount or 0)
    return max(money.ZERO, money.in_steps(exact, round_to))


def _in_force(conn: db.Connection, order: Order, wanted: Mapping[str, Any]) -> list[Line]:
    """The selected prices, as lines that would say the same again."""
    category = wanted["category"]
    return db.filtered(
        conn,
        Line,
        """
        SELECT service.article, price.doctor_rank, price.kind, price.amount
          FROM price
          JOIN medical_service AS service ON service.id = price.service_id
          JOIN category ON category.code = service.category
          JOIN doctor_rank AS rank ON rank.code = price.doctor_rank
         WHERE price.price_list = %(list)s::text
           AND price.valid @> %(day)s::date
           AND price.corrected_by IS NULL
           AND price.kind = ANY (%(kinds)s::text[])
           AND (%(day)s::date < service.inactive_since) IS NOT FALSE
           AND (%(within)s::text[] IS NULL OR service.category = ANY (%(within)s::text[]))
           AND (%(articles)s::text[] IS NULL OR service.article = ANY (%(articles)s::text[]))
           AND (%(rank)s::text IS NULL OR service.priced_by_rank AND price.doctor_rank = %(rank)s::text)
         ORDER BY category.position, category.code, service.article COLLATE "C", rank.position
        """,
        {
            "list": order.price_list,
            "day": order.effective_from,
            "kinds": wanted["kinds"],
            "within": None if category is None else list(categories.within(conn, category)),
            "articles": wanted["articles"],
            "rank": wanted["doctor_rank"],
        },
    )


# ---- What can be wrong ----


def _faults(conn: db.Connection, wanted: Mapping[str, Any]) -> list[Fault]:
    """What the catalog does not know of those members of `wanted` that are there."""
    faults = []
    category, rank = wanted.get("category"), wanted.get("doctor_rank")
    articles = {place: each for place, each in enumerate(wanted.get("articles") or []) if each is not None}
    if category is not None and category not in {each.code for each in categories.every(conn)}:
        faults.append(Fault("/category", "unknown_category"))
    if rank is not None and rank not in {each.code for each in ranks.every(conn)}:
        faults.append(Fault("/doctor_rank", "unknown_rank", (("doctor_rank", rank),)))
    known = services.existing(conn, list(articles.values())) if articles else set()
    for place, article in articles.items():
        if article not in known:
            faults.append(Fault(f"/articles/{place}", "unknown_article", (("article", article),)))
    return faults


def _outcome_faults(order: Order, new: Sequence[Line], after: Sequence[Line], wanted: Mapping[str, Any]) -> list[Fault]:
    if not new:
        return [Fault("", "nothing_selected", (("day", order.effective_from.isoformat()),))]
    if len(after) > MOST:
        return [Fault("", "order_too_long", (("count", str(len(after))), ("most", str(MOST))))]
    member = "/amount" if wanted["percent"] is None else "/percent"
    too_large = [each for each in new if each.amount is not None and each.amount >= _LIMIT]
    return [Fault(member, "price_too_large", (("article", each.article),)) for each in too_large]
