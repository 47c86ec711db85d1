"""Accounts of people: a login, a role, a branch, a password that only its owner knows.

Who manages accounts gives no more than he has: no role that may do what he may not, no branch he does not see.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import marshmallow as ma
from psycopg import errors as pg

from clinic import branches, db, errors, fields, ids, passwords, sessions
from clinic.auth import ROLES, Actor
from clinic.command import Change
from clinic.errors import Conflict, Fault, InvalidInput, NotFound

LOGIN = r"[a-z0-9][a-z0-9._-]{0,63}"

errors.describe(
    {"role_above_own": ("Эта роль даёт права, которых нет у вас.", "This role has rights that you have not.")}
)


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


class LastAdministrator(Conflict):
    """This is the last administrator of all branches.

    Make another one first: nobody else could open accounts again."""

    ru = "Это последний администратор всех филиалов\n\nСначала назначьте другого: иначе некому будет открывать записи."


class PasswordNotOurs(Conflict):
    """This person comes in by the identity provider.

    There is no password with us; it is changed and reset there."""

    ru = "Этот человек входит через поставщика удостоверений\n\nПароля у нас нет; его меняют и сбрасывают там."


class AccountIn(fields.Shape):
    """A new account; `branch` is the only one this person sees, all of them without it."""

    login = fields.Form(LOGIN, required=True, metadata={"example": "front-desk-2"})
    role = fields.Choice(*ROLES, required=True)
    branch = fields.Form(branches.CODE, load_default=None, allow_none=True)


class AccountPatch(fields.Shape):
    """Changes to an account; members left out stay. Each of them ends the account's sessions."""

    role = fields.Choice(*ROLES)
    branch = fields.Form(branches.CODE, allow_none=True)
    active = fields.Flag()


class AccountOut(ma.Schema):
    """An account."""

    id = ma.fields.UUID(required=True)
    login = ma.fields.String(required=True)
    role = ma.fields.String(required=True)
    branch = ma.fields.String(required=True, allow_none=True)
    active = ma.fields.Boolean(required=True)
    created_at = ma.fields.DateTime(required=True)
    signed_in_at = ma.fields.DateTime(required=True, allow_none=True)
    password = ma.fields.String(required=True, metadata={"enum": ["own", "temporary", "none"]})
    second_factor = ma.fields.Boolean(required=True)


class NewAccountOut(AccountOut):
    """An account with a password for the first sign-in, which is shown this once and must be changed there."""

    temporary_password = ma.fields.String(required=True)


@dataclass(frozen=True)
class Account:
    """Somebody's account as administrators see it."""

    id: UUID
    login: str
    role: str
    branch: str | None
    branch_id: UUID | None
    active: bool
    created_at: datetime
    signed_in_at: datetime | None
    password: str
    second_factor: bool
    row_version: int

    def as_json(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in {"branch_id", "row_version"}}


def create(
    change: Change, login: str, role: str, password: str, *, branch_id: UUID | None = None, temporary: bool = False
) -> UUID:
    """Open an account; a `temporary` password must be changed at the first sign-in.

    Raises:
        LoginTaken: there is an account of that login.
        ValueError: no such role, or not a password that may be.
    """
    if role not in ROLES:
        raise ValueError(f"no such role: {role}; there are {', '.join(ROLES)}")
    if wrong := passwords.faults(password, login):
        raise ValueError("; ".join(errors.FAULTS[code][1] for code in wrong))
    return open_(change, login, role, passwords.hashed(password), branch_id, temporary=temporary)


def open_(
    change: Change, login: str, role: str, password_hash: str | None, branch_id: UUID | None, *, temporary: bool = False
) -> UUID:
    """Open an account with a password that is hashed already, or without one.

    Raises:
        LoginTaken: there is an account of that login.
    """
    staff_id = ids.new()
    try:
        change.conn.execute(
            """
            INSERT INTO staff (id, login, password_hash, role, branch_id, created_at, password_is_temporary)
            VALUES (%(id)s, %(login)s, %(hash)s, %(role)s, %(branch)s, %(now)s, %(temporary)s)
            """,
            {
                "id": staff_id,
                "login": login,
                "hash": password_hash,
                "role": role,
                "branch": branch_id,
                "now": change.at,
                "temporary": temporary,
            },
        )
    except pg.UniqueViolation as exc:
        raise LoginTaken(login=login) from exc
    change.record("staff.created", staff_id, branch_id, role=role)
    return staff_id


def wanted_by(change: Change, wanted: dict[str, Any], password: str) -> UUID:
    """Open the account somebody asks for, with a password that must be changed at the first sign-in.

    Raises:
        InvalidInput: role or branch are more than he has, or there is no such branch.
        LoginTaken: there is an account of that login.
    """
    branch_id, faults = branches.for_another(change.conn, change.actor, wanted["branch"])
    faults += _role(change.actor, wanted["role"])
    if faults:
        raise InvalidInput(faults)
    return create(change, wanted["login"], wanted["role"], password, branch_id=branch_id, temporary=True)


