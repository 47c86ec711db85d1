"""What the model knows of documents: nouns in plain Python, nothing of the service's own code. Sums are rubles.

Documents get their ids from the service's answers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

ZERO = Decimal("0.00")
VAT = {"exempt_medical": None, "standard": Decimal(22)}


class Refusal(NamedTuple):
    status: int
    code: str


def conflict(code: str) -> Refusal:
    return Refusal(409, code)


INVALID = Refusal(422, "invalid_input")
STALE = Refusal(412, "precondition_failed")


def kopecks(amount: Fraction | Decimal) -> Decimal:
    """Half away from zero."""
    exact = abs(Fraction(amount)) * 100
    whole = (2 * exact.numerator + exact.denominator) // (2 * exact.denominator)
    return Decimal(whole if amount >= 0 else -whole) / 100


def share(whole: Decimal, before: Decimal, quantity: Decimal, of: Decimal, *, last: bool) -> Decimal:
    """What of `whole` goes with `quantity` of `of`; never more than is left, and the last piece takes all of that."""
    left = whole - before
    return left if last else min(left, kopecks(Fraction(whole) * Fraction(quantity) / Fraction(of)))


@dataclass(frozen=True)
class Service:
    """What the catalog sells: `prices` are first days and amounts, later ones added as time goes by."""

    article: str
    vat: str
    discountable: bool
    prices: dict[date, Decimal]

    def price(self, day: date) -> Decimal | None:
        begun = [since for since in self.prices if since <= day]
        return self.prices[max(begun)] if begun else None


@dataclass(frozen=True)
class Wanted:
    """A line as it is asked for; `percent` is its own discount."""

    service: Service
    quantity: Decimal
    percent: Decimal


@dataclass(frozen=True)
class Given:
    """What of a document is to be changed; None is left out, and stays."""

    lines: list[Wanted] | None = None
    percent: Decimal | None = None
    until: date | None = None


@dataclass
class Line:
    """A line of a quote or an invoice."""

    position: int
    service: Service
    quantity: Decimal
    unit_price: Decimal
    gross: Decimal
    discount: Decimal
    document_discount: Decimal = ZERO
    percent: Decimal = ZERO
    quote_position: int | None = None
    taken: Decimal = Decimal(0)
    """Of a quote's line: how much stands on invoices; of an invoice's: how much is rendered."""
    rendered: Decimal = ZERO
    back: Decimal = Decimal(0)
    """Of an invoice's line: how much credit notes took back of its services; below, with what stood there for them."""
    back_gross: Decimal = ZERO
    back_discount: Decimal = ZERO
    back_document_discount: Decimal = ZERO
    credited: Decimal = ZERO
    credited_vat: Decimal = ZERO

    @property
    def amount(self) -> Decimal:
        return self.gross - self.discount - self.document_discount

    @property
    def discounts(self) -> Decimal:
        return self.discount + self.document_discount

    @property
    def left(self) -> Decimal:
        """How much can be invoiced of a quote's line; of an invoice's, rendered or taken back."""
        return self.stands - self.taken

    @property
    def stands(self) -> Decimal:
        """How much of it was not taken back."""
        return self.quantity - self.back

    @property
    def owed(self) -> Decimal:
        """What is not credited of its money."""
        return self.amount - self.credited

    @property
    def vat(self) -> Decimal | None:
        return vat_inside(self.amount, VAT[self.service.vat])

    def wanted(self) -> Wanted:
        return Wanted(self.service, self.quantity, self.percent)


def vat_inside(amount: Decimal, rate: Decimal | None) -> Decimal | None:
    return None if rate is None else kopecks(Fraction(amount) * Fraction(rate) / Fraction(100 + rate))


@dataclass(kw_only=True)
class Document:
    id: str = ""
    lines: list[Line]
    date: date
    status: str = "draft"
    author: str = ""
    """Who wrote what it says last: his ceiling counts."""
    approval: str = "none"
    percent: Decimal = ZERO
    """The discount of the whole document."""

    @property
    def subtotal(self) -> Decimal:
        return sum((line.gross for line in self.lines), ZERO)

    @property
    def total(self) -> Decimal:
        return sum((line.amount for line in self.lines), ZERO)

    @property
    def highest(self) -> Decimal:
        """The largest discount of a line, in percent."""
        percents = [kopecks(Fraction(line.discounts) * 100 / Fraction(line.gross)) for line in self.lines if line.gross]
        return max(percents, default=ZERO)

    def is_above(self, ceiling: int) -> bool:
        """Whether a line has more off than so many percent; less than a kopeck more is rounding."""
        return any(Fraction(line.discounts) * 100 - Fraction(line.gross) * ceiling >= 1 for line in self.lines)

    def vat_groups(self) -> set[VatGroup]:
        return vat_groups([(VAT[line.service.vat], line.amount, line.vat) for line in self.lines])


