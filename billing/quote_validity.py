"""How long a quote is valid: its last day may be moved by a permitted hand for a reason, and what is over is called so.

Whether a quote is valid is asked of its last day wherever that counts. The chore only writes the word «expired» on what
is over, so that lists show it: done late, or never, it changes nothing of what may be done.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import marshmallow as ma

from billing import quotes
from billing.quotes import Quote, RevisionIn
from clinic import chores, command, db, errors, fields, money
from clinic.auth import COMMAND_LINE
from clinic.command import Change
from clinic.errors import Fault, InvalidInput

BATCH = 100
"""Quotes that one transaction of the chore calls expired."""

errors.describe(
    {
        "not_an_extension": (
            "Новый последний день должен быть позже прежнего ({before}) и не раньше сегодняшнего.",
            "The new last day has to be later than the one before ({before}), and today or later.",
        ),
    }
)


class ExtendIn(RevisionIn):
    """The new last day, and why the price is kept for longer."""

    valid_until = fields.Day(required=True)
    reason = fields.Text(500, required=True)


class ExtensionOut(ma.Schema):
    """A last day that was moved; `by` is who moved it, never by name."""

    valid_until_before = ma.fields.Date(required=True)
    valid_until = ma.fields.Date(required=True)
    reason = ma.fields.String(required=True)
    by = ma.fields.String(required=True)
    at = ma.fields.DateTime(required=True)


@dataclass(frozen=True)
class Extension:
    """A last day that was moved."""

    revision: int
    extended_from: date
    extended_to: date
    reason: str
    extended_by: str
    extended_at: datetime

    def as_json(self) -> dict[str, Any]:
        return {
            "valid_until_before": self.extended_from,
            "valid_until": self.extended_to,
            "reason": self.reason,
            "by": self.extended_by,
            "at": self.extended_at,
        }


def extensions_of(conn: db.Connection, quote_id: UUID) -> list[Extension]:
    """The extensions of all revisions of a quote, oldest first."""
    return db.many(
        conn,
        Extension,
        """
        SELECT revision, extended_from, extended_to, reason, extended_by, extended_at
          FROM quote_extension WHERE quote_id = %(id)s
         ORDER BY revision, extended_to
        """,
        {"id": quote_id},
    )


def extend(change: Change, quote_id: UUID, wanted: dict[str, Any]) -> Quote:
    """Move the last day of a quote that is open or expired to a later one; its prices stay.

    An expired one is again what it was before.

    Raises:
        QuoteNotOpen: it is accepted, or over in another way.
        InvalidInput: the day is no later one, or is over.
    """
    quote = quotes.locked(change.conn, change.actor, quote_id, wanted["revision"])
    quote.must_be("draft", "sent", "expired")
    day: date = wanted["valid_until"]
    if day <= quote.valid_until or day < change.today:
        raise InvalidInput([Fault("/valid_until", "not_an_extension", (("before", quote.valid_until.isoformat()),))])
    written = {
        "id": quote.id,
        "revision": quote.revision,
        "before": quote.valid_until,
        "day": day,
        "reason": wanted["reason"],
        "by": change.actor.label,
        "at": change.at,
    }
    change.conn.execute(
        """
        INSERT INTO quote_extension
               (quote_id, revision, extended_from, extended_to, reason, extended_by, extended_at)
        VALUES (%(id)s, %(revision)s, %(before)s, %(day)s, %(reason)s, %(by)s, %(at)s)
        """,
        written,
    )
    status = db.value(
        change.conn,
        """
        UPDATE quote_revision
           SET valid_until = %(day)s, status = coalesce(expired_from, status), row_version = row_version + 1,
               updated_at = %(at)s
         WHERE quote_id = %(id)s AND revision = %(revision)s
        RETURNING status
        """,
        written,
    )
    change.record(
        "quote.extended", quote.id, quote.branch_id,
        revision=quote.revision, total=money.text(quote.total), valid_until=day.isoformat(),
        valid_until_before=quote.valid_until.isoformat(),
    )  # fmt: skip
    return replace(quote, status=status, valid_until=day, row_version=quote.row_version + 1, updated_at=change.at)


# ---- What is over ----


def expire() -> int:
    """Call every open quote expired whose last day is over; returns how many.

    One that somebody holds at this moment is left to him, and to the next run.
    """
    count = 0
    while found := _expire_some():
        count += found
    return count


def _expire_some() -> int:
    with command.change(COMMAND_LINE) as change:
        rows = change.conn.execute(
            """
            UPDATE quote_revision AS revision
               SET status = 'expired', row_version = row_version + 1, updated_at = %(at)s
              FROM (SELECT quote_id, revision
                      FROM quote_revision JOIN quote ON quote.id = quote_id
                     WHERE newest AND status IN ('draft', 'sent') AND valid_until < %(today)s::date
                     ORDER BY valid_until
                     LIMIT %(most)s::int
                       FOR UPDATE OF quote, quote_revision SKIP LOCKED) AS over
             WHERE revision.quote_id = over.quote_id AND revision.revision = over.revision
            RETURNING revision.quote_id, revision.branch_id, revision.revision, revision.total
            """,
            {"at": change.at, "today": change.today, "most": BATCH},
        ).fetchall()
        for row in rows:
            record_expiry(change, *row)
    return len(rows)


def record_expiry(change: Change, quote_id: UUID, branch_id: UUID, revision: int, total: Decimal) -> None:
    """Note that the last day of an open quote was found to be over."""
    change.record("quote.expired", quote_id, branch_id, revision=revision, total=money.text(total))


chores.every(chores.HOUR, "quote_expiry", expire)
