"""What billing must answer, worked out anew in plain Python: no database, no clock, nothing of the service's own code.

A command either changes the model and returns the document, or changes nothing and returns the refusal. Documents get
their ids from the service's answers; sums are rubles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple, TypeVar

ZERO = Decimal("0.00")
VAT = {"exempt_medical": None, "standard": Decimal(22)}
PREFIXES = {"invoice": "", "credit_note": "К-", "act": "А-"}


class Refusal(NamedTuple):
    status: int
    code: str


def conflict(code: str) -> Refusal:
    return Refusal(409, code)


INVALID = Refusal(422, "invalid_input")


def kopecks(amount: Fraction | Decimal) -> Decimal:
    """Half away from zero."""
    exact = Fraction(amount) * 100
    whole = (2 * exact.numerator + exact.denominator) // (2 * exact.denominator)
    return Decimal(whole) / 100


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


@dataclass
class Line:
    position: int
    service: Service
    quantity: Decimal
    unit_price: Decimal
    gross: Decimal
    discount: Decimal
    document_discount: Decimal = ZERO
    quote_position: int | None = None
    taken: Decimal = Decimal(0)
    """Of a quote's line: how much stands on invoices; of an invoice's: how much is rendered."""
    rendered: Decimal = ZERO

    @property
    def amount(self) -> Decimal:
        return self.gross - self.discount - self.document_discount

    @property
    def left(self) -> Decimal:
        return self.quantity - self.taken

    @property
    def vat(self) -> Decimal | None:
        rate = VAT[self.service.vat]
        return None if rate is None else kopecks(Fraction(self.amount) * Fraction(rate) / Fraction(100 + rate))


@dataclass(kw_only=True)
class Document:
    id: str = ""
    lines: list[Line]
    date: date
    status: str = "draft"

    @property
    def subtotal(self) -> Decimal:
        return sum((line.gross for line in self.lines), ZERO)

    @property
    def total(self) -> Decimal:
        return sum((line.amount for line in self.lines), ZERO)

    def vat_groups(self) -> set[tuple[Decimal | None, Decimal, Decimal | None]]:
        rates = {VAT[line.service.vat] for line in self.lines}
        groups = set()
        for rate in rates:
            of_rate = [line for line in self.lines if VAT[line.service.vat] == rate]
            tax = None if rate is None else sum((line.vat or ZERO for line in of_rate), ZERO)
            groups.add((rate, sum((line.amount for line in of_rate), ZERO), tax))
        return groups


@dataclass(kw_only=True)
class Quote(Document):
    valid_until: date

    @property
    def shown_status(self) -> str:
        return "invoiced" if all(not line.left for line in self.lines) else self.status


@dataclass(kw_only=True)
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


@dataclass(kw_only=True)
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


@dataclass(kw_only=True)
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
class Part:
    """Money wanted for an invoice: all that is owed when `amount` is None."""

    invoice: Invoice
    amount: Decimal | None
    on_behalf: bool = False


@dataclass
class Series:
    next: int = 1
    last_on: date = date.min


Any_ = TypeVar("Any_")


class Clinic:
    """The books of one branch, and the events they must have told of."""

    def __init__(self, today: date, services: Sequence[Service], days: int = 30) -> None:
        self.today = today
        self.services = list(services)
        self.valid_for = timedelta(days)
        self.quotes: list[Quote] = []
        self.invoices: list[Invoice] = []
        self.payments: list[Payment] = []
        self.acts: list[Act] = []
        self.series: dict[tuple[str, int], Series] = {}
        self.notes: list[tuple[Invoice, str, Decimal]] = []
        self.events: list[tuple[str, object]] = []

    # ---- Documents are priced ----

    def lines(self, wanted: Sequence[Wanted], percent: Decimal) -> list[Line] | Refusal:
        """The lines at today's prices, less `percent` of the whole document."""
        lines = []
        for position, each in enumerate(wanted, 1):
            price = each.service.price(self.today)
            if price is None or (each.percent and not each.service.discountable):
                return INVALID
            gross = kopecks(Fraction(price) * Fraction(each.quantity))
            discount = kopecks(Fraction(gross) * Fraction(each.percent) / 100)
            lines.append(Line(position, each.service, each.quantity, price, gross, discount))
        open_ = [line for line in lines if line.service.discountable]
        whole = kopecks(Fraction(sum((line.amount for line in open_), ZERO)) * Fraction(percent) / 100)
        for line, part in zip(open_, _largest_remainder(whole, [line.amount for line in open_]), strict=True):
            line.document_discount = part
        return lines

    def quote(self, wanted: Sequence[Wanted], percent: Decimal, days: int | None) -> Quote | Refusal:
        lines = self.lines(wanted, percent)
        if isinstance(lines, Refusal):
            return lines
        valid_until = self.today + (self.valid_for if days is None else timedelta(days))
        if valid_until < self.today:
            return INVALID
        quote = Quote(lines=lines, date=self.today, valid_until=valid_until)
        self.quotes.append(quote)
        return self._told(quote, "quote.created")

    def direct(self, wanted: Sequence[Wanted], percent: Decimal, payer: str) -> Invoice | Refusal:
        lines = self.lines(wanted, percent)
        if isinstance(lines, Refusal):
            return lines
        invoice = Invoice(lines=lines, date=self.today, payer=payer)
        self.invoices.append(invoice)
        return self._told(invoice, "invoice.created")

    # ---- Quotes ----

    def send(self, quote: Quote) -> Quote | Refusal:
        return self._open(quote, "draft") or self._expired(quote) or self._move(quote, "sent")

    def accept(self, quote: Quote) -> Quote | Refusal:
        return self._open(quote, "draft", "sent") or self._expired(quote) or self._move(quote, "accepted")

    def decline(self, quote: Quote) -> Quote | Refusal:
        return self._open(quote, "draft", "sent") or self._move(quote, "declined")

    def cancel_quote(self, quote: Quote) -> Quote | Refusal:
        if any(line.taken for line in quote.lines):
            return conflict("quote_on_invoices")
        late = self._expired(quote) if quote.status in ("draft", "sent") else None
        return late or self._open(quote, "draft", "sent", "accepted") or self._move(quote, "cancelled")

    def extend(self, quote: Quote, day: date) -> Quote | Refusal:
        if refusal := self._open(quote, "draft", "sent"):
            return refusal
        if day <= quote.valid_until or day < self.today:
            return INVALID
        quote.valid_until = day
        return self._told(quote, "quote.extended")

    def _open(self, quote: Quote, *statuses: str) -> Refusal | None:
        return None if quote.shown_status in statuses else conflict("quote_not_open")

    def _expired(self, quote: Quote) -> Refusal | None:
        late = quote.status != "accepted" and self.today > quote.valid_until
        return conflict("quote_expired") if late else None

    def _move(self, quote: Quote, status: str) -> Quote:
        quote.status = status
        return self._told(quote, f"quote.{status}")

    # ---- Invoices ----

    def invoice(
        self, quote: Quote, payer: str, parts: dict[int, Decimal] | None, issue: bool, day: date | None
    ) -> Invoice | Refusal:
        if quote.shown_status == "invoiced":
            return conflict("quote_already_invoiced")
        if refusal := self._open(quote, "draft", "sent", "accepted") or self._expired(quote):
            return refusal
        asked = {line.position: line.left for line in quote.lines if line.left} if parts is None else parts
        known = {line.position: line for line in quote.lines}
        if any(
            place not in known or not known[place].left or known[place].left < much for place, much in asked.items()
        ):
            return INVALID
        if issue and (refusal := self._out_of_order("invoice", day)):
            return refusal
        if quote.status != "accepted":
            self._move(quote, "accepted")
        chosen = [line for line in quote.lines if asked.get(line.position)]
        lines = [self._piece(place, line, asked[line.position], quote) for place, line in enumerate(chosen, 1)]
        invoice = Invoice(lines=lines, date=self.today, payer=payer, quote=quote)
        self.invoices.append(invoice)
        self._told(invoice, "invoice.created")
        if issue:
            self._number(invoice, day)
        return invoice

    def _piece(self, place: int, line: Line, quantity: Decimal, quote: Quote) -> Line:
        """What `quantity` of a quote's line comes to; the last piece takes what the others have left."""
        others = [
            each
            for invoice in self.invoices
            if invoice.quote is quote and invoice.status in ("draft", "issued")
            for each in invoice.lines
            if each.quote_position == line.position
        ]
        last = quantity == line.left

        def part(name: str) -> Decimal:
            whole: Decimal = getattr(line, name)
            left = whole - sum((getattr(each, name) for each in others), ZERO)
            return left if last else min(left, kopecks(Fraction(whole) * Fraction(quantity) / Fraction(line.quantity)))

        line.taken += quantity
        return Line(
            place, line.service, quantity, line.unit_price, part("gross"), part("discount"), part("document_discount"),
            quote_position=line.position,
        )  # fmt: skip

    def issue(self, invoice: Invoice, day: date | None) -> Invoice | Refusal:
        if invoice.status != "draft":
            return conflict("invoice_not_draft")
        if invoice.quote is None and any(
            line.service.price(day or self.today) != line.unit_price for line in invoice.lines
        ):
            return conflict("price_changed")
        return self._out_of_order("invoice", day) or self._number(invoice, day)

    def _out_of_order(self, kind: str, day: date | None) -> Refusal | None:
        asked = day or self.today
        return conflict("number_date_order") if self._series(kind, asked).last_on > asked else None

    def _series(self, kind: str, day: date) -> Series:
        return self.series.setdefault((kind, day.year), Series())

    def _taken(self, kind: str, day: date) -> tuple[int, str]:
        series = self._series(kind, day)
        sequence, series.next, series.last_on = series.next, series.next + 1, day
        return sequence, f"{PREFIXES[kind]}{day.year}-{sequence:06}"

    def _number(self, invoice: Invoice, day: date | None) -> Invoice:
        invoice.date, invoice.status = day or self.today, "issued"
        invoice.sequence, invoice.number = self._taken("invoice", invoice.date)
        return self._told(invoice, "invoice.issued")

    def edit(self, invoice: Invoice, *, stale: bool) -> Invoice | Refusal:
        if invoice.status != "draft":
            return conflict("invoice_not_draft")
        return Refusal(412, "precondition_failed") if stale else invoice

    def discard(self, invoice: Invoice) -> Invoice | Refusal:
        if invoice.status != "draft":
            return conflict("invoice_not_draft")
        invoice.status = "discarded"
        self._give_back(invoice)
        return self._told(invoice, "invoice.discarded")

    def cancel(self, invoice: Invoice) -> Invoice | Refusal:
        if invoice.status != "issued":
            return conflict("invoice_not_issued")
        if any(act.invoice is invoice and act.status == "issued" for act in self.acts):
            return conflict("invoice_rendered")
        for payment in self.payments:
            if standing := payment.on(invoice):
                payment.puts.append((invoice, -standing))
                self._told(payment, "payment.released")
        left = invoice.total - invoice.credited
        invoice.paid, invoice.credited, invoice.status = ZERO, invoice.total, "cancelled"
        self._give_back(invoice)
        _, number = self._taken("credit_note", self.today)
        self.notes.append((invoice, number, left))
        self.events.append(("credit_note.issued", None))
        return self._told(invoice, "invoice.cancelled")

    def _give_back(self, invoice: Invoice) -> None:
        if invoice.quote is not None:
            by_position = {line.position: line for line in invoice.quote.lines}
            for line in invoice.lines:
                by_position[line.quote_position or 0].taken -= line.quantity

    # ---- Acts ----

    def act(self, invoice: Invoice, parts: dict[int, Decimal] | None) -> Act | Refusal:
        if invoice.status != "issued":
            return conflict("invoice_not_issued")
        known = {line.position: line for line in invoice.lines}
        asked = {place: line.left for place, line in known.items() if line.left} if parts is None else parts
        if any(
            place not in known or not known[place].left or known[place].left < much for place, much in asked.items()
        ):
            return INVALID
        if not asked:
            return conflict("nothing_to_render")
        pieces = []
        for place, much in asked.items():
            line = known[place]
            left = line.amount - line.rendered
            share = kopecks(Fraction(line.amount) * Fraction(much) / Fraction(line.quantity))
            amount = left if much == line.left else min(left, share)
            line.taken += much
            line.rendered += amount
            pieces.append((line, much, amount))
        act = Act(invoice=invoice, number=self._taken("act", self.today)[1], pieces=pieces)
        self.acts.append(act)
        return self._told(act, "act.issued")

    def cancel_act(self, act: Act) -> Act | Refusal:
        if act.status != "issued":
            return conflict("act_cancelled")
        act.status = "cancelled"
        for line, much, amount in act.pieces:
            line.taken -= much
            line.rendered -= amount
        return self._told(act, "act.cancelled")

    # ---- Money ----

    def pay(self, payer: str, amount: Decimal, parts: Sequence[Part], slip: str | None) -> Payment | Refusal:
        asked = (payer, amount, *parts)
        told = next((each for each in self.payments if slip and each.slip == slip), None)
        if told is not None:
            return told if told.asked == asked else conflict("payment_reference_taken")
        filled = self._refused(parts, payer) or _filled(parts, amount)
        if isinstance(filled, Refusal):
            return filled
        payment = Payment(payer=payer, amount=amount, received_on=self.today, slip=slip, asked=asked)
        self.payments.append(payment)
        self._told(payment, "payment.received")
        self._put(payment, filled)
        return payment

    def allocate(self, payment: Payment, parts: Sequence[Part] | None) -> Payment | Refusal:
        chosen = self._owed(payment) if parts is None else parts
        filled = self._refused(chosen, payment.payer) or (
            _filled(chosen, payment.advance) if payment.advance else conflict("amount_exceeds_payment")
        )
        if isinstance(filled, Refusal):
            return filled
        self._put(payment, filled)
        return payment

    def _owed(self, payment: Payment) -> list[Part]:
        open_ = [
            each for each in self.invoices if each.status == "issued" and each.balance and each.payer == payment.payer
        ]
        return [Part(each, None) for each in sorted(open_, key=lambda each: (each.date, each.sequence))]

    def offset(self, payer: str, amount: Decimal, parts: Sequence[Part]) -> list[Payment] | Refusal:
        """Spend so much of the payer's advances, the oldest first."""
        if refusal := self._refused(parts, payer):
            return refusal
        sources = sorted(
            (each for each in self.payments if each.payer == payer and each.advance),
            key=lambda each: (each.received_on, each.id),
        )
        if sum((each.advance for each in sources), ZERO) < amount:
            return conflict("amount_exceeds_advance")
        filled = _filled(parts, amount)
        if isinstance(filled, Refusal):
            return filled
        left = {id(each): each.advance for each in sources}
        spent = []
        for invoice, wanted in filled:
            missing = wanted
            for source in sources:
                if much := min(missing, left[id(source)]):
                    left[id(source)] -= much
                    missing -= much
                    self._put(source, [(invoice, much)])
                    spent.append(source)
        return spent

    def refund(
        self, payment: Payment, amount: Decimal, released: Sequence[tuple[Invoice, Decimal]]
    ) -> Payment | Refusal:
        if any(much > payment.on(invoice) for invoice, much in released):
            return conflict("amount_exceeds_allocation")
        if amount > payment.advance + sum((much for _, much in released), ZERO):
            return conflict("amount_exceeds_payment")
        for invoice, much in released:
            payment.puts.append((invoice, -much))
            invoice.paid -= much
            self._told(payment, "payment.released")
        payment.refunded += amount
        return self._told(payment, "payment.refunded")

    def _refused(self, parts: Sequence[Part], payer: str) -> Refusal | None:
        for part in parts:
            if part.invoice.status != "issued":
                return conflict("invoice_not_issued")
            if part.invoice.payer != payer and not part.on_behalf:
                return conflict("other_payer")
            if not part.invoice.balance or (part.amount or ZERO) > part.invoice.balance:
                return conflict("amount_exceeds_balance")
        return None

    def _put(self, payment: Payment, filled: Sequence[tuple[Invoice, Decimal]]) -> None:
        for invoice, amount in filled:
            payment.puts.append((invoice, amount))
            invoice.paid += amount
            self._told(payment, "payment.allocated")

    def _told(self, document: Any_, event: str) -> Any_:
        self.events.append((event, document))
        return document


def _filled(parts: Sequence[Part], left: Decimal) -> list[tuple[Invoice, Decimal]] | Refusal:
    """How much of the money each invoice gets, in their order."""
    filled = []
    for part in parts:
        wanted = part.invoice.balance if part.amount is None else part.amount
        much = min(wanted, left)
        if much < wanted and part.amount is not None:
            return conflict("amount_exceeds_payment")
        left -= much
        if much:
            filled.append((part.invoice, much))
    return filled


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
