"""Keys of programs: 256 random bits shown once, kept as SHA-256 (a slow hash would add nothing to their strength).

A key is a record that lasts: its name, what it may do, and the idempotency rows it owns. Its secret can be replaced;
the old one then works on for the time its program needs to take the new one. Nothing about a key is remembered by a
process, so one that is revoked is refused everywhere at once.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import marshmallow as ma

from clinic import branches, clock, db, errors, fields, ids, money
from clinic.auth import EVERYTHING, SCOPES, Actor
from clinic.command import Change
from clinic.errors import Conflict, Fault, InvalidInput, NotFound, Unauthorized

_BEARER = re.compile(r"Bearer (cb_[A-Za-z0-9_-]{40,80})", re.ASCII)

errors.describe(
    {
        "scope_above_own": (
            "Дать можно только то право, которое есть у вас.",
            "Only a right of your own can be given.",
        ),
        "ceiling_above_own": ("Предел скидки выше вашего.", "The discount ceiling is above your own."),
    }
)


class KeyRevoked(Conflict):
    """The key is revoked.

    It stays so for ever; make a new one."""

    ru = "Ключ отозван\n\nОн отозван навсегда; выпустите новый."


class KeyIn(fields.Shape):
    """A new key.

    `days` is how long it is good for, without end by default; `branch` the only one it sees; `discount_ceiling` the
    percent it may take off without approval."""

    name = fields.Text(160, required=True)
    scopes = fields.Many(fields.Choice(*SCOPES, EVERYTHING), least=1, most=len(SCOPES) + 1, required=True)
    branch = fields.Form(branches.CODE, load_default=None, allow_none=True)
    days = fields.Whole(1, 36_500, load_default=None, allow_none=True)
    discount_ceiling = fields.Percent(load_default=Decimal(0))


class RotateIn(fields.Shape):
    """How long the secret in use works on beside the new one, and, if it is to change, how long the key is good for."""

    overlap_hours = fields.Whole(0, 720, load_default=24, metadata={"description": "0 ends the old secret at once"})
    days = fields.Whole(1, 36_500, load_default=None, allow_none=True)


class SecretOut(ma.Schema):
    """A secret that is in use, as far as it is shown again."""

    prefix = ma.fields.String(required=True)
    created_at = ma.fields.DateTime(required=True)
    ends_at = ma.fields.DateTime(required=True, allow_none=True)
    last_used_at = ma.fields.DateTime(required=True, allow_none=True)


class KeyOut(ma.Schema):
    """A key; its secrets are known by how they begin."""

    id = ma.fields.UUID(required=True)
    name = ma.fields.String(required=True)
    scopes = ma.fields.List(ma.fields.String(), required=True)
    branch = ma.fields.String(required=True, allow_none=True)
    discount_ceiling = ma.fields.String(required=True)
    created_at = ma.fields.DateTime(required=True)
    expires_at = ma.fields.DateTime(required=True, allow_none=True)
    revoked_at = ma.fields.DateTime(required=True, allow_none=True)
    last_used_at = ma.fields.DateTime(required=True, allow_none=True)
    secrets = ma.fields.List(ma.fields.Nested(SecretOut), required=True)


class NewKeyOut(KeyOut):
    """A key with its new secret, which is shown this once."""

    secret = ma.fields.String(required=True)


@dataclass(frozen=True)
class Key:
    """A key as it is shown; `secrets` are those in use, the newest first."""

    id: UUID
    name: str
    scopes: list[str]
    branch: str | None
    discount_ceiling: Decimal
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    secrets: list[dict[str, Any]]

    def is_good(self, now: datetime) -> bool:
        """Whether the key is neither revoked nor past its end."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)

    def as_json(self) -> dict[str, Any]:
        return vars(self) | {
            "discount_ceiling": money.text(self.discount_ceiling),
            "secrets": [each | {name: _instant(each[name]) for name in _INSTANTS} for each in self.secrets],
        }


@dataclass(frozen=True)
class Issued:
    """A key's new secret, known to nobody else and never again to us."""

    key_id: UUID
    secret: str


@dataclass(frozen=True)
class _Caller:
    id: UUID
    name: str
    scopes: list[str]
    branch_id: UUID | None
    discount_ceiling: Decimal
    sha256: bytes
    last_used_at: datetime | None


