"""Long random lives of quotes, invoices and money, through HTTP on a real database, against a model in plain Python.

After every step the answer is the model's, the database says what the model says, the journal tells of just what
happened, and the invariants hold. Hypothesis shortens a life that goes wrong to the few steps that matter.
`--life STEPS` lives longer than the ordinary run, and other lives each time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RULE_MARKER, initialize, run_state_machine_as_test
from psycopg.conninfo import conninfo_to_dict

from clinic import db
from clinic.embedded import Cluster
from tests import given, given_prices, running
from tests.conftest import SETTINGS
from tests.life import (
    BUSY_DAY,
    CEILINGS,
    CLERK,
    FIRST_DAY,
    HEAD,
    OTHERWISE,
    PAYERS,
    SENIOR,
    SERVICES,
    Machine,
    Prepared,
    quantities,
)
from tests.life_approvals import ApprovalRules
from tests.life_credits import CreditRules
from tests.life_invoices import InvoiceRules, PartRules
from tests.life_money import MoneyRules
from tests.life_quotes import QuoteRules
from tests.model_documents import Given
from wsgi import create_app

STEPS = 2400
"""Of the ordinary run."""
LIFE = 50
"""Steps of one life."""


class Life(QuoteRules, ApprovalRules, PartRules, InvoiceRules, CreditRules, MoneyRules):
    """All that may happen, behind what there is at first."""

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


@pytest.fixture(scope="module")
def prepared(cluster: Cluster) -> Iterator[Prepared]:
    with running.new_database(cluster) as urls, given.day(FIRST_DAY.isoformat()):
        db.open_pool(urls.app, size=1)
        try:
            given.main_branch()
            for article, vat, discountable, amount in SERVICES:
                given_prices.service(article, vat_category=vat, discountable=discountable)
                given.price(article, amount, FIRST_DAY)
            secrets = {who: given.key("*", discount_ceiling=ceiling) for who, ceiling in CEILINGS.items()}
            with db.reading() as conn:
                rows = conn.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        finally:
            db.close_pool()
        tables = sorted({row[0] for row in rows} - {"idempotency", "access_log", "api_key_secret", "rate_limit"})
        name = str(conninfo_to_dict(urls.owner)["dbname"])
        yield Prepared(cluster, name, create_app(SETTINGS), secrets, tables)


MIXES: dict[str, tuple[Sequence[type[Machine]], set[str]]] = {
    "everything": ((), {"Quote", "Invoice", "Payment", "again", "price"}),
    "quotes": ((InvoiceRules, CreditRules, MoneyRules), {"Quote", "Invoice", "discount_above_limit", "night"}),
    "money": ((QuoteRules, ApprovalRules), {"Invoice", "Payment", "Act", "Note"}),
}
"""By name: which commands are left out, so that the others meet more often; and what must be met."""


@pytest.mark.parametrize("mix", MIXES)
def test_a_life_goes_as_the_model_says(prepared, pytestconfig, mix):
    longer = pytestconfig.getoption("--life")
    at_rest, met = MIXES[mix]
    steps = (longer or STEPS) // len(MIXES)
    lives = lives_of(prepared, at_rest)
    run_state_machine_as_test(
        lives,
        settings=settings(
            max_examples=max(1, steps // LIFE),
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
    assert sum(lives.seen.values()) >= 0.7 * steps
    assert lives.seen.keys() >= met


def lives_of(prepared: Prepared, at_rest: Sequence[type[Machine]] = ()) -> Any:
    """Lives in which commands of some kinds are only called by others."""
    called = {name: plain(each) for of in at_rest for name, each in vars(of).items() if hasattr(each, RULE_MARKER)}
    return type("Lives", (Life,), {"database": prepared, "seen": Counter(), **called})


def plain(command: Callable[..., None]) -> Callable[..., None]:
    """The command, no longer a rule."""
    return lambda self, *args, **kwargs: command(self, *args, **kwargs)


ONE, NONE, HALF, TENTH = Decimal("1"), Decimal("0.00"), Decimal("0.5"), Decimal("10.00")
SOME, NEARLY = Decimal("50.00"), (Decimal("15.00"), Decimal("15.01"))


def test_a_life_by_hand_meets_every_refusal(prepared):
    """So that none of them depends on the luck of a random life."""
    life = lives_of(prepared)()
    steps: list[Callable[[], Any]] = [
        lambda: life.opening(odd=HALF),
        lambda: life.again(of=0),
        lambda: life.cancel(of=OTHERWISE),
        lambda: life.invoice(of=0, payer="P-1", part={1: Decimal(7)}, issue=True, late=None),
        lambda: life.invoice(of=0, payer="P-1", part={1: ONE}, issue=True, late=1),
        lambda: life.invoice(of=0, payer="P-1", part={1: ONE}, issue=False, late=None),
        lambda: life.move(of=0, way="accept"),
        lambda: life.invoice(of=OTHERWISE, payer="P-1", part=None, issue=True, late=None),
        lambda: life.edit(of=0, stale=True),
        lambda: life.edit(of=0, stale=False),
        lambda: life.edit(of=2, stale=False),
        lambda: life.edit(of=0, stale=False, part={1: HALF, 2: HALF}),
        lambda: life.edit(of=0, stale=False, part={1: Decimal(7)}),
        lambda: life.edit(of=0, stale=False, percent=TENTH),
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
        lambda: life.offset(of=0, amount=SOME, for_=[(0, None, True)]),
        lambda: life.offset(of=0, amount=Decimal("2000.00"), for_=[(0, None, True)]),
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
        *revising(life),
        *crediting(life),
        lambda: [life.cancel_quote(of=each) for each in range(1, 5)],
        # Half a kopeck is missing on either line: the first one gets it.
        lambda: life.quote(lines=[(3, ONE, NONE), (3, ONE, NONE)], percent=Decimal("10.00"), days=None),
        lambda: life.move(of=0, way="decline"),
        *approving(life),
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


def revising(life: Any) -> list[Callable[[], Any]]:
    """A draft is edited, revised under its own prices, and at those of another day."""
    nothing: dict[str, Any] = {"of": 0, "lines": None, "percent": None, "until": None}
    two = [(0, HALF, NONE), (1, ONE, TENTH)]
    return [
        lambda: life.quote(lines=two, percent=NONE, days=1),
        lambda: life.edit_quote(**nothing, stale=False),
        lambda: life.edit_quote(**nothing | {"percent": TENTH}, stale=True),
        lambda: life.edit_quote(**nothing | {"percent": TENTH}, stale=False),
        lambda: life.edit_quote(**nothing | {"lines": [(2, ONE, ONE)]}, stale=False),
        lambda: life.edit_quote(**nothing | {"until": -1}, stale=False),
        lambda: life.price(of=0, amount=Decimal("2000.00"), ahead=1),
        lambda: life.move(of=0, way="send", other=1),
        lambda: life.move(of=0, way="send", other=0),
        lambda: life.edit_quote(**nothing, stale=False),
        lambda: life.night(days=1),
        lambda: life.revise(**nothing | {"lines": [*two, (0, ONE, NONE)]}, other=1),
        lambda: life.revise(**nothing | {"lines": [*two, (0, ONE, NONE)]}, other=0),
        lambda: life.edit_quote(**nothing | {"lines": two, "percent": NONE}, stale=False),
        lambda: life.revise(**nothing | {"percent": Decimal("33.33")}, other=None),
        lambda: life.reprice(of=0, until=0, other=None),
        lambda: life.invoice(of=0, payer="P-1", part={1: HALF}, issue=False, late=None),
        lambda: life.take_back(life.model.newest[-1]),
        lambda: life.discard(of=0),
        lambda: life.revise(**nothing | {"until": "usual"}, other=None),
        lambda: life.edit_quote(**nothing | {"until": 0}, stale=False),
        lambda: [life.extend(of=0, days=1) for _ in range(BUSY_DAY)],
        lambda: life.night(days=2),
        lambda: life.edit_quote(**nothing, stale=False),
        lambda: life.expire(),
        lambda: life.move(of=0, way="accept"),
        lambda: life.extend(of=0, days=0),
        lambda: life.reprice(of=0, until=-1, other=None),
        lambda: life.reprice(of=0, until=None, other=None),
        # What was sent is sent again.
        lambda: life.quote(lines=two, percent=NONE, days=0),
        lambda: life.move(of=0, way="send"),
        lambda: life.night(days=1),
        lambda: life.expire(),
        lambda: life.extend(of=0, days=0),
        lambda: life.move(of=0, way="accept"),
        # A first draft promised nothing yet: its lines, given anew, are at today's prices.
        lambda: life.quote(lines=two, percent=NONE, days=1),
        lambda: life.price(of=1, amount=Decimal("100.01"), ahead=0),
        lambda: life.edit_quote(**nothing | {"percent": TENTH}, stale=False),
        lambda: life.edit_quote(**nothing | {"lines": two}, stale=False),
        lambda: life.edit_quote(**nothing | {"until": 40}, stale=False),
        lambda: life.invoice(of=0, payer="P-1", part={1: HALF}, issue=False, late=None),
        lambda: life.revised(life.model.newest[-1], (Given(), {}), None),
        lambda: life.discard(of=0),
    ]


def crediting(life: Any) -> list[Callable[[], Any]]:
    """A paid invoice is taken back piece by piece, some of it rendered, its price put right in between."""

    def credit(*backs: Any) -> Any:
        return life.credit(of=0, backs=list(backs))

    half, third, rest = ("quantity", HALF), ("quantity", Decimal("0.333")), None
    right, much = ("amount", SOME), ("amount", Decimal("2000.00"))
    invoice = {"of": 0, "payer": "P-1", "part": None, "issue": True, "late": None}
    return [
        lambda: life.quote(lines=[(1, ONE, TENTH), (0, Decimal(3), NONE)], percent=TENTH, days=1),
        lambda: life.invoice(**invoice | {"issue": False}),
        lambda: credit((0, rest)),
        lambda: life.issue(of=0, late=None),
        lambda: life.pay(payer="P-1", amount=Decimal("333.34"), for_=[(0, None, True)], slip=None),
        lambda: life.pay(payer="P-1", amount=Decimal("2000.00"), for_=[(0, None, True)], slip=None),
        lambda: credit((0, third), (1, right)),
        lambda: life.invoice(**invoice),
        lambda: credit((0, right), (1, right)),
        lambda: life.cancel(of=0),
        lambda: life.act(of=0, part={2: ONE}),
        lambda: [credit((0, third), (0, right)), credit((1, ("quantity", Decimal(3)))), credit((1, much))],
        lambda: [credit((OTHERWISE, rest)), credit((0, half), (1, half))],
        lambda: [life.cancel(of=0), life.act(of=0, part={2: HALF}), life.act(of=0, part={2: Decimal(7)})],
        lambda: [credit((0, rest), (1, rest)), credit((1, rest))],
        lambda: [life.cancel_act(of=0), life.cancel_act(of=0), credit((1, rest)), life.cancel(of=0)],
        lambda: life.act(of=0, part=None),
        lambda: life.invoice(**invoice),
        lambda: [credit((1, right)), life.cancel(of=0)],
        # Three thirds of 100.01 come to a kopeck less: the last one takes it.
        lambda: life.direct(lines=[(0, ONE, NONE), (1, ONE, NONE)], percent=NONE, payer="P-2"),
        lambda: life.issue(of=0, late=None),
        lambda: [life.take_a_third_back(of=0) for _ in range(2)],
        lambda: [life.put_right(of=0, amount=Decimal("3.33")), life.take_a_third_back(of=0)],
        lambda: credit((0, rest)),
        lambda: [life.take_a_third_back(of=0) for _ in range(3)],
        lambda: credit((1, rest)),
        # A price that was put right to nothing: the services are still there to be taken back.
        lambda: life.direct(lines=[(3, ONE, NONE), (2, ONE, NONE)], percent=NONE, payer="P-2"),
        lambda: life.issue(of=0, late=None),
        lambda: credit((0, ("amount", Decimal("0.01")))),
        lambda: credit((1, ("amount", Decimal("3.33")))),
        lambda: credit((0, rest)),
        lambda: life.cancel(of=0),
    ]


def approving(life: Any) -> list[Callable[[], Any]]:
    """What a clerk takes off goes out once somebody else approves just that."""
    lines = [(0, ONE, TENTH), (1, ONE, NONE)]
    nothing: dict[str, Any] = {"of": 0, "lines": None, "percent": None, "until": None, "other": None}
    edit = {"of": 0, "lines": None, "percent": TENTH, "until": None, "stale": False, "by": CLERK}
    invoice = {"of": 0, "payer": "P-1", "part": {1: HALF}, "issue": True, "late": None}
    return [
        lambda: life.quote(lines=lines, percent=TENTH, days=None, by=CLERK),
        lambda: [life.move(of=0, way="send"), life.move(of=0, way="accept"), life.invoice(**invoice)],
        lambda: [life.decide(of=0, by=CLERK), life.decide(of=0, by=SENIOR, refused=True)],
        lambda: life.decide(of=0, by=SENIOR, other=1),
        lambda: life.decide(of=0, by=SENIOR, other=0),
        lambda: life.edit_quote(**edit),
        lambda: life.move(of=0, way="send"),
        lambda: [life.decide(of=0, by=HEAD), life.move(of=0, way="send")],
        lambda: life.revise(**nothing, by=CLERK),
        lambda: life.move(of=0, way="accept"),
        lambda: [life.decide(of=0, by=HEAD), life.invoice(**invoice | {"issue": False}), life.edit(of=0, stale=False)],
        lambda: life.issue(of=0, late=None),
        lambda: life.direct(lines=[(0, ONE, Decimal("100.00"))], percent=NONE, payer="P-1", by=CLERK),
        lambda: [life.issue(of=0, late=None), life.decide(of=0, by=SENIOR), life.decide(of=0, by=HEAD)],
        lambda: life.edit(of=0, stale=False, lines=[(0, HALF, TENTH), (1, ONE, ONE)], by=HEAD),
        lambda: life.edit(of=0, stale=False, percent=TENTH, by=CLERK),
        lambda: [life.issue(of=0, late=None), life.decide(of=0, by=HEAD), life.decide(of=0, by=HEAD)],
        lambda: life.issue(of=0, late=None),
        lambda: life.quote(lines=lines, percent=TENTH, days=None, by=CLERK),
        lambda: life.edit_quote(**edit | {"by": HEAD}),
        lambda: life.revise(**nothing, by=CLERK),
        lambda: life.edit_quote(**edit | {"percent": NONE}),
        lambda: life.take_back(life.model.newest[-1]),
        # Of 50.00 a clerk may take off 7.50, and 7.51 is a kopeck above.
        lambda: life.price(of=3, amount=SOME, ahead=0),
        lambda: [life.quote(lines=[(3, ONE, each)], percent=NONE, days=None, by=CLERK) for each in NEARLY],
    ]


MET = {
    "Quote", "Invoice", "Payment", "Act", "list", "again", "night", "price", "expire", "invalid_input",
    "quote_not_open", "quote_expired", "quote_on_invoices", "quote_already_invoiced", "invoice_not_draft",
    "invoice_not_issued", "invoice_rendered", "price_changed", "number_date_order", "precondition_failed",
    "nothing_to_render", "act_cancelled", "other_payer", "payment_reference_taken", "amount_exceeds_balance",
    "amount_exceeds_payment", "amount_exceeds_allocation", "amount_exceeds_advance", "nothing_to_credit", "Note",
    "discount_above_limit", "no_discount_waiting", "own_discount", "above_own_limit",
}  # fmt: skip
"""Every refusal the model knows, every kind of document, and what else happens."""
