"""Deliveries: one message for one endpoint, with what was tried so far.

A message's id is its event's, and its bytes are kept: however often it is sent, both are the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import marshmallow as ma
import orjson

from clinic import chores, db, event_feed, fields, ids, settings
from clinic.command import Change
from clinic.errors import Fault, InvalidInput, describe
from clinic.journal import Entry
from clinic.webhooks import Webhook, WebhookDisabled

STATUSES = ("waiting", "delivered", "dead")
PING = "webhook.ping"
MOST_REPLAYED = 10_000
"""Positions one replay goes over."""
_PAGE = 1000
_JSON = orjson.OPT_UTC_Z | orjson.OPT_OMIT_MICROSECONDS

describe(
    {
        "unknown_event": ("Такого события нет.", "There is no such event."),
        "one_replay": (
            "Назовите событие, диапазон позиций (from и to) или dead: true — что-то одно.",
            "Name an event, a range of positions (from and to), or dead: true; one of these.",
        ),
        "range_too_long": (
            "Диапазон — не больше 10 000 позиций, to не меньше from.",
            "A range has at most 10,000 positions, and to is not below from.",
        ),
    }
)


class AttemptOut(ma.Schema):
    """One attempt. Of the answer only the status is kept."""

    at = ma.fields.DateTime(required=True)
    status = ma.fields.Integer(required=True, allow_none=True, metadata={"description": "null: no answer came"})
    error = ma.fields.String(required=True, allow_none=True, metadata={"example": "timed_out"})
    milliseconds = ma.fields.Integer(required=True)


class DeliveryOut(ma.Schema):
    """A message for an endpoint, with its latest attempts."""

    id = ma.fields.UUID(required=True)
    event = ma.fields.UUID(required=True, metadata={"description": "the event's id, sent as `webhook-id`"})
    position = ma.fields.Integer(required=True, allow_none=True)
    type = ma.fields.String(required=True)
    status = ma.fields.String(required=True, metadata={"enum": list(STATUSES)})
    attempts = ma.fields.List(ma.fields.Nested(AttemptOut), required=True)
    next_at = ma.fields.DateTime(required=True, allow_none=True)
    since = ma.fields.DateTime(required=True, metadata={"description": "when it was to be sent, or sent again"})
    finished_at = ma.fields.DateTime(required=True, allow_none=True)


class ReplayIn(fields.Shape):
    """What to send again: one event, the events of a range of positions, or all dead letters."""

    event = fields.Uuid(load_default=None, allow_none=True)
    first = fields.Whole(1, 2**62, load_default=None, allow_none=True, data_key="from")
    last = fields.Whole(1, 2**62, load_default=None, allow_none=True, data_key="to")
    dead = fields.Flag(load_default=False)

    @ma.validates_schema
    def _one(self, wanted: dict[str, Any], **_: Any) -> None:
        in_range = wanted["first"] is not None, wanted["last"] is not None
        if in_range[0] != in_range[1] or (wanted["event"] is not None) + in_range[0] + wanted["dead"] != 1:
            raise ma.ValidationError("one_replay")
        if all(in_range) and not 0 <= wanted["last"] - wanted["first"] < MOST_REPLAYED:
            raise ma.ValidationError("range_too_long", "to")


@dataclass(frozen=True)
class Delivery:
    id: UUID
    message_id: UUID
    position: int | None
    event_type: str
    status: str
    attempts: list[dict[str, Any]]
    next_at: datetime
    since: datetime
    finished_at: datetime | None

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "event": self.message_id,
            "position": self.position,
            "type": self.event_type,
            "status": self.status,
            "attempts": self.attempts,
            "next_at": self.next_at if self.status == "waiting" else None,
            "since": self.since,
            "finished_at": self.finished_at,
        }


def body(entry: Entry) -> str:
    """What a receiver is sent of an event: the feed's shape, and `timestamp` as Standard Webhooks names it."""
    return orjson.dumps({**entry.as_json(), "timestamp": entry.at}, option=_JSON).decode()


def add(conn: db.Connection, webhook_id: UUID, entries: Iterable[Entry], now: datetime, *, again: bool = False) -> int:
    """Have these events delivered; those that wait already are left as they are. Returns how many will be sent.

    With `again` those that were delivered or given up are sent once more, with the bytes they had.
    """
    rows = [
        {"id": ids.new(), "message_id": each.id, "position": each.position or None, "event_type": each.type,
         "event_at": each.at, "body": body(each)}
        for each in entries
    ]  # fmt: skip
    return conn.execute(
        """
        INSERT INTO webhook_delivery AS delivery
               (id, webhook_id, message_id, position, event_type, event_at, body, since, next_at)
        SELECT id, %(webhook)s::uuid, message_id, position, event_type, event_at, body, %(now)s::timestamptz,
               %(now)s::timestamptz
          FROM jsonb_to_recordset(%(rows)s::jsonb)
            AS row (id uuid, message_id uuid, position bigint, event_type text, event_at timestamptz, body text)
            ON CONFLICT (webhook_id, message_id)
            DO UPDATE SET status = 'waiting', since = excluded.since, next_at = excluded.next_at, tries = 0,
                          finished_at = NULL
         WHERE %(again)s::boolean AND delivery.status <> 'waiting'
        """,
        {"webhook": webhook_id, "rows": orjson.dumps(rows).decode(), "now": now, "again": again},
    ).rowcount


