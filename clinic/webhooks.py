"""Webhooks: addresses of other systems that are called with what happens here, each with a secret of its own.

An endpoint has a place in the journal; the deliverer moves it on and leaves a delivery for each event the endpoint
wants. One of a branch is told that branch's events and those of none, as the feed tells them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import marshmallow as ma

from clinic import addresses, branches, clock, db, event_feed, fields, ids, metrics, sealing, signatures
from clinic.addresses import Allowed, NotAllowed
from clinic.auth import Actor
from clinic.command import Change
from clinic.errors import Conflict, Fault, InvalidInput, NotFound, describe
from clinic.event_feed import Wanted

TRIPS_AT = 5
"""Failures in a row after which an endpoint is left alone but for an attempt now and then."""
_RESOLVED_WITHIN = 2.0

describe(
    {
        "address_not_allowed": (
            "Сюда отправлять нельзя: адрес не найден или не общедоступен. Свои адреса называют в "
            "CLINIC_WEBHOOKS_ALLOW.",
            "Nothing is sent there: the address is not found, or not a public one. Name those of your own in "
            "CLINIC_WEBHOOKS_ALLOW.",
        ),
        "https_needed": ("Нужен адрес https://.", "An https:// address is needed."),
        "port_not_allowed": (
            "Порт должен быть 443 или от 1024 до 65535.",
            "The port must be 443, or 1024 to 65535.",
        ),
    }
)


class WebhookDisabled(Conflict):
    """The webhook is disabled.

    Nothing is sent to it. Enable it first."""

    ru = "Вебхук отключён\n\nНа него ничего не отправляют: сначала включите его."


class WebhookIn(fields.Shape):
    """A new endpoint. It is told what happens from now on."""

    url = fields.Form(addresses.URL, required=True, metadata={"example": "https://his.example.org/clinic-events"})
    events = fields.Many(
        fields.Form(event_feed.PATTERN),
        least=1,
        most=100,
        required=True,
        metadata={"description": "types, `invoice.*` for all of one kind, `*` for all", "example": ["invoice.*"]},
    )
    description = fields.Text(200, load_default=None, allow_none=True)
    branch = fields.Form(
        branches.CODE, load_default=None, allow_none=True, metadata={"description": "the only branch it is told of"}
    )


class WebhookPatch(fields.Shape):
    """What is to change; members left out stay."""

    url = fields.Form(addresses.URL)
    events = fields.Many(fields.Form(event_feed.PATTERN), least=1, most=100)
    description = fields.Text(200, allow_none=True)


class WebhookOut(ma.Schema):
    """An endpoint and how far it is."""

    id = ma.fields.UUID(required=True)
    url = ma.fields.String(required=True)
    events = ma.fields.List(ma.fields.String(), required=True)
    description = ma.fields.String(required=True, allow_none=True)
    branch = ma.fields.String(required=True, allow_none=True)
    status = ma.fields.String(required=True, metadata={"enum": ["enabled", "disabled"]})
    disabled_reason = ma.fields.String(
        required=True,
        allow_none=True,
        metadata={"enum": ["by_hand", "gone", None], "description": "`gone`: the receiver answered 410"},
    )
    old_secret_until = ma.fields.DateTime(
        required=True, allow_none=True, metadata={"description": "until then messages are signed by both secrets"}
    )
    position = ma.fields.Integer(required=True, metadata={"description": "the last position it has deliveries for"})
    failures = ma.fields.Integer(required=True, metadata={"description": "attempts in a row that failed"})
    paused_until = ma.fields.DateTime(
        required=True, allow_none=True, metadata={"description": "no attempt is made before"}
    )
    waiting = ma.fields.Integer(required=True, metadata={"description": "messages not delivered yet"})
    dead = ma.fields.Integer(required=True, metadata={"description": "messages given up; see replay"})
    lag_seconds = ma.fields.Integer(
        required=True, allow_none=True, metadata={"description": "age of the oldest message not delivered yet"}
    )
    created_at = ma.fields.DateTime(required=True)
    updated_at = ma.fields.DateTime(required=True)


@dataclass(frozen=True)
class Webhook:
    """An endpoint; its secrets are not part of it."""

    id: UUID
    branch_id: UUID | None
    branch: str | None
    url: str
    events: list[str]
    description: str | None
    status: str
    disabled_reason: str | None
    old_secret_until: datetime | None
    position: int
    failures: int
    paused_until: datetime | None
    row_version: int
    created_at: datetime
    updated_at: datetime
    waiting: int
    dead: int
    oldest: datetime | None

    @property
    def wanted(self) -> Wanted:
        """Which events it is told."""
        return Wanted(self.branch_id, tuple(self.events))

    @property
    def is_enabled(self) -> bool:
        return self.status == "enabled"

    @property
    def is_failing(self) -> bool:
        """Whether it is left alone but for an attempt now and then."""
        return self.failures >= TRIPS_AT

    @property
    def lag_seconds(self) -> int | None:
        """Age of the oldest message not delivered yet; None when all are."""
        return None if self.oldest is None else max(0, int((clock.now() - self.oldest).total_seconds()))

    def as_json(self) -> dict[str, Any]:
        hidden = {"branch_id", "row_version", "oldest"}
        shown = {name: value for name, value in vars(self).items() if name not in hidden}
        still = self.old_secret_until and self.old_secret_until > clock.now()
        return {
            **shown,
            "old_secret_until": self.old_secret_until if still else None,
            "lag_seconds": self.lag_seconds,
        }


def must_be_allowed(url: str, ours: Allowed) -> None:
    """Resolve the host and look at its addresses; holds no connection, so call it before the transaction.

    Raises:
        InvalidInput: nothing is sent there.
    """
    try:
        addresses.target(url, ours, within=_RESOLVED_WITHIN)
    except NotAllowed as exc:
        raise InvalidInput([Fault("/url", exc.code)]) from exc


def create(change: Change, wanted: dict[str, Any]) -> tuple[Webhook, str]:
    """Add an endpoint, which is told what happens from now on, and return it with its secret, shown this once.

    Raises:
        InvalidInput: there is no such branch.
    """
    branch_id = change.actor.branch_id
    if wanted["branch"] is not None:
        branch_id = branches.chosen(change.conn, change.actor, wanted["branch"]).id
    webhook_id, secret = ids.new(), signatures.new_secret()
    change.conn.execute(
        """
        INSERT INTO webhook (id, branch_id, url, events, description, secret, position, created_at, updated_at)
        SELECT %(id)s::uuid, %(branch)s::uuid, %(url)s::text, %(events)s::text[], %(description)s::text,
               %(secret)s::bytea, position, %(now)s::timestamptz, %(now)s::timestamptz
          FROM journal_head
        """,
        {
            "id": webhook_id,
            "branch": branch_id,
            "url": wanted["url"],
            "events": wanted["events"],
            "description": wanted["description"],
            "secret": sealing.seal(purpose(webhook_id), secret),
            "now": change.at,
        },
    )
    # Not the URL: receivers hide tokens in it, and the journal cannot forget.
    change.record("webhook.created", webhook_id, branch_id, events=wanted["events"])
    return get(change.conn, change.actor, webhook_id), signatures.shown(secret)


def get(conn: db.Connection, actor: Actor, webhook_id: UUID) -> Webhook:
    """Raises:
    NotFound: there is none, or it is not of this actor's branch.
    """
    found = _page(conn, actor, 1, only=webhook_id)
    if not found:
        raise NotFound()
    return found[0]


def locked(change: Change, webhook_id: UUID) -> Webhook:
    """The same, held until the transaction ends."""
    change.conn.execute("SELECT FROM webhook WHERE id = %(id)s::uuid FOR UPDATE", {"id": webhook_id})
    return get(change.conn, change.actor, webhook_id)


def page(conn: db.Connection, actor: Actor, limit: int, behind: UUID | None) -> list[Webhook]:
    """At most `limit` + 1 endpoints in the order they were made, behind the one named."""
    return _page(conn, actor, limit + 1, behind=behind)


def _page(
    conn: db.Connection, actor: Actor, limit: int, *, only: UUID | None = None, behind: UUID | None = None
) -> list[Webhook]:
    return db.filtered(
        conn,
        Webhook,
        """
        SELECT webhook.id, webhook.branch_id, branch.code AS branch, url, events, description, status, disabled_reason,
               old_secret_until, webhook.position, failures, paused_until, webhook.row_version, webhook.created_at,
               webhook.updated_at, kept.waiting, kept.dead,
               CASE WHEN status = 'enabled' THEN least(kept.oldest, unread.at) END AS oldest
          FROM webhook
          LEFT JOIN branch ON branch.id = webhook.branch_id
          LEFT JOIN LATERAL (
            SELECT count(*) FILTER (WHERE delivery.status = 'waiting') AS waiting,
                   count(*) FILTER (WHERE delivery.status = 'dead') AS dead,
                   min(event_at) FILTER (WHERE delivery.status = 'waiting') AS oldest
              FROM webhook_delivery AS delivery
             WHERE delivery.webhook_id = webhook.id AND delivery.status IN ('waiting', 'dead')) AS kept ON true
          -- What the deliverer has not come to yet; looked for among the next thousand positions only.
          LEFT JOIN LATERAL (
            SELECT at
              FROM journal
             WHERE journal.position > webhook.position
               AND journal.position <= webhook.position + 1000
               AND (webhook.branch_id IS NULL OR journal.branch_id IS NULL OR journal.branch_id = webhook.branch_id)
               AND ('*' = ANY (events) OR type = ANY (events) OR split_part(type, '.', 1) || '.*' = ANY (events))
             ORDER BY journal.position
             LIMIT 1) AS unread ON true
         WHERE (%(branch)s::uuid IS NULL OR webhook.branch_id = %(branch)s::uuid)
           AND (%(only)s::uuid IS NULL OR webhook.id = %(only)s::uuid)
           AND (%(behind)s::uuid IS NULL OR webhook.id > %(behind)s::uuid)
         ORDER BY webhook.id
         LIMIT %(limit)s::int
        """,
        {"branch": actor.branch_id, "only": only, "behind": behind, "limit": limit},
    )


def edit(change: Change, webhook: Webhook, wanted: dict[str, Any]) -> Webhook:
    """Change the address, the events or the description of `webhook`, which was read under its lock.

    Events are chosen when their delivery is made: those that wait are sent, to the address it has by then.
    """
    changed = {name: value for name, value in wanted.items() if value != getattr(webhook, name)}
    if not changed:
        return webhook
    change.conn.execute(
        """
        UPDATE webhook
           SET url = %(url)s::text, events = %(events)s::text[], description = %(description)s::text,
               row_version = row_version + 1, updated_at = %(now)s::timestamptz
         WHERE id = %(id)s::uuid
        """,
        {"url": webhook.url, "events": webhook.events, "description": webhook.description, **changed}
        | {"id": webhook.id, "now": change.at},
    )
    change.record("webhook.changed", webhook.id, webhook.branch_id, changed=sorted(changed))
    return get(change.conn, change.actor, webhook.id)


def rotate_secret(change: Change, webhook_id: UUID, hours: int) -> tuple[Webhook, str]:
    """Give the endpoint a new secret, shown this once; for so many hours messages are signed by the old one too."""
    webhook = locked(change, webhook_id)
    secret = signatures.new_secret()
    change.conn.execute(
        """
        UPDATE webhook
           SET old_secret = CASE WHEN %(hours)s::int > 0 THEN secret END,
               old_secret_until = CASE WHEN %(hours)s::int > 0 THEN %(until)s::timestamptz END,
               secret = %(secret)s::bytea, row_version = row_version + 1, updated_at = %(now)s::timestamptz
         WHERE id = %(id)s::uuid
        """,
        {
            "id": webhook.id,
            "hours": hours,
            "until": change.at + timedelta(hours=hours),
            "secret": sealing.seal(purpose(webhook.id), secret),
            "now": change.at,
        },
    )
    change.record("webhook.secret_rotated", webhook.id, webhook.branch_id, overlap_hours=hours)
    return get(change.conn, change.actor, webhook.id), signatures.shown(secret)


def disable(change: Change, webhook_id: UUID, reason: str = "by_hand") -> Webhook:
    """Send nothing more to the endpoint; its place in the journal and what waits for it are kept."""
    webhook = locked(change, webhook_id)
    if webhook.is_enabled:
        _set_status(change, webhook, "disabled", reason, webhook.position)
        change.record("webhook.disabled", webhook.id, webhook.branch_id, reason=reason)
    return get(change.conn, change.actor, webhook.id)


def enable(change: Change, webhook_id: UUID, *, skip: bool = False) -> Webhook:
    """Go on where the endpoint was left, or, with `skip`, with what happens from now on; what waits is sent too."""
    webhook = locked(change, webhook_id)
    if not webhook.is_enabled:
        head = int(db.value(change.conn, "SELECT position FROM journal_head"))
        _set_status(change, webhook, "enabled", None, head if skip else webhook.position)
        change.conn.execute(
            """
            UPDATE webhook_delivery SET next_at = %(now)s::timestamptz, since = %(now)s::timestamptz, tries = 0
             WHERE webhook_id = %(id)s::uuid AND status = 'waiting'
            """,
            {"id": webhook.id, "now": change.at},
        )
        change.record("webhook.enabled", webhook.id, webhook.branch_id, skipped=skip)
    return get(change.conn, change.actor, webhook.id)


def _set_status(change: Change, webhook: Webhook, status: str, reason: str | None, position: int) -> None:
    change.conn.execute(
        """
        UPDATE webhook
           SET status = %(status)s::text, disabled_reason = %(reason)s::text, position = %(position)s::bigint,
               failures = 0, paused_until = NULL, row_version = row_version + 1, updated_at = %(now)s::timestamptz
         WHERE id = %(id)s::uuid
        """,
        {"id": webhook.id, "status": status, "reason": reason, "position": position, "now": change.at},
    )


def reseal(change: Change) -> int:
    """Seal every secret anew under the present key; returns how many endpoints there are.

    Raises:
        SealBroken: one of them opens by no key that is given.
    """
    rows = change.conn.execute("SELECT id, secret, old_secret FROM webhook ORDER BY id FOR UPDATE").fetchall()
    for webhook_id, secret, old_secret in rows:
        change.conn.execute(
            "UPDATE webhook SET secret = %(new)s::bytea, old_secret = %(old)s::bytea WHERE id = %(id)s::uuid",
            {
                "id": webhook_id,
                "new": _sealed_anew(webhook_id, secret),
                "old": old_secret and _sealed_anew(webhook_id, old_secret),
            },
        )
    return len(rows)


def _sealed_anew(webhook_id: UUID, secret: bytes) -> bytes:
    return sealing.seal(purpose(webhook_id), sealing.opened(purpose(webhook_id), secret))


def purpose(webhook_id: UUID) -> str:
    """What a webhook's secrets are sealed for: moved to another one they open no more."""
    return f"webhook:{webhook_id}"


@dataclass(frozen=True)
class Lag:
    """How far an enabled endpoint is behind: messages that wait, and the age of the oldest one in seconds."""

    webhook_id: UUID
    waiting: int
    seconds: int


def lag(conn: db.Connection) -> list[Lag]:
    """Of every enabled endpoint, for those who watch over the service."""
    everybody = Actor(UUID(int=0), "command", "", frozenset())
    found = [each for each in _page(conn, everybody, 1000) if each.is_enabled]
    return [Lag(each.id, each.waiting, each.lag_seconds or 0) for each in found]


@metrics.ask("clinic_webhook_lag_seconds", "Age of the oldest event an endpoint has not been told of.", "webhook")
def _lags(conn: db.Connection) -> list[tuple[tuple[str, ...], float]]:
    return [((str(each.webhook_id),), each.seconds) for each in lag(conn)]


@metrics.ask("clinic_webhook_waiting", "Messages that wait to be delivered.", "webhook")
def _waiting(conn: db.Connection) -> list[tuple[tuple[str, ...], float]]:
    return [((str(each.webhook_id),), each.waiting) for each in lag(conn)]
