"""Sessions of people: an opaque cookie of 256 random bits, kept as SHA-256, with a row that can be ended at any moment.

Sessions end by themselves after a time without use and after a longer time at all; a trigger of the database ends those
of an account whose password, role, branch or activity changes.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from clinic import clock, db, ids
from clinic.auth import ROLES, Actor
from clinic.errors import NotFound, Unauthorized

Step = Literal["code", "password", "enrolment"]
"""What somebody must do before all else: give a code, set a password of his own, set up a second factor."""

_idle = timedelta(minutes=30)
_absolute = timedelta(hours=12)
_needs_factor: frozenset[str] = frozenset()
_CODE_WITHIN = timedelta(minutes=10)
_SEEN_EVERY = timedelta(minutes=1)
# In this order: most browsers call themselves by the names of others too.
_BROWSERS = (
    ("YaBrowser/", "Yandex"), ("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)  # fmt: skip
_SYSTEMS = (
    ("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"), ("Windows", "Windows"), ("Mac OS", "macOS"),
    ("Linux", "Linux"),
)  # fmt: skip


def use(idle: timedelta, absolute: timedelta, needs_factor: frozenset[str]) -> None:
    """The clinic's rules from now on: when sessions end, and which roles need a second factor."""
    global _idle, _absolute, _needs_factor
    _idle, _absolute, _needs_factor = idle, absolute, needs_factor


def needs_factor(role: str) -> bool:
    """Whether people of this role must have a second factor."""
    return role in _needs_factor


@dataclass(frozen=True)
class Session:
    """Somebody's session. While there is a `step` to be taken, nothing else is open to him."""

    id: UUID
    actor: Actor
    step: Step | None


@dataclass(frozen=True)
class Listed:
    """A session as its owner sees it."""

    id: UUID
    device: str
    created_at: datetime
    seen_at: datetime


@dataclass(frozen=True)
class _Row:
    id: UUID
    seen_at: datetime
    needs_code: bool
    staff_id: UUID
    login: str
    role: str
    branch_id: UUID | None
    password_is_temporary: bool
    by_provider: bool
    has_factor: bool

    @property
    def step(self) -> Step | None:
        if self.needs_code:
            return "code"
        if self.by_provider:
            return None  # the identity provider sees to both
        if self.password_is_temporary:
            return "password"
        return "enrolment" if needs_factor(self.role) and not self.has_factor else None

    def session(self) -> Session:
        # Before the step is taken nobody may do what the role allows, whatever a page forgets to ask.
        scopes = ROLES.get(self.role, frozenset()) if self.step is None else frozenset()
        actor = Actor(self.staff_id, "staff", self.login, scopes, self.branch_id, role=self.role)
        return Session(self.id, actor, self.step)


def open_(
    conn: db.Connection, staff_id: UUID, password_hash: str | None, device: str, *, needs_code: bool = False
) -> str | None:
    """The token of a new session; None if the account was closed or got another password meanwhile.

    `password_hash` is what the password was checked against; `device` tells the owner which browser it is.
    """
    token = secrets.token_urlsafe(32)
    now = clock.now()
    opened = db.value(
        conn,
        """
        INSERT INTO staff_session (token_sha256, id, staff_id, created_at, seen_at, ends_at, needs_code, device)
        SELECT %(token)s::bytea, %(id)s::uuid, staff.id, %(now)s::timestamptz, %(now)s::timestamptz,
               %(ends)s::timestamptz, %(needs_code)s::boolean, %(device)s::text
          FROM staff
         WHERE id = %(staff)s::uuid AND active AND password_hash IS NOT DISTINCT FROM %(hash)s::text
           FOR SHARE
        RETURNING true
        """,
        {
            "token": _digest(token),
            "id": ids.new(),
            "now": now,
            "ends": now + (_CODE_WITHIN if needs_code else _absolute),
            "needs_code": needs_code,
            "device": device,
            "staff": staff_id,
            "hash": password_hash,
        },
    )
    return token if opened else None


def find(token: str) -> Session:
    """Whose session this is.

    Raises:
        Unauthorized: no such session, too long without use, past its end, or the account is closed.
    """
    now = clock.now()
    with db.deciding(), db.reading(walled=False) as conn:
        row = db.find(
            conn,
            _Row,
            """
            SELECT session.id, session.seen_at, session.needs_code, staff.id AS staff_id, staff.login, staff.role,
                   staff.branch_id, staff.password_is_temporary, staff.password_hash IS NULL AS by_provider,
                   EXISTS (SELECT FROM second_factor
                            WHERE staff_id = staff.id AND confirmed_at IS NOT NULL) AS has_factor
              FROM staff_session AS session
              JOIN staff ON staff.id = session.staff_id
             WHERE session.token_sha256 = %(token)s::bytea AND staff.active
               AND session.seen_at > %(idle)s::timestamptz AND session.ends_at > %(now)s::timestamptz
            """,
            {"now": now, "token": _digest(token), "idle": now - _idle},
        )
        if row is None:
            raise Unauthorized()
        if row.seen_at < now - _SEEN_EVERY:
            conn.execute(
                "UPDATE staff_session SET seen_at = %(now)s::timestamptz WHERE id = %(id)s::uuid",
                {"now": now, "id": row.id},
            )
    return row.session()


def of(conn: db.Connection, staff_id: UUID) -> list[Listed]:
    """The sessions of an account that have not ended, the one used last first."""
    now = clock.now()
    return db.many(
        conn,
        Listed,
        """
        SELECT id, device, created_at, seen_at
          FROM staff_session
         WHERE staff_id = %(staff)s::uuid AND NOT needs_code
           AND seen_at > %(idle)s::timestamptz AND ends_at > %(now)s::timestamptz
         ORDER BY seen_at DESC, id
        """,
        {"staff": staff_id, "now": now, "idle": now - _idle},
    )


def end(token: str) -> None:
    """End the session; one that has ended already stays ended."""
    with db.transaction() as conn:
        conn.execute("DELETE FROM staff_session WHERE token_sha256 = %s", (_digest(token),))


def end_one(conn: db.Connection, staff_id: UUID, session_id: UUID) -> None:
    """End one session of this account.

    Raises:
        NotFound: the account has no such session.
    """
    ended = conn.execute(
        "DELETE FROM staff_session WHERE id = %(id)s::uuid AND staff_id = %(staff)s::uuid",
        {"id": session_id, "staff": staff_id},
    ).rowcount
    if not ended:
        raise NotFound()


def end_all(conn: db.Connection, staff_id: UUID, *, but: UUID | None = None) -> int:
    """End the sessions of an account, all or all but one; how many."""
    return conn.execute(
        "DELETE FROM staff_session WHERE staff_id = %(staff)s::uuid AND id IS DISTINCT FROM %(but)s::uuid",
        {"staff": staff_id, "but": but},
    ).rowcount


def device(user_agent: str) -> str:
    """What a browser is called in the list of sessions: «Firefox, Windows»; no more is kept of what it says."""
    browser = next((name for mark, name in _BROWSERS if mark in user_agent), "")
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), "")
    return ", ".join(part for part in (browser, system) if part) or "—"


def form_token(session: str) -> str:
    """What a form of this session carries, so that a foreign page cannot post in its name."""
    return hashlib.sha256(b"form:" + session.encode()).hexdigest()


def purge(conn: db.Connection) -> None:
    """Forget sessions that are past their end."""
    conn.execute("DELETE FROM staff_session WHERE ends_at < %(now)s::timestamptz", {"now": clock.now()})


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
