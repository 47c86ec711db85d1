"""The arithmetic of lines and documents: no database, no clock, no request.

gross = round(unit price × quantity), discount = round(gross × percent / 100), amount = gross − discounts. A discount
of the whole document is one sum, spread over the discountable lines by largest remainder. VAT is inside the amount
of each line and summed: each row of a Russian document states its own (domain.md rules 12–14, 18).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from clinic import money
from clinic.money import ZERO

HUNDRED = Decimal(100)


@dataclass(frozen=True)
class Discount:
    """A discount as it was asked for: percent or rubles, one of them or none."""

    percent: Decimal | None = None
    amount: Decimal | None = None

    def of(self, gross: Decimal) -> Decimal:
        """In rubles; never more than `gross`."""
        if self.percent is not None:
            return money.share(gross, self.percent)
        return min(self.amount or ZERO, gross)


def gross(unit_price: Decimal, quantity: Decimal) -> Decimal:
    """What a line costs before discounts, in rubles."""
    return money.rounded(unit_price * quantity)


def spread(discount: Discount, amounts: Sequence[Decimal], discountable: Sequence[bool]) -> list[Decimal]:
    """A document's discount over its lines, by their amounts after the lines' own discounts; ties to the earlier."""
    weights = [amount if open_ else ZERO for amount, open_ in zip(amounts, discountable, strict=True)]
    return money.split(discount.of(sum(weights, ZERO)), weights)


def effective_percent(gross_: Decimal, discounts: Decimal) -> Decimal:
    """All discounts of a line in percent of its gross; what a ceiling is compared with."""
    return discounts * HUNDRED / gross_ if gross_ else ZERO


@dataclass(frozen=True)
class Vat:
    """The VAT of a line or of a group of lines. Exempt is not 0 %: its `amount` is None."""

    rate: Decimal | None
    amount: Decimal | None

    @classmethod
    def inside(cls, amount: Decimal, rate: Decimal | None) -> Vat:
        """The VAT of `rate` % that `amount` holds."""
        return cls(rate, None if rate is None else money.vat_inside(amount, rate))

    @property
    def text(self) -> str:
        """As Russian documents print it."""
        if self.rate is None:
            return "Без НДС"
        if not self.rate:
            return "НДС 0 %"
        return f"в том числе НДС {shown_rate(self.rate)} %"


def shown_rate(rate: Decimal) -> str:
    """A rate without idle zeros: "22", "16.67"."""
    return f"{rate.normalize():f}"


@dataclass(frozen=True)
class VatGroup:
    """The lines of one VAT rate: what they come to with VAT, and the VAT in it."""

    vat: Vat
    base: Decimal


def vat_groups(lines: Iterable[tuple[Decimal, Vat]]) -> list[VatGroup]:
    """(amount, VAT) of each line, summed by rate: rates downwards, «Без НДС» last."""
    groups: dict[Decimal | None, VatGroup] = {}
    for amount, vat in lines:
        known = groups.get(vat.rate)
        if known is None:
            groups[vat.rate] = VatGroup(vat, amount)
        else:
            tax = None if vat.amount is None or known.vat.amount is None else known.vat.amount + vat.amount
            groups[vat.rate] = VatGroup(Vat(vat.rate, tax), known.base + amount)
    return sorted(groups.values(), key=lambda group: (group.vat.rate is None, -(group.vat.rate or 0)))


def part(whole: Decimal, taken: Decimal, quantity: Decimal, of_quantity: Decimal, *, last: bool) -> Decimal:
    """The share of `whole` that goes with `quantity` of `of_quantity`; the last piece takes the exact remainder."""
    if last:
        return whole - taken
    return min(money.rounded(whole * quantity / of_quantity), whole - taken)
