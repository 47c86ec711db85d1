"""Quotes in random lives: made, moved, edited, revised, repriced, extended, cancelled."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.life import (
    HEAD,
    USUAL,
    Machine,
    authors,
    is_draft,
    meant,
    other_lines,
    other_percent,
    percents,
    picked_of,
    rarely,
    wanted,
    which,
)
from tests.model_documents import Given, Quote, Refusal

some_day = st.sampled_from([None, None, USUAL, -1, 0, 2, 40])
"""The last day of a changed quote: left out, null, or so many days from today."""


class QuoteRules(Machine):
    @rule(lines=wanted, percent=percents, days=st.sampled_from([None, 0, 0, 1, 3]), by=authors)
    def quote(self, lines: Any, percent: Decimal, days: int | None, by: str = HEAD) -> None:
        until = None if days is None else (self.model.today + timedelta(days)).isoformat()
        body = self.asked(lines, percent) | {"valid_until": until}
        self.told(self.model.quote(self.read(lines), percent, days, by), "/v1/quotes", body, 201, by)

    @precondition(lambda self: any(map(is_offered, self.model.newest)))
    @rule(of=which, way=st.sampled_from(["send", "accept", "decline"]), other=meant)
    def move(self, of: int, way: str, other: int | None = None) -> None:
        quote = picked_of(self.model.newest, of, is_offered)
        revision = None if other is None else quote.revision + other
        expected = getattr(self.model, way)(quote, revision)
        self.told(expected, f"/v1/quotes/{quote.id}/{way}", {"revision": revision}, 200)

    @precondition(lambda self: any(map(is_free, self.model.newest)))
    @rule(of=which)
    def cancel_quote(self, of: int) -> None:
        self.take_back(picked_of(self.model.newest, of, is_free))

    def take_back(self, quote: Quote) -> None:
        self.told(self.model.cancel_quote(quote), f"/v1/quotes/{quote.id}/cancel", {"reason": "Ошибка"}, 200)

    @precondition(lambda self: any(map(is_offered, self.model.newest)))
    @rule(of=which, days=st.integers(-1, 3))
    def extend(self, of: int, days: int) -> None:
        quote = picked_of(self.model.newest, of, is_offered)
        day = self.model.today + timedelta(days)
        body = {"valid_until": day.isoformat(), "reason": "Пациент в пути"}
        self.told(self.model.extend(quote, day), f"/v1/quotes/{quote.id}/extend", body, 200)

    # ---- Edits and revisions ----

    @precondition(lambda self: any(map(is_draft, self.model.newest)))
    @rule(of=which, lines=other_lines, percent=other_percent, until=some_day, by=authors, stale=rarely)
    def edit_quote(self, of: int, lines: Any, percent: Decimal | None, until: Any, stale: bool, by: str = HEAD) -> None:
        quote = picked_of(self.model.newest, of, is_draft)
        given, body = self.changed(lines, percent, until)
        expected = self.model.edit_quote(quote, given, by, stale=stale)
        self.edited(expected, f"/v1/quotes/{quote.id}", body, by, stale=stale)

    @precondition(lambda self: any(map(is_free, self.model.newest)))
    @rule(of=which, lines=other_lines, percent=other_percent, until=some_day, by=authors, other=meant)
    def revise(
        self, of: int, lines: Any, percent: Decimal | None, until: Any, other: int | None, by: str = HEAD
    ) -> None:
        self.revised(picked_of(self.model.newest, of, is_free), self.changed(lines, percent, until), other, by)

    def revised(self, quote: Quote, changed: tuple[Given, dict[str, Any]], other: int | None, by: str = HEAD) -> None:
        revision = None if other is None else quote.revision + other
        given, body = changed
        expected = self.model.revise(quote, given, by, revision)
        self.told(expected, f"/v1/quotes/{quote.id}/revise", body | {"revision": revision}, 200, by)

    @precondition(lambda self: any(map(is_free, self.model.newest)))
    @rule(of=which, until=some_day, by=authors, other=meant)
    def reprice(self, of: int, until: Any, other: int | None, by: str = HEAD) -> None:
        quote = picked_of(self.model.newest, of, is_free)
        was = quote.total
        revision = None if other is None else quote.revision + other
        expected = self.model.reprice(quote, self.last_day(until), by, revision)
        body = self.changed(None, None, until)[1] | {"revision": revision}
        answer = self.told(expected, f"/v1/quotes/{quote.id}/reprice", body, 200, by)
        if not isinstance(expected, Refusal):
            changed = answer["changes"]
            assert changed["former_revision"] == quote.revision
            assert changed["total"] == {"old": f"{was:.2f}", "new": f"{expected.total:.2f}"}


def is_offered(quote: Quote) -> bool:
    return quote.status in ("draft", "sent", "expired")


def is_free(quote: Quote) -> bool:
    """Nothing of it stands on invoices, and it was not turned down."""
    return quote.status not in ("declined", "cancelled") and not any(line.taken for line in quote.lines)
