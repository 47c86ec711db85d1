"""Verification: whether a quote on paper is one of ours, and says what ours says.

Any desk may ask, whichever branch made the quote, and learns only what the paper has on it: no names. The code has a
check character, so a slip of the pen is told without a look-up; codes that were made up are limited for each caller.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date as Date
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import marshmallow as ma

from billing import quote_codes
from billing.quotes import Quote
from clinic import db, errors, fields, http, limits, money
from clinic.auth import Actor
from clinic.limits import Limit

MISSES = Limit("quote_verification", 30, timedelta(minutes=10))
"""Codes of no quote that a caller may ask for."""

errors.describe(
    {
        "mistyped_code": (
            "Код введён с ошибкой: проверочный знак не сходится.",
            "The code is mistyped: its check character does not fit.",
        ),
    }
)


class _PaperCode(fields.Form):
    """Code and revision as the paper has them."""

    default_error_messages = {"invalid": "mistyped_code"}

    def __init__(self, **given: Any) -> None:
        super().__init__(rf"\s*{quote_codes.FORM}(/[0-9]{{1,5}})?\s*", metadata={"example": "7K3Q-92MT-F/1"}, **given)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **given: Any) -> tuple[str, int | None]:  # type: ignore[override]
        if not isinstance(value, str) or (read := quote_codes.read_paper(value)) is None:
            raise self.make_error("invalid")
        return read


class VerifyQuery(http.Query):
    code = _PaperCode(required=True)
    total = fields.Money(load_default=None, metadata={"description": "rubles, as the paper has them"})
    fingerprint = fields.Form(
        r"[0-9A-Fa-f]{4}[ -]?[0-9A-Fa-f]{4}[ -]?[0-9A-Fa-f]{4}", load_default=None,
        metadata={"example": "9f2b-5d1b-0c5f"},
    )  # fmt: skip


class VerifiedOut(ma.Schema):
    """What we know of the paper; all but `genuine` and `code` is null when there is no such quote or revision.

    Of a quote that was purged the status is `purged`, and little else is known."""

    genuine = ma.fields.Boolean(required=True)
    code = ma.fields.String(required=True)
    revision = ma.fields.Integer(required=True, allow_none=True)
    newest_revision = ma.fields.Integer(required=True, allow_none=True)
    status = ma.fields.String(required=True, allow_none=True)
    date = ma.fields.Date(required=True, allow_none=True)
    valid_until = ma.fields.Date(required=True, allow_none=True)
    currency = ma.fields.String(required=True, allow_none=True)
    total = ma.fields.String(required=True, allow_none=True)
    lines = ma.fields.Integer(required=True, allow_none=True)
    fingerprint = ma.fields.String(required=True, allow_none=True)
    total_agrees = ma.fields.Boolean(required=True, allow_none=True)
    fingerprint_agrees = ma.fields.Boolean(required=True, allow_none=True)
    purged_at = ma.fields.DateTime(required=True, allow_none=True)


@dataclass(frozen=True)
class Kept:
    """What is kept of the quote that a paper names: all of it, or of a purged one a little of its newest revision."""

    code: str
    revision: int
    newest_revision: int
    status: str
    date: Date | None
    valid_until: Date | None
    total: Decimal | None
    lines: int | None
    fingerprint: str | None
    purged_at: datetime | None


@dataclass(frozen=True)
class Verified:
    """A paper's code, what is kept of it, and whether the paper agrees where it was read out."""

    code: str
    kept: Kept | None
    total_agrees: bool | None = None
    fingerprint_agrees: bool | None = None

    def as_json(self) -> dict[str, Any]:
        kept = self.kept
        return {
            "genuine": kept is not None,
            "code": quote_codes.shown(self.code),
            "revision": kept and kept.revision,
            "newest_revision": kept and kept.newest_revision,
            "status": kept and kept.status,
            "date": kept and kept.date,
            "valid_until": kept and kept.valid_until,
            "currency": kept and "RUB",
            "total": kept and money.text_or_none(kept.total),
            "lines": kept and kept.lines,
            "fingerprint": kept and kept.fingerprint and shown(kept.fingerprint),
            "total_agrees": self.total_agrees,
            "fingerprint_agrees": self.fingerprint_agrees,
            "purged_at": kept and kept.purged_at,
        }


def verify(actor: Actor, wanted: dict[str, Any]) -> Verified:
    """Look the paper up. Call it while no transaction is open.

    Raises:
        TooManyRequests: this caller has asked for too many codes of no quote.
    """
    limits.must_have_room(MISSES, actor.label)
    code, revision = wanted["code"]
    # Of whichever branch the paper is: what is answered stands on it.
    with db.seeing(None), db.reading() as conn:
        kept = _kept(conn, code, revision)
    if kept is None:
        limits.take(MISSES, actor.label)
        return Verified(code, None)
    return Verified(
        code,
        kept,
        _agrees(wanted["total"], kept.total),
        _agrees(wanted["fingerprint"] and plain(wanted["fingerprint"]), kept.fingerprint),
    )


def _agrees(given: Any, kept: Any) -> bool | None:
    return None if given is None or kept is None else bool(given == kept)


def _kept(conn: db.Connection, code: str, revision: int | None) -> Kept | None:
    return db.find(
        conn,
        Kept,
        """
        SELECT quote.code, asked.revision, newest.revision AS newest_revision,
               CASE WHEN asked.invoiced THEN 'invoiced' ELSE asked.status END AS status,
               asked.date, asked.valid_until, asked.total, quote_fingerprint(asked) AS fingerprint,
               (SELECT count(*) FROM quote_line AS line
                 WHERE line.quote_id = quote.id AND line.revision = asked.revision) AS lines,
               NULL::timestamptz AS purged_at
          FROM quote
          JOIN quote_revision AS newest ON newest.quote_id = quote.id AND newest.newest
          JOIN quote_revision AS asked
            ON asked.quote_id = quote.id AND asked.revision = coalesce(%(revision)s::int, newest.revision)
         WHERE quote.code = %(code)s::text
         UNION ALL
        SELECT code, coalesce(%(revision)s::int, revision), revision, 'purged',
               CASE WHEN asked.newest THEN date END, CASE WHEN asked.newest THEN valid_until END,
               CASE WHEN asked.newest THEN total END, NULL, NULL, purged_at
          FROM quote_tombstone
          LEFT JOIN LATERAL (SELECT revision = coalesce(%(revision)s::int, revision) AS newest) AS asked ON true
         WHERE code = %(code)s::text AND coalesce(%(revision)s::int, 1) BETWEEN 1 AND revision
        """,
        {"code": code, "revision": revision},
    )


def fingerprint(conn: db.Connection, quote: Quote) -> str:
    """What the paper of this revision prints: 9f2b-5d1b-0c5f."""
    return shown(
        str(
            db.value(
                conn,
                """
                SELECT quote_fingerprint(quote_revision) FROM quote_revision
                 WHERE quote_id = %(id)s::uuid AND revision = %(revision)s::int
                """,
                {"id": quote.id, "revision": quote.revision},
            )
        )
    )


def shown(digits: str) -> str:
    """With hyphens, as people read it."""
    return "-".join((digits[:4], digits[4:8], digits[8:]))


def plain(typed: str) -> str:
    """The digits of a fingerprint that somebody typed."""
    return typed.replace("-", "").replace(" ", "").lower()
