"""Jobs: work that takes longer than a request may. It is kept with what it needs until a worker has done it, once.

A job is added in the transaction of the command that asks for it, and its effect, its result and the word `done` are
written in one transaction too. An attempt whose worker gives no sign of life for half a minute is taken for dead and
the job goes to another worker; should the dead one come back, its claim is no longer the job's and it cannot finish.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID, uuid4

import marshmallow as ma
import orjson

from clinic import clock, db, ids, metrics
from clinic.auth import Actor
from clinic.command import Change
from clinic.errors import NotFound, Problem
from clinic.openapi import ProblemOut

CHANNEL = "clinic_job"
"""What is notified when a job is added."""
MOST_ATTEMPTS = 3
_JSON = orjson.OPT_UTC_Z | orjson.OPT_OMIT_MICROSECONDS

Item = TypeVar("Item")


class JobAbandoned(Problem):
    """The work was begun three times and never came to an end.

    Nothing of it was done. Whoever runs the service finds the reason in its log."""

    status = 500
    ru = (
        "Работа была начата трижды и ни разу не закончена\n\n"
        "Ничего из неё не сделано. Причину найдёт в журнале тот, кто обслуживает сервис."
    )


class ProgressOut(ma.Schema):
    """How far the work is; `total` is null until it is known."""

    done = ma.fields.Integer(required=True)
    total = ma.fields.Integer(required=True, allow_none=True)


class JobOut(ma.Schema):
    """Work that goes on after its request was answered. `result` is there once it is done, `problem` once it failed."""

    id = ma.fields.UUID(required=True)
    kind = ma.fields.String(required=True, metadata={"example": "price_import"})
    status = ma.fields.String(required=True, metadata={"enum": ["queued", "running", "done", "failed"]})
    progress = ma.fields.Nested(ProgressOut, required=True)
    created_at = ma.fields.DateTime(required=True)
    started_at = ma.fields.DateTime(required=True, allow_none=True)
    finished_at = ma.fields.DateTime(required=True, allow_none=True)
    result = ma.fields.Dict(required=True, allow_none=True)
    problem = ma.fields.Nested(ProblemOut, required=True, allow_none=True)


@dataclass(frozen=True)
class Job:
    """A job as whoever asked for it sees it."""

    id: UUID
    kind: str
    status: str
    done: int
    total: int | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    result: dict[str, Any] | None
    problem: dict[str, Any] | None

    @property
    def is_finished(self) -> bool:
        return self.finished_at is not None

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "kind": self.kind,
            "status": self.status,
            "progress": {"done": self.done, "total": self.total},
            "created_at": self.created_at,
            "started_at": self.started_at,
            "finished_at": self.finished_at,
            "result": self.result,
            "problem": self.problem,
        }


@dataclass
class Progress:
    """How far an attempt is: counted by the work, shown to others by the worker."""

    done: int = 0
    total: int | None = None
    lost: bool = False
    """Set when the job has gone to another worker: going on would be in vain."""

    def of(self, items: Sequence[Item]) -> Iterator[Item]:
        """Pass these on and count them."""
        self.done, self.total = 0, len(items)
        for each in items:
            if self.lost:
                raise Lost()
            yield each
            self.done += 1

    def at(self, done: int, total: int) -> None:
        """Tell how far work is that counts by itself."""
        if self.lost:
            raise Lost()
        self.done, self.total = done, total


@dataclass(frozen=True)
class Task:
    """What the work of a job is given: what `enqueue` was given, the language of whoever reads the result."""

    input: dict[str, Any]
    file: bytes | None
    lang: str
    progress: Progress


Work = Callable[[Change, Task], dict[str, Any]]
_kinds: dict[str, Work] = {}


class Lost(Exception):
    """The job belongs to another attempt by now, so this one must not finish."""


def kind(name: str, work: Work) -> None:
    """Say what a job of this kind does. It is given a `Change` in the name of whoever asked, and returns the result.

    It never commits, and whatever it does outside the database it may do again. A `Problem` it raises is the job's.
    """
    if name in _kinds:
        raise ValueError(f"two kinds of job are called {name}")
    _kinds[name] = work


def enqueue(change: Change, kind: str, input: dict[str, Any], *, file: bytes | None, lang: str, request: str) -> Job:
    """Add a job that is begun once this transaction is committed.

    `input` is JSON; `file` is dropped when the job is finished, and `request` is the id that logs and journal name.
    """
    if kind not in _kinds:
        raise ValueError(f"there is no kind of job called {kind}")
    job = Job(ids.new(), kind, "queued", 0, None, change.at, None, None, None, None)
    change.conn.execute(
        """
        WITH added AS (
          INSERT INTO job (id, kind, actor, scopes, branch_id, discount_ceiling, role, lang, request_id, input, file,
                           created_at)
          VALUES (%(id)s::uuid, %(kind)s::text, %(actor)s::text, %(scopes)s::text[], %(branch)s::uuid,
                  %(ceiling)s::numeric, %(role)s::text, %(lang)s::text, %(request)s::text, %(input)s::json,
                  %(file)s::bytea, %(at)s::timestamptz))
        SELECT pg_notify(%(channel)s::text, '')
        """,
        {
            "id": job.id,
            "kind": kind,
            "actor": change.actor.label,
            "scopes": sorted(change.actor.scopes),
            "branch": change.actor.branch_id,
            "ceiling": change.actor.discount_ceiling,
            "role": change.actor.role,
            "lang": lang,
            "request": request,
            "input": _dumped(input),
            "file": file,
            "at": change.at,
            "channel": CHANNEL,
        },
    )
    return job


def get(conn: db.Connection, job_id: UUID, actor: Actor) -> Job:
    """The job with this id, for whoever asked for it and for administrators of his branch or of all.

    Raises:
        NotFound: there is none, or it is not this actor's to see.
    """
    job = db.find(
        conn,
        Job,
        """
        SELECT id, kind, status, done, total, created_at, started_at, finished_at, result, problem
          FROM job
         WHERE id = %(id)s::uuid
           AND (actor = %(actor)s::text
                OR %(admin)s::boolean AND (%(branch)s::uuid IS NULL OR branch_id = %(branch)s::uuid))
        """,
        {"id": job_id, "actor": actor.label, "admin": actor.may("admin"), "branch": actor.branch_id},
    )
    if job is None:
        raise NotFound()
    return job


def unfinished(conn: db.Connection, kind: str, actor: Actor) -> Job | None:
    """The job of this kind that the actor asked for and that is waiting or under way; the older one of two."""
    return db.find(
        conn,
        Job,
        """
        SELECT id, kind, status, done, total, created_at, started_at, finished_at, result, problem
          FROM job
         WHERE kind = %(kind)s::text AND actor = %(actor)s::text AND finished_at IS NULL
         ORDER BY id
         LIMIT 1
        """,
        {"kind": kind, "actor": actor.label},
    )


def purge() -> int:
    """Forget jobs that were finished more than thirty days ago; returns how many."""
    with db.transaction() as conn:
        return int(db.value(conn, "SELECT job_purge()"))


# ---- For the worker ----


@dataclass(frozen=True)
class Claimed:
    """A job that this process works on: which attempt it is, and all that the work needs."""

    id: UUID
    kind: str
    claim: UUID
    attempts: int
    actor: str
    scopes: list[str]
    branch_id: UUID | None
    discount_ceiling: Decimal
    role: str | None
    lang: str
    request_id: str | None
    input: dict[str, Any]
    file: bytes | None

    @property
    def caller(self) -> Actor:
        """Who asked, with the rights he had then. What he is called is not kept."""
        kind, _, actor_id = self.actor.partition(":")
        scopes = frozenset(self.scopes)
        return Actor(UUID(actor_id), kind, "", scopes, self.branch_id, self.discount_ceiling, self.role)

    def work(self, change: Change, progress: Progress) -> dict[str, Any]:
        """Do what the job's kind does; returns the result."""
        return _kinds[self.kind](change, Task(self.input, self.file, self.lang, progress))


