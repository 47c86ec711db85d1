"""Keys of programs: 256 random bits shown once, kept as SHA-256 (a slow hash would add nothing to their strength)."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from clinic import clock, db, ids
from clinic.auth import EVERYTHING, SCOPES, Actor
from clinic.command import Change
from clinic.errors import Unauthorized

_BEARER = re.compile(r"Bearer (cb_[A-Za-z0-9_-]{40,80})", re.ASCII)


class UnknownScope(ValueError):
    """A scope that does not exist was asked for."""


@dataclass(frozen=True)
class _Key:
    id: UUID
    name: str
    scopes: list[str]
    branch_id: UUID | None
    discount_ceiling: Decimal
    last_used_at: datetime | None


def create(
    change: Change,
    name: str,
    scopes: list[str],
    *,
    branch_id: UUID | None = None,
    days: int | None = None,
    discount_ceiling: Decimal = Decimal(0),
) -> str:
    """Make a key and return its secret, which is shown this once.

    `days` is how long it is good for, without end by default; `discount_ceiling` is in percent.

    Raises:
        UnknownScope: names the scope.
    """
    if unknown := sorted(set(scopes) - {*SCOPES, EVERYTHING}):
        raise UnknownScope(f"no such scope: {', '.join(unknown)}; there are {', '.join(SCOPES)} and {EVERYTHING}")
    key_id, prefix, secret = ids.new(), f"cb_{secrets.token_hex(4)}", secrets.token_urlsafe(32)
    shown = f"{prefix}_{secret}"
    change.conn.execute(
        """
        INSERT INTO api_key
               (id, name, prefix, secret_sha256, scopes, branch_id, discount_ceiling, created_at, expires_at)
        VALUES (%(id)s, %(name)s, %(prefix)s, %(sha256)s, %(scopes)s, %(branch)s, %(ceiling)s, %(now)s, %(until)s)
        """,
        {
            "id": key_id,
            "name": name,
            "prefix": prefix,
            "sha256": _digest(shown),
            "scopes": scopes,
            "branch": branch_id,
            "ceiling": discount_ceiling,
            "now": change.at,
            "until": change.at + timedelta(days=days) if days else None,
        },
    )
    change.record("api_key.created", key_id, branch_id, scopes=scopes)
    return shown


def authenticate(authorization: str | None) -> Actor:
    """Whose key this header carries.

    Raises:
        Unauthorized: no key, not a key, revoked, or past its end; which of them is not told.
    """
    match = _BEARER.fullmatch(authorization or "")
    if match is None:
        raise Unauthorized()
    now = clock.now()
    with db.reading() as conn:
        key = db.find(
            conn,
            _Key,
            """
            SELECT id, name, scopes, branch_id, discount_ceiling, last_used_at
              FROM api_key
             WHERE secret_sha256 = %(sha256)s
               AND revoked_at IS NULL
               AND (expires_at IS NULL OR expires_at > %(now)s)
            """,
            {"sha256": _digest(match[1]), "now": now},
        )
        if key is None:
            raise Unauthorized()
        if key.last_used_at is None or key.last_used_at < now - timedelta(minutes=1):
            _note_use(conn, key.id, now)
    return Actor(key.id, "key", key.name, frozenset(key.scopes), key.branch_id, key.discount_ceiling)


def _note_use(conn: db.Connection, key_id: UUID, now: datetime) -> None:
    # SKIP LOCKED: many requests find the minute over at once, and one of them is enough.
    conn.execute(
        """
        UPDATE api_key SET last_used_at = %(now)s
         WHERE id = (SELECT id FROM api_key WHERE id = %(id)s FOR UPDATE SKIP LOCKED)
        """,
        {"now": now, "id": key_id},
    )


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
