"""Numbers of documents: one series for each branch, kind and clinic year, without gaps, dates never going back.

The number is taken by the last statement but the journal's, since the series' row is locked until COMMIT: taken
first it would let a tenth of the documents through. A rollback gives the number back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any, LiteralString
from uuid import UUID

from clinic import db, metrics
from clinic.errors import Conflict

PREFIXES = {"invoice": "", "credit_note": "К-", "act": "А-"}
"""What stands between a branch's own prefix and the year. Invoices of `main` have none: 2026-000001."""


class NumberDateOrder(Conflict):
    """A document of this series has a later date.

    Numbers and dates go up together; take the day given by `last_on`, or a later one."""

    ru = (
        "В этой серии уже есть документ с более поздней датой\n\n"
        "Номера и даты растут вместе: возьмите день `last_on` или более поздний."
    )


@dataclass(frozen=True)
class Series:
    """A series as the proof shows it: `count` documents bear the numbers from `first` to `last`."""

    branch: str
    kind: str
    year: int
    prefix: str
    first: int | None
    last: int | None
    count: int
    next: int
    dates_in_order: bool

    @property
    def whole(self) -> bool:
        """Whether the numbers are exactly 1…n, in the order of dates, and the counter stands behind them."""
        expected = self.next - 1
        return (
            self.count == expected
            and self.dates_in_order
            and (self.first, self.last) == ((1, expected) if expected else (None, None))
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "branch": self.branch,
            "kind": self.kind,
            "year": self.year,
            "prefix": self.prefix,
            "first": self.first,
            "last": self.last,
            "count": self.count,
            "whole": self.whole,
        }


TAKE = """
WITH taken AS (
  UPDATE number_series SET next_no = next_no + 1, last_on = %(day)s::date
   WHERE branch_id = %(branch)s AND kind = %(kind)s AND year = date_part('year', %(day)s::date)::int
     AND open AND (last_on IS NULL OR last_on <= %(day)s::date)
  RETURNING id, next_no - 1 AS sequence, prefix || year || '-' || lpad((next_no - 1)::text,
            greatest(6, length((next_no - 1)::text)), '0') AS number)
"""
"""The beginning of a statement that writes a number: `taken` has the series, the sequence and the number."""


def taken(
    conn: db.Connection,
    statement: LiteralString,
    branch_id: UUID,
    kind: str,
    day: date,
    params: dict[str, Any],
    *,
    day_given: bool,
) -> tuple[Any, ...]:
    """Run a statement that begins with `TAKE`, opening the series if it is the first of its year.

    A day that the caller gave is refused when the series has a later one. A day that was ours has passed while we
    waited for the series, and the command runs once more.

    Raises:
        NumberDateOrder: the series has a later date than the one given.
        OnceMore: midnight has passed.
    """
    params = params | {"branch": branch_id, "kind": kind, "day": day}
    for _ in range(2):
        if row := conn.execute(statement, params).fetchone():
            return row
        later = _later(conn, branch_id, kind, day)
        if later is not None:
            raise NumberDateOrder(last_on=later.isoformat()) if day_given else db.OnceMore()
        _open(conn, branch_id, kind, day.year)
    raise AssertionError("a series that was just opened gives a number")


def _later(conn: db.Connection, branch_id: UUID, kind: str, day: date) -> date | None:
    """The date of the series when it refuses `day`; a series that another caller has just opened does not."""
    found: date | None = db.value(
        conn,
        """
        SELECT last_on FROM number_series
         WHERE branch_id = %(branch)s AND kind = %(kind)s AND year = %(year)s
           AND (last_on > %(day)s::date OR NOT open)
        """,
        {"branch": branch_id, "kind": kind, "year": day.year, "day": day},
    )
    return found


def _open(conn: db.Connection, branch_id: UUID, kind: str, year: int) -> None:
    """Open the series; two at once open one."""
    # No constraint is named: a series is unique by its prefix too, and either may be the one that is met first.
    conn.execute(
        """
        INSERT INTO number_series (branch_id, kind, year, prefix)
        SELECT id, %(kind)s, %(year)s, prefix || %(between)s FROM branch WHERE id = %(branch)s
        ON CONFLICT DO NOTHING
        """,
        {"branch": branch_id, "kind": kind, "year": year, "between": PREFIXES[kind]},
    )


def proof(conn: db.Connection, branch_id: UUID | None = None) -> list[Series]:
    """Every series with what its documents really bear."""
    return db.many(
        conn,
        Series,
        """
        WITH numbered AS (
          SELECT series_id, sequence, date FROM invoice WHERE number IS NOT NULL
           UNION ALL
          SELECT series_id, sequence, date FROM credit_note
           UNION ALL
          SELECT series_id, sequence, date FROM act),
        ordered AS (
          SELECT series_id, sequence, date >= lag(date, 1, date) OVER (PARTITION BY series_id ORDER BY sequence) AS kept
            FROM numbered),
        counted AS (
          SELECT series_id, min(sequence) AS first, max(sequence) AS last, count(DISTINCT sequence) AS count,
                 bool_and(kept) AS kept
            FROM ordered GROUP BY series_id)
        SELECT branch.code AS branch, kind, year, series.prefix, counted.first, counted.last,
               coalesce(counted.count, 0) AS count, next_no AS next, coalesce(counted.kept, true) AS dates_in_order
          FROM number_series AS series
          JOIN branch ON branch.id = series.branch_id
          LEFT JOIN counted ON counted.series_id = series.id
         WHERE %(branch)s::uuid IS NULL OR series.branch_id = %(branch)s::uuid
         ORDER BY branch.code, kind, year
        """,
        {"branch": branch_id},
    )


@metrics.ask("clinic_documents", "Documents that bear a number.", "branch", "kind", "year")
def _numbered(conn: db.Connection) -> Iterator[tuple[tuple[str, ...], float]]:
    # From the counters: counting a million documents would take as long as making a thousand.
    for branch, kind, year, count in conn.execute(
        "SELECT code, kind, year, next_no - 1 FROM number_series JOIN branch ON branch.id = branch_id"
    ):
        yield (branch, kind, str(year)), count