def ping(change: Change, webhook: Webhook) -> Delivery:
    """Have a message sent that says nothing but that it came.

    Raises:
        WebhookDisabled: nothing is sent there.
    """
    if not webhook.is_enabled:
        raise WebhookDisabled(webhook=webhook.id)
    entry = Entry(0, ids.new(), PING, 1, change.at, change.actor.label, "webhook", webhook.id, {})
    add(change.conn, webhook.id, [entry], change.at)
    return page(change.conn, webhook.id, 1, message_id=entry.id)[0]


def replay(change: Change, webhook: Webhook, wanted: dict[str, Any]) -> int:
    """Send events again, with the ids and bytes they had; returns how many.

    A range is of the events the endpoint wants now; an event named by itself may be any that it may be told of.

    Raises:
        WebhookDisabled: nothing is sent there.
        InvalidInput: there is no such event, or it is another branch's.
    """
    if not webhook.is_enabled:
        raise WebhookDisabled(webhook=webhook.id)
    if wanted["dead"]:
        sent = _revive(change, webhook)
    elif wanted["event"] is not None:
        sent = _replay_one(change, webhook, wanted["event"])
    else:
        sent = _replay_range(change, webhook, wanted["first"], wanted["last"])
    named = {"event": wanted["event"], "from": wanted["first"], "to": wanted["last"], "dead": wanted["dead"] or None}
    change.record(
        "webhook.replayed", webhook.id, webhook.branch_id, deliveries=sent,
        **{name: value for name, value in named.items() if value is not None},
    )  # fmt: skip
    return sent


def _replay_one(change: Change, webhook: Webhook, event_id: UUID) -> int:
    entry = db.find(
        change.conn,
        Entry,
        """
        SELECT position, id, type, version, at, actor, object_type, object_id, data
          FROM journal
         WHERE id = %(id)s::uuid
           AND (%(branch)s::uuid IS NULL OR branch_id IS NULL OR branch_id = %(branch)s::uuid)
        """,
        {"id": event_id, "branch": webhook.branch_id},
    )
    if entry is None:
        raise InvalidInput([Fault("/event", "unknown_event")])
    return add(change.conn, webhook.id, [entry], change.at, again=True)


def _replay_range(change: Change, webhook: Webhook, first: int, last: int) -> int:
    sent, reached, more = 0, first - 1, True
    while more and reached < last:
        found = event_feed.after(change.conn, reached, _PAGE, webhook.wanted)
        within = [each for each in found.entries if each.position <= last]
        sent += add(change.conn, webhook.id, within, change.at, again=True)
        reached, more = found.next, found.more
    return sent


def _revive(change: Change, webhook: Webhook) -> int:
    return change.conn.execute(
        """
        UPDATE webhook_delivery
           SET status = 'waiting', since = %(now)s::timestamptz, next_at = %(now)s::timestamptz, tries = 0,
               finished_at = NULL
         WHERE webhook_id = %(id)s::uuid AND status = 'dead'
        """,
        {"id": webhook.id, "now": change.at},
    ).rowcount


def page(
    conn: db.Connection,
    webhook_id: UUID,
    limit: int,
    *,
    status: str | None = None,
    message_id: UUID | None = None,
    before: UUID | None = None,
) -> list[Delivery]:
    """At most `limit` + 1 deliveries of an endpoint, the latest first."""
    return db.filtered(
        conn,
        Delivery,
        """
        SELECT id, message_id, position, event_type, status, attempts, next_at, since, finished_at
          FROM webhook_delivery
         WHERE webhook_id = %(webhook)s::uuid
           AND (%(status)s::text IS NULL OR status = %(status)s::text)
           AND (%(message)s::uuid IS NULL OR message_id = %(message)s::uuid)
           AND (%(before)s::uuid IS NULL OR id < %(before)s::uuid)
         ORDER BY id DESC
         LIMIT %(limit)s::int
        """,
        {"webhook": webhook_id, "status": status, "message": message_id, "before": before, "limit": limit + 1},
    )


def purge() -> int:
    """Forget deliveries that came to their end, or wait for a disabled endpoint, so many days ago; returns how many."""
    days = settings.from_environment().webhooks_keep_days
    with db.transaction() as conn:
        return int(db.value(conn, "SELECT webhook_delivery_purge(%(days)s::integer)", {"days": days}))


chores.every(chores.DAY, "webhook_delivery_purge", purge)
