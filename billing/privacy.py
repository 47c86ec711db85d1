"""A person's data: given out whole, and forgotten once no law keeps the documents.

Names and contacts lie in `party` alone. What the law keeps (invoices and what hangs on them, payments, accepted quotes)
keeps its names for five years after the year of the last of them (402-FZ, article 29; 152-FZ, article 21 part 5 lets
processing for that go on); a request that comes earlier is recorded and waits. All else is forgotten at once. Sums and
hashes of documents do not change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from billing import acts, credit_notes, invoices, payments, quotes
from clinic import access_log, chores, clock, db, ids
from clinic.auth import COMMAND_LINE
from clinic.command import Change, change
from clinic.settings import from_environment

_PAGE = 200
_BATCH = 500


@dataclass(frozen=True)
class Outcome:
    """What became of a request to be forgotten. `hold_until` is the last day on which documents keep the name."""

    forgotten: int
    hold_until: date | None

    @property
    def status(self) -> str:
        return "retention_hold" if self.hold_until else "erased"

    def as_json(self) -> dict[str, Any]:
        return {"status": self.status, "hold_until": self.hold_until, "forgotten": self.forgotten}


@dataclass(frozen=True)
class _Known:
    id: UUID
    hold_until: date | None


# ---- Forgetting ----


def erase(change: Change, ref: str, years: int) -> Outcome:
    """Forget this person as far as the law lets us, and remember the request where it does not.

    Args:
        ref: the caller's identifier of the patient or payer.
        years: how long documents keep names after the year of the last of them; less than five means five.
    """
    known = _known(change.conn, ref, years)
    forgotten = _forget(change, [each.id for each in known], years)
    held = [each.hold_until for each in known if each.hold_until and each.id not in forgotten]
    if held:
        _wait(change, ref, max(held))
    else:
        _end(change, ref)
    return Outcome(len(forgotten), max(held, default=None))


def _known(conn: db.Connection, ref: str, years: int) -> list[_Known]:
    return db.many(
        conn,
        _Known,
        """
        SELECT id, party_kept_until(party, %(years)s::int) AS hold_until
          FROM party WHERE ref = %(ref)s::text AND erased_at IS NULL
        """,
        {"ref": ref, "years": years},
    )


def _forget(change: Change, party_ids: Sequence[UUID], years: int) -> set[UUID]:
    """Those of these persons' rows that could be forgotten."""
    if not party_ids:
        return set()
    rows = change.conn.execute(
        "SELECT forgotten FROM party_forget(%(ids)s::uuid[], %(today)s::date, %(years)s::int)",
        {"ids": list(party_ids), "today": change.today, "years": years},
    ).fetchall()
    forgotten = {row[0] for row in rows}
    if forgotten:
        change.record("person.forgotten", ids.new(), parties=sorted(str(each) for each in forgotten))
    return forgotten


def _wait(change: Change, ref: str, until: date) -> None:
    request_id = db.value(
        change.conn,
        """
        INSERT INTO erasure_request (id, ref, requested_at, requested_by, hold_until)
        VALUES (%(id)s, %(ref)s, %(at)s, %(by)s, %(until)s)
            ON CONFLICT (ref) WHERE done_at IS NULL DO UPDATE
               SET hold_until = greatest(erasure_request.hold_until, excluded.hold_until)
        RETURNING id
        """,
        {"id": ids.new(), "ref": ref, "at": change.at, "by": change.actor.label, "until": until},
    )
    change.record("person.erasure_on_hold", request_id, hold_until=until.isoformat())


def _end(change: Change, ref: str) -> None:
    """Close a request that waited; the person has nothing left to be forgotten."""
    request_id = db.value(
        change.conn,
        "UPDATE erasure_request SET done_at = %(at)s WHERE ref = %(ref)s AND done_at IS NULL RETURNING id",
        {"at": change.at, "ref": ref},
    )
    if request_id is not None:
        change.record("person.erased", request_id)


