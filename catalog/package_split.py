"""What a package costs, and what of it falls on each part: no database, no clock, no request.

The list amount of a part is what it costs alone: round(price × quantity). A package costs its fixed total, or the sum
of the list amounts less its percent, rounded once. That is spread over the parts in proportion to their list amounts
by largest remainder, ties to the earlier part, so that the shares are the price of the package to the kopeck.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from catalog import prices
from catalog.prices import Priced, Unpriced
from clinic import errors, money
from clinic.money import ZERO

errors.describe(
    {
        "package_not_priced": (
            "На {day} программу {package} продать нельзя: у услуги {article} нет твёрдой цены.",
            "The package {package} cannot be sold on {day}: {article} has no fixed price.",
        ),
    }
)


class Price(NamedTuple):
    """How a package is priced: rubles for all of it, or percent off the sum of its parts; one of the two."""

    total: Decimal | None
    percent_off: Decimal | None

    def of(self, list_amounts: Sequence[Decimal], times: int = 1) -> Decimal:
        """What `times` packages cost whose parts come to `list_amounts` together, in rubles."""
        if self.total is not None:
            return self.total * times
        assert self.percent_off is not None, "a package has a total or a percent, by a CHECK"
        return money.rounded(sum(list_amounts, ZERO) * (100 - self.percent_off) / 100)


def shares(total: Decimal, list_amounts: Sequence[Decimal]) -> list[Decimal]:
    """`total` over the parts, exact to the kopeck and never negative. Parts that are all free share alike."""
    return money.split(total, list_amounts if any(list_amounts) else [Decimal(1)] * len(list_amounts))


@dataclass(frozen=True)
class Part:
    """A service in a package. The names of the rank are None where the price does not depend on it."""

    article: str
    name_ru: str
    name_en: str
    doctor_rank: str
    rank_name_ru: str | None
    rank_name_en: str | None
    quantity: Decimal


@dataclass(frozen=True)
class PackageTerms:
    """What a package of one price list costs, and when; sums in rubles, `valid_until` exclusive."""

    id: UUID
    code: str
    price_list: str
    name_ru: str
    name_en: str
    note: str | None
    total: Decimal | None
    percent_off: Decimal | None
    valid_from: date
    valid_until: date | None
    withdrawn: bool
    row_version: int
    created_at: datetime
    updated_at: datetime

    def in_force(self, day: date) -> bool:
        return not self.withdrawn and self.valid_from <= day and (self.valid_until is None or day < self.valid_until)

    def shown_on(self, today: date) -> date:
        """The day whose prices show it best: today, or the nearest day on which it is in force."""
        last = today if self.valid_until is None else self.valid_until - timedelta(days=1)
        return max(self.valid_from, min(today, last))


@dataclass(frozen=True)
class Package(PackageTerms):
    """A package with its parts."""

    parts: tuple[Part, ...]

    def questions(self, day: date) -> list[prices.Wanted]:
        """What the price list is asked for each part; `split` takes the answers."""
        return [prices.Wanted(part.article, part.doctor_rank, day, day) for part in self.parts]


@dataclass(frozen=True)
class Share:
    """A part with its price that day: what it costs alone and what it costs in the package, in rubles."""

    part: Part
    price: Priced
    unit_price: Decimal
    quantity: Decimal
    list_amount: Decimal
    amount: Decimal


@dataclass(frozen=True)
class Split:
    """So many packages on a day; their shares add up to their total."""

    package: Package
    times: int
    shares: tuple[Share, ...]

    @property
    def total(self) -> Decimal:
        return sum((share.amount for share in self.shares), ZERO)

    @property
    def list_amount(self) -> Decimal:
        """What the parts cost one by one."""
        return sum((share.list_amount for share in self.shares), ZERO)


def split(package: Package, answers: Sequence[Priced | Unpriced], day: date, times: int = 1) -> Split | Unpriced:
    """`times` packages at the prices of `day`, or why none can be sold that day.

    A part has no fixed price then, or the price list is not in force.
    """
    fixed: list[tuple[Priced, Decimal]] = []
    for part, answer in zip(package.parts, answers, strict=True):
        if isinstance(answer, Unpriced) and answer.member == "price_list":
            return replace(answer, further=())
        if isinstance(answer, Unpriced) or answer.kind != "fixed" or answer.amount is None:
            named = (("package", package.code), ("article", part.article), ("day", day.isoformat()))
            return Unpriced("package", "package_not_priced", named)
        fixed.append((answer, answer.amount))
    quantities = [part.quantity * times for part in package.parts]
    alone = [money.rounded(price * many) for (_, price), many in zip(fixed, quantities, strict=True)]
    total = Price(package.total, package.percent_off).of(alone, times)
    return Split(
        package,
        times,
        tuple(
            Share(part, answer, price, many, list_amount, amount)
            for part, (answer, price), many, list_amount, amount in zip(
                package.parts, fixed, quantities, alone, shares(total, alone), strict=True
            )
        ),
    )
