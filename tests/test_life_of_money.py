"""Long random lives of quotes, invoices and money, through HTTP on a real database, against a model in plain Python.

After every step the answer is the model's, the database says what the model says, the journal tells of just what
happened, and the invariants hold. Hypothesis shortens a life that goes wrong to the few steps that matter.
`--life STEPS` lives longer than the ordinary run, and other lives each time.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, ClassVar

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from psycopg.conninfo import conninfo_to_dict

from clinic import db
from clinic.embedded import Cluster
from tests import given, given_prices, running
from tests.conftest import SETTINGS
from tests.life_invariants import INVARIANTS, STATE
from tests.model import Act, Clinic, Document, Invoice, Line, Part, Payment, Quote, Refusal, Service, Wanted
from wsgi import create_app

STEPS = 2800
"""Of the ordinary run."""
BUSY_DAY = 4
"""Steps of a day at least."""
LIFE = 50
"""Steps of one life."""
FIRST_DAY = date(2026, 12, 27)
"""New Year, when series of numbers begin anew, is near."""
SERVICES = (
    ("SCAN", "exempt_medical", True, "100.01"),
    ("COSMETIC", "standard", True, "333.33"),
    ("DRUGS", "standard", False, "10.00"),
    ("VISIT", "exempt_medical", True, "0.07"),
)
PAYERS = ("P-1", "P-2")

OTHERWISE = 5
which = st.integers(0, OTHERWISE)
"""Which of the last documents."""
quantities = st.sampled_from([Decimal(each) for each in ("1", "2", "3", "0.5", "1.333", "7")])
percents = st.sampled_from([Decimal(each) for each in ("0.00", "0.00", "10.00", "33.33", "0.01", "100.00")])
sums = st.sampled_from([Decimal(each) for each in ("0.01", "3.33", "50.00", "100.01", "333.34", "2000.00")])
payers = st.sampled_from(PAYERS)
wanted = st.lists(
    st.builds(lambda place, *more: (place, *more), st.integers(0, len(SERVICES) - 1), quantities, percents),
    min_size=1,
    max_size=3,
)
parts = st.none() | st.dictionaries(st.integers(1, 3), quantities, min_size=1, max_size=2)


@dataclass(frozen=True)
class Stored:
    """A request that was answered, for repeating."""

    path: str
    body: Any
    key: str
    status: int
    answer: Any


class Life(RuleBasedStateMachine):
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
        self.day = self.open.enter_context(ExitStack())
        self.day.enter_context(given.day(FIRST_DAY.isoformat()))
        self.clinic = given.Caller(self.database.app, self.database.secret)
        self.model = Clinic(
            FIRST_DAY,
            [Service(name, vat, open_, {FIRST_DAY: Decimal(price)}) for name, vat, open_, price in SERVICES],
        )
        self.stored: list[Stored] = []
        self.hashes: dict[str, bytes] = {}
        self.position = self.head()
        self.busy = 0
        self.fresh = False

    def teardown(self) -> None:
        self.open.close()

    @initialize(odd=quantities)
    def opening(self, odd: Decimal) -> None:
        """An invoice for each payer, a quote of which a third is left that does not divide by three, an advance."""
        for payer in PAYERS:
            self.quote([(0, odd, Decimal("10.00")), (1, Decimal(3), Decimal("0.00"))], Decimal("0.00"), None)
            self.invoice(0, payer, None, issue=True, late=None)
        self.quote([(0, Decimal(3), Decimal("33.33")), (2, odd, Decimal("0.00"))], Decimal("0.01"), 1)
        for payer in PAYERS:
            self.invoice(0, payer, {1: Decimal(1)}, issue=False, late=None)
        self.pay(PAYERS[0], Decimal("333.34"), [], None)

    # ---- Quotes ----

    @rule(lines=wanted, percent=percents, days=st.sampled_from([None, 0, 0, 1, 3]))
    def quote(self, lines: Any, percent: Decimal, days: int | None) -> None:
        until = None if days is None else (self.model.today + timedelta(days)).isoformat()
        body = self.asked(lines, percent) | {"valid_until": until}
        self.told(self.model.quote(self.read(lines), percent, days), "/v1/quotes", body, 201)

    @precondition(lambda self: any(map(is_open, self.model.quotes)))
    @rule(of=which, way=st.sampled_from(["send", "accept", "decline"]))
    def move(self, of: int, way: str) -> None:
        quote = picked_of(self.model.quotes, of, is_open)
        self.told(getattr(self.model, way)(quote), f"/v1/quotes/{quote.id}/{way}", {}, 200)

    @precondition(lambda self: any(map(is_open, self.model.quotes)))
    @rule(of=which)
    def cancel_quote(self, of: int) -> None:
        quote = picked_of(self.model.quotes, of, is_open)
        self.told(self.model.cancel_quote(quote), f"/v1/quotes/{quote.id}/cancel", {"reason": "Ошибка"}, 200)

    @precondition(lambda self: any(map(is_open, self.model.quotes)))
    @rule(of=which, days=st.integers(-1, 3))
    def extend(self, of: int, days: int) -> None:
        quote = picked_of(self.model.quotes, of, is_open)
        day = self.model.today + timedelta(days)
        body = {"valid_until": day.isoformat(), "reason": "Пациент в пути"}
        self.told(self.model.extend(quote, day), f"/v1/quotes/{quote.id}/extend", body, 200)

    @precondition(lambda self: any(map(is_open, self.model.quotes)))
    @rule(of=which, payer=payers, part=parts, issue=st.booleans(), late=st.sampled_from([None, 0, 1]))
    def invoice(self, of: int, payer: str, part: dict[int, Decimal] | None, issue: bool, late: int | None) -> None:
        quote = picked_of(self.model.quotes, of, is_open)
        day = None if late is None or not issue else self.model.today - timedelta(late)
        body = {
            "payer": self.person(payer),
            "issue": issue,
            "lines": part and [{"position": place, "quantity": str(much)} for place, much in part.items()],
            "date": day and day.isoformat(),
        }
        self.told(self.model.invoice(quote, payer, part, issue, day), f"/v1/quotes/{quote.id}/invoice", body, 201)

    # ---- Invoices ----

    @rule(lines=wanted, percent=percents, payer=payers)
    def direct(self, lines: Any, percent: Decimal, payer: str) -> None:
        body = self.asked(lines, percent) | {"payer": self.person(payer)}
        self.told(self.model.direct(self.read(lines), percent, payer), "/v1/invoices", body, 201)

    @precondition(lambda self: any(map(is_draft, self.model.invoices)))
    @rule(of=which, late=st.sampled_from([None, 0, 1]))
    def issue(self, of: int, late: int | None) -> None:
        invoice = picked_of(self.model.invoices, of, is_draft)
        day = None if late is None else self.model.today - timedelta(late)
        body = {"date": day and day.isoformat()}
        self.told(self.model.issue(invoice, day), f"/v1/invoices/{invoice.id}/issue", body, 200)

    @precondition(lambda self: any(map(is_draft, self.model.invoices)))
    @rule(of=which)
    def discard(self, of: int) -> None:
        invoice = picked_of(self.model.invoices, of, is_draft)
        self.told(self.model.discard(invoice), f"/v1/invoices/{invoice.id}/discard", None, 200)

    @precondition(lambda self: any(map(is_issued, self.model.invoices)))
    @rule(of=which)
    def cancel(self, of: int) -> None:
        invoice = picked_of(self.model.invoices, of, is_issued)
        self.told(self.model.cancel(invoice), f"/v1/invoices/{invoice.id}/cancel", {"reason": "Ошибка"}, 200)

    @precondition(lambda self: any(map(is_draft, self.model.invoices)))
    @rule(of=which, stale=st.booleans())
    def edit(self, of: int, stale: bool) -> None:
        invoice = picked_of(self.model.invoices, of, is_draft)
        path = f"/v1/invoices/{invoice.id}"
        etag = '"stale"' if stale else self.clinic.get(path).headers["ETag"]
        answer = self.clinic.patch(path, {"comment": "Позвонить"}, match=etag)
        self.compare(self.model.edit(invoice, stale=stale), answer.status_code, answer.get_json(), 200)

    # ---- Acts ----

    @precondition(lambda self: any(map(is_issued, self.model.invoices)))
    @rule(of=which, part=parts)
    def act(self, of: int, part: dict[int, Decimal] | None) -> None:
        invoice = picked_of(self.model.invoices, of, is_issued)
        body = {"lines": part and [{"position": place, "quantity": str(much)} for place, much in part.items()]}
        self.told(self.model.act(invoice, part), f"/v1/invoices/{invoice.id}/acts", body, 201)

    @precondition(lambda self: self.model.acts)
    @rule(of=which)
    def cancel_act(self, of: int) -> None:
        act = picked_of(self.model.acts, of, is_issued)
        self.told(self.model.cancel_act(act), f"/v1/acts/{act.id}/cancel", {"reason": "Ошибка"}, 200)

    # ---- Money ----

    @rule(payer=payers, amount=sums, for_=st.lists(st.tuples(which, st.none() | sums, st.booleans()), max_size=2),
          slip=st.sampled_from([None, None, "1", "2"]))  # fmt: skip
    def pay(self, payer: str, amount: Decimal, for_: Any, slip: str | None) -> None:
        chosen = self.parts(for_)
        body = {
            "payer": self.person(payer), "tender": "transfer", "amount": str(amount), "allocations": shaped(chosen),
            **({"source": "bank", "external_ref": slip} if slip else {}),
        }  # fmt: skip
        expected = self.model.pay(payer, amount, chosen, slip)
        told_before = isinstance(expected, Payment) and expected.id
        self.told(expected, "/v1/payments", body, 200 if told_before else 201)

    @precondition(lambda self: self.model.payments)
    @rule(
        of=which, for_=st.none() | st.lists(st.tuples(which, st.none() | sums, st.booleans()), min_size=1, max_size=2)
    )
    def allocate(self, of: int, for_: Any) -> None:
        payment = picked_of(self.model.payments, of, lambda each: each.advance > 0)
        chosen = None if for_ is None else self.parts(for_)
        if chosen == []:
            return
        body = {"auto": True} if chosen is None else {"allocations": shaped(chosen)}
        self.told(self.model.allocate(payment, chosen), f"/v1/payments/{payment.id}/allocations", body, 200)

    @precondition(lambda self: self.model.payments and self.model.invoices)
    @rule(payer=payers, amount=sums, for_=st.lists(st.tuples(which, st.none() | sums, st.booleans()), min_size=1))
    def offset(self, payer: str, amount: Decimal, for_: Any) -> None:
        chosen = self.parts(for_)
        tenders = [{"tender": "offset", "amount": str(amount)}]
        body = {"payer": self.person(payer), "tenders": tenders, "allocations": shaped(chosen)}
        self.told(self.model.offset(payer, amount, chosen), "/v1/payments/split", body, 201)

    @precondition(lambda self: self.model.payments)
    @rule(of=which, amount=sums, off=st.none() | st.tuples(which, sums))
    def refund(self, of: int, amount: Decimal, off: tuple[int, Decimal] | None) -> None:
        payment = picked_of(self.model.payments, of)
        released = [(picked_of(self.model.invoices, off[0], payment.on), off[1])] if off and self.model.invoices else []
        body = {
            "amount": str(amount), "reason_code": "mistake", "reason": "Ошибка",
            "release": [{"invoice": invoice.id, "amount": str(much)} for invoice, much in released],
        }  # fmt: skip
        self.told(self.model.refund(payment, amount, released), f"/v1/payments/{payment.id}/refunds", body, 201)

    # ---- Time, prices, repeats ----

    @precondition(lambda self: self.busy >= BUSY_DAY)
    @rule(days=st.sampled_from([1, 1, 1, 2, 31]))
    def night(self, days: int) -> None:
        self.busy = 0
        self.seen["night"] += 1
        self.model.today += timedelta(days)
        self.day.close()
        self.day.enter_context(given.day(self.model.today.isoformat(), at="00:00"))

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
        answer = self.clinic.post(told.path, told.body, key=told.key)
        assert (answer.status_code, answer.get_json()) == (told.status, told.answer)
        assert answer.headers["Idempotency-Replayed"] == "true"
        assert self.everything() == before

    # ---- After every step ----

    @invariant()
    def database_says_what_the_model_says(self) -> None:
        said = self.eye.execute(STATE).fetchall()[0][0]
        of = self.model
        assert said == {
            "quotes": {each.id: [each.status, each.shown_status == "invoiced", *header(each)] for each in of.quotes},
            "quote_lines": {each.id: [*map(quote_line, each.lines)] for each in of.quotes},
            "invoices": {each.id: [each.status, each.number, *header(each), *paid(each)] for each in of.invoices},
            "invoice_lines": {each.id: [*map(invoice_line, each.lines)] for each in of.invoices},
            "payments": {
                each.id: [text(each.amount), text(each.allocated), text(each.refunded)] for each in of.payments
            },
            "notes": {number: [invoice.id, text(amount)] for invoice, number, amount in of.notes},
            "acts": {each.id: [each.status, each.number, text(each.total)] for each in of.acts},
            "series": {f"{kind} {year}": each.next for (kind, year), each in of.series.items() if each.next > 1},
        }

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
            """
        ).fetchall()
        for id_, stored, now in rows:
            assert self.hashes.setdefault(id_, stored) == stored == now
        assert {row[0] for row in rows} == self.hashes.keys()

    # ---- How ----

    def told(self, expected: Any, path: str, body: Any, status: int) -> None:
        """Ask, compare, and see that the journal tells of just this."""
        key = uuid.uuid4().hex
        answer = self.clinic.post(path, body, key=key)
        self.compare(expected, answer.status_code, answer.get_json(), status)
        if answer.status_code in (200, 201):
            self.fresh = True
            self.stored.append(Stored(path, body, key, answer.status_code, answer.get_json()))

    def compare(self, expected: Any, status: int, answer: Any, success: int) -> None:
        self.busy += 1
        self.seen[getattr(expected, "code", type(expected).__name__)] += 1
        if isinstance(expected, Refusal):
            assert (status, answer.get("code")) == expected, answer
        else:
            assert status == success, answer
            if not isinstance(expected, list):
                expected.id = answer["id"]
                assert shown(expected) == {name: picked(answer, name) for name in shown(expected)}
        self.journal_tells_of_just_this()

    def journal_tells_of_just_this(self) -> None:
        """I8."""
        rows = self.eye.execute(
            "SELECT position, type, object_id::text FROM journal WHERE position > %s ORDER BY position",
            (self.position,),
        ).fetchall()
        self.position += len(rows)
        assert [row[0] for row in rows] == [*range(self.position - len(rows) + 1, self.position + 1)]
        (notes,) = self.eye.execute("SELECT array_agg(id::text ORDER BY date, sequence) FROM credit_note").fetchall()
        expected = Counter((type_, notes[0][-1] if of is None else of.id) for type_, of in self.model.events)  # type: ignore[attr-defined]
        self.model.events.clear()
        assert Counter((row[1], row[2]) for row in rows) == expected

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
        shaped = [
            {"article": SERVICES[place][0], "quantity": str(quantity), **discount(percent)}
            for place, quantity, percent in lines
        ]
        return {"lines": shaped, **discount(percent)}

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


