"""Branches of the clinic: each with its own requisites and its own series of numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import errors as pg
from psycopg.types.json import Jsonb

from clinic import db, errors, fields, ids
from clinic.auth import COMMAND_LINE, Actor
from clinic.command import Change
from clinic.errors import Conflict, Fault, InvalidInput, NotFound

errors.describe({"branch_not_own": ("Можно указать только ваш филиал.", "Only a branch of your own can be given.")})

MAIN = "main"
CODE = r"[a-z0-9][a-z0-9_-]{0,31}"


class BranchTaken(Conflict):
    """A branch of this code or this number prefix exists.

    Both are unique, so that a number is unique in the whole clinic."""

    ru = "Филиал с таким кодом или префиксом номеров уже есть\n\nОба неповторимы, чтобы номер был один на всю клинику."


class BankIn(fields.Shape):
    """The account invoices are paid to."""

    bik = fields.Form(r"[0-9]{9}", required=True, metadata={"example": "044525225"})
    name = fields.Text(160, required=True)
    account = fields.Form(r"[0-9]{20}", required=True, metadata={"example": "40702810200000012345"})
    corr_account = fields.Form(r"[0-9]{20}", required=True, metadata={"example": "30101810400000000225"})


class RequisitesIn(fields.Shape):
    """What Russian documents say of the clinic, copied into each of them at issue."""

    name = fields.Text(300, required=True)
    short_name = fields.Text(160, required=True)
    inn = fields.Inn(required=True)
    kpp = fields.Kpp(load_default=None, allow_none=True)
    ogrn = fields.Form(r"[0-9]{13}|[0-9]{15}", required=True, metadata={"example": "1027700132195"})
    address = fields.Text(300, required=True)
    bank = fields.Nested(BankIn, required=True)
    licence = fields.Text(300, load_default=None, allow_none=True)
    director = fields.Text(160, load_default=None, allow_none=True)
    accountant = fields.Text(160, load_default=None, allow_none=True)
    phone = fields.Text(64, load_default=None, allow_none=True)
    email = fields.Text(64, load_default=None, allow_none=True)


@dataclass(frozen=True)
class Branch:
    """A branch. Until `requisites` are set its documents are samples."""

    id: UUID
    code: str
    name: str
    prefix: str
    requisites: dict[str, Any] | None

    def as_json(self) -> dict[str, Any]:
        return {"code": self.code, "name": self.name, "prefix": self.prefix, "requisites": self.requisites}


def create(change: Change, code: str, name: str, prefix: str) -> Branch:
    """Open a branch; `prefix` begins the numbers of its documents.

    Raises:
        BranchTaken: code or prefix is in use.
        ValueError: code or prefix has not the form needed.
    """
    if not re.fullmatch(CODE, code) or not re.fullmatch(r"[A-ZА-ЯЁ]{0,4}", prefix):
        raise ValueError("a code is small Latin letters and digits; a prefix is up to four capital letters")
    branch = Branch(ids.new(), code, name, prefix, None)
    try:
        change.conn.execute(
            "INSERT INTO branch (id, code, name, prefix, created_at) VALUES (%s, %s, %s, %s, %s)",
            (branch.id, code, name, prefix, change.at),
        )
    except pg.UniqueViolation as exc:
        raise BranchTaken(branch=code) from exc
    change.record("branch.created", branch.id, branch.id, code=code, prefix=prefix)
    return branch


def set_requisites(change: Change, code: str, wanted: dict[str, Any]) -> Branch:
    """Replace the requisites; documents already issued keep the ones they were issued with."""
    branch = get(change.conn, code, change.actor)
    change.conn.execute(
        "UPDATE branch SET requisites = %(to)s, row_version = row_version + 1 WHERE id = %(id)s",
        {"to": Jsonb(wanted), "id": branch.id},
    )
    change.record("branch.requisites_set", branch.id, branch.id, code=code)
    return get(change.conn, code, change.actor)


def get(conn: db.Connection, code: str, actor: Actor) -> Branch:
    """The branch of this code, if `actor` sees it.

    Raises:
        NotFound: there is none, or it is another branch than the actor's own.
    """
    branch = db.find(
        conn, Branch, "SELECT id, code, name, prefix, requisites FROM branch WHERE code = %(code)s", {"code": code}
    )
    if branch is None or actor.branch_id not in (None, branch.id):
        raise NotFound()
    return branch


def id_of(conn: db.Connection, code: str | None) -> UUID | None:
    """The id of a branch named on the command line; None when none was.

    Raises:
        NotFound: there is no such branch.
    """
    return get(conn, code, COMMAND_LINE).id if code else None


def for_another(conn: db.Connection, actor: Actor, code: str | None) -> tuple[UUID | None, list[Fault]]:
    """The branch `actor` gives to a key or an account, None for all, with what is wrong: it is none, or not his."""
    if code is None:
        return None, [Fault("/branch", "branch_not_own")] if actor.branch_id else []
    try:
        return get(conn, code, actor).id, []
    except NotFound:
        return None, [Fault("/branch", "unknown_branch")]


def of_id(conn: db.Connection, branch_id: UUID) -> Branch:
    """The branch a document belongs to."""
    branch = db.find(
        conn, Branch, "SELECT id, code, name, prefix, requisites FROM branch WHERE id = %(id)s", {"id": branch_id}
    )
    assert branch is not None, "a document refers to its branch by a foreign key"
    return branch


def every(conn: db.Connection, actor: Actor) -> list[Branch]:
    """All branches `actor` sees, `main` first."""
    return db.many(
        conn,
        Branch,
        """
        SELECT id, code, name, prefix, requisites FROM branch
         WHERE %(own)s::uuid IS NULL OR id = %(own)s::uuid
         ORDER BY code <> 'main', code
        """,
        {"own": actor.branch_id},
    )


def chosen(conn: db.Connection, actor: Actor, named: str | None) -> Branch:
    """The branch a new document belongs to: the actor's own, else the one named, else `main`.

    Raises:
        InvalidInput: the one named does not exist or is not the actor's own.
    """
    if named is None and actor.branch_id is not None:
        return of_id(conn, actor.branch_id)
    try:
        return get(conn, named or MAIN, actor)
    except NotFound as exc:
        raise InvalidInput([Fault("/branch", "unknown_branch")]) from exc
