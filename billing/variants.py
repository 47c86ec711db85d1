"""Variants of a quote that is kept: by doctors of another rank, without a service, with another one in its place.

What reception asks while the patient listens. A variant is worked out of the quote's own lines, at today's prices.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import marshmallow as ma

from billing import comparing
from billing.comparing import Column
from billing.lines import MOST, Line, LineIn
from billing.package_lines import Group, asked
from billing.quote_edits import as_wanted
from billing.quotes import Quote
from billing.quoting import work_out
from catalog import services
from clinic import db, errors, fields
from clinic.auth import Actor
from clinic.errors import Fault, InvalidInput

errors.describe(
    {
        "not_in_quote": ("В смете нет строки {article}.", "The quote has no line {article}."),
        "part_of_package": (
            "Услуга {article} — часть программы {package}: убрать можно программу целиком.",
            "{article} is a part of the package {package}: only the whole package can be left out.",
        ),
        "nothing_by_rank": (
            "В смете нет услуг, цена которых зависит от звания врача.",
            "The quote has no service whose price depends on the doctor's rank.",
        ),
        "no_lines_left": ("В варианте не осталось ни одной строки.", "The variant has no line left."),
        "not_with_lines": (
            "Вместе с lines этого указать нельзя: строки уже названы.",
            "This cannot be given beside lines, which name everything already.",
        ),
    }
)

_ARTICLE = re.compile(services.ARTICLE, re.ASCII)
_VERBS = ("doctor_rank", "without", "replace")


class _Replacements(ma.fields.Field[Any]):
    """An object of articles: for each the one that comes in its place."""

    default_error_messages = {"null": "null_not_allowed", "invalid": "not_an_object", "form": "wrong_form"}

    def __init__(self, **given: Any) -> None:
        one = {"type": "string", "pattern": f"^(?:{services.ARTICLE})$"}
        shown = {
            "type": "object", "maxProperties": MOST, "propertyNames": one, "additionalProperties": one,
            "example": {"CT-ABD-RP-BOLUS": "CT-ABD-RP"},
        }  # fmt: skip
        super().__init__(metadata=shown, **given)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **given: Any) -> dict[str, str]:
        if not isinstance(value, dict):
            raise self.make_error("invalid")
        if len(value) > MOST or not all(
            isinstance(each, str) and _ARTICLE.fullmatch(each) for pair in value.items() for each in pair
        ):
            raise self.make_error("form")
        return dict(value)


class QuoteVariantIn(fields.Shape):
    """What is otherwise than in the quote; nothing at all is the quote at today's prices."""

    name = fields.Text(100, load_default=None, allow_none=True, metadata={"description": "what the column is called"})
    doctor_rank = fields.Form(
        r"[a-z][a-z0-9_]{0,31}", load_default=None, allow_none=True,
        metadata={"example": "doctor", "description": "for all lines whose price depends on the rank"},
    )  # fmt: skip
    without = fields.Many(
        fields.Form(services.ARTICLE), most=MOST, load_default=list,
        metadata={"description": "articles of lines, or codes of packages, that are left out"},
    )  # fmt: skip
    replace = _Replacements(load_default=dict)
    lines = fields.Many(
        fields.Nested(LineIn), least=1, most=MOST, load_default=None, allow_none=True,
        metadata={"description": "other lines altogether; then nothing else but a name"},
    )  # fmt: skip

    @ma.validates_schema(skip_on_field_errors=True)
    def lines_or_changes(self, given: dict[str, Any], **_: Any) -> None:
        beside = [name for name in _VERBS if given["lines"] is not None and given[name]]
        if beside:
            raise ma.ValidationError({name: ["not_with_lines"] for name in beside})


class CompareQuoteIn(fields.Shape):
    """Variants to stand beside the quote."""

    variants = fields.Many(fields.Nested(QuoteVariantIn), least=1, most=comparing.MOST - 1, required=True)