def is_draft(invoice: Invoice) -> bool:
    return invoice.status == "draft"


def is_issued(document: Invoice | Act) -> bool:
    return document.status == "issued"


def is_owed(invoice: Invoice) -> bool:
    return is_issued(invoice) and invoice.balance > 0


def is_open(quote: Quote) -> bool:
    return quote.shown_status in ("draft", "sent", "accepted")


def discount(percent: Decimal) -> dict[str, str]:
    return {"discount_percent": str(percent), "discount_reason": "staff"} if percent else {}


def shaped(chosen: Sequence[Part]) -> list[dict[str, Any]]:
    return [
        {"invoice": each.invoice.id, "amount": each.amount and str(each.amount), "on_behalf": each.on_behalf}
        for each in chosen
    ]


def text(amount: Decimal | None) -> str | None:
    return None if amount is None else f"{amount:.2f}"


def header(document: Document) -> list[Any]:
    return [document.date.isoformat(), text(document.subtotal), text(document.total)]


def paid(invoice: Invoice) -> list[Any]:
    return [text(invoice.paid), text(invoice.credited)]


def quote_line(line: Line) -> list[Any]:
    return [*map(text, (line.gross, line.discount, line.document_discount, line.vat)), f"{line.taken:.3f}"]


def invoice_line(line: Line) -> list[Any]:
    return [*map(text, (line.gross, line.discount, line.document_discount, line.vat)), f"{line.quantity:.3f}"]


