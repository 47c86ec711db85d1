"""How often something may be done: counted in one table, for all processes and machines alike.

A limit is a bucket for each key: there is room for `most` in it, and it empties evenly, so `most` may come at once and
then one each `within / most`. What is taken stays taken whatever becomes of the request. Call these functions while no
transaction is open: they take a connection of their own.
"""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from clinic import clock, db
from clinic.errors import TooManyRequests


@dataclass(frozen=True)
class Limit:
    """At most `most` of what `name` means `within` this time, for each key."""

    name: str
    most: int
    within: timedelta

    @property
    def each(self) -> timedelta:
        """The time after which there is room for one more."""
        return self.within / self.most

    def wait(self, empty_at: datetime, now: datetime) -> int:
        """Whole seconds until there is room for one; 0 when there is."""
        return max(0, math.ceil((empty_at + self.each - self.within - now).total_seconds()))


def take(limit: Limit, key: str) -> None:
    """Count one more.

    Raises:
        TooManyRequests: there was no room for it; it was not counted, and Retry-After says when there will be.
    """
    now = clock.now()
    with db.deciding(), db.reading() as conn:
        taken, empty_at = conn.execute(
            """
            WITH taken AS (
              INSERT INTO rate_limit AS bucket (name, key, empty_at)
              VALUES (%(name)s::text, %(key)s::text, %(now)s::timestamptz + %(each)s::interval)
              ON CONFLICT (name, key) DO UPDATE
                 SET empty_at = greatest(bucket.empty_at, %(now)s::timestamptz) + %(each)s::interval
               WHERE greatest(bucket.empty_at, %(now)s::timestamptz) + %(each)s::interval
                     <= %(now)s::timestamptz + %(within)s::interval
              RETURNING empty_at)
            SELECT EXISTS (SELECT FROM taken),
                   (SELECT empty_at FROM rate_limit WHERE name = %(name)s::text AND key = %(key)s::text)
            """,
            {"name": limit.name, "key": key, "now": now, "each": limit.each, "within": limit.within},
        ).fetchone() or (False, None)
    if not taken:
        raise TooManyRequests(max(1, limit.wait(empty_at or now + limit.within, now)))


def add(limit: Limit, key: str, count: int) -> int:
    """Count so many that were let through already; whole seconds to wait when that was one too many, else 0."""
    now = clock.now()
    with db.deciding(), db.reading(walled=False) as conn:
        empty_at = db.value(
            conn,
            # What a crash would lose is a second of counting: no caller waits for the disk, or for a replica.
            """
            WITH added AS (
              INSERT INTO rate_limit AS bucket (name, key, empty_at)
              VALUES (%(name)s::text, %(key)s::text, %(now)s::timestamptz + %(added)s::interval)
              ON CONFLICT (name, key) DO UPDATE
                 SET empty_at = greatest(bucket.empty_at, %(now)s::timestamptz) + %(added)s::interval
              RETURNING empty_at)
            SELECT empty_at, set_config('synchronous_commit', 'off', true) FROM added
            """,
            {"name": limit.name, "key": key, "now": now, "added": limit.each * count},
        )
    return limit.wait(empty_at - limit.each, now)


def must_have_room(limit: Limit, key: str) -> None:
    """Count nothing, and refuse where no more could be counted: for what is counted only when it has failed.

    Raises:
        TooManyRequests: there is no room for one.
    """
    now = clock.now()
    with db.deciding(), db.reading() as conn:
        empty_at = db.value(
            conn,
            "SELECT empty_at FROM rate_limit WHERE name = %(name)s::text AND key = %(key)s::text",
            {"name": limit.name, "key": key},
        )
    if empty_at is not None and (seconds := limit.wait(empty_at, now)):
        raise TooManyRequests(seconds)


def of_address(address: str | None) -> str:
    """The key of a stranger's address. Who has one IPv6 address has a network of them, so the network counts."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


def purge(conn: db.Connection) -> None:
    """Forget buckets that are empty; the keys of some are addresses."""
    conn.execute("DELETE FROM rate_limit WHERE empty_at < %(now)s::timestamptz", {"now": clock.now()})
