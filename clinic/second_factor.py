"""Second factors: codes of half a minute from a device of one's own (TOTP, RFC 6238), and codes for its loss.

The secret is sealed, since it must be read again; recovery codes are only recognised, so their hashes are kept.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import pyotp
import segno

from clinic import db, limits, sealing
from clinic.command import Change
from clinic.errors import Conflict, NotFound, Unauthorized
from clinic.limits import Limit

TRIES = Limit("second_factor", 10, timedelta(minutes=15))
"""Codes an account may try; who tries has given its password before."""
RECOVERY_CODES = 10
_STEP = 30
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"


class WrongCode(Unauthorized):
    """The code is not right.

    Give the six digits that the device shows now, each only once, or one of the recovery codes."""

    ru = (
        "Код неверен\n\nВведите шесть цифр, которые устройство показывает сейчас (каждый код действует один раз), "
        "или один из кодов восстановления."
    )


class SecondFactorSet(Conflict):
    """There is a second factor already.

    Remove it before another one is set up."""

    ru = "Второй фактор уже настроен\n\nСначала уберите его."


class SecondFactorNeeded(Conflict):
    """This role must have a second factor.

    It can be replaced by removing and setting it up again only with an administrator's help."""

    ru = "Для этой роли второй фактор обязателен\n\nЗаменить его можно только с помощью администратора."


@dataclass(frozen=True)
class _Row:
    sealed: bytes
    last_step: int
    confirmed_at: datetime | None


def begin(change: Change, staff_id: UUID) -> None:
    """Draw a secret, unless one waits to be confirmed already.

    Raises:
        SecondFactorSet: there is one that is confirmed.
    """
    secret = pyotp.random_base32(32)
    change.conn.execute(
        """
        INSERT INTO second_factor (staff_id, sealed, created_at)
        VALUES (%(staff)s::uuid, %(sealed)s::bytea, %(now)s::timestamptz)
        ON CONFLICT (staff_id) DO NOTHING
        """,
        {"staff": staff_id, "sealed": sealing.seal(_purpose(staff_id), secret.encode()), "now": change.at},
    )
    row = _locked(change.conn, staff_id)
    if row.confirmed_at is not None:
        raise SecondFactorSet()


def waiting(conn: db.Connection, staff_id: UUID) -> str | None:
    """The secret that waits to be confirmed, in base32; one that is confirmed is shown to nobody."""
    sealed = db.value(
        conn,
        "SELECT sealed FROM second_factor WHERE staff_id = %(staff)s::uuid AND confirmed_at IS NULL",
        {"staff": staff_id},
    )
    return sealing.opened(_purpose(staff_id), sealed).decode() if sealed else None


def is_set(conn: db.Connection, staff_id: UUID) -> bool:
    """Whether the account has a second factor."""
    sql = "SELECT true FROM second_factor WHERE staff_id = %(staff)s::uuid AND confirmed_at IS NOT NULL"
    return bool(db.value(conn, sql, {"staff": staff_id}))


def picture(secret: str, login: str) -> bytes:
    """The secret as a QR code, an SVG that authenticator apps read."""
    address = pyotp.TOTP(secret).provisioning_uri(name=login, issuer_name="Clinic Billing")
    svg: str = segno.make(address, error="m").svg_inline(
        border=4, light="#fff", omitsize=True, svgclass=None, lineclass=None
    )
    return svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).encode()


def confirm(change: Change, staff_id: UUID, code: str) -> list[str]:
    """Take the second factor into use after its first code; the recovery codes, shown this once.

    Raises:
        WrongCode: the device shows another one.
        SecondFactorSet: it is in use already.
        NotFound: none was begun.
    """
    row = _locked(change.conn, staff_id)
    if row.confirmed_at is not None:
        raise SecondFactorSet()
    _use(change, staff_id, row, code)
    change.conn.execute(
        "UPDATE second_factor SET confirmed_at = %(now)s::timestamptz WHERE staff_id = %(staff)s::uuid",
        {"now": change.at, "staff": staff_id},
    )
    codes = _new_recovery_codes(change.conn, staff_id)
    change.record("staff.second_factor_set", staff_id, change.actor.branch_id)
    return codes


