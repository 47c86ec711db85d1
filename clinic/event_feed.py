"""The journal as a feed: read on from a position, by type and object, and waited for.

Positions are dense and in the order of commits, so reading on from the last one seen misses nothing. A reader sees
what is not his, or not asked for, as gaps between positions; `next` passes over them.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

import psycopg

from clinic import db
from clinic.errors import Problem
from clinic.journal import Entry

SCAN = 10_000
"""Positions one page looks through at most: a filter that matches nothing must not read a whole journal."""
PATTERN = r"[a-z_]{1,40}\.(?:[a-z_]{1,40}|\*)|\*"
"""A type, all types of one kind of object, `invoice.*`, or all."""
_ASK_EVERY = 0.1


@dataclass(frozen=True)
class Wanted:
    """Which events a reader is given: those of his branch and of none, of these types, of this object."""

    branch_id: UUID | None = None
    types: tuple[str, ...] = ("*",)
    object_id: UUID | None = None


@dataclass(frozen=True)
class Page:
    """Events in the order of their positions; `next` is the last position looked at, `more` lie behind it."""

    entries: list[Entry]
    next: int
    more: bool


def after(conn: db.Connection, position: int, limit: int, wanted: Wanted) -> Page:
    """The next events behind `position`, at most `limit` of at most `SCAN` positions; those of one object at once."""
    until = position + SCAN
    # One statement, so the head and the rows are of one moment. Planned anew: an object has an index of its own.
    rows = conn.execute(
        """
        SELECT head.position,
               entry.position, entry.id, entry.type, entry.version, entry.at, entry.actor, entry.object_type,
               entry.object_id, entry.data
          FROM journal_head AS head
          LEFT JOIN LATERAL (
            SELECT position, id, type, version, at, actor, object_type, object_id, data
              FROM journal
             WHERE position > %(position)s::bigint
               AND (%(object)s::uuid IS NULL AND position <= %(until)s::bigint OR object_id = %(object)s::uuid)
               AND (%(branch)s::uuid IS NULL OR branch_id IS NULL OR branch_id = %(branch)s::uuid)
               AND ('*' = ANY (%(types)s::text[])
                    OR type = ANY (%(types)s::text[])
                    OR split_part(type, '.', 1) || '.*' = ANY (%(types)s::text[]))
             ORDER BY position
             LIMIT %(limit)s::int) AS entry ON true
         ORDER BY entry.position
        """,
        {
            "position": position,
            "until": until,
            "limit": limit,
            "object": wanted.object_id,
            "branch": wanted.branch_id,
            "types": list(wanted.types),
        },
        prepare=False,
    ).fetchall()
    head = int(rows[0][0])
    entries = [Entry(*row[1:]) for row in rows if row[1] is not None]
    if len(entries) == limit:
        reached = entries[-1].position
    else:
        # A position beyond the head stays where it is.
        reached = max(position, head if wanted.object_id else min(until, head))
    return Page(entries, reached, reached < head)


class _Watch:
    """Lets many wait for the journal to grow, while one thread of this process asks for its head.

    Asking costs a tenth of a millisecond and goes on only while somebody waits. LISTEN would keep a connection for
    each process, which poolers do not give, and NOTIFY is one more lock for all that commit.
    """

    def __init__(self) -> None:
        self._moved = threading.Condition()
        self._waiting = 0
        self._head = 0
        self._asks = False

    def wait(self, position: int, until: float, most: int) -> bool:
        """Whether the journal has grown beyond `position` before the monotonic time `until`.

        Nobody waits beside `most` others: False at once.
        """
        with self._moved:
            if self._waiting >= most or time.monotonic() >= until:
                return False
            self._waiting += 1
            if not self._asks:
                self._asks = True
                threading.Thread(target=self._ask, name="journal head", daemon=True).start()
            try:
                return self._moved.wait_for(lambda: self._head > position, until - time.monotonic())
            finally:
                self._waiting -= 1

    def _ask(self) -> None:
        while True:
            head = 0
            # With the database away there is no news; whoever waits learns of it by his next request.
            with suppress(psycopg.Error, Problem, RuntimeError), db.reading() as conn:
                head = int(db.value(conn, "SELECT position FROM journal_head"))
            with self._moved:
                self._head = head
                self._moved.notify_all()
                if not self._waiting:
                    # What was known is forgotten: the next one to wait may find the database put back in time.
                    self._head, self._asks = 0, False
                    return
            time.sleep(_ASK_EVERY)


_watch = _Watch()


def grows(position: int, until: float, most: int) -> bool:
    """Wait, holding no connection, until the journal is longer than `position`; False when there is no use.

    That is at the monotonic time `until`, or at once when `most` callers of this process wait already.
    """
    return _watch.wait(position, until, most)