_INSTANTS = ("created_at", "ends_at", "last_used_at")
_HOUR = timedelta(hours=1)


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def wanted_by(change: Change, wanted: dict[str, Any]) -> Issued:
    """Make the key somebody asks for.

    Raises:
        InvalidInput: it would have a right, a branch or a ceiling that its maker has not, or a branch that is none.
    """
    actor = change.actor
    branch_id, faults = branches.for_another(change.conn, actor, wanted["branch"])
    faults += [
        Fault(f"/scopes/{place}", "scope_above_own")
        for place, scope in enumerate(wanted["scopes"])
        if not actor.may(scope)
    ]
    if wanted["discount_ceiling"] > _highest_ceiling(actor):
        faults.append(Fault("/discount_ceiling", "ceiling_above_own"))
    if faults:
        raise InvalidInput(faults)
    return create(
        change, wanted["name"], sorted(set(wanted["scopes"])), branch_id=branch_id, days=wanted["days"],
        discount_ceiling=wanted["discount_ceiling"],
    )  # fmt: skip


def _highest_ceiling(actor: Actor) -> Decimal:
    # Who approves discounts decides how high they are; a program is held by its own ceiling.
    if actor.kind == "key":
        return actor.discount_ceiling
    return Decimal(100 if actor.may("discounts:approve") else 0)


def create(
    change: Change,
    name: str,
    scopes: list[str],
    *,
    branch_id: UUID | None = None,
    days: int | None = None,
    discount_ceiling: Decimal = Decimal(0),
) -> Issued:
    """Make a key; its secret is shown this once.

    `days` is how long it is good for, without end by default; `discount_ceiling` is in percent.
    """
    key_id = ids.new()
    change.conn.execute(
        """
        INSERT INTO api_key (id, name, scopes, branch_id, discount_ceiling, created_at, expires_at)
        VALUES (%(id)s, %(name)s, %(scopes)s, %(branch)s, %(ceiling)s, %(now)s, %(until)s)
        """,
        {
            "id": key_id,
            "name": name,
            "scopes": scopes,
            "branch": branch_id,
            "ceiling": discount_ceiling,
            "now": change.at,
            "until": change.at + timedelta(days=days) if days else None,
        },
    )
    issued = _new_secret(change, key_id)
    change.record("api_key.created", key_id, branch_id, scopes=scopes)
    return issued