def verify(change: Change, staff_id: UUID, code: str) -> None:
    """Take a code of the device, or a recovery code; neither is good again.

    Raises:
        WrongCode: it is none of them, or was used.
    """
    bare = re.sub(r"[\s-]", "", code).lower()
    try:
        row = _locked(change.conn, staff_id)
    except NotFound as exc:
        raise WrongCode() from exc
    if row.confirmed_at is None:
        raise WrongCode()
    if re.fullmatch(r"[0-9]{6}", bare):
        _use(change, staff_id, row, bare)
    else:
        _use_recovery_code(change, staff_id, bare)


def count_try(staff_id: UUID) -> None:
    """Count a code about to be tried; call it before the transaction that tries it.

    Raises:
        TooManyRequests: too many were tried.
    """
    limits.take(TRIES, str(staff_id))


def remove(change: Change, staff_id: UUID, branch_id: UUID | None) -> None:
    """Take the second factor away, with its recovery codes.

    Raises:
        NotFound: there is none.
    """
    sql = "DELETE FROM second_factor WHERE staff_id = %(staff)s::uuid AND confirmed_at IS NOT NULL"
    if not change.conn.execute(sql, {"staff": staff_id}).rowcount:
        raise NotFound()
    change.record("staff.second_factor_removed", staff_id, branch_id)


def recovery_codes_left(conn: db.Connection, staff_id: UUID) -> int:
    """How many recovery codes have not been used."""
    sql = "SELECT count(*) FROM recovery_code WHERE staff_id = %(staff)s::uuid AND used_at IS NULL"
    return int(db.value(conn, sql, {"staff": staff_id}))


def _use(change: Change, staff_id: UUID, row: _Row, code: str) -> None:
    totp = pyotp.TOTP(sealing.opened(_purpose(staff_id), row.sealed).decode())
    now = int(change.at.timestamp()) // _STEP
    # One step to either side: clocks differ (RFC 6238, section 5.2).
    fitting = [step for step in (now - 1, now, now + 1) if _same(totp.generate_otp(step), code)]
    newer = [step for step in fitting if step > row.last_step]
    if not newer:
        raise WrongCode()
    change.conn.execute(
        "UPDATE second_factor SET last_step = %(step)s::bigint WHERE staff_id = %(staff)s::uuid",
        {"step": newer[0], "staff": staff_id},
    )


def _use_recovery_code(change: Change, staff_id: UUID, bare: str) -> None:
    used = change.conn.execute(
        """
        UPDATE recovery_code SET used_at = %(now)s::timestamptz
         WHERE staff_id = %(staff)s::uuid AND sha256 = %(sha256)s::bytea AND used_at IS NULL
        """,
        {"now": change.at, "staff": staff_id, "sha256": _digest(bare)},
    ).rowcount
    if not used:
        raise WrongCode()
    change.record("staff.recovery_code_used", staff_id, change.actor.branch_id)


def _new_recovery_codes(conn: db.Connection, staff_id: UUID) -> list[str]:
    codes = ["".join(secrets.choice(_LETTERS) for _ in range(16)) for _ in range(RECOVERY_CODES)]
    conn.execute(
        """
        INSERT INTO recovery_code (staff_id, sha256)
        SELECT %(staff)s::uuid, sha256 FROM unnest(%(digests)s::bytea[]) AS sha256
        """,
        {"staff": staff_id, "digests": [_digest(code) for code in codes]},
    )
    return ["-".join(code[n : n + 4] for n in range(0, 16, 4)) for code in codes]


def _locked(conn: db.Connection, staff_id: UUID) -> _Row:
    row = db.find(
        conn,
        _Row,
        "SELECT sealed, last_step, confirmed_at FROM second_factor WHERE staff_id = %(staff)s::uuid FOR UPDATE",
        {"staff": staff_id},
    )
    if row is None:
        raise NotFound()
    return row


def _purpose(staff_id: UUID) -> str:
    return f"second_factor:{staff_id}"


def _same(right: str, given: str) -> bool:
    return hmac.compare_digest(right.encode(), re.sub(r"\s", "", given).encode())


def _digest(code: str) -> bytes:
    return hashlib.sha256(code.encode()).digest()
