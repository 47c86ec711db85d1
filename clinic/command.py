"""One command: its transaction, its idempotency row and its journal rows, which live or die together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any
from uuid import UUID

from clinic import clock, db, idempotency, journal, metrics
from clinic.auth import Actor
from clinic.idempotency import Answer, Claim, Replay


@dataclass
class Change:
    """What a function that changes something is given: the connection, who asks, and the moment.

    It never commits; it records each change of state, and the route leaves the answer here.
    """

    conn: db.Connection
    actor: Actor
    at: datetime
    today: date
    events: list[journal.Event] = field(default_factory=list)
    answer: Answer | None = None

    def record(self, type: str, object_id: UUID, branch_id: UUID | None = None, **data: Any) -> None:
        """Note a change of state, such as `invoice.issued`; written when the transaction closes.

        `data` holds ids, states and sums, never a name: the journal cannot forget.
        """
        self.events.append(journal.Event(type, type.split(".")[0], object_id, branch_id, data))

    def give(
        self,
        status: int,
        body: dict[str, Any],
        *,
        headers: dict[str, str] | None = None,
        names: dict[str, UUID] | None = None,
    ) -> Answer:
        """Set the command's answer. `names` says which member of the body holds which party's name."""
        self.answer = Answer(status, body, headers or {}, names or {})
        return self.answer


@contextmanager
def change(actor: Actor, *, claim: Claim | None = None, request_id: str | None = None) -> Iterator[Change]:
    """One transaction for one command.

    Raises:
        Replay: the claim's key was answered before.
    """
    replayed: Answer | None = None
    with db.seeing(actor.branch_id), db.transaction() as conn:
        if claim is not None:
            replayed = idempotency.claim(conn, claim)
        if replayed is None:
            at = clock.now()
            made = Change(conn, actor, at, clock.day_of(at))
            yield made
            _close(made, claim, request_id)
    if replayed is not None:
        raise Replay(replayed)
    metrics.changed(event.type for event in made.events)


def _close(made: Change, claim: Claim | None, request_id: str | None) -> None:
    written = {
        "events": journal.packed(made.events),
        "at": made.at,
        "actor": made.actor.label,
        "request": request_id,
    }
    if claim is not None:
        if made.answer is None:
            raise RuntimeError("a command that takes an Idempotency-Key must give an answer")
        made.conn.execute(idempotency.FINISH, written | idempotency.filled(claim, made.answer))
    elif made.events:
        made.conn.execute(
            "SELECT journal_append(%(events)s::jsonb, %(at)s::timestamptz, %(actor)s::text, %(request)s::text)",
            written,
        )