def shown(document: Any) -> dict[str, Any]:
    """What an answer must say of a document."""
    match document:
        case Quote():
            return {
                "status": document.shown_status,
                "valid_until": document.valid_until.isoformat(),
                **totals(document),
            }
        case Invoice():
            return {
                "status": document.status, "payment_status": document.payment_status, "number": document.number,
                "paid": text(document.paid), "credited": text(document.credited), "balance": text(document.balance),
                **totals(document),
            }  # fmt: skip
        case Payment():
            standing = {invoice.id: text(document.on(invoice)) for invoice, _ in document.puts if document.on(invoice)}
            return {
                "status": document.status, "amount": text(document.amount), "allocated": text(document.allocated),
                "refunded": text(document.refunded), "advance": text(document.advance), "allocations": standing,
            }  # fmt: skip
        case Act():
            return {"status": document.status, "number": document.number, "total": text(document.total)}
    raise AssertionError(document)


def totals(document: Document) -> dict[str, Any]:
    groups = {(rate and f"{rate:f}", text(base), text(tax)) for rate, base, tax in document.vat_groups()}
    return {"date": document.date.isoformat(), "total": text(document.total), "vat": groups}


def picked(answer: Any, name: str) -> Any:
    match name:
        case "total":
            return answer["totals"]["total"]
        case "vat":
            return {(each["rate"], each["base"], each["amount"]) for each in answer["totals"]["vat"]}
        case "allocations":
            return {each["invoice"]: each["amount"] for each in answer["allocations"]}
    return answer[name]