def rotate(change: Change, key_id: UUID, overlap: timedelta, days: int | None = None) -> Issued:
    """Give a key a new secret; the one in use works on for `overlap`, and one still older ends now.

    `days` from now is the key's new end, where given.

    Raises:
        NotFound: this caller sees no such key.
        Forbidden: the key may do what the caller may not: its secret would be a way to more rights.
        KeyRevoked: it is.
    """
    key = locked(change, key_id)
    for scope in key.scopes:
        change.actor.must(scope)
    change.conn.execute(
        """
        UPDATE api_key_secret
           SET ends_at = CASE WHEN ends_at IS NULL THEN %(old_ends)s::timestamptz ELSE %(now)s::timestamptz END
         WHERE key_id = %(id)s::uuid AND (ends_at IS NULL OR ends_at > %(now)s::timestamptz)
        """,
        {"id": key_id, "now": change.at, "old_ends": change.at + overlap},
    )
    if days is not None:
        change.conn.execute(
            "UPDATE api_key SET expires_at = %(until)s::timestamptz WHERE id = %(id)s::uuid",
            {"id": key_id, "until": change.at + timedelta(days=days)},
        )
    issued = _new_secret(change, key_id)
    change.record("api_key.rotated", key_id, _branch_id(change.conn, key_id), overlap_hours=overlap // _HOUR)
    return issued


def revoke(change: Change, key_id: UUID) -> None:
    """Take the key back, at once and for ever.

    Raises:
        NotFound: this caller sees no such key.
        KeyRevoked: it is already.
    """
    locked(change, key_id)
    change.conn.execute(
        "UPDATE api_key SET revoked_at = %(now)s::timestamptz WHERE id = %(id)s::uuid",
        {"now": change.at, "id": key_id},
    )
    change.record("api_key.revoked", key_id, _branch_id(change.conn, key_id))


def locked(change: Change, key_id: UUID) -> Key:
    """The key, which nobody else changes until the end of the transaction.

    Raises:
        NotFound: this caller sees no such key.
        KeyRevoked: it is.
    """
    change.conn.execute("SELECT FROM api_key WHERE id = %(id)s::uuid FOR UPDATE", {"id": key_id})
    key = get(change.conn, change.actor, key_id)
    if key.revoked_at is not None:
        raise KeyRevoked()
    return key


def get(conn: db.Connection, actor: Actor, key_id: UUID) -> Key:
    """Raises:
    NotFound: there is no such key, or it belongs to a branch that `actor` does not see.
    """
    found = _keys(conn, actor, key_id, None, 1)
    if not found:
        raise NotFound()
    return found[0]


def page(conn: db.Connection, actor: Actor, before: UUID | None, limit: int) -> list[Key]:
    """The keys `actor` sees, the newest first: those made before the key `before`."""
    return _keys(conn, actor, None, before, limit)


def _keys(conn: db.Connection, actor: Actor, key_id: UUID | None, before: UUID | None, limit: int) -> list[Key]:
    return db.filtered(
        conn,
        Key,
        """
        SELECT key.id, key.name, key.scopes, branch.code AS branch, key.discount_ceiling, key.created_at,
               key.expires_at, key.revoked_at, used.last_used_at, coalesce(used.secrets, '[]') AS secrets
          FROM api_key AS key
          LEFT JOIN branch ON branch.id = key.branch_id
          LEFT JOIN LATERAL (
            SELECT max(last_used_at) AS last_used_at,
                   jsonb_agg(
                     jsonb_build_object('prefix', prefix, 'created_at', created_at, 'ends_at', ends_at,
                                        'last_used_at', last_used_at) ORDER BY created_at DESC)
                     FILTER (WHERE ends_at IS NULL OR ends_at > %(now)s::timestamptz) AS secrets
              FROM api_key_secret AS secret
             WHERE secret.key_id = key.id) AS used ON true
         WHERE (%(branch)s::uuid IS NULL OR key.branch_id = %(branch)s::uuid)
           AND (%(id)s::uuid IS NULL OR key.id = %(id)s::uuid)
           AND (%(before)s::uuid IS NULL OR key.id < %(before)s::uuid)
         ORDER BY key.id DESC
         LIMIT %(limit)s::int
        """,
        {"now": clock.now(), "branch": actor.branch_id, "id": key_id, "before": before, "limit": limit},
    )


def _branch_id(conn: db.Connection, key_id: UUID) -> UUID | None:
    found: UUID | None = db.value(conn, "SELECT branch_id FROM api_key WHERE id = %(id)s::uuid", {"id": key_id})
    return found


def _new_secret(change: Change, key_id: UUID) -> Issued:
    prefix = f"cb_{secrets.token_hex(4)}"
    secret = f"{prefix}_{secrets.token_urlsafe(32)}"
    change.conn.execute(
        """
        INSERT INTO api_key_secret (sha256, key_id, prefix, created_at)
        VALUES (%(sha256)s::bytea, %(id)s::uuid, %(prefix)s::text, %(now)s::timestamptz)
        """,
        {"sha256": _digest(secret), "id": key_id, "prefix": prefix, "now": change.at},
    )
    return Issued(key_id, secret)


def authenticate(authorization: str | None) -> Actor:
    """Whose key this header carries.

    Raises:
        Unauthorized: no key, not a key, revoked, or past its end; which of them is not told.
    """
    match = _BEARER.fullmatch(authorization or "")
    if match is None:
        raise Unauthorized()
    now = clock.now()
    with db.deciding(), db.reading(walled=False) as conn:
        caller = db.find(
            conn,
            _Caller,
            """
            SELECT key.id, key.name, key.scopes, key.branch_id, key.discount_ceiling, secret.sha256,
                   secret.last_used_at
              FROM api_key_secret AS secret
              JOIN api_key AS key ON key.id = secret.key_id
             WHERE secret.sha256 = %(sha256)s::bytea
               AND key.revoked_at IS NULL
               AND (key.expires_at IS NULL OR key.expires_at > %(now)s::timestamptz)
               AND (secret.ends_at IS NULL OR secret.ends_at > %(now)s::timestamptz)
            """,
            {"sha256": _digest(match[1]), "now": now},
        )
        if caller is None:
            raise Unauthorized()
        if caller.last_used_at is None or caller.last_used_at < now - timedelta(minutes=1):
            _note_use(conn, caller.sha256, now)
    return Actor(caller.id, "key", caller.name, frozenset(caller.scopes), caller.branch_id, caller.discount_ceiling)


def _note_use(conn: db.Connection, sha256: bytes, now: datetime) -> None:
    # SKIP LOCKED: many requests find the minute over at once, and one of them is enough.
    conn.execute(
        """
        UPDATE api_key_secret SET last_used_at = %(now)s::timestamptz
         WHERE sha256 = (SELECT sha256 FROM api_key_secret WHERE sha256 = %(sha256)s::bytea FOR UPDATE SKIP LOCKED)
        """,
        {"now": now, "sha256": sha256},
    )


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def called(conn: db.Connection, word: str) -> UUID:
    """The key somebody means by its id or by the beginning of one of its secrets, `cb_0123abcd`.

    Raises:
        NotFound: there is none.
    """
    found: UUID | None = db.value(
        conn,
        """
        SELECT key_id FROM api_key_secret
         WHERE key_id::text = %(word)s::text OR prefix = substring(%(word)s::text FROM 1 FOR 11)
         LIMIT 1
        """,
        {"word": word},
    )
    if found is None:
        raise NotFound()
    return found
