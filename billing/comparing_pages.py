"""The desk's page of variants of a quote: side by side, printable, and made into a quote by a button."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from uuid import UUID

from flask import Blueprint, Response, current_app, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from billing import comparing, desk, quote_codes, quotes, quoting, variants
from billing.comparing import Column
from billing.lines import Line
from billing.package_lines import Group, asked
from billing.quotes import Quote, QuoteLine
from billing.variants import QuoteVariantIn
from catalog import ranks, services
from catalog.ranks import Rank
from catalog.services import Service
from clinic import access_log, clock, db, forms, html, http, parties
from clinic.command import Change
from clinic.errors import Fault, IdempotencyKeyReused, InvalidInput, Problem
from clinic.settings import Settings

bp = Blueprint("comparing_pages", __name__, template_folder="templates")
_VARIANTS = 3
_MOST_OTHERS = 300
_OUT = "-"
"""Chosen in place of a line: it is left out."""


@dataclass(frozen=True)
class Wish:
    """A variant as the form has it: another rank, and what is chosen in place of lines."""

    rank: str = ""
    chosen: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, typed: Mapping[str, str], number: int, names: Sequence[str]) -> Wish:
        found = {name: typed.get(f"v{number}-{name}", "").strip() for name in ("rank", *names)}
        return cls(found.pop("rank"), {name: value for name, value in found.items() if value})

    def __bool__(self) -> bool:
        return bool(self.rank or self.chosen)

    def raw(self) -> dict[str, Any]:
        """As a variant of `POST /v1/quotes/{id}/compare`."""
        return {
            "doctor_rank": self.rank or None,
            "without": [name for name, other in self.chosen.items() if other == _OUT],
            "replace": {name: other for name, other in self.chosen.items() if other != _OUT},
        }

    def hidden(self) -> dict[str, str]:
        """The fields that bring this wish again, as the first of a form."""
        return {f"v1-{name}": value for name, value in {"rank": self.rank, **self.chosen}.items() if value}


@dataclass(frozen=True)
class Tried:
    """A wish, and what it costs or why it cannot be had."""

    wish: Wish
    column: Column | None = None
    messages: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Kept:
    """The quote with all that the form offers."""

    quote: Quote
    lines: list[QuoteLine]
    ranks: list[Rank]
    others: dict[str, list[Service]]

    @property
    def asked(self) -> list[Line | Group]:
        """What can be left out or replaced, each article once."""
        return list({_name(each): each for each in asked(self.lines)}.values())

    @property
    def by_rank(self) -> set[str]:
        """The ranks of its lines whose price depends on the rank."""
        return {line.doctor_rank for line in self.lines if line.rank_name_ru is not None and line.package_no is None}


def _name(each: Line | Group) -> str:
    return str(each.line.package_code) if isinstance(each, Group) else each.article


@bp.get("/desk/quotes/<uuid:quote_id>/compare")
@html.page(may="quotes:write")
def compare(quote_id: UUID) -> Response:
    return _page(quote_id, request.args)


@bp.post("/desk/quotes/<uuid:quote_id>/compare")
@html.page(may="quotes:write")
def make_quote(quote_id: UUID) -> AnyResponse:
    with db.transaction() as conn:
        kept = _kept(conn, quote_id)
    wish = Wish.read(request.form, 1, [_name(each) for each in kept.asked])
    key = forms.known_key(request.form.get("key"))
    try:
        variant = forms.loaded(QuoteVariantIn(), wish.raw())
        made = forms.once(key, wish.raw(), lambda change: _make(change, quote_id, variant))
    except InvalidInput:
        # The page tries it again, and says beside it what is wrong.
        return _page(quote_id, request.form, status=422)
    except IdempotencyKeyReused as refusal:
        return _page(quote_id, request.form, refusal=refusal, status=refusal.status)
    return redirect(f"/desk/quotes/{made}", 303)


def _make(change: Change, quote_id: UUID, variant: dict[str, Any]) -> UUID:
    """A draft of the variant, for the same patient."""
    quote = quotes.get(change.conn, change.actor, quote_id)
    lines = quotes.lines_of(change.conn, [quote])[quote_id]
    wanted = variants.wanted(change.conn, (quote, lines), variant)
    party = quote.patient_party and parties.known(change.conn, [quote.patient_party]).get(quote.patient_party)
    if party:
        wanted["patient"] = {"id": party.ref, **{name: getattr(party, name) for name in parties.CONTACTS}}
    return quoting.create(change, _valid_days(), wanted)[0].id


def _page(quote_id: UUID, typed: Mapping[str, str], *, refusal: Problem | None = None, status: int = 200) -> Response:
    with db.transaction() as conn:
        kept = _kept(conn, quote_id)
        access_log.note(conn, http.actor().label, "read", "quote", [quote_id], http.request_id())
        wishes = _wishes(kept, typed)
        tried = [_try(conn, kept, wish) for wish in wishes]
        if _asks_nothing(typed):
            # Nothing was asked for yet: what is offered by itself has no faults.
            tried = [each for each in tried if each.column]
    first = Column(None, kept.quote, kept.lines, kept=True)
    columns = [first, *(each.column for each in tried if each.column)]
    shown = render_template(
        "quote_compare.html",
        quote=kept.quote,
        code=quote_codes.shown(kept.quote.code),
        kept=kept,
        name_of=_name,
        tried=tried + [Tried(Wish())] * (_VARIANTS - len(tried)),
        columns=[(each, each.total - first.total, _wish_of(tried, each)) for each in columns],
        rows=comparing.rows([each.lines for each in columns]),
        key=forms.new_key(),
        refusal=forms.told(refusal),
    )
    return Response(shown, status)


def _kept(conn: db.Connection, quote_id: UUID) -> _Kept:
    quote = quotes.get(conn, http.actor(), quote_id)
    lines = quotes.lines_of(conn, [quote])[quote_id]
    known = services.known(conn, [line.article for line in lines if line.package_no is None])
    within = {service.category for service in known.values()}
    alike = services.listed(conn, within=sorted(within), active=True, limit=_MOST_OTHERS)
    others = {
        article: [each for each in alike if each.category == service.category and each.article != article]
        for article, service in known.items()
    }
    return _Kept(quote, lines, ranks.every(conn), others)


def _wishes(kept: _Kept, typed: Mapping[str, str]) -> list[Wish]:
    """What the form asks for; at first the other ranks, where prices depend on them."""
    if _asks_nothing(typed):
        present = kept.by_rank
        return [Wish(rank.code) for rank in kept.ranks if present and {rank.code} != present][:_VARIANTS]
    names = [_name(each) for each in kept.asked]
    return [wish for number in range(1, _VARIANTS + 1) if (wish := Wish.read(typed, number, names))]


def _asks_nothing(typed: Mapping[str, str]) -> bool:
    return typed.keys() <= {"lang"}


def _try(conn: db.Connection, kept: _Kept, wish: Wish) -> Tried:
    try:
        variant = forms.loaded(QuoteVariantIn(), wish.raw())
        document = (kept.quote, kept.lines)
        return Tried(wish, variants.priced(conn, http.actor(), clock.now(), _valid_days(), document, variant))
    except InvalidInput as wrong:
        return Tried(wish, messages=tuple(_message(each) for each in wrong.faults))


def _message(fault: Fault) -> str:
    (texts,) = forms.by_field([fault], desk.SAID).values()
    return texts[0]


def _wish_of(tried: Sequence[Tried], column: Column) -> Wish | None:
    return next((each.wish for each in tried if each.column is column), None)


def _valid_days() -> int:
    return cast(Settings, current_app.config["CLINIC"]).quote_days
