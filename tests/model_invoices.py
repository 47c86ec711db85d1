"""Invoices and acts of the model: of a quote, whole or in parts, or direct; issued, edited, discarded, rendered."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

from tests.model_documents import (
    INVALID,
    STALE,
    ZERO,
    Act,
    Given,
    Invoice,
    Line,
    Quote,
    Refusal,
    Wanted,
    conflict,
    share,
)
from tests.model_quotes import OPEN, Quotes


class Invoices(Quotes):
    def direct(self, wanted: Sequence[Wanted], percent: Decimal, payer: str, by: str) -> Invoice | Refusal:
        lines = self.lines(wanted, percent)
        if isinstance(lines, Refusal):
            return lines
        invoice = self.written(Invoice(lines=lines, date=self.today, payer=payer, percent=percent), by)
        self.invoices.append(invoice)
        return self.told(invoice, "invoice.created")

    def invoice(
        self, quote: Quote, payer: str, parts: dict[int, Decimal] | None, issue: bool, day: date | None, by: str
    ) -> Invoice | Refusal:
        if quote.shown_status == "invoiced":
            return conflict("quote_already_invoiced")
        if refusal := self.not_in(quote, *OPEN) or self.over(quote):
            return refusal
        asked = {line.position: line.left for line in quote.lines if line.left} if parts is None else parts
        if _is_too_much(quote, asked):
            return INVALID
        if quote.status != "accepted" and (refusal := self.waits(quote)):
            return refusal
        if issue and (refusal := self.out_of_order("invoice", day)):
            return refusal
        if quote.status != "accepted":
            self.move(quote, "accepted")
        invoice = Invoice(lines=[], date=self.today, payer=payer, quote=quote, approval=quote.approval, author=by)
        self._take(invoice, quote, asked)
        self.invoices.append(invoice)
        self.told(invoice, "invoice.created")
        if issue:
            self._issued(invoice, day)
        return invoice

    def _take(self, invoice: Invoice, quote: Quote, asked: dict[int, Decimal]) -> None:
        chosen = [line for line in quote.lines if asked.get(line.position)]
        invoice.lines = [self._piece(place, line, asked[line.position], quote) for place, line in enumerate(chosen, 1)]

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
            before = sum((getattr(each, name) - getattr(each, f"back_{name}") for each in others), ZERO)
            return share(getattr(line, name), before, quantity, line.quantity, last=last)

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
        return self.out_of_order("invoice", day) or self.waits(invoice) or self._issued(invoice, day)

    def _issued(self, invoice: Invoice, day: date | None) -> Invoice:
        invoice.date, invoice.status = day or self.today, "issued"
        invoice.sequence, invoice.number = self.number("invoice", invoice.date)
        return self.told(invoice, "invoice.issued")

    def edit(
        self, invoice: Invoice, given: Given, parts: dict[int, Decimal] | None, by: str, *, stale: bool
    ) -> Invoice | Refusal:
        """A draft made from a quote may take other `parts` of it, any other one is changed as `given`."""
        if invoice.status != "draft":
            return conflict("invoice_not_draft")
        if stale:
            return STALE
        return self._edit_parts(invoice, given, parts, by) if invoice.quote else self._edit_direct(invoice, given, by)

    def _edit_direct(self, invoice: Invoice, given: Given, by: str) -> Invoice | Refusal:
        if given.lines is not None or given.percent is not None:
            lines = self.priced_again(invoice, given, anew=given.lines is not None)
            if isinstance(lines, Refusal):
                return lines
            invoice.lines = lines
            invoice.date = invoice.date if given.lines is None else self.today
            invoice.percent = invoice.percent if given.percent is None else given.percent
        return self.written(invoice, by)

    def _edit_parts(
        self, invoice: Invoice, given: Given, parts: dict[int, Decimal] | None, by: str
    ) -> Invoice | Refusal:
        assert invoice.quote, "a draft made from a quote"
        before = {line.quote_position or 0: line.quantity for line in invoice.lines}
        self.give_back(invoice)
        invoice.lines = []
        fits = given == Given() and not _is_too_much(invoice.quote, parts or {})
        self._take(invoice, invoice.quote, parts if fits and parts is not None else before)
        if not fits:
            return INVALID
        # The discounts of its lines were judged on the quote.
        invoice.author = by
        return invoice

    def discard(self, invoice: Invoice) -> Invoice | Refusal:
        if invoice.status != "draft":
            return conflict("invoice_not_draft")
        invoice.status = "discarded"
        self.give_back(invoice)
        return self.told(invoice, "invoice.discarded")

    def give_back(self, invoice: Invoice) -> None:
        """What it took of its quote can be invoiced once more."""
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
        if _is_too_much(invoice, asked):
            return INVALID
        if not asked:
            return conflict("nothing_to_render")
        pieces = []
        for place, much in asked.items():
            line = known[place]
            amount = share(line.owed, line.rendered, much, line.stands, last=much == line.left)
            # The price of what was rendered before may have been put right below it.
            amount = max(amount, ZERO)
            line.taken += much
            line.rendered += amount
            pieces.append((line, much, amount))
        act = Act(invoice=invoice, number=self.number("act", self.today)[1], pieces=pieces)
        self.acts.append(act)
        return self.told(act, "act.issued")

    def cancel_act(self, act: Act) -> Act | Refusal:
        if act.status != "issued":
            return conflict("act_cancelled")
        act.status = "cancelled"
        for line, much, amount in act.pieces:
            line.taken -= much
            line.rendered -= amount
        return self.told(act, "act.cancelled")


def _is_too_much(document: Quote | Invoice, asked: dict[int, Decimal]) -> bool:
    """Whether more of its lines is asked for than is left."""
    left = {line.position: line.left for line in document.lines if line.left}
    return any(left.get(place, ZERO) < much for place, much in asked.items())
