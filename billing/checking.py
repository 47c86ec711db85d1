"""Checks of the books that programs ask for: work for a worker, its result the verdict."""

from __future__ import annotations

from typing import Any

from billing import books
from clinic import db, errors, jobs
from clinic.command import Change
from clinic.jobs import Job, Task

KIND = "books_check"


def ask(change: Change, *, lang: str, request: str) -> Job:
    """The check that this caller waits for already, else a new one. Each caller has one of his own.

    Raises:
        Forbidden: the caller is kept to one branch; the books are those of all.
    """
    if change.actor.branch_id is not None:
        raise errors.Forbidden()
    if (waiting := jobs.unfinished(change.conn, KIND, change.actor)) is not None:
        return waiting
    return jobs.enqueue(change, KIND, {}, file=None, lang=lang, request=request)


def _work(change: Change, task: Task) -> dict[str, Any]:
    def passing(done: int, total: int) -> None:
        task.progress.at(done, total)
        # The transaction that will hold the result has nothing else to do for minutes: it must not be taken for dead.
        change.conn.execute("SELECT")

    with db.seeing(None), db.moment() as conn:
        return books.check(conn, passing).as_json()


jobs.kind(KIND, _work)