def sweep(years: int) -> int:
    """Forget everybody whose documents need not be kept any longer, asked or not; returns how many rows.

    Opens transactions of its own. Persons written into documents since the term began are not looked at.
    """
    began = date(clock.today().year - max(years, 5), 1, 1)
    end, after, forgotten = ids.first_at(clock.beginning_of(began)), UUID(int=0), 0
    while True:
        with change(COMMAND_LINE) as made:
            found = _old(made.conn, after, end)
            forgotten += len(_forget(made, found, years))
        if not found:
            break
        after = found[-1]
    for ref in _over():
        with change(COMMAND_LINE) as made:
            erase(made, ref, years)
    return forgotten


def _old(conn: db.Connection, after: UUID, end: UUID) -> list[UUID]:
    rows = conn.execute(
        """
        SELECT id FROM party
         WHERE id > %(after)s::uuid AND id < %(end)s::uuid AND erased_at IS NULL
         ORDER BY id LIMIT %(batch)s::int
        """,
        {"after": after, "end": end, "batch": _BATCH},
    ).fetchall()
    return [row[0] for row in rows]


def _over() -> list[str]:
    """Whose requests have waited long enough."""
    with db.reading() as conn:
        rows = conn.execute(
            "SELECT ref FROM erasure_request WHERE done_at IS NULL AND hold_until < %(today)s::date ORDER BY ref",
            {"today": clock.today()},
        ).fetchall()
    return [row[0] for row in rows]


chores.every(chores.DAY, "forget_persons", lambda: sweep(from_environment().retention_years))


# ---- Giving out ----


def export(conn: db.Connection, ref: str, request_id: str) -> dict[str, Any]:
    """All that is kept about this person, as patient or payer; noted as an export of each document."""
    of_quotes = _every(conn, quotes.page, {"patient": ref}, "date")
    of_invoices = _once(
        each for role in ("patient", "payer") for each in _every(conn, invoices.page, {role: ref}, "date")
    )
    of_acts = [act for each in of_invoices for act in _every(conn, acts.page, {"invoice": each.id}, "date")]
    of_notes = [note for each in of_invoices for note in _every(conn, credit_notes.page, {"invoice": each.id}, "date")]
    of_payments = _every(conn, payments.page, {"payer": ref}, "received_on")
    documents = {
        "quote": of_quotes,
        "invoice": of_invoices,
        "act": of_acts,
        "credit_note": of_notes,
        "payment": of_payments,
    }
    looked = access_log.of(conn, [each.id for kind in documents.values() for each in kind])
    for kind, found in documents.items():
        access_log.note(conn, COMMAND_LINE.label, "export", kind, [each.id for each in found], request_id)
    quote_lines = quotes.lines_of(conn, of_quotes)
    invoice_lines = invoices.lines_of(conn, [each.id for each in of_invoices])
    act_lines = acts.lines_of(conn, [each.id for each in of_acts])
    note_lines = credit_notes.lines_of(conn, [each.id for each in of_notes])
    return {
        "person": ref,
        "names": _names(conn, ref),
        "quotes": [quotes.as_json(each, quote_lines[each.id]) for each in of_quotes],
        "invoices": [invoices.as_json(each, invoice_lines[each.id]) for each in of_invoices],
        "acts": [acts.as_json(each, act_lines[each.id]) for each in of_acts],
        "credit_notes": [credit_notes.as_json(each, note_lines[each.id]) for each in of_notes],
        "payments": [payments.as_json(each) for each in of_payments],
        "looked_at_by": looked,
    }


def _every(conn: db.Connection, page: Callable[..., list[Any]], wanted: dict[str, Any], day: str) -> list[Any]:
    """All rows of a list whose pages give one more row than they have."""
    found: list[Any] = []
    behind: list[str] | None = None
    while True:
        rows = page(conn, COMMAND_LINE, {**wanted, "limit": _PAGE}, behind)
        found += rows[:_PAGE]
        if len(rows) <= _PAGE:
            return found
        behind = [getattr(found[-1], day).isoformat(), str(found[-1].id)]


def _once(documents: Iterable[Any]) -> list[Any]:
    return list({each.id: each for each in documents}.values())


def _names(conn: db.Connection, ref: str) -> list[dict[str, Any]]:
    """As the documents name the person, each way once."""
    rows = conn.execute(
        "SELECT DISTINCT name, phone, email FROM party WHERE ref = %(ref)s::text ORDER BY name, phone, email",
        {"ref": ref},
    )
    return [{"name": name, "phone": phone, "email": email} for name, phone, email in rows]
