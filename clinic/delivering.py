"""What the deliverer does with the database: make deliveries from the journal, claim one, write down what came of it.

Each step is a transaction of its own and none is open while a receiver is asked. A claim ends by itself, so what a
killed deliverer had in hand is sent again by the next one; receivers may hear a message twice, and none not at all.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb

from clinic import clock, command, db, deliveries, event_feed, webhooks
from clinic.auth import Actor
from clinic.event_feed import Wanted
from clinic.sending import Outcome
from clinic.webhooks import TRIPS_AT

_SECOND, _MINUTE, _HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
SCHEDULE = (
    5 * _SECOND, 5 * _MINUTE, 30 * _MINUTE, 2 * _HOUR, 5 * _HOUR, 10 * _HOUR, 14 * _HOUR, 18 * _HOUR, 22 * _HOUR,
)  # fmt: skip
"""How long after each failure the next attempt is made, give or take a tenth; after the last one it is given up."""
GIVEN_UP_AFTER = timedelta(days=3)
"""Age at which a message of an endpoint that answers nothing at all is given up; the schedule is as long."""
_PAUSES = (15 * _SECOND, 1 * _MINUTE, 5 * _MINUTE, 15 * _MINUTE)
_LEASE = 15
"""Seconds after which an attempt is taken for dead: an attempt itself ends within `sending.WITHIN`."""
_AT_ONCE = 4
"""Attempts that one endpoint gets at a time while it answers; one that fails gets one."""
_BATCH = 1000
_KEPT_ATTEMPTS = 20

DELIVERER = Actor(UUID(int=0), "deliverer", "deliverer", frozenset())


@dataclass(frozen=True)
class Claimed:
    """A message to be sent now, and where to."""

    id: UUID
    claim: UUID
    webhook_id: UUID
    message_id: UUID
    body: str
    tries: int
    attempts: list[dict[str, Any]]
    since: datetime
    url: str
    secret: bytes
    old_secret: bytes | None
    failures: int

    @property
    def is_probe(self) -> bool:
        """Whether it is sent only to see if the endpoint lives: that uses up none of its attempts."""
        return self.failures >= TRIPS_AT


@dataclass(frozen=True)
class _Behind:
    id: UUID
    branch_id: UUID | None
    events: list[str]
    position: int


def count() -> int:
    """How many endpoints are enabled."""
    with db.reading() as conn:
        return int(db.value(conn, "SELECT count(*) FROM webhook WHERE status = 'enabled'"))


def catch_up() -> bool:
    """Make the deliveries of what was written into the journal, a thousand for each endpoint; whether there is more.

    The place in the journal and the deliveries are one transaction, so neither is ever without the other.
    """
    with db.reading() as conn:
        rows = conn.execute(
            """
            SELECT webhook.id
              FROM webhook
              JOIN journal_head AS head ON head.position > webhook.position
             WHERE status = 'enabled'
            """
        ).fetchall()
    more = [_catch_up(webhook_id) for (webhook_id,) in rows]  # all of them, not only until one has more
    return any(more)


def _catch_up(webhook_id: UUID) -> bool:
    with db.transaction() as conn:
        # Another deliverer may be at it.
        webhook = db.find(
            conn,
            _Behind,
            """
            SELECT id, branch_id, events, position FROM webhook
             WHERE id = %(id)s::uuid AND status = 'enabled'
               FOR UPDATE SKIP LOCKED
            """,
            {"id": webhook_id},
        )
        if webhook is None:
            return False
        found = event_feed.after(conn, webhook.position, _BATCH, Wanted(webhook.branch_id, tuple(webhook.events)))
        if found.entries:
            deliveries.add(conn, webhook.id, found.entries, clock.now())
        conn.execute(
            "UPDATE webhook SET position = %(position)s::bigint WHERE id = %(id)s::uuid",
            {"id": webhook.id, "position": found.next},
        )
        return found.more


def claim(most: int) -> list[Claimed]:
    """Take messages that are due, at most so many, the oldest of each endpoint first.

    An endpoint that failed lately is given one at a time, so that it holds up nobody else; one that failed again and
    again is asked only when its pause is over, by its oldest message, whenever that would be due.
    """
    with db.transaction() as conn:
        return db.many(
            conn,
            Claimed,
            """
            WITH free AS (
              SELECT id, url, secret, old_secret, old_secret_until, failures
                FROM webhook
               WHERE status = 'enabled'
                 AND (paused_until IS NULL OR paused_until <= %(now)s::timestamptz)
                 FOR NO KEY UPDATE SKIP LOCKED),
            due AS (
              SELECT delivery.id, free.url, free.secret, free.failures,
                     CASE WHEN free.old_secret_until > %(now)s::timestamptz THEN free.old_secret END AS old_secret
                FROM free,
                LATERAL (
                  SELECT id
                    FROM webhook_delivery
                   WHERE webhook_id = free.id
                     AND status = 'waiting'
                     AND (next_at <= %(now)s::timestamptz OR free.failures >= %(trips_at)s::int)
                     AND (claimed_until IS NULL OR claimed_until < clock_timestamp())
                   ORDER BY position NULLS FIRST
                   LIMIT greatest(0, CASE WHEN free.failures > 0 THEN 1 ELSE %(at_once)s::int END - (
                         SELECT count(*)
                           FROM webhook_delivery
                          WHERE webhook_id = free.id AND status = 'waiting' AND claimed_until >= clock_timestamp()))
                     FOR UPDATE SKIP LOCKED) AS delivery
               LIMIT %(most)s::int)
            UPDATE webhook_delivery AS delivery
               SET claim = %(claim)s::uuid, claimed_until = clock_timestamp() + make_interval(secs => %(lease)s::int)
              FROM due
             WHERE delivery.id = due.id
            RETURNING delivery.id, claim, webhook_id, message_id, body, tries, attempts, since, due.url, due.secret,
                      due.old_secret, due.failures
            """,
            {
                "now": clock.now(),
                "trips_at": TRIPS_AT,
                "at_once": _AT_ONCE,
                "most": most,
                "claim": uuid4(),
                "lease": _LEASE,
            },
        )


def finish(sent: Claimed, outcome: Outcome) -> None:
    """Write down what came of an attempt. One that was taken for dead meanwhile changes nothing any more."""
    now = clock.now()
    if outcome.is_delivered and not sent.failures:
        with db.transaction() as conn:
            _end(conn, sent, outcome, now, status="delivered")
        return
    with command.change(DELIVERER) as change:
        # The endpoint's row before its deliveries', as everywhere.
        failures = db.value(
            change.conn, "SELECT failures FROM webhook WHERE id = %(id)s::uuid FOR UPDATE", {"id": sent.webhook_id}
        )
        if outcome.is_delivered:
            if _end(change.conn, sent, outcome, now, status="delivered"):
                _answers_again(change.conn, sent, now)
        elif _failed(change.conn, sent, outcome, now):
            _fails(change.conn, sent, outcome, now, failures + 1)
            if outcome.is_gone:
                webhooks.disable(change, sent.webhook_id, "gone")


def _failed(conn: db.Connection, sent: Claimed, outcome: Outcome, now: datetime) -> bool:
    if sent.is_probe or outcome.is_gone:
        too_old = now - sent.since > GIVEN_UP_AFTER and not outcome.is_gone
        return _end(conn, sent, outcome, now, status="dead" if too_old else "waiting", tried=False)
    if sent.tries >= len(SCHEDULE):
        return _end(conn, sent, outcome, now, status="dead")
    wait = SCHEDULE[sent.tries] * random.uniform(0.9, 1.1)  # spreads calls, guards nothing  # nosec B311
    return _end(conn, sent, outcome, now, status="waiting", next_at=now + max(wait, _asked_to_wait(outcome)))


def _asked_to_wait(outcome: Outcome) -> timedelta:
    return timedelta(seconds=outcome.retry_after or 0)


def _end(
    conn: db.Connection,
    sent: Claimed,
    outcome: Outcome,
    now: datetime,
    *,
    status: str,
    next_at: datetime | None = None,
    tried: bool = True,
) -> bool:
    """Give the claim up; False when it is no longer ours."""
    attempt = {
        "at": now.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "status": outcome.status,
        "error": outcome.error,
        "milliseconds": outcome.milliseconds,
    }
    return bool(
        conn.execute(
            """
            UPDATE webhook_delivery
               SET status = %(status)s::text, attempts = %(attempts)s::jsonb, tries = tries + %(tried)s::int,
                   next_at = coalesce(%(next_at)s::timestamptz, next_at), claim = NULL, claimed_until = NULL,
                   finished_at = CASE WHEN %(status)s::text <> 'waiting' THEN %(now)s::timestamptz END
             WHERE id = %(id)s::uuid AND claim = %(claim)s::uuid
            """,
            {
                "id": sent.id,
                "claim": sent.claim,
                "status": status,
                "attempts": Jsonb([*sent.attempts, attempt][-_KEPT_ATTEMPTS:]),
                "tried": int(tried),
                "next_at": next_at,
                "now": now,
            },
        ).rowcount
    )


def _answers_again(conn: db.Connection, sent: Claimed, now: datetime) -> None:
    conn.execute(
        "UPDATE webhook SET failures = 0, paused_until = NULL WHERE id = %(id)s::uuid", {"id": sent.webhook_id}
    )
    if sent.is_probe:
        # What waits for a later attempt need not wait any more.
        conn.execute(
            """
            UPDATE webhook_delivery SET next_at = %(now)s::timestamptz
             WHERE webhook_id = %(id)s::uuid AND status = 'waiting' AND next_at > %(now)s::timestamptz
            """,
            {"id": sent.webhook_id, "now": now},
        )


def _fails(conn: db.Connection, sent: Claimed, outcome: Outcome, now: datetime, failures: int) -> None:
    pause = _asked_to_wait(outcome)
    if failures >= TRIPS_AT:
        longest = _PAUSES[min(failures - TRIPS_AT, len(_PAUSES) - 1)]
        pause = max(pause, longest * random.uniform(0.9, 1.1))  # nosec B311
    conn.execute(
        """
        UPDATE webhook SET failures = %(failures)s::int, paused_until = %(until)s::timestamptz WHERE id = %(id)s::uuid
        """,
        {"id": sent.webhook_id, "failures": failures, "until": now + pause if pause else None},
    )
    if sent.is_probe:
        # It answers nobody just now, so these need no attempt of their own to be known as lost.
        conn.execute(
            """
            UPDATE webhook_delivery SET status = 'dead', finished_at = %(now)s::timestamptz
             WHERE webhook_id = %(id)s::uuid AND status = 'waiting' AND claim IS NULL AND since < %(old)s::timestamptz
            """,
            {"id": sent.webhook_id, "now": now, "old": now - GIVEN_UP_AFTER},
        )


def postpone(sent: Claimed, error: str) -> None:
    """Give back a message that cannot be sent for a reason of ours; its endpoint is left alone for a minute."""
    with db.transaction() as conn:
        conn.execute(
            "UPDATE webhook SET paused_until = %(until)s::timestamptz WHERE id = %(id)s::uuid",
            {"id": sent.webhook_id, "until": clock.now() + _MINUTE},
        )
        _end(conn, sent, Outcome(None, error, 0), clock.now(), status="waiting", tried=False)
