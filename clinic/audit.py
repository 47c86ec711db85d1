"""Who did what, and who looked: the journal and the log of reading, asked by those who answer for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

import marshmallow as ma

from clinic import clock, db, event_feed, fields, lists
from clinic.auth import Actor
from clinic.journal import Entry

ACTOR = r"(?:key|staff|command|link|clock):[0-9a-f-]{36}"
OBJECT_TYPE = r"[a-z_]{1,40}"


class _Filter(lists.Page):
    actor = fields.Form(ACTOR, load_default=None, metadata={"description": "`key:…`, `staff:…` or `command:…`"})
    object = fields.Uuid(load_default=None, metadata={"description": "the document or thing it was done to"})
    since = fields.Day(load_default=None)
    until = fields.Day(load_default=None)


class AuditFilter(_Filter):
    """Filters of the journal."""

    type = fields.Form(
        event_feed.PATTERN, load_default=None, metadata={"description": "`invoice.issued`, or `invoice.*`"}
    )


class AccessFilter(_Filter):
    """Filters of the log of reading."""

    action = fields.Choice("read", "list", "print", "export", load_default=None)


class RecordOut(ma.Schema):
    """A change of state as the journal keeps it; `sha256` chains it to the one before."""

    position = ma.fields.Integer(required=True)
    at = ma.fields.DateTime(required=True)
    actor = ma.fields.String(required=True)
    type = ma.fields.String(required=True)
    branch = ma.fields.String(required=True, allow_none=True)
    object_type = ma.fields.String(required=True)
    object = ma.fields.UUID(required=True)
    data = ma.fields.Dict(required=True)
    request_id = ma.fields.String(required=True, allow_none=True)
    sha256 = ma.fields.String(required=True)


class RecordsOut(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(RecordOut), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)


class LookOut(ma.Schema):
    """Somebody saw a person's document."""

    at = ma.fields.DateTime(required=True)
    actor = ma.fields.String(required=True)
    action = ma.fields.String(required=True)
    object_type = ma.fields.String(required=True)
    object = ma.fields.UUID(required=True)
    request_id = ma.fields.String(required=True, allow_none=True)


class LooksOut(ma.Schema):
    items = ma.fields.List(ma.fields.Nested(LookOut), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)


@dataclass(frozen=True)
class Record(Entry):
    """An entry with what only those who audit are shown."""

    branch: str | None
    request_id: str | None
    sha256: str

    def as_json(self) -> dict[str, Any]:
        return {
            "position": self.position,
            "at": self.at,
            "actor": self.actor,
            "type": self.type,
            "branch": self.branch,
            "object_type": self.object_type,
            "object": self.object_id,
            "data": self.data,
            "request_id": self.request_id,
            "sha256": self.sha256,
        }


@dataclass(frozen=True)
class Look:
    """A row of the log of reading."""

    id: int
    at: datetime
    actor: str
    action: str
    object_type: str
    object: UUID
    request_id: str | None

    def as_json(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "id"}


def records(conn: db.Connection, actor: Actor, wanted: dict[str, Any], behind: list[str] | None) -> list[Record]:
    """The journal, newest first: one more than `limit`. A caller of one branch sees it and what is of no branch."""
    return db.filtered(
        conn,
        Record,
        """
        SELECT position, journal.id, type, version, at, actor, object_type, object_id, data, branch.code AS branch,
               request_id, encode(sha256, 'hex') AS sha256
          FROM journal
          LEFT JOIN branch ON branch.id = journal.branch_id
         WHERE (%(branch)s::uuid IS NULL OR branch_id IS NULL OR branch_id = %(branch)s::uuid)
           AND (%(actor)s::text IS NULL OR actor = %(actor)s::text)
           AND (%(object)s::uuid IS NULL OR object_id = %(object)s::uuid)
           AND (%(type)s::text IS NULL OR type = %(type)s::text OR split_part(type, '.', 1) || '.*' = %(type)s::text)
           AND (%(begin)s::timestamptz IS NULL OR at >= %(begin)s::timestamptz)
           AND (%(end)s::timestamptz IS NULL OR at < %(end)s::timestamptz)
           AND (%(behind)s::bigint IS NULL OR position < %(behind)s::bigint)
         ORDER BY position DESC
         LIMIT %(limit)s::int
        """,
        _params(actor, wanted, behind) | {"type": _no_star(wanted["type"])},
    )


def looks(conn: db.Connection, actor: Actor, wanted: dict[str, Any], behind: list[str] | None) -> list[Look]:
    """The log of reading, newest first: one more than `limit`. For callers of all branches: it names no branch."""
    return db.filtered(
        conn,
        Look,
        """
        SELECT id, at, actor, action, object_type, object_id AS object, request_id
          FROM access_log
         WHERE (%(actor)s::text IS NULL OR actor = %(actor)s::text)
           AND (%(object)s::uuid IS NULL OR object_id = %(object)s::uuid)
           AND (%(action)s::text IS NULL OR action = %(action)s::text)
           AND (%(begin)s::timestamptz IS NULL OR at >= %(begin)s::timestamptz)
           AND (%(end)s::timestamptz IS NULL OR at < %(end)s::timestamptz)
           AND (%(behind)s::bigint IS NULL OR id < %(behind)s::bigint)
         ORDER BY id DESC
         LIMIT %(limit)s::int
        """,
        _params(actor, wanted, behind) | {"action": wanted["action"]},
    )


def _params(actor: Actor, wanted: dict[str, Any], behind: Sequence[str] | None) -> dict[str, Any]:
    return {
        "branch": actor.branch_id,
        "actor": wanted["actor"],
        "object": wanted["object"],
        "begin": _begins(wanted["since"], 0),
        "end": _begins(wanted["until"], 1),
        "behind": behind and int(behind[0]),
        "limit": wanted["limit"] + 1,
    }


def _begins(day: date | None, later: int) -> datetime | None:
    return None if day is None else clock.beginning_of(day + timedelta(days=later))


def _no_star(pattern: str | None) -> str | None:
    return None if pattern == "*" else pattern