def claim() -> Claimed | None:
    """Take the oldest job that nobody works on, of the kinds this process knows; None when there is none.

    The attempt may be one too many: see `MOST_ATTEMPTS`.
    """
    with db.transaction() as conn:
        return db.find(
            conn,
            Claimed,
            """
            UPDATE job
               SET status = 'running', claim = %(claim)s::uuid, attempts = attempts + 1, done = 0, total = NULL,
                   started_at = coalesce(started_at, %(now)s::timestamptz), heartbeat_at = clock_timestamp()
             WHERE id = (SELECT id
                           FROM job
                          WHERE finished_at IS NULL
                            AND kind = ANY (%(kinds)s::text[])
                            AND (status = 'queued' OR heartbeat_at < clock_timestamp() - interval '30 seconds')
                          ORDER BY id
                          LIMIT 1
                            FOR UPDATE SKIP LOCKED)
            RETURNING id, kind, claim, attempts, actor, scopes, branch_id, discount_ceiling, role, lang, request_id,
                      input, file
            """,
            {"claim": uuid4(), "kinds": list(_kinds), "now": clock.now()},
        )


def beat(job: Claimed, progress: Progress) -> bool:
    """Say that the attempt lives, and how far it is; False when the job is no longer this attempt's."""
    with db.transaction() as conn:
        return bool(
            conn.execute(
                """
                UPDATE job SET heartbeat_at = clock_timestamp(), done = %(done)s::integer, total = %(total)s::integer
                 WHERE id = %(id)s::uuid AND claim = %(claim)s::uuid
                """,
                {"id": job.id, "claim": job.claim, "done": progress.done, "total": progress.total},
            ).rowcount
        )


