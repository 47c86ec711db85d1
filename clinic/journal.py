"""The journal: every change of state, once, in the order of commits. It is the audit trail and the event feed.

The database numbers and chains the rows (`journal_append`); here they are collected and read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from clinic import db, ids, metrics


@dataclass(frozen=True)
class Event:
    """A change of state about to be written. `data` holds ids, states and sums; never a name."""

    type: str
    object_type: str
    object_id: UUID
    branch_id: UUID | None
    data: dict[str, Any]
    version: int = 1


@dataclass(frozen=True)
class Entry:
    """A row of the journal as it is read."""

    position: int
    id: UUID
    type: str
    version: int
    at: datetime
    actor: str
    object_type: str
    object_id: UUID
    data: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        return {
            "position": self.position,
            "id": self.id,
            "type": self.type,
            "version": self.version,
            "at": self.at,
            "actor": self.actor,
            "object": {"type": self.object_type, "id": self.object_id},
            "data": self.data,
        }


def packed(events: list[Event]) -> str:
    """The events as the one argument that `journal_append` takes."""
    return orjson.dumps(
        [
            {
                "id": ids.new(),
                "type": each.type,
                "version": each.version,
                "branch_id": each.branch_id,
                "object_type": each.object_type,
                "object_id": each.object_id,
                "data": each.data,
            }
            for each in events
        ]
    ).decode()


SPAN = 10_000
"""Rows of the journal whose links are checked by one statement."""


def length(conn: db.Connection) -> int:
    """The newest position."""
    return int(db.value(conn, "SELECT position FROM journal_head"))


def first_break(conn: db.Connection, passing: Callable[[], None] = lambda: None) -> int | None:
    """The first position whose hash or number does not follow from the one before; None when the chain is whole.

    `passing` is called for each `SPAN` of rows looked at.
    """
    end = length(conn)
    for after in range(0, end, SPAN):
        broken = db.value(
            conn,
            """
            WITH before AS (
              SELECT sha256 FROM journal WHERE position = %(after)s::bigint
               UNION ALL
              SELECT sha256('clinic billing journal'::bytea) WHERE %(after)s::bigint = 0)
            SELECT min(position) FROM (
              SELECT position,
                     position = 1 + lag(position, 1, %(after)s::bigint) OVER chain AS dense,
                     sha256 = journal_digest(
                       lag(sha256, 1, (SELECT sha256 FROM before)) OVER chain, journal) AS chained
                FROM journal
               WHERE position > %(after)s::bigint AND position <= %(until)s::bigint
              WINDOW chain AS (ORDER BY position)) AS link
             WHERE (dense AND chained) IS NOT TRUE
            """,
            {"after": after, "until": after + SPAN},
        )
        if broken is not None:
            return int(broken)
        passing()
    broken = db.value(
        conn,
        """
        SELECT coalesce(tail.position, 0) + 1
          FROM journal_head AS head
          LEFT JOIN LATERAL (SELECT position, sha256 FROM journal ORDER BY position DESC LIMIT 1) AS tail ON true
         WHERE head.position <> coalesce(tail.position, 0)
            OR (tail.position IS NOT NULL AND head.sha256 <> tail.sha256)
        """,
    )
    return int(broken) if broken is not None else None


@metrics.ask("clinic_journal_position", "The newest position of the journal.")
def _newest(conn: db.Connection) -> list[tuple[tuple[str, ...], float]]:
    return [((), length(conn))]
