"""What all commands of the model share: the documents of one branch, prices, numbers, and the events told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import TypeVar

from tests.model_documents import (
    INVALID,
    ZERO,
    Act,
    Decision,
    Document,
    Given,
    Invoice,
    Line,
    Note,
    Payment,
    Quote,
    Refusal,
    Service,
    Wanted,
    conflict,
    kopecks,
)

PREFIXES = {"invoice": "", "credit_note": "К-", "act": "А-"}


@dataclass
class Series:
    next: int = 1
    last_on: date = date.min


Any_ = TypeVar("Any_")
Document_ = TypeVar("Document_", bound=Document)


class Books:
    """The books of one branch, and the events they must have told of."""

    def __init__(self, today: date, services: Sequence[Service], ceilings: Mapping[str, int], days: int = 30) -> None:
        self.today = today
        self.ceilings = ceilings
        """Who may take off how many percent alone."""
        self.services = list(services)
        self.valid_for = timedelta(days)
        self.quotes: list[Quote] = []
        self.invoices: list[Invoice] = []
        self.payments: list[Payment] = []
        self.put: list[tuple[Payment, Invoice]] = []
        self.acts: list[Act] = []
        self.notes: list[Note] = []
        self.decisions: list[Decision] = []
        self.series: dict[tuple[str, int], Series] = {}
        self.events: list[tuple[str, object]] = []

    def lines(self, wanted: Sequence[Wanted], percent: Decimal, quoted: Sequence[Line] = ()) -> list[Line] | Refusal:
        """The lines at today's prices, less `percent` of the whole document.

        What asks for one of the lines `quoted` keeps its price, each of these once.
        """
        lines, left = [], list(quoted)
        for position, each in enumerate(wanted, 1):
            same = next((line for line in left if line.service is each.service), None)
            price = same.unit_price if same else each.service.price(self.today)
            left = [line for line in left if line is not same]
            if price is None or (each.percent and not each.service.discountable):
                return INVALID
            gross = kopecks(Fraction(price) * Fraction(each.quantity))
            discount = kopecks(Fraction(gross) * Fraction(each.percent) / 100)
            lines.append(Line(position, each.service, each.quantity, price, gross, discount, percent=each.percent))
        open_ = [line for line in lines if line.service.discountable]
        whole = kopecks(Fraction(sum((line.amount for line in open_), ZERO)) * Fraction(percent) / 100)
        for line, part in zip(open_, _largest_remainder(whole, [line.amount for line in open_]), strict=True):
            line.document_discount = part
        return lines

    def written(self, document: Document_, by: str) -> Document_:
        """The document, which is what `by` says from now on."""
        document.author = by
        document.approval = "required" if document.is_above(self.ceilings[by]) else "none"
        return document

    def waits(self, document: Document) -> Refusal | None:
        return conflict("discount_above_limit") if document.approval == "required" else None

    def priced_again(self, document: Document, given: Given, *, anew: bool) -> list[Line] | Refusal:
        """The lines with what is given; unless all prices are asked anew, what stands there keeps its own."""
        wanted = [line.wanted() for line in document.lines] if given.lines is None else given.lines
        percent = document.percent if given.percent is None else given.percent
        return self.lines(wanted, percent, () if anew else document.lines)

    def out_of_order(self, kind: str, day: date | None) -> Refusal | None:
        asked = day or self.today
        return conflict("number_date_order") if self._series(kind, asked).last_on > asked else None

    def number(self, kind: str, day: date) -> tuple[int, str]:
        """Take the next number of the year."""
        series = self._series(kind, day)
        sequence, series.next, series.last_on = series.next, series.next + 1, day
        return sequence, f"{PREFIXES[kind]}{day.year}-{sequence:06}"

    def _series(self, kind: str, day: date) -> Series:
        return self.series.setdefault((kind, day.year), Series())

    def told(self, document: Any_, event: str) -> Any_:
        self.events.append((event, document))
        return document


def _largest_remainder(amount: Decimal, weights: Sequence[Decimal]) -> list[Decimal]:
    """`amount` by weights to the kopeck; what is missing goes to the largest remainders, of equal ones to the first."""
    total = Fraction(sum(weights, ZERO))
    if not amount:
        return [ZERO for _ in weights]
    exact = [Fraction(amount) * 100 * Fraction(weight) / total for weight in weights]
    floors = [each.numerator // each.denominator for each in exact]
    order = sorted(range(len(exact)), key=lambda place: (floors[place] - exact[place], place))
    for place in order[: int(Fraction(amount) * 100) - sum(floors)]:
        floors[place] += 1
    return [Decimal(each) / 100 for each in floors]