def finish(conn: db.Connection, job: Claimed, result: dict[str, Any], progress: Progress) -> None:
    """Write the result, in the transaction of the work.

    Raises:
        Lost: another attempt has the job, or has finished it.
    """
    _end(conn, job, "done", progress, result=_dumped(result), problem=None)


def fail(job: Claimed, problem: Problem, progress: Progress) -> None:
    """Write down why the work was refused; what it did is taken back by then.

    Raises:
        Lost: another attempt has the job, or has finished it.
    """
    told = problem.as_json(job.lang, job.request_id or "")
    with db.transaction() as conn:
        _end(conn, job, "failed", progress, result=None, problem=_dumped(told))


def _end(
    conn: db.Connection, job: Claimed, status: str, progress: Progress, *, result: str | None, problem: str | None
) -> None:
    ended = conn.execute(
        """
        UPDATE job
           SET status = %(status)s::text, result = %(result)s::json, problem = %(problem)s::json, file = NULL,
               claim = NULL, done = %(done)s::integer, total = %(total)s::integer, finished_at = %(now)s::timestamptz
         WHERE id = %(id)s::uuid AND claim = %(claim)s::uuid
        """,
        {
            "id": job.id,
            "claim": job.claim,
            "status": status,
            "result": result,
            "problem": problem,
            "done": progress.done,
            "total": progress.total,
            "now": clock.now(),
        },
    )
    if not ended.rowcount:
        raise Lost()


def hand_back(job: Claimed, *, unused: bool) -> None:
    """Let another worker have the job at once; with `unused` this attempt does not count."""
    with db.transaction() as conn:
        conn.execute(
            """
            UPDATE job
               SET status = 'queued', claim = NULL, done = 0, total = NULL,
                   attempts = attempts - %(unused)s::boolean::integer
             WHERE id = %(id)s::uuid AND claim = %(claim)s::uuid
            """,
            {"id": job.id, "claim": job.claim, "unused": unused},
        )
        conn.execute("SELECT pg_notify(%s::text, '')", (CHANNEL,))


def _dumped(content: dict[str, Any]) -> str:
    return orjson.dumps(content, option=_JSON).decode()


@metrics.ask("clinic_jobs", "Jobs that wait for a worker, and that are being done.", "status")
def _unfinished(conn: db.Connection) -> Iterator[tuple[tuple[str, ...], float]]:
    counted = dict(
        conn.execute(
            "SELECT status, count(*) FROM job WHERE status IN ('queued', 'running') GROUP BY status"
        ).fetchall()
    )
    for status in ("queued", "running"):
        yield (status,), counted.get(status, 0)
