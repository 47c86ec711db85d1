"""The machine of long random lives: a command is asked, and its answer, the database and the journal are compared.

The commands themselves are rules, in `life_quotes`, `life_invoices` and `life_money`.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, ClassVar

import psycopg
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from billing import quote_validity
from clinic import clock, db
from clinic.embedded import Cluster
from tests import given, running
from tests.life_invariants import INVARIANTS, STATE
from tests.life_shown import picked, shown, state_of
from tests.model import Clinic
from tests.model_documents import Act, Given, Invoice, Part, Quote, Refusal, Service, Wanted

BUSY_DAY = 4
"""Steps of a day at least."""
FIRST_DAY = date(2026, 12, 27)
"""New Year, when series of numbers begin anew, is near."""
SERVICES = (
    ("SCAN", "exempt_medical", True, "100.01"),
    ("COSMETIC", "standard", True, "333.33"),
    ("DRUGS", "standard", False, "10.00"),
    ("VISIT", "exempt_medical", True, "0.07"),
)
USUAL = "usual"
"""The last day that a quote has unless it is given."""
PAYERS = ("P-1", "P-2")
HEAD, SENIOR, CLERK = "head", "senior", "clerk"
CEILINGS = {HEAD: 100, SENIOR: 50, CLERK: 15}
"""Who calls, and may take off how many percent alone."""

OTHERWISE = 5
which = st.integers(0, OTHERWISE)
"""Which of the last documents."""
quantities = st.sampled_from([Decimal(each) for each in ("1", "2", "3", "0.5", "1.333", "7")])
percents = st.sampled_from([Decimal(each) for each in ("0.00", "0.00", "10.00", "33.33", "0.01", "100.00")])
sums = st.sampled_from([Decimal(each) for each in ("0.01", "3.33", "50.00", "100.01", "333.34", "2000.00")])
rarely = st.sampled_from([False, False, False, True])
meant = st.sampled_from([None, None, None, 0, 0, 1])
"""Which revision is said to be meant: none, the newest, another."""
authors = st.sampled_from([HEAD, CLERK])
payers = st.sampled_from(PAYERS)
wanted = st.lists(
    st.builds(lambda place, *more: (place, *more), st.integers(0, len(SERVICES) - 1), quantities, percents),
    min_size=1,
    max_size=3,
)
other_lines, other_percent = st.none() | wanted, st.none() | percents
parts = st.none() | st.dictionaries(st.integers(1, 3), quantities, min_size=1, max_size=2)


@dataclass(frozen=True)
class Stored:
    """A request that was answered, for repeating."""

    path: str
    body: Any
    key: str
    by: str
    status: int
    answer: Any


@dataclass
class Prepared:
    """A database with a clinic that sells four services, to be copied for each life."""

    cluster: Cluster
    name: str
    app: Any
    secrets: dict[str, str]
    tables: list[str]

    def copied(self) -> Any:
        return running.new_database(self.cluster, of=self.name)


class Machine(RuleBasedStateMachine):
    """One branch, whose days pass."""

    database: ClassVar[Prepared]
    """What each life begins with."""
    seen: ClassVar[Counter[str]]
    """How often each refusal was met, each kind of document touched, a request repeated, a day begun."""

    def __init__(self) -> None:
        super().__init__()
        self.open = ExitStack()
        urls = self.open.enter_context(self.database.copied())
        db.open_pool(urls.app, size=2)
        self.open.callback(db.close_pool)
        self.eye = self.open.enter_context(psycopg.connect(urls.owner, autocommit=True))
        self.callers = {who: given.Caller(self.database.app, key) for who, key in self.database.secrets.items()}
        self.model = Clinic(
            FIRST_DAY,
            [Service(name, vat, open_, {FIRST_DAY: Decimal(price)}) for name, vat, open_, price in SERVICES],
            CEILINGS,
        )
        self.time = self.open.enter_context(ExitStack())
        self.seconds = 0
        self.tick()
        self.stored: list[Stored] = []
        self.tags: dict[str, str] = {}
        """Every ETag that was answered, and of which document."""
        self.hashes: dict[str, bytes] = {}
        self.position = self.head()
        self.busy = 0
        self.fresh = False

    def teardown(self) -> None:
        self.open.close()

    # ---- Time, prices, repeats ----

    def tick(self) -> None:
        """A second later: what is made after something else has a later id."""
        self.time.close()
        begun = clock.beginning_of(self.model.today)
        self.time.enter_context(clock.frozen(begun + timedelta(seconds=self.seconds)))
        self.seconds += 1

    @precondition(lambda self: self.busy >= BUSY_DAY)
    @rule(days=st.sampled_from([1, 1, 1, 2, 31]))
    def night(self, days: int) -> None:
        self.busy = self.seconds = 0
        self.seen["night"] += 1
        self.model.today += timedelta(days)
        self.tick()

    @precondition(lambda self: any(is_over_unsaid(self, each) for each in self.model.newest))
    @rule()
    def expire(self) -> None:
        self.seen["expire"] += 1
        self.model.expire()
        quote_validity.expire()
        self.journal_tells_of_just_this()

    @rule(of=st.integers(0, len(SERVICES) - 1), amount=sums, ahead=st.sampled_from([0, 1, 3]))
    def price(self, of: int, amount: Decimal, ahead: int) -> None:
        service, since = self.model.services[of], self.model.today + timedelta(ahead)
        if since not in service.prices:
            self.seen["price"] += 1
            given.price(service.article, str(amount), since)
            service.prices[since] = amount
            self.position = self.head()

    @precondition(lambda self: self.stored and self.fresh)
    @rule(of=st.integers(0, 200))
    def again(self, of: int) -> None:
        """Any request that was ever answered, once more."""
        self.seen["again"] += 1
        self.fresh = False
        told = self.stored[of % len(self.stored)]
        before = self.everything()
        answer = self.callers[told.by].post(told.path, told.body, key=told.key)
        assert (answer.status_code, answer.get_json()) == (told.status, told.answer)
        assert answer.headers["Idempotency-Replayed"] == "true"
        assert self.everything() == before

    # ---- After every step ----

    @invariant()
    def database_says_what_the_model_says(self) -> None:
        assert self.eye.execute(STATE).fetchall()[0][0] == state_of(self.model)

    @invariant()
    def invariants_hold(self) -> None:
        for name, sql in INVARIANTS.items():
            assert self.eye.execute(sql.encode()).fetchall() == [], name

    @invariant()
    def hashes_never_change(self) -> None:
        """I9: neither what was stored at issue, nor what the document says now."""
        rows = self.eye.execute(
            """
            SELECT id::text, content_sha256, invoice_digest(invoice) FROM invoice WHERE number IS NOT NULL
             UNION ALL
            SELECT id::text, content_sha256, act_digest(act) FROM act
             UNION ALL
            SELECT id::text, content_sha256, credit_note_digest(credit_note) FROM credit_note
            """
        ).fetchall()
        for id_, stored, now in rows:
            assert self.hashes.setdefault(id_, stored) == stored == now
        assert {row[0] for row in rows} == self.hashes.keys()

    # ---- How ----

    def told(self, expected: Any, path: str, body: Any, status: int, by: str = HEAD) -> Any:
        """Ask, compare, and see that the journal tells of just this; returns the answer."""
        self.tick()
        key = uuid.uuid4().hex
        answer = self.callers[by].post(path, body, key=key)
        self.compare(expected, answer, status)
        if answer.status_code in (200, 201):
            self.fresh = True
            self.stored.append(Stored(path, body, key, by, answer.status_code, answer.get_json()))
        return answer.get_json()

    def edited(self, expected: Any, path: str, body: Any, by: str, *, stale: bool) -> None:
        """Ask for a change of a draft under If-Match: the tag of now, or one that was right before."""
        self.tick()
        now = self.callers[by].get(path).headers["ETag"]
        before = next((tag for tag, of in self.tags.items() if of in path and tag != now), '"stale"')
        match = before if stale else now
        self.compare(expected, self.callers[by].patch(path, body, match=match), 200)

    def compare(self, expected: Any, answer: Any, success: int) -> None:
        self.busy += 1
        self.seen[getattr(expected, "code", type(expected).__name__)] += 1
        status, said = answer.status_code, answer.get_json()
        if isinstance(expected, Refusal):
            assert (status, said.get("code")) == expected, said
        else:
            assert status == success, said
            if not isinstance(expected, list):
                assert expected.id in ("", said["id"])
                expected.id = said["id"]
                self.tagged(answer, expected.id)
                assert shown(expected) == {name: picked(said, name) for name in shown(expected)}
        self.journal_tells_of_just_this()

    def tagged(self, answer: Any, id_: str) -> None:
        """What has changed has another tag; a discount that is refused leaves the document as it was."""
        if tag := answer.headers.get("ETag"):
            stays = any(type_.endswith(".discount_refused") for type_, _ in self.model.events)
            assert (tag in self.tags) == stays, tag
            self.tags[tag] = id_

    def journal_tells_of_just_this(self) -> None:
        """I8."""
        rows = self.eye.execute(
            "SELECT position, type, object_id::text FROM journal WHERE position > %s ORDER BY position",
            (self.position,),
        ).fetchall()
        self.position += len(rows)
        assert [row[0] for row in rows] == [*range(self.position - len(rows) + 1, self.position + 1)]
        for note in self.model.notes:
            note.id = note.id or self.id_of(note.number)
        expected = Counter((type_, of.id) for type_, of in self.model.events)  # type: ignore[attr-defined]
        self.model.events.clear()
        assert Counter((row[1], row[2]) for row in rows) == expected

    def id_of(self, number: str) -> str:
        """The credit note of this number; the answer to a cancellation does not name it."""
        return str(self.eye.execute("SELECT id FROM credit_note WHERE number = %s", (number,)).fetchall()[0][0])

    def head(self) -> int:
        return int(self.eye.execute("SELECT position FROM journal_head").fetchall()[0][0])

    def everything(self) -> list[Any]:
        """A digest of each table but those of calls and readings."""
        return [
            self.eye.execute(
                f"SELECT md5(string_agg(t::text, '' ORDER BY t::text)) FROM {table} AS t".encode()
            ).fetchone()
            for table in self.database.tables
        ]

    def read(self, lines: Any) -> list[Wanted]:
        return [Wanted(self.model.services[place], quantity, percent) for place, quantity, percent in lines]

    def asked(self, lines: Any, percent: Decimal) -> dict[str, Any]:
        return {"lines": asked_lines(lines), **discount(percent)}

    def changed(self, lines: Any, percent: Decimal | None, until: Any = None) -> tuple[Given, dict[str, Any]]:
        """What of a document is to be changed, and the body that asks for it."""
        body: dict[str, Any] = {}
        if lines is not None:
            body["lines"] = asked_lines(lines)
        if percent is not None:
            body |= {"discount_percent": None, "discount_reason": None, **discount(percent)}
        day = self.last_day(until)
        if until is not None:
            body["valid_until"] = None if until == USUAL else day and day.isoformat()
        return Given(None if lines is None else self.read(lines), percent, day), body

    def last_day(self, until: Any) -> date | None:
        if until is None:
            return None
        return self.model.today + (self.model.valid_for if until == USUAL else timedelta(until))

    def person(self, ref: str) -> dict[str, str]:
        return {"kind": "person", "ref": ref, "name": "Иванова Анна"}

    def parts(self, for_: Any) -> list[Part]:
        """Of these invoices, each once."""
        if not self.model.invoices:
            return []
        named = [(picked_of(self.model.invoices, of, is_owed), amount, behalf) for of, amount, behalf in for_]
        return list({invoice.id: Part(invoice, amount, behalf) for invoice, amount, behalf in named}.values())


def picked_of(documents: Sequence[Any], of: int, likely: Callable[[Any], bool] = lambda _: True) -> Any:
    """One of the last documents that a command is likely meant for; for the greatest `of` one of all."""
    chosen = documents if of == OTHERWISE else [each for each in documents if likely(each)] or documents
    return chosen[-1 - of % len(chosen)]


def is_draft(document: Quote | Invoice) -> bool:
    return document.status == "draft"


def is_issued(document: Invoice | Act) -> bool:
    return document.status == "issued"


def is_owed(invoice: Invoice) -> bool:
    return is_issued(invoice) and invoice.balance > 0


def is_open(quote: Quote) -> bool:
    return quote.shown_status in ("draft", "sent", "accepted")


def is_over_unsaid(machine: Machine, quote: Quote) -> bool:
    return quote.status != "expired" and quote.is_over(machine.model.today)


def asked_lines(lines: Any) -> list[dict[str, Any]]:
    return [
        {"article": SERVICES[place][0], "quantity": str(quantity), **discount(percent)}
        for place, quantity, percent in lines
    ]


def discount(percent: Decimal) -> dict[str, str]:
    return {"discount_percent": str(percent), "discount_reason": "staff"} if percent else {}
