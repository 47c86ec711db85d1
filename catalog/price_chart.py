"""A service's prices over time as a drawing: where its lines run, for a template that only writes them down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from itertools import groupby

from catalog.price_history import PublicPast

WIDTH, HEIGHT = 480, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 470, 42, 218
_APART = 92
"""So far apart two dates can be read side by side."""


@dataclass(frozen=True)
class Line:
    """The prices of one rank: a path, and the end of its last step, where its name stands."""

    rank_ru: str
    rank_en: str
    path: str
    end: tuple[int, int]


@dataclass(frozen=True)
class Chart:
    """Everything in units of the drawing, y downwards; `today` is an x, or None when the day is not in it."""

    lines: Sequence[Line]
    amounts: Sequence[tuple[int, Decimal]]
    days: Sequence[tuple[int, date]]
    today: int | None
    left: int = _LEFT
    right: int = _RIGHT
    top: int = _TOP
    bottom: int = _BOTTOM
    width: int = WIDTH
    height: int = HEIGHT


def of(history: Sequence[PublicPast], today: date) -> Chart | None:
    """The prices that could be or can be charged. None when no rank's price ever changes: there is nothing to see."""
    drawn = [each for each in history if each.amount is not None and each.corrected_by is None]
    by_rank = [list(of_one) for _, of_one in groupby(drawn, lambda each: each.doctor_rank)]
    if all(len(each) < 2 for each in by_rank):
        return None
    scale = _Scale.around(drawn, today)
    lines = [Line(each[0].rank_ru, each[0].rank_en, *scale.steps(each)) for each in by_rank]
    return Chart(
        lines,
        [(scale.y(amount), amount) for amount in scale.amounts()],
        scale.days({each.valid_from for each in drawn}),
        scale.x(today) if scale.first <= today <= scale.last else None,
    )


@dataclass(frozen=True)
class _Scale:
    first: date
    last: date
    step: Decimal
    most: Decimal

    @classmethod
    def around(cls, drawn: Sequence[PublicPast], today: date) -> _Scale:
        first = min(each.valid_from for each in drawn)
        last = max(each.valid_until or each.valid_from for each in drawn)
        last = max(last, today)
        # Some room behind the last change, so that the newest price is a line and not a point.
        last += timedelta(days=max(14, (last - first).days // 6))
        most = max((each.amount for each in drawn if each.amount), default=Decimal(1))
        step = _round_step(most / 4)
        return cls(first, last, step, step * (most / step).to_integral_value("ROUND_CEILING"))

    def x(self, day: date) -> int:
        return _LEFT + round((_RIGHT - _LEFT) * (day - self.first).days / (self.last - self.first).days)

    def y(self, amount: Decimal) -> int:
        # From zero: a rise of two percent must not look like one of a hundred.
        return _BOTTOM - round((_BOTTOM - _TOP) * amount / self.most)

    def amounts(self) -> list[Decimal]:
        return [self.step * place for place in range(int(self.most / self.step) + 1)]

    def days(self, of_changes: set[date]) -> list[tuple[int, date]]:
        """Days of changes to be written below, from the latest, where there is room."""
        told: list[tuple[int, date]] = []
        for day in sorted(of_changes, reverse=True):
            place = self.x(day)
            if not told or told[-1][0] - place >= _APART:
                told.append((place, day))
        return told[::-1]

    def steps(self, prices: Sequence[PublicPast]) -> tuple[str, tuple[int, int]]:
        parts: list[str] = []
        ended: date | None = None
        place = (0, 0)
        for each in prices:
            assert each.amount is not None
            x, y = self.x(each.valid_from), self.y(each.amount)
            parts.append(f"V{y}" if each.valid_from == ended else f"M{x} {y}")
            ended = each.valid_until
            place = self.x(ended or self.last), y
            parts.append(f"H{place[0]}")
        return " ".join(parts), place


def _round_step(rough: Decimal) -> Decimal:
    """The smallest of 1, 2, 5, 10, 20, 50, … that is not below `rough`."""
    step = Decimal(1)
    while True:
        for times in (1, 2, 5):
            if step * times >= rough:
                return step * times
        step *= 10