VatGroup = tuple[Decimal | None, Decimal, Decimal | None]
"""Rate, amount, tax."""


def vat_groups(parts: list[VatGroup]) -> set[VatGroup]:
    """Of all lines, summed by rate."""
    groups = set()
    for rate in {part[0] for part in parts}:
        of_rate = [part for part in parts if part[0] == rate]
        tax = None if rate is None else sum((part[2] or ZERO for part in of_rate), ZERO)
        groups.add((rate, sum((part[1] for part in of_rate), ZERO), tax))
    return groups


@dataclass(kw_only=True, eq=False)
class Quote(Document):
    """One revision of a quote; all of them share an id."""

    valid_until: date
    revision: int = 1
    newest: bool = True
    expired_from: str = ""

    @property
    def shown_status(self) -> str:
        return "invoiced" if all(not line.left for line in self.lines) else self.status

    def is_over(self, today: date) -> bool:
        """Whether its last day passed before anybody agreed, noted or not."""
        return self.status == "expired" or (self.status in ("draft", "sent") and today > self.valid_until)


@dataclass(kw_only=True, eq=False)
class Invoice(Document):
    payer: str
    quote: Quote | None = None
    number: str | None = None
    sequence: int = 0
    paid: Decimal = ZERO
    credited: Decimal = ZERO

    @property
    def balance(self) -> Decimal:
        return self.total - self.paid - self.credited

    @property
    def payment_status(self) -> str | None:
        if self.number is None:
            return None
        if self.balance == 0:
            return "settled" if self.credited and self.credited >= self.paid else "paid"
        return "partially_paid" if self.paid else "unpaid"


@dataclass(kw_only=True, eq=False)
class Payment:
    id: str = ""
    payer: str
    amount: Decimal
    received_on: date
    slip: str | None = None
    asked: tuple[object, ...] = ()
    refunded: Decimal = ZERO
    puts: list[tuple[Invoice, Decimal]] = field(default_factory=list)

    def on(self, invoice: Invoice) -> Decimal:
        return sum((amount for put, amount in self.puts if put is invoice), ZERO)

    @property
    def allocated(self) -> Decimal:
        return sum((amount for _, amount in self.puts), ZERO)

    @property
    def advance(self) -> Decimal:
        return self.amount - self.allocated - self.refunded

    @property
    def status(self) -> str:
        if self.refunded == self.amount:
            return "refunded"
        return "partially_refunded" if self.refunded else "received"


@dataclass(kw_only=True, eq=False)
class Act:
    id: str = ""
    invoice: Invoice
    number: str
    status: str = "issued"
    pieces: list[tuple[Line, Decimal, Decimal]]

    @property
    def total(self) -> Decimal:
        return sum((amount for _, _, amount in self.pieces), ZERO)


@dataclass(frozen=True)
class Back:
    """What of a line is to be credited: services, or money; without both, all that is left of its services."""

    position: int
    quantity: Decimal | None = None
    amount: Decimal | None = None


@dataclass(frozen=True)
class Credited:
    """A line of a credit note; without services it puts a price right."""

    line: Line
    quantity: Decimal | None
    gross: Decimal | None
    discount: Decimal | None
    document_discount: Decimal | None
    amount: Decimal
    vat: Decimal | None


@dataclass(kw_only=True, eq=False)
class Note:
    """A credit note."""

    id: str = ""
    invoice: Invoice
    number: str
    cancels: bool
    lines: list[Credited]

    @property
    def amount(self) -> Decimal:
        return sum((each.amount for each in self.lines), ZERO)

    def vat_groups(self) -> set[VatGroup]:
        return vat_groups([(VAT[each.line.service.vat], each.amount, each.vat) for each in self.lines])


@dataclass(frozen=True)
class Decision:
    """Whether a discount is given: said by a second person, of what the document says at that moment."""

    document: Quote | Invoice
    decision: str
    highest: Decimal
    author: str
    by: str


@dataclass(frozen=True)
class Part:
    """Money wanted for an invoice: all that is owed when `amount` is None."""

    invoice: Invoice
    amount: Decimal | None
    on_behalf: bool = False
