"""What becomes of quotes in the model: made, moved, edited, revised, extended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

from tests.model_books import Books
from tests.model_documents import INVALID, STALE, Given, Quote, Refusal, Wanted, conflict

OPEN = ("draft", "sent", "accepted")


class Quotes(Books):
    @property
    def newest(self) -> list[Quote]:
        """Each quote at its newest revision."""
        return [each for each in self.quotes if each.newest]

    def quote(self, wanted: Sequence[Wanted], percent: Decimal, days: int | None, by: str) -> Quote | Refusal:
        lines = self.lines(wanted, percent)
        if isinstance(lines, Refusal):
            return lines
        valid_until = self.today + (self.valid_for if days is None else timedelta(days))
        if valid_until < self.today:
            return INVALID
        quote = Quote(lines=lines, date=self.today, valid_until=valid_until, percent=percent)
        self.quotes.append(self.written(quote, by))
        return self.told(quote, "quote.created")

    # ---- Its states ----

    def send(self, quote: Quote, revision: int | None = None) -> Quote | Refusal:
        refusal = self.another(quote, revision) or self.over(quote) or self.not_in(quote, "draft")
        return refusal or self.waits(quote) or self.move(quote, "sent")

    def accept(self, quote: Quote, revision: int | None = None) -> Quote | Refusal:
        refusal = self.another(quote, revision) or self.over(quote) or self.not_in(quote, "draft", "sent")
        return refusal or self.waits(quote) or self.move(quote, "accepted")

    def decline(self, quote: Quote, revision: int | None = None) -> Quote | Refusal:
        refusal = self.another(quote, revision) or self.not_in(quote, "draft", "sent", "expired")
        return refusal or self.move(quote, "declined")

    def cancel_quote(self, quote: Quote) -> Quote | Refusal:
        refusal = self.on_invoices(quote) or self.over(quote) or self.not_in(quote, *OPEN)
        return refusal or self.move(quote, "cancelled")

    def extend(self, quote: Quote, day: date) -> Quote | Refusal:
        if refusal := self.not_in(quote, "draft", "sent", "expired"):
            return refusal
        if day <= quote.valid_until or day < self.today:
            return INVALID
        quote.valid_until = day
        quote.status = quote.expired_from or quote.status
        quote.expired_from = ""
        return self.told(quote, "quote.extended")

    def expire(self) -> None:
        """What is over is called so."""
        for quote in self.newest:
            if quote.status != "expired" and quote.is_over(self.today):
                self._expired(quote)

    def _expired(self, quote: Quote) -> None:
        quote.status, quote.expired_from = "expired", quote.status
        self.told(quote, "quote.expired")

    def another(self, quote: Quote, revision: int | None) -> Refusal | None:
        return conflict("quote_not_open") if revision not in (None, quote.revision) else None

    def over(self, quote: Quote) -> Refusal | None:
        return conflict("quote_expired") if quote.is_over(self.today) else None

    def not_in(self, quote: Quote, *statuses: str) -> Refusal | None:
        if quote.shown_status in statuses:
            return None
        return conflict("quote_expired" if quote.status == "expired" else "quote_not_open")

    def on_invoices(self, quote: Quote) -> Refusal | None:
        return conflict("quote_on_invoices") if any(line.taken for line in quote.lines) else None

    def move(self, quote: Quote, status: str) -> Quote:
        quote.status = status
        return self.told(quote, f"quote.{status}")

    # ---- Edits and revisions ----

    def edit_quote(self, quote: Quote, given: Given, by: str, *, stale: bool) -> Quote | Refusal:
        if refusal := self.over(quote) or self.not_in(quote, "draft"):
            return refusal
        if stale:
            return STALE
        edited = self._changed(quote, given, by)
        if isinstance(edited, Refusal):
            return edited
        vars(quote).update(vars(edited))
        return quote

    def revise(self, quote: Quote, given: Given, by: str, revision: int | None = None) -> Quote | Refusal:
        if refusal := self.another(quote, revision) or self.on_invoices(quote):
            return refusal
        revised = self._changed(quote, given, by, anew=self.today > quote.valid_until)
        return revised if isinstance(revised, Refusal) else self._follow(quote, revised, "quote.revised")

    def reprice(self, quote: Quote, until: date | None, by: str, revision: int | None = None) -> Quote | Refusal:
        if refusal := self.another(quote, revision) or self.on_invoices(quote):
            return refusal
        repriced = self._changed(quote, Given(until=until), by, anew=True)
        return repriced if isinstance(repriced, Refusal) else self._follow(quote, repriced, "quote.repriced")

    def _changed(self, quote: Quote, given: Given, by: str, *, anew: bool = False) -> Quote | Refusal:
        """The quote with what is given. A longer promise is at today's prices, and what was promised keeps its own."""
        promised = quote.status != "draft" or quote.revision > 1
        until = given.until or (self.today + self.valid_for if anew else quote.valid_until)
        anew = anew or until > quote.valid_until or (given.lines is not None and not promised)
        same = not anew and given.lines is None and given.percent is None
        lines = quote.lines if same else self.priced_again(quote, given, anew=anew)
        if isinstance(lines, Refusal) or until < self.today:
            return INVALID
        lines = [replace(line) for line in lines]
        day = self.today if anew else quote.date
        percent = quote.percent if given.percent is None else given.percent
        return self.written(replace(quote, lines=lines, date=day, valid_until=until, percent=percent), by)

    def _follow(self, former: Quote, quote: Quote, event: str) -> Quote:
        """The former revision stays as it was, but for its state."""
        if former.is_over(self.today):
            if former.status != "expired":
                self._expired(former)
        elif former.status in OPEN:
            former.status = "superseded"
        former.newest = False
        quote.revision, quote.status, quote.expired_from, quote.date = former.revision + 1, "draft", "", self.today
        self.quotes.append(quote)
        return self.told(quote, event)
