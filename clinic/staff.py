"""People of the clinic: a login, a password kept as argon2id, a role, and sessions as opaque cookies."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from psycopg import errors as pg

from clinic import clock, db, ids
from clinic.auth import ROLES, Actor
from clinic.command import Change
from clinic.errors import Conflict, TooManyRequests, Unauthorized

IDLE = timedelta(minutes=30)
ABSOLUTE = timedelta(hours=12)
SHORTEST_PASSWORD = 12
_FAILURES = 10
_FAILURES_WITHIN = timedelta(minutes=15)

_hasher = PasswordHasher()
# 64 MiB each: a crowd at the sign-in page must not take all the memory there is.
_hashing = threading.Semaphore(2)
_NOBODY = _hasher.hash(secrets.token_urlsafe(16))


def logins(conn: db.Connection, labels: Iterable[str]) -> dict[str, str]:
    """How people are called on pages, by their label in documents and the journal: `staff:…` -> login."""
    rows = conn.execute(
        "SELECT 'staff:' || id, login FROM staff WHERE 'staff:' || id = ANY (%(labels)s::text[])",
        {"labels": list(labels)},
    )
    return dict(rows.fetchall())


class LoginTaken(Conflict):
    """This login is taken.

    Choose another one."""

    ru = "Это имя для входа занято\n\nВыберите другое."


class WrongPassword(Unauthorized):
    """The login or the password is not right.

    Which of the two is not told."""

    ru = "Имя или пароль неверны\n\nЧто именно неверно, не сообщается."


@dataclass(frozen=True)
class _Member:
    id: UUID
    login: str
    password_hash: str
    role: str
    branch_id: UUID | None
    active: bool

    def actor(self) -> Actor:
        scopes = ROLES.get(self.role, frozenset())
        return Actor(self.id, "staff", self.login, scopes, self.branch_id, role=self.role)


def create(change: Change, login: str, role: str, password: str, *, branch_id: UUID | None = None) -> UUID:
    """Open an account.

    Raises:
        LoginTaken: there is an account of that login.
        ValueError: no such role, or the password is shorter than twelve characters.
    """
    if role not in ROLES:
        raise ValueError(f"no such role: {role}; there are {', '.join(ROLES)}")
    if len(password) < SHORTEST_PASSWORD:
        raise ValueError(f"a password has at least {SHORTEST_PASSWORD} characters")
    staff_id = ids.new()
    try:
        change.conn.execute(
            """
            INSERT INTO staff (id, login, password_hash, role, branch_id, created_at)
            VALUES (%(id)s, %(login)s, %(hash)s, %(role)s, %(branch)s, %(now)s)
            """,
            {
                "id": staff_id,
                "login": login,
                "hash": _hasher.hash(password),
                "role": role,
                "branch": branch_id,
                "now": change.at,
            },
        )
    except pg.UniqueViolation as exc:
        raise LoginTaken(login=login) from exc
    change.record("staff.created", staff_id, branch_id, role=role)
    return staff_id


def sign_in(login: str, password: str, address: str) -> str:
    """The token of a new session.

    Raises:
        WrongPassword: login or password is wrong; takes the same time for both.
        TooManyRequests: too many failures of this login from this address within a quarter of an hour.
    """
    who = f"{login}@{address}"
    with db.reading(walled=False) as conn:
        if _failures(conn, who) >= _FAILURES:
            raise TooManyRequests()
        member = db.find(
            conn,
            _Member,
            "SELECT id, login, password_hash, role, branch_id, active FROM staff WHERE login = %(login)s",
            {"login": login},
        )
    # No connection is held while the password is hashed: a tenth of a second is long.
    right = _matches(member.password_hash if member else _NOBODY, password)
    with db.transaction() as conn:
        if member is None or not member.active or not right:
            conn.execute("INSERT INTO sign_in_failure (who, at) VALUES (%s, %s)", (who, clock.now()))
        else:
            return _open_session(conn, member.id)
    raise WrongPassword()


def signed_in(token: str) -> Actor:
    """Whose session this is.

    Raises:
        Unauthorized: no such session, idle for half an hour, older than twelve hours, or the account is closed.
    """
    now = clock.now()
    with db.reading(walled=False) as conn:
        member = db.find(
            conn,
            _Member,
            """
            UPDATE staff_session AS session SET seen_at = %(now)s
              FROM staff
             WHERE session.token_sha256 = %(token)s AND staff.id = session.staff_id AND staff.active
               AND session.seen_at > %(idle)s AND session.created_at > %(absolute)s
            RETURNING staff.id, staff.login, staff.password_hash, staff.role, staff.branch_id, staff.active
            """,
            {"now": now, "token": _digest(token), "idle": now - IDLE, "absolute": now - ABSOLUTE},
        )
    if member is None:
        raise Unauthorized()
    return member.actor()


def sign_out(token: str) -> None:
    """End the session; one that has ended already stays ended."""
    with db.transaction() as conn:
        conn.execute("DELETE FROM staff_session WHERE token_sha256 = %s", (_digest(token),))


def form_token(session: str) -> str:
    """What a form of this session carries, so that a foreign page cannot post in its name."""
    return hashlib.sha256(b"form:" + session.encode()).hexdigest()


def _open_session(conn: db.Connection, staff_id: UUID) -> str:
    token = secrets.token_urlsafe(32)
    now = clock.now()
    conn.execute(
        "INSERT INTO staff_session (token_sha256, staff_id, created_at, seen_at) VALUES (%s, %s, %s, %s)",
        (_digest(token), staff_id, now, now),
    )
    return token


def purge(conn: db.Connection) -> None:
    """Forget sessions that have ended by themselves, and failures that no longer count."""
    now = clock.now()
    conn.execute("DELETE FROM staff_session WHERE created_at < %s", (now - ABSOLUTE,))
    conn.execute("DELETE FROM sign_in_failure WHERE at < %s", (now - _FAILURES_WITHIN,))


def _failures(conn: db.Connection, who: str) -> int:
    return int(
        db.value(
            conn,
            "SELECT count(*) FROM sign_in_failure WHERE who = %s AND at > %s",
            (who, clock.now() - _FAILURES_WITHIN),
        )
    )


def _matches(password_hash: str, password: str) -> bool:
    try:
        with _hashing:
            return _hasher.verify(password_hash, password)
    except (VerifyMismatchError, InvalidHashError):
        return False


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
