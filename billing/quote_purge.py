"""Purging quotes that came to nothing: nobody needs their persons any more (152-FZ art. 5: no longer than needed).

A quote goes when its last day was long ago, no revision of it is accepted and no invoice was ever made from it. What
stays is a tombstone: id, code, days, branch and sum, so that its paper is still known and its code never comes again.
The database does it, in a function of the owner; the application has no right to delete a quote.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date as Date
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from clinic import chores, command, db, money, settings
from clinic.auth import COMMAND_LINE, Actor
from clinic.errors import NotFound

BATCH = 200
"""Quotes purged by one transaction."""
MOST = 10_000
"""Quotes purged by one run: a chore's guard may not be idle for long. What is left is purged the next day."""


class QuotePurged(NotFound):
    """The quote was purged.

    It came to nothing, and its last day was long ago, so it was deleted with the persons it named. The member
    `purged_at` says when; its code can still be verified."""

    ru = (
        "Смета удалена\n\nОна не была принята, и срок её давно прошёл: она удалена вместе с данными лиц, "
        "названных в ней. Поле `purged_at` говорит когда; её код можно проверить и теперь."
    )


@dataclass(frozen=True)
class Tombstone:
    """What stays of a purged quote; revision, days and the sum, in rubles, are those of its newest revision."""

    id: UUID
    code: str
    branch_id: UUID
    revision: int
    date: Date
    valid_until: Date
    total: Decimal
    created_at: datetime
    purged_at: datetime


def purge(days: int) -> int:
    """Purge quotes whose last day was more than `days` days ago, at most `MOST`; returns how many.

    It opens transactions of its own.
    """
    purged = 0
    while purged < MOST:
        with command.change(COMMAND_LINE) as change:
            found = db.many(
                change.conn,
                Tombstone,
                """
                SELECT id, code, branch_id, revision, date, valid_until, total, created_at, purged_at
                  FROM quote_purge(%(day)s::date, %(days)s::int, %(most)s::int, %(at)s::timestamptz)
                """,
                {"day": change.today, "days": days, "most": BATCH, "at": change.at},
            )
            for each in found:
                change.record(
                    "quote.purged", each.id, each.branch_id, revision=each.revision, total=money.text(each.total)
                )
        purged += len(found)
        if len(found) < BATCH:
            break
    return purged


def must_not_be_purged(conn: db.Connection, actor: Actor, quote_id: UUID) -> None:
    """Raises:
    QuotePurged: there was such a quote, in a branch `actor` sees.
    """
    purged_at = db.value(
        conn,
        """
        SELECT purged_at FROM quote_tombstone
         WHERE id = %(id)s::uuid AND (%(branch)s::uuid IS NULL OR branch_id = %(branch)s::uuid)
        """,
        {"id": quote_id, "branch": actor.branch_id},
    )
    if purged_at is not None:
        raise QuotePurged(purged_at=purged_at)


def _purge() -> None:
    # The worker reads its settings as the server did: a wrong one has stopped the start.
    purge(settings.from_environment().quote_purge_days)


chores.every(chores.DAY, "quote_purge", _purge)
