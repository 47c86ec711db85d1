"""The books check themselves: questions that must have no answer, asked of every document and of the journal.

What constraints and triggers hold at each commit is asked again here of what lies on the disk: a restored backup, a
superuser's hand, a defect of ours. All questions are asked of one moment, in pieces, so that a million invoices take
minutes and little memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, pairwise
from typing import Any
from uuid import UUID

from psycopg.sql import SQL, Identifier

from billing import approval_checks, book_checks, money_checks, numbering
from billing.book_checks import Check
from clinic import db, journal

CHECKS = (*book_checks.CHECKS, *money_checks.CHECKS, *approval_checks.CHECKS)
PIECE = 5000
"""Documents asked about at a time."""
MOST = 20
"""Offenders named for each question; more of the same kind tell nothing new."""
_FIRST, _LAST = UUID(int=0), UUID(int=2**128 - 1)


@dataclass(frozen=True)
class Offender:
    """An answer that should not be: which question, which document, and what of it is wrong."""

    check: str
    type: str
    id: str
    says: str

    def as_json(self) -> dict[str, Any]:
        return vars(self)


@dataclass(frozen=True)
class Verdict:
    """What a check of the books found: how much was looked at, and who offends."""

    documents: int
    events: int
    offenders: list[Offender]

    @property
    def whole(self) -> bool:
        return not self.offenders

    def as_json(self) -> dict[str, Any]:
        return {
            "whole": self.whole,
            "documents": self.documents,
            "events": self.events,
            "offenders": [each.as_json() for each in self.offenders],
        }


def check(conn: db.Connection, passing: Callable[[int, int], None] = lambda _done, _total: None) -> Verdict:
    """Ask every question.

    Args:
        conn: from `db.moment`; it may take minutes, so without the application's deadline.
        passing: told how many pieces are done, of how many.
    """
    pieces = {table: _pieces(conn, table) for table in dict.fromkeys(each.table for each in CHECKS)}
    events = journal.length(conn)
    total = sum(len(pieces[each.table]) for each in CHECKS) + -(-events // journal.SPAN)
    steps = count(1)

    def passed() -> None:
        passing(next(steps), total)

    offenders = [found for each in CHECKS for found in _offenders(conn, each, pieces[each.table], passed)]
    offenders += _broken_chain(conn, passed)
    offenders += _gaps(conn)
    return Verdict(sum(_count(conn, table) for table in pieces), events, offenders)


def _offenders(
    conn: db.Connection, check: Check, pieces: list[tuple[UUID, UUID]], passed: Callable[[], None]
) -> list[Offender]:
    found: list[Offender] = []
    for after, until in pieces:
        if len(found) < MOST:
            # Planned anew for each piece: the first is no measure for the others.
            rows = conn.execute(check.sql, {"after": after, "until": until}, prepare=False)
            found += [Offender(check.name, check.table, str(id_), says) for id_, says in rows]
        passed()
    return found[:MOST]


def _broken_chain(conn: db.Connection, passed: Callable[[], None]) -> Iterator[Offender]:
    if (broken := journal.first_break(conn, passed)) is not None:
        yield Offender("journal_chain", "journal", str(broken), "does not follow from the one before")


def _pieces(conn: db.Connection, table: str) -> list[tuple[UUID, UUID]]:
    """Spans of ids that hold `PIECE` rows each: behind the first, up to and with the second."""
    ids = SQL("SELECT id FROM (SELECT id, row_number() OVER (ORDER BY id) AS place FROM {}) AS placed").format(
        Identifier(table)
    )
    rows = conn.execute(ids + SQL(" WHERE place %% %(piece)s::int = 0 ORDER BY id"), {"piece": PIECE})
    return list(pairwise([_FIRST, *(row[0] for row in rows), _LAST]))


def _count(conn: db.Connection, table: str) -> int:
    rows = conn.execute(SQL("SELECT count(*) FROM {}").format(Identifier(table))).fetchall()
    return int(rows[0][0])


def _gaps(conn: db.Connection) -> Iterator[Offender]:
    for series in numbering.proof(conn):
        if not series.whole:
            name = f"{series.branch} {series.kind} {series.prefix}{series.year}"
            yield Offender("numbers", "number_series", name, f"{series.count} documents up to {series.last}")
