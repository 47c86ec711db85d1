"""Calls that are safe to repeat: one (caller, key) makes one effect and gives one answer.

The row is inserted by the first statement of the business transaction and filled before its COMMIT, so a crash
leaves either both or neither: there is no lock flag to clean and no stuck key. Rows of thirty days and more may
be deleted. The answer is stored without names; they are put back from `party` when it is given again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from psycopg import errors as pg
from psycopg.types.json import Jsonb

from clinic import clock, db, parties
from clinic.errors import IdempotencyKeyReused, InProgress


@dataclass(frozen=True)
class Claim:
    """A caller's key for one request; `fingerprint` tells whether a repeat is the same request."""

    owner_id: UUID
    key: str
    fingerprint: bytes


@dataclass(frozen=True)
class Answer:
    """What a command answers. `names` says which party stands where: JSON pointer -> party id."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str]
    names: dict[str, UUID]


@dataclass(frozen=True)
class _Stored:
    fingerprint: bytes
    status: int
    headers: dict[str, str]
    answer: str
    names: dict[str, str]


class Replay(Exception):
    """The request was answered before; here is that answer again."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


def fingerprint(method: str, path: str, body: Any) -> bytes:
    """SHA-256 over method, path and the body, whatever the order of its members."""
    canonical = orjson.dumps([method, path, body], option=orjson.OPT_SORT_KEYS, default=str)
    return hashlib.sha256(canonical).digest()


def claim(conn: db.Connection, wanted: Claim) -> Answer | None:
    """Take the key for this transaction, or give the answer that was given for it.

    A second caller waits here until the first one commits or fails.

    Raises:
        InProgress: the first caller takes longer than the lock time-out.
        IdempotencyKeyReused: the key belongs to another request.
    """
    try:
        taken = db.value(
            conn,
            """
            INSERT INTO idempotency (owner_id, key, fingerprint, created_at)
            VALUES (%(owner)s, %(key)s, %(fingerprint)s, %(now)s)
            ON CONFLICT DO NOTHING
            RETURNING true
            """,
            {
                "owner": wanted.owner_id,
                "key": wanted.key,
                "fingerprint": wanted.fingerprint,
                "now": clock.now(),
            },
        )
        return None if taken else _again(conn, wanted)
    except pg.LockNotAvailable as exc:
        raise InProgress() from exc


def _again(conn: db.Connection, wanted: Claim) -> Answer:
    # The replay writes, so that its own COMMIT waits for a synchronous replica as the first one's did.
    stored = db.find(
        conn,
        _Stored,
        """
        UPDATE idempotency SET replays = replays + 1
         WHERE owner_id = %(owner)s AND key = %(key)s
        RETURNING fingerprint, status, headers, answer, names
        """,
        {"owner": wanted.owner_id, "key": wanted.key},
    )
    if stored is None:
        raise db.OnceMore()
    if stored.fingerprint != wanted.fingerprint:
        raise IdempotencyKeyReused()
    names = {pointer: UUID(party_id) for pointer, party_id in stored.names.items()}
    body = orjson.loads(stored.answer)
    known = parties.known(conn, set(names.values()))
    for pointer, party_id in names.items():
        shown = body[pointer]
        for member in parties.CONTACTS:
            if member in shown and party_id in known:
                shown[member] = getattr(known[party_id], member)
    return Answer(stored.status, body, stored.headers, names)


FINISH = """
WITH answered AS (
  UPDATE idempotency
     SET status = %(status)s, headers = %(headers)s, answer = %(answer)s, names = %(names)s
   WHERE owner_id = %(owner)s AND key = %(key)s)
SELECT journal_append(%(events)s::jsonb, %(at)s::timestamptz, %(actor)s::text, %(request)s::text)
"""
"""Fills the row and writes the journal in one statement, since each statement costs a command more than its work."""


def filled(wanted: Claim, answer: Answer) -> dict[str, Any]:
    """The parameters of `FINISH` that belong to the idempotency row."""
    return {
        "owner": wanted.owner_id,
        "key": wanted.key,
        "status": answer.status,
        "headers": Jsonb(answer.headers),
        "answer": _without_names(answer),
        "names": Jsonb({pointer: str(party_id) for pointer, party_id in answer.names.items()}),
    }


def _without_names(answer: Answer) -> str:
    body = answer.body
    if answer.names:
        body = dict(body)
        for pointer in answer.names:
            body[pointer] = {k: None if k in parties.CONTACTS else v for k, v in body[pointer].items()}
    return orjson.dumps(body, option=orjson.OPT_UTC_Z | orjson.OPT_OMIT_MICROSECONDS).decode()


def purge(conn: db.Connection, days: int = 30) -> int:
    """Delete rows older than `days` days; returns how many."""
    return conn.execute(
        "DELETE FROM idempotency WHERE created_at < %(now)s::timestamptz - make_interval(days => %(days)s::int)",
        {"now": clock.now(), "days": days},
    ).rowcount
