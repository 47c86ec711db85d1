"""What an order will change, shown before it is published: every price beside the old one, and what is worth a look.

The preview asks `publishing` which prices the order makes and why it would be refused, so the two cannot disagree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import marshmallow as ma

from catalog import nomenclature, order_effects, order_warnings, publishing
from catalog.order_effects import Effect
from catalog.order_warnings import Warning
from catalog.price_lists import NameOut
from catalog.price_orders import Order
from catalog.price_rows import KINDS
from clinic import db, money
from clinic.errors import InvalidInput, Problem


class PreviewPriceOut(ma.Schema):
    kind = ma.fields.String(required=True, metadata={"enum": list(KINDS)})
    amount = ma.fields.String(required=True, allow_none=True)
    valid_from = ma.fields.Date(required=True)


class OldPriceOut(PreviewPriceOut):
    """The price in force on the first day without the order; `fallback` tells that another list has it."""

    price_list = ma.fields.String(required=True)
    fallback = ma.fields.Boolean(required=True)
    order = ma.fields.String(required=True)
    order_date = ma.fields.Date(required=True)
    order_id = ma.fields.UUID(required=True)


class NewPriceOut(PreviewPriceOut):
    """The price that the order makes; `valid_until`, exclusive, where a later price is already known."""

    valid_until = ma.fields.Date(required=True, allow_none=True)


class PreviewNoteOut(ma.Schema):
    """A warning or a reason; which of the further members are there depends on the code."""

    code = ma.fields.String(required=True)
    message = ma.fields.String(required=True)
    pointer = ma.fields.String()
    article = ma.fields.String()
    doctor_rank = ma.fields.String()
    order = ma.fields.UUID()
    order_number = ma.fields.String()
    order_date = ma.fields.Date()
    valid_until = ma.fields.Date()
    number = ma.fields.String()


class PreviewCategoryOut(ma.Schema):
    code = ma.fields.String(required=True)
    name = ma.fields.Nested(NameOut, required=True)


class PreviewLineOut(ma.Schema):
    """One price that the order makes; a line that withdraws every rank shows each."""

    position = ma.fields.Integer(required=True)
    article = ma.fields.String(required=True)
    name = ma.fields.Nested(NameOut, required=True)
    category = ma.fields.Nested(PreviewCategoryOut, required=True)
    doctor_rank = ma.fields.String(required=True)
    rank_name = ma.fields.Nested(NameOut, required=True, allow_none=True)
    effect = ma.fields.String(required=True, metadata={"enum": ["changed", "unchanged", "new", "withdrawn"]})
    old = ma.fields.Nested(OldPriceOut, required=True, allow_none=True)
    new = ma.fields.Nested(NewPriceOut, required=True)
    difference = ma.fields.String(required=True, allow_none=True)
    difference_percent = ma.fields.String(required=True, allow_none=True)
    warnings = ma.fields.List(ma.fields.Nested(PreviewNoteOut), required=True)


class PreviewOut(ma.Schema):
    """What the order will change. `raised` and `lowered` count those of `changed` whose sum goes up or down."""

    order = ma.fields.UUID(required=True)
    number = ma.fields.String(required=True)
    date = ma.fields.Date(required=True)
    price_list = ma.fields.String(required=True)
    effective_from = ma.fields.Date(required=True)
    currency = ma.fields.String(required=True)
    changed = ma.fields.Integer(required=True)
    unchanged = ma.fields.Integer(required=True)
    new = ma.fields.Integer(required=True)
    withdrawn = ma.fields.Integer(required=True)
    raised = ma.fields.Integer(required=True)
    lowered = ma.fields.Integer(required=True)
    publishable = ma.fields.Boolean(required=True)
    reasons = ma.fields.List(ma.fields.Nested(PreviewNoteOut), required=True)
    lines = ma.fields.List(ma.fields.Nested(PreviewLineOut), required=True)
    warnings = ma.fields.List(ma.fields.Nested(PreviewNoteOut), required=True)


@dataclass(frozen=True)
class Preview:
    """What an order will change; it can be published when there are no refusals."""

    order: Order
    effects: Sequence[Effect]
    warnings: Sequence[Warning]
    refusals: Sequence[Problem]

    def as_json(self, lang: str) -> dict[str, Any]:
        times = Counter(each.kind for each in self.effects)
        moved = [each.difference for each in self.effects if each.kind == "changed" and each.difference]
        return {
            "order": self.order.id,
            "number": self.order.number,
            "date": self.order.date,
            "price_list": self.order.price_list,
            "effective_from": self.order.effective_from,
            "currency": "RUB",
            "changed": times["changed"],
            "unchanged": times["unchanged"],
            "new": times["new"],
            "withdrawn": times["withdrawn"],
            "raised": sum(each > 0 for each in moved),
            "lowered": sum(each < 0 for each in moved),
            "publishable": not self.refusals,
            "reasons": [reason for each in self.refusals for reason in _reasons(each, lang)],
            "lines": [_line_json(self.order, each, lang) for each in self.effects],
            "warnings": [each.as_json(lang) for each in self.warnings],
        }


def _line_json(order: Order, effect: Effect, lang: str) -> dict[str, Any]:
    target, old = effect.target, effect.old
    return {
        "position": target.position,
        "article": old.article,
        "name": {"ru": old.name_ru, "en": old.name_en},
        "category": {"code": old.category, "name": {"ru": old.category_ru, "en": old.category_en}},
        "doctor_rank": target.doctor_rank,
        "rank_name": {"ru": old.rank_ru, "en": old.rank_en} if old.priced_by_rank else None,
        "effect": effect.kind,
        "old": old.price_json(),
        "new": {
            "kind": target.kind,
            "amount": money.text_or_none(target.amount),
            "valid_from": order.effective_from,
            "valid_until": target.next_from,
        },
        "difference": money.text_or_none(effect.difference),
        "difference_percent": money.text_or_none(effect.percent),
        "warnings": [each.as_json(lang) for each in order_warnings.of_line(order, effect)],
    }


def _reasons(refusal: Problem, lang: str) -> Iterator[dict[str, Any]]:
    if isinstance(refusal, InvalidInput):
        for each in refusal.faults:
            yield {"code": each.code, "message": each.message(lang), "pointer": each.pointer}
    else:
        title, _ = refusal.words(lang)
        for members in refusal.members.get("overlaps", [refusal.members]):
            yield {"code": refusal.code(), "message": title, **members}


def of(conn: db.Connection, order: Order, today: date) -> Preview:
    """What publishing the draft `order` today would do, by three statements however many lines it has.

    Raises:
        OrderNotDraft: it is published or discarded: what there was before it is no longer there.
    """
    order.must_be_draft()
    targets = publishing.targets_of(conn, order)
    standing = order_effects.standing(conn, order)
    old = {(each.service_id, each.doctor_rank): each for each in standing}
    codes = nomenclature.warnings(
        conn, order.effective_from, {each.article: each.nomenclature_codes for each in standing}
    )
    before = [old[each.service_id, each.doctor_rank] for each in targets]
    return Preview(
        order,
        [Effect(each, around, codes[around.article]) for each, around in zip(targets, before, strict=True)],
        list(order_warnings.of_ranks(standing, targets)),
        list(publishing.refusals(order, targets, today)),
    )