# ---- What each life begins with ----


@dataclass
class Prepared:
    """A database with a clinic that sells four services, to be copied for each life."""

    cluster: Cluster
    name: str
    app: Any
    secret: str
    tables: list[str]

    def copied(self) -> Any:
        return running.new_database(self.cluster, of=self.name)


@pytest.fixture(scope="module")
def prepared(cluster: Cluster) -> Iterator[Prepared]:
    with running.new_database(cluster) as urls, given.day(FIRST_DAY.isoformat()):
        db.open_pool(urls.app, size=1)
        try:
            given.main_branch()
            for article, vat, discountable, amount in SERVICES:
                given_prices.service(article, vat_category=vat, discountable=discountable)
                given.price(article, amount, FIRST_DAY)
            secret = given.key("*", discount_ceiling=100)
            with db.reading() as conn:
                rows = conn.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        finally:
            db.close_pool()
        tables = sorted({row[0] for row in rows} - {"idempotency", "access_log", "api_key_secret", "rate_limit"})
        name = str(conninfo_to_dict(urls.owner)["dbname"])
        yield Prepared(cluster, name, create_app(SETTINGS), secret, tables)


def test_a_life_goes_as_the_model_says(prepared, pytestconfig):
    longer = pytestconfig.getoption("--life")
    lives = lives_of(prepared)
    run_state_machine_as_test(
        lives,
        settings=settings(
            max_examples=max(1, (longer or STEPS) // LIFE),
            stateful_step_count=LIFE,
            derandomize=longer is None,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
            report_multiple_bugs=False,
        ),
    )
    # Some steps find nothing to do.
    assert sum(lives.seen.values()) >= 0.7 * (longer or STEPS)
    assert lives.seen.keys() >= {"Quote", "Invoice", "Payment", "Act", "list", "again", "night", "price"}


def lives_of(prepared: Prepared) -> Any:
    return type("Lives", (Life,), {"database": prepared, "seen": Counter()})


ONE, NONE, HALF = Decimal("1"), Decimal("0.00"), Decimal("0.5")
SOME = Decimal("50.00")


def test_a_life_by_hand_meets_every_refusal(prepared):
    """So that none of them depends on the luck of a random life."""
    life = lives_of(prepared)()
    steps: list[Callable[[], Any]] = [
        lambda: life.opening(odd=HALF),
        lambda: life.again(of=0),
        lambda: life.invoice(of=0, payer="P-1", part={1: Decimal(7)}, issue=True, late=None),
        lambda: life.invoice(of=0, payer="P-1", part={1: ONE}, issue=True, late=1),
        lambda: life.invoice(of=0, payer="P-1", part={1: ONE}, issue=False, late=None),
        lambda: life.move(of=0, way="accept"),
        lambda: life.invoice(of=OTHERWISE, payer="P-1", part=None, issue=True, late=None),
        lambda: life.edit(of=0, stale=True),
        lambda: life.edit(of=0, stale=False),
        lambda: life.edit(of=2, stale=False),
        lambda: life.issue(of=0, late=0),
        lambda: life.issue(of=OTHERWISE, late=None),
        lambda: life.direct(lines=[(0, ONE, NONE)], percent=NONE, payer="P-1"),
        lambda: life.direct(lines=[(2, ONE, ONE)], percent=NONE, payer="P-1"),
        lambda: life.quote(lines=[(1, HALF, NONE)], percent=Decimal("33.33"), days=0),
        lambda: life.pay(payer="P-1", amount=SOME, for_=[(1, SOME, True)], slip="1"),
        lambda: life.pay(payer="P-1", amount=SOME, for_=[], slip="2"),
        lambda: life.pay(payer="P-1", amount=ONE, for_=[], slip="2"),
        lambda: life.pay(payer="P-1", amount=SOME, for_=[(0, Decimal("2000.00"), True)], slip=None),
        lambda: life.pay(payer="P-2", amount=SOME, for_=[(0, None, False)], slip=None),
        lambda: life.pay(payer="P-1", amount=Decimal("0.01"), for_=[(0, Decimal("3.33"), True)], slip=None),
        lambda: life.offset(payer="P-1", amount=SOME, for_=[(0, None, True)]),
        lambda: life.offset(payer="P-2", amount=SOME, for_=[(0, None, True)]),
        lambda: life.allocate(of=0, for_=None),
        lambda: life.refund(of=0, amount=SOME, off=(0, Decimal("333.34"))),
        lambda: life.refund(of=0, amount=SOME, off=(0, Decimal("3.33"))),
        lambda: life.act(of=0, part={1: HALF}),
        lambda: life.act(of=0, part=None),
        lambda: life.act(of=0, part=None),
        lambda: life.cancel(of=0),
        lambda: [life.cancel_act(of=0), life.cancel_act(of=0), life.cancel_act(of=0)],
        lambda: life.night(days=1),
        lambda: life.move(of=0, way="accept"),
        lambda: life.price(of=0, amount=SOME, ahead=0),
        lambda: life.issue(of=0, late=None),
        lambda: life.cancel(of=0),
        lambda: life.cancel(of=OTHERWISE),
        lambda: life.quote(lines=[(0, Decimal(7), Decimal("33.33"))], percent=NONE, days=None),
        lambda: life.quote(lines=[(1, HALF, NONE)], percent=NONE, days=0),
        lambda: life.extend(of=0, days=0),
        lambda: life.extend(of=0, days=1),
        lambda: life.invoice(of=0, payer="P-1", part=None, issue=False, late=None),
        lambda: life.cancel_quote(of=OTHERWISE),
        lambda: life.quote(lines=[(1, HALF, NONE)], percent=NONE, days=0),
        lambda: life.cancel_quote(of=0),
        lambda: [life.cancel_quote(of=each) for each in range(1, 5)],
        # Half a kopeck is missing on either line: the first one gets it.
        lambda: life.quote(lines=[(3, ONE, NONE), (3, ONE, NONE)], percent=Decimal("10.00"), days=None),
        lambda: life.move(of=0, way="decline"),
        *[lambda: life.invoice(of=0, payer="P-1", part={1: ONE}, issue=False, late=None)] * 2,
        *[lambda: life.invoice(of=0, payer="P-1", part=None, issue=False, late=None)] * 6,
        *[lambda: life.discard(of=0)] * 12,
        *[lambda: life.cancel(of=0)] * 8,
    ]
    try:
        for step in steps:
            step()
            life.database_says_what_the_model_says()
            life.invariants_hold()
            life.hashes_never_change()
    finally:
        life.teardown()
    assert life.seen.keys() >= MET


MET = {
    "Quote", "Invoice", "Payment", "Act", "list", "again", "night", "price", "invalid_input", "quote_not_open",
    "quote_expired", "quote_on_invoices", "quote_already_invoiced", "invoice_not_draft", "invoice_not_issued",
    "invoice_rendered", "price_changed", "number_date_order", "precondition_failed", "nothing_to_render",
    "act_cancelled", "other_payer", "payment_reference_taken", "amount_exceeds_balance", "amount_exceeds_payment",
    "amount_exceeds_allocation", "amount_exceeds_advance",
}  # fmt: skip
"""Every refusal the model knows, every kind of document, and what else happens."""