def edit(change: Change, account: Account, wanted: dict[str, Any]) -> Account:
    """Change role, branch or activity of an account, whose row is locked; its sessions end where anything changes.

    Raises:
        InvalidInput: role or branch are more than the caller has, or there is no such branch.
        LastAdministrator: nobody would be left who can open accounts of all branches.
    """
    branch_id = account.branch_id
    faults: list[Fault] = []
    if "branch" in wanted:
        branch_id, faults = branches.for_another(change.conn, change.actor, wanted["branch"])
    role = wanted.get("role", account.role)
    faults += _role(change.actor, role)
    if faults:
        raise InvalidInput(faults)
    active = wanted.get("active", account.active)
    events = _events(account, role, branch_id, active)
    if not events:
        return account
    try:
        change.conn.execute(
            """
            UPDATE staff
               SET role = %(role)s::text, branch_id = %(branch)s::uuid, active = %(active)s::boolean,
                   row_version = row_version + 1
             WHERE id = %(id)s::uuid
            """,
            {"role": role, "branch": branch_id, "active": active, "id": account.id},
        )
    except pg.RestrictViolation as exc:
        raise LastAdministrator() from exc
    for type_, data in events:
        change.record(type_, account.id, branch_id, **data)
    return get(change.conn, change.actor, account.id)


def _events(
    account: Account, role: str, branch_id: UUID | None, active: bool
) -> list[tuple[str, dict[str, str | None]]]:
    found: list[tuple[str, dict[str, str | None]]] = []
    if role != account.role:
        found.append(("staff.role_changed", {"old": account.role, "new": role}))
    if branch_id != account.branch_id:
        found.append(("staff.branch_changed", {}))
    if active != account.active:
        found.append(("staff.enabled" if active else "staff.disabled", {}))
    return found


def reset_password(change: Change, account: Account, password: str) -> None:
    """Give an account a password for once, which must be changed at the next sign-in. All its sessions end.

    Raises:
        PasswordNotOurs: it has none.
    """
    if account.password == "none":
        raise PasswordNotOurs()
    _set_password(change, account.id, passwords.hashed(password), temporary=True)
    change.record("staff.password_reset", account.id, account.branch_id)


def change_password(change: Change, staff_id: UUID, password_hash: str) -> None:
    """Take the password its owner has chosen. All sessions of the account end, this one too."""
    _set_password(change, staff_id, password_hash, temporary=False)
    change.record("staff.password_changed", staff_id, change.actor.branch_id)


def _set_password(change: Change, staff_id: UUID, password_hash: str, *, temporary: bool) -> None:
    change.conn.execute(
        """
        UPDATE staff
           SET password_hash = %(hash)s::text, password_is_temporary = %(temporary)s::boolean,
               row_version = row_version + 1
         WHERE id = %(id)s::uuid
        """,
        {"hash": password_hash, "temporary": temporary, "id": staff_id},
    )


def sign_out_everywhere(change: Change, account: Account) -> None:
    """End all sessions of an account."""
    sessions.end_all(change.conn, account.id)
    change.record("staff.signed_out", account.id, account.branch_id)


def get(conn: db.Connection, actor: Actor, staff_id: UUID) -> Account:
    """Raises:
    NotFound: there is no such account, or it belongs to a branch that `actor` does not see.
    """
    found = _accounts(conn, actor, staff_id=staff_id)
    if not found:
        raise NotFound()
    return found[0]


def locked(change: Change, staff_id: UUID) -> Account:
    """An account that somebody is going to change, held until the end of the transaction.

    Raises:
        NotFound: there is no such account, or it belongs to a branch that the caller does not see.
        Forbidden: it may do what the caller may not: whoever has it in hand would have more than his own rights.
    """
    change.conn.execute("SELECT FROM staff WHERE id = %(id)s::uuid FOR UPDATE", {"id": staff_id})
    account = get(change.conn, change.actor, staff_id)
    for scope in sorted(ROLES.get(account.role, frozenset())):
        change.actor.must(scope)
    return account


def called(conn: db.Connection, login: str) -> UUID:
    """The account of this login, for the command line.

    Raises:
        NotFound: there is none.
    """
    found: UUID | None = db.value(conn, "SELECT id FROM staff WHERE login = %(login)s::text", {"login": login})
    if found is None:
        raise NotFound()
    return found


def page(conn: db.Connection, actor: Actor, after: str | None, limit: int) -> list[Account]:
    """The accounts `actor` sees by their logins, those behind the login `after`."""
    return _accounts(conn, actor, after=after, limit=limit)


def _accounts(
    conn: db.Connection, actor: Actor, *, staff_id: UUID | None = None, after: str | None = None, limit: int = 1
) -> list[Account]:
    return db.filtered(
        conn,
        Account,
        """
        SELECT staff.id, staff.login, staff.role, branch.code AS branch, staff.branch_id, staff.active,
               staff.created_at, staff.signed_in_at, staff.row_version,
               CASE WHEN staff.password_hash IS NULL THEN 'none'
                    WHEN staff.password_is_temporary THEN 'temporary' ELSE 'own' END AS password,
               EXISTS (SELECT FROM second_factor
                        WHERE staff_id = staff.id AND confirmed_at IS NOT NULL) AS second_factor
          FROM staff
          LEFT JOIN branch ON branch.id = staff.branch_id
         WHERE (%(branch)s::uuid IS NULL OR staff.branch_id = %(branch)s::uuid)
           AND (%(id)s::uuid IS NULL OR staff.id = %(id)s::uuid)
           AND (%(after)s::text IS NULL OR staff.login > %(after)s::text)
         ORDER BY staff.login
         LIMIT %(limit)s::int
        """,
        {"branch": actor.branch_id, "id": staff_id, "after": after, "limit": limit},
    )


def _role(actor: Actor, role: str) -> list[Fault]:
    return [] if all(actor.may(scope) for scope in ROLES[role]) else [Fault("/role", "role_above_own")]
