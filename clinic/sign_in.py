"""Signing in by password: the same answer for all that is wrong, and wrong passwords counted so that they help nobody.

Wrong passwords are counted for the account at an address, for the address, and for the account from everywhere. The
last one would let strangers lock an account by guessing at it from many places, so browsers that somebody has signed
in from before carry a mark (a cookie) and are counted apart: strangers do not shut them out.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import orjson

from clinic import access_log, clock, command, db, limits, passwords, sealing, second_factor, sessions, staff
from clinic.errors import Refused, TooManyRequests, Unauthorized
from clinic.limits import Limit
from clinic.sessions import Session

OF_PLACE = Limit("sign_in_of_account_at_address", 10, timedelta(minutes=15))
OF_ADDRESS = Limit("sign_in_at_address", 100, timedelta(minutes=15))
OF_ACCOUNT = Limit("sign_in_of_account", 100, timedelta(hours=1))
OF_BROWSER = Limit("sign_in_of_account_in_browser", 10, timedelta(minutes=15))
_MOST_KNOWN = 8
"""Accounts that one browser is known to."""


class WrongPassword(Unauthorized):
    """The login or the password is not right.

    Which of the two is not told."""

    ru = "Имя или пароль неверны\n\nЧто именно неверно, не сообщается."


class PasswordSignInOff(Refused):
    """Nobody signs in by password here.

    Use the clinic's identity provider."""

    ru = "Вход по паролю здесь выключен\n\nВойдите через поставщика удостоверений клиники."


@dataclass(frozen=True)
class Visitor:
    """Where somebody signs in from: address, the mark his browser brought, what it is called in lists of sessions."""

    address: str | None
    mark: str | None
    device: str
    request_id: str


@dataclass(frozen=True)
class Opened:
    """A session just opened: its cookie, and the browser's mark, which knows this account from now on."""

    token: str
    mark: str


@dataclass(frozen=True)
class _Member:
    id: UUID
    password_hash: str | None
    active: bool
    has_factor: bool


def by_password(login: str, password: str, visitor: Visitor) -> Opened:
    """Open a session for who knows the password; if the account has a second factor, one that waits for its code.

    Raises:
        WrongPassword: login or password is wrong, or the account is closed; takes the same time for all of them.
        TooManyRequests: too many wrong ones, or too many at this moment.
    """
    if not re.fullmatch(staff.LOGIN, login) or not 0 < len(password) <= passwords.LONGEST:
        raise WrongPassword()
    counted = _buckets(login, limits.of_address(visitor.address), visitor.mark)
    for limit, key in counted:
        limits.must_have_room(limit, key)
    with db.reading(walled=False) as conn:
        member = db.find(
            conn,
            _Member,
            """
            SELECT id, password_hash, active,
                   EXISTS (SELECT FROM second_factor WHERE staff_id = id AND confirmed_at IS NOT NULL) AS has_factor
              FROM staff WHERE login = %(login)s::text
            """,
            {"login": login},
        )
    # No connection is held while the password is hashed: a tenth of a second is long.
    right = passwords.matches(member.password_hash if member else None, password)
    token = _open(member, visitor) if member is not None and member.active and right else None
    if token is None:
        for limit, key in counted:
            with suppress(TooManyRequests):
                limits.take(limit, key)
        raise WrongPassword()
    return Opened(token, _marked(visitor.mark, login))


def by_code(session: Session, code: str, visitor: Visitor) -> str:
    """The token of a whole session in place of the one that waited for this code.

    Raises:
        WrongCode: it is not the account's, or was used.
        TooManyRequests: too many codes were tried.
        Unauthorized: the account was closed or got another password meanwhile.
    """
    who = session.actor
    second_factor.count_try(who.id)
    with command.change(who, request_id=visitor.request_id) as change:
        second_factor.verify(change, who.id, code)
        token = renewed(change.conn, session, visitor)
        done(change.conn, who.id, visitor)
    return token


def renewed(conn: db.Connection, session: Session, visitor: Visitor) -> str:
    """The token of a new session for this browser in place of its session of before.

    Raises:
        Unauthorized: the account was closed meanwhile.
    """
    conn.execute("DELETE FROM staff_session WHERE id = %(id)s::uuid", {"id": session.id})
    sql = "SELECT password_hash FROM staff WHERE id = %(id)s::uuid"
    token = sessions.open_(conn, session.actor.id, db.value(conn, sql, {"id": session.actor.id}), visitor.device)
    if token is None:
        raise Unauthorized()
    return token


def done(conn: db.Connection, staff_id: UUID, visitor: Visitor) -> None:
    """Note that somebody has signed in, whatever way."""
    conn.execute(
        "UPDATE staff SET signed_in_at = %(now)s::timestamptz WHERE id = %(id)s::uuid",
        {"now": clock.now(), "id": staff_id},
    )
    access_log.note(conn, f"staff:{staff_id}", "sign_in", "staff", [staff_id], visitor.request_id)


def _open(member: _Member, visitor: Visitor) -> str | None:
    with db.transaction() as conn:
        token = sessions.open_(conn, member.id, member.password_hash, visitor.device, needs_code=member.has_factor)
        if token and not member.has_factor:
            done(conn, member.id, visitor)
    return token


def _buckets(login: str, address: str, mark: str | None) -> list[tuple[Limit, str]]:
    # Hashed, since what is typed as a login may be a password.
    account = _digest(login)
    if browser := _known(mark).get(account):
        return [(OF_BROWSER, f"{account}:{browser}")]
    return [(OF_PLACE, f"{account}@{address}"), (OF_ADDRESS, address), (OF_ACCOUNT, account)]


def _marked(mark: str | None, login: str) -> str:
    """The browser's mark, which knows this account and those known before."""
    known = _known(mark)
    account = _digest(login)
    browser = known.pop(account, None) or secrets.token_urlsafe(12)
    kept = dict(list(known.items())[-(_MOST_KNOWN - 1) :]) | {account: browser}
    try:
        return base64.urlsafe_b64encode(sealing.seal("known_browser", orjson.dumps(kept))).decode()
    except sealing.SealBroken:
        return ""  # a service without a lasting key knows no browser again


def _known(mark: str | None) -> dict[str, str]:
    """By account: what this browser is called in its counts. Empty where there is no mark, or not one of ours."""
    if not mark or len(mark) > 2000:
        return {}
    try:
        found: dict[str, str] = orjson.loads(sealing.opened("known_browser", base64.urlsafe_b64decode(mark)))
    except (sealing.SealBroken, binascii.Error, ValueError):
        return {}
    return found


def _digest(login: str) -> str:
    return hashlib.sha256(login.encode()).hexdigest()[:32]