@dataclass
class _Draft:
    """The lines of a variant as they are put together, and which member of the variant each comes from."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    origins: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    """Articles and codes that were named and found, and `doctor_rank` when it made a difference."""

    def add(self, line: dict[str, Any], origin: str = "") -> None:
        self.lines.append(line)
        self.origins.append(origin)

    def places(self, faults: Sequence[Fault]) -> list[Fault]:
        """Faults of the lines, as faults of what the caller wrote."""
        return list(dict.fromkeys(replace(each, pointer=self._place(each.pointer)) for each in faults))

    def _place(self, pointer: str) -> str:
        of_line = re.match(r"/lines/([0-9]+)", pointer)
        if of_line is None:
            return ""
        origin = self.origins[int(of_line[1])]
        return pointer if origin == "/lines" else origin


def compare(
    conn: db.Connection,
    actor: Actor,
    at: datetime,
    valid_days: int,
    kept: tuple[Quote, Sequence[Any]],
    variants: Sequence[dict[str, Any]],
) -> list[Column]:
    """The quote at its own prices, and each variant at those of the clinic's day at `at`.

    Raises:
        InvalidInput: names every wrong place of every variant.
    """
    columns = [Column(None, *kept, kept=True)]
    faults: list[Fault] = []
    for number, variant in enumerate(variants):
        try:
            columns.append(priced(conn, actor, at, valid_days, kept, variant))
        except InvalidInput as wrong:
            faults += comparing.inside(number, wrong.faults)
    if faults:
        raise InvalidInput(faults)
    return columns


def priced(
    conn: db.Connection,
    actor: Actor,
    at: datetime,
    valid_days: int,
    kept: tuple[Quote, Sequence[Line]],
    variant: dict[str, Any],
) -> Column:
    """One variant of the quote.

    Raises:
        InvalidInput: names every wrong place of the variant.
    """
    draft = _drafted(conn, kept, variant)
    if draft.faults:
        raise InvalidInput(draft.faults)
    try:
        return Column(variant["name"], *work_out(conn, actor, at, valid_days, _document(kept[0], draft.lines)))
    except InvalidInput as wrong:
        raise InvalidInput(draft.places(wrong.faults)) from wrong


def wanted(conn: db.Connection, kept: tuple[Quote, Sequence[Line]], variant: dict[str, Any]) -> dict[str, Any]:
    """The body of `POST /v1/quotes` that makes a quote of this variant, but for the patient.

    Raises:
        InvalidInput: the variant names what the quote has not.
    """
    draft = _drafted(conn, kept, variant)
    if draft.faults:
        raise InvalidInput(draft.faults)
    return _document(kept[0], draft.lines)


def _document(quote: Quote, lines: list[dict[str, Any]]) -> dict[str, Any]:
    new = {"id": None, "lines": lines, "branch": quote.branch, "patient": None, "valid_until": None}
    return as_wanted(quote, []) | new


def _drafted(conn: db.Connection, kept: tuple[Quote, Sequence[Line]], variant: dict[str, Any]) -> _Draft:
    draft = _Draft()
    if variant["lines"] is not None:
        for line in variant["lines"]:
            draft.add(line, "/lines")
        return draft
    others = services.known(conn, list(variant["replace"].values())) if variant["replace"] else {}
    by_rank = {article for article, service in others.items() if service.priced_by_rank}
    for each, again in zip(asked(kept[1]), as_wanted(*kept)["lines"], strict=True):
        if isinstance(each, Group):
            _take_package(draft, each, again, variant)
        else:
            _take_line(draft, each, again, variant, by_rank)
    draft.faults += _unused(draft, kept[1], variant)
    if not draft.lines and not draft.faults:
        draft.faults.append(Fault("/without", "no_lines_left"))
    return draft


def _take_package(draft: _Draft, package: Group, again: dict[str, Any], variant: dict[str, Any]) -> None:
    code = str(package.line.package_code)
    if code in variant["without"]:
        draft.used.add(code)
    else:
        draft.add(again)


def _take_line(draft: _Draft, line: Line, again: dict[str, Any], variant: dict[str, Any], by_rank: set[str]) -> None:
    """`again` is the body that asks for the line."""
    if line.article in variant["without"]:
        draft.used.add(line.article)
        return
    other, rank = variant["replace"].get(line.article), variant["doctor_rank"]
    origin = ""
    if other is not None:
        draft.used.add(line.article)
        again, origin = _other_service(again, other, line, other in by_rank), f"/replace/{line.article}"
    if rank is not None and (other in by_rank if other is not None else line.rank_name_ru is not None):
        draft.used.add("doctor_rank")
        again |= {"doctor_rank": rank, "doctor": None}
        origin = origin or "/doctor_rank"
    draft.add(again, origin)


def _other_service(again: dict[str, Any], article: str, line: Line, by_rank: bool) -> dict[str, Any]:
    """The same line of another service: by the same doctor, or one of the same rank where its price depends on it."""
    rank = line.doctor_rank if by_rank and line.rank_name_ru and not line.doctor_id else None
    return again | {"article": article, "doctor_rank": rank, "unit_price": None, "price_reason": None}


def _unused(draft: _Draft, lines: Sequence[Line], variant: dict[str, Any]) -> list[Fault]:
    named = {f"/without/{place}": article for place, article in enumerate(variant["without"])} | {
        f"/replace/{article}": article for article in variant["replace"]
    }
    packages = {line.article: line.package_code for line in lines if line.package_code is not None}
    faults = [_unknown(where, article, packages) for where, article in named.items() if article not in draft.used]
    if variant["doctor_rank"] is not None and "doctor_rank" not in draft.used:
        faults.append(Fault("/doctor_rank", "nothing_by_rank"))
    return faults


def _unknown(where: str, article: str, packages: Mapping[str, str]) -> Fault:
    if article in packages:
        return Fault(where, "part_of_package", (("article", article), ("package", packages[article])))
    return Fault(where, "not_in_quote", (("article", article),))
