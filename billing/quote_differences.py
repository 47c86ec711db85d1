"""What differs between two revisions of a quote, line by line and in sum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import marshmallow as ma

from billing.lines import Line, NamesOut, Sums, shown_quantity
from clinic import money
from clinic.money import ZERO


class OldAndNewOut(ma.Schema):
    """Before and after; null where the line was not there, or is not there any more."""

    old = ma.fields.String(required=True, allow_none=True)
    new = ma.fields.String(required=True, allow_none=True)


class LineDifferenceOut(ma.Schema):
    """A line before and after; `position` is its place in the newer revision, `former_position` in the older one."""

    position = ma.fields.Integer(required=True, allow_none=True)
    former_position = ma.fields.Integer(required=True, allow_none=True)
    article = ma.fields.String(required=True)
    name = ma.fields.Nested(NamesOut, required=True)
    quantity = ma.fields.Nested(OldAndNewOut, required=True)
    unit_price = ma.fields.Nested(OldAndNewOut, required=True)
    amount = ma.fields.Nested(OldAndNewOut, required=True)
    difference = ma.fields.String(required=True, metadata={"description": "of the amounts, with its sign"})


class DifferencesOut(ma.Schema):
    """Two revisions side by side."""

    former_revision = ma.fields.Integer(required=True)
    lines = ma.fields.List(ma.fields.Nested(LineDifferenceOut), required=True)
    total = ma.fields.Nested(OldAndNewOut, required=True)
    difference = ma.fields.String(required=True, metadata={"description": "of the totals, with its sign"})


@dataclass(frozen=True)
class LineDifference:
    """The same line in two revisions; None where it is not there."""

    old: Line | None
    new: Line | None

    @property
    def line(self) -> Line:
        line = self.new or self.old
        assert line is not None, "one of them is there"
        return line

    @property
    def difference(self) -> Decimal:
        """Of the amounts, in rubles."""
        return (self.new.amount if self.new else ZERO) - (self.old.amount if self.old else ZERO)

    @property
    def is_one(self) -> bool:
        """Whether there is a difference at all."""
        return self.old is None or self.new is None or _said(self.old) != _said(self.new)

    def as_json(self) -> dict[str, Any]:
        line = self.line
        return {
            "position": self.new and self.new.position,
            "former_position": self.old and self.old.position,
            "article": line.article,
            "name": {"ru": line.name_ru, "en": line.name_en},
            "quantity": self._both(lambda each: shown_quantity(each.quantity)),
            "unit_price": self._both(lambda each: money.text(each.unit_price)),
            "amount": self._both(lambda each: money.text(each.amount)),
            "difference": money.text(self.difference),
        }

    def _both(self, shown: Callable[[Line], str]) -> dict[str, str | None]:
        return {"old": shown(self.old) if self.old else None, "new": shown(self.new) if self.new else None}


def _said(line: Line) -> tuple[Any, ...]:
    return (
        line.article,
        line.doctor_rank,
        line.doctor_id,
        line.service_date,
        line.quantity,
        line.unit_price,
        line.discount + line.document_discount,
        line.amount,
    )


_Key = Callable[[Line], tuple[Any, ...]]
_KEYS: tuple[_Key, ...] = (
    lambda line: (line.article, line.doctor_rank, line.doctor_id, line.service_date, line.package_code),
    lambda line: (line.article, line.package_code),
    lambda line: (line.article,),
)
"""What makes two lines the same, from the closest on."""


def of_lines(old: Sequence[Line], new: Sequence[Line]) -> list[LineDifference]:
    """Every line of two revisions: in the order of the newer one, those it has no more at the end."""
    left, found = list(old), dict[int, Line]()
    for key in _KEYS:
        for place, line in enumerate(new):
            same = next((each for each in left if key(each) == key(line)), None) if place not in found else None
            if same is not None:
                found[place] = same
                left = [each for each in left if each is not same]
    return [LineDifference(found.get(place), line) for place, line in enumerate(new)] + [
        LineDifference(line, None) for line in left
    ]


def as_json(former_revision: int, old: Sequence[Line], new: Sequence[Line]) -> dict[str, Any]:
    """Two revisions side by side."""
    before, after = Sums.of(old).total, Sums.of(new).total
    return {
        "former_revision": former_revision,
        "lines": [each.as_json() for each in of_lines(old, new)],
        "total": {"old": money.text(before), "new": money.text(after)},
        "difference": money.text(after - before),
    }
