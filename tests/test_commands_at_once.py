"""Every command there is, given by four at once to the same thing: it is done as often as it may be, and told as often.

The commands come from the application: one that is not in the table fails. What different commands do to each other is
tried in the other `test_*_at_once`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests import given, running
from tests.running import Caller, Desk, Service, at_once, made, seen
from tests.test_matrix import ROUTES

pytestmark = pytest.mark.xdist_group("server")
CALLERS = 4
HALF = given.line("CT-ABD-RP", discount_percent="50", discount_reason="goodwill")
REASON = {"reason": "Ошибка"}


@dataclass(frozen=True)
class Clinic:
    """A program of a branch, one of it that may give no discount, and one of all branches."""

    desk: Desk
    author: Desk
    office: Caller

    # ---- Fresh things, by their addresses ----

    def quote(self, *steps: str) -> str:
        address = f"/v1/quotes/{self.desk.quote()['id']}"
        for step in steps:
            made(self.desk.post(f"{address}/{step}", {}))
        return address

    def dear_quote(self) -> str:
        return f"/v1/quotes/{self.author.quote(HALF)['id']}"

    def draft(self) -> str:
        return f"/v1/invoices/{made(self.desk.draft())['id']}"

    def dear_draft(self) -> str:
        wanted = {"lines": [HALF], "payer": given.PAYER}
        return f"/v1/invoices/{made(self.author.post('/v1/invoices', wanted))['id']}"

    def invoice(self) -> str:
        return f"/v1/invoices/{made(self.desk.invoice(self.desk.quote()))['id']}"

    def act(self) -> str:
        return f"/v1/acts/{made(self.desk.post(f'{self.invoice()}/acts', {}))['id']}"

    def payment(self) -> str:
        wanted = {"tender": "transfer", "amount": "100.00", "payer": given.PAYER}
        return f"/v1/payments/{made(self.desk.post('/v1/payments', wanted))['id']}"

    def shift(self) -> str:
        return f"/v1/shifts/{made(self.desk.post('/v1/shifts', {'desk': uuid4().hex}))['id']}"

    def link(self) -> str:
        links = f"{self.quote('send')}/links"
        return f"{links}/{made(self.desk.post(links, {}))['id']}"

    def order(self) -> str:
        lines = [{"article": "CT-ABD-RP", "kind": "fixed", "amount": "9000.00"}]
        wanted = {"effective_from": f"21{uuid4().int % 90 + 10}-01-01", "lines": lines}
        return f"/v1/price-orders/{made(self.office.post('/v1/price-orders', wanted))['id']}"

    def doctor(self) -> str:
        both = {"ru": "Врачов Илья", "en": "Ilya Vrachov"}
        wanted = {"name": both, "specialty": both, "doctor_rank": "none"}
        return f"/v1/doctors/{made(self.office.post('/v1/doctors', wanted))['id']}"

    def key(self) -> str:
        return f"/v1/keys/{made(self.office.post('/v1/keys', {'name': 'x', 'scopes': ['catalog:read']}))['id']}"

    def account(self) -> str:
        wanted = {"login": f"p{uuid4().hex[:12]}", "role": "reception"}
        return f"/v1/staff/{made(self.office.post('/v1/staff', wanted))['id']}"

    def account_with_factor(self) -> str:
        address = self.account()
        with psycopg.connect(self.desk.urls.owner) as conn:
            conn.execute(
                """
                INSERT INTO second_factor (staff_id, sealed, last_step, created_at, confirmed_at)
                VALUES (%s::uuid, 'x', 0, now(), now())
                """,
                (address.rpartition("/")[2],),
            )
        return address

    def webhook(self) -> str:
        wanted = {"url": "https://93.184.216.34/", "events": ["*"]}
        return f"/v1/webhooks/{made(self.office.post('/v1/webhooks', wanted))['id']}"


@dataclass(frozen=True)
class Command:
    """What comes of it when four callers give a command to a fresh thing at once.

    The journal has `event` of the thing as often as it was done, or as often as `told`.
    """

    thing: Callable[[Clinic], str]
    event: str
    seen: dict[str, int]
    body: Any = None
    told: int | None = None
    match: bool = False


def once(
    thing: Callable[[Clinic], str], event: str, refusal: str, body: Any = None, *, status: int = 200, **more: Any
) -> Command:
    """A command that one of them gives and the others are refused."""
    return Command(thing, event, {str(status): 1, refusal: CALLERS - 1}, body, **more)


def each(
    thing: Callable[[Clinic], str], event: str, body: Any = None, *, status: int = 200, told: int | None = None
) -> Command:
    """A command that may be given any number of times."""
    return Command(thing, event, {str(status): CALLERS}, body, told)


def sent(clinic: Clinic) -> str:
    return clinic.quote("send")


QUOTE, INVOICE, ORDER = (
    "/v1/quotes/<uuid:quote_id>",
    "/v1/invoices/<uuid:invoice_id>",
    "/v1/price-orders/<uuid:order_id>",
)
STAFF, WEBHOOK = "/v1/staff/<uuid:staff_id>", "/v1/webhooks/<uuid:webhook_id>"
LONGER = {"valid_until": "2199-01-01", "reason": "Отпуск"}
VARIANTS = {"variants": [{"name": "А", "doctor_rank": "doctor"}]}
CREDIT = {"lines": [{"position": 1, "quantity": "1"}], "reason": "Ошибка"}
REFUND = {"amount": "70.00", "reason_code": "patient_request", "reason": "Передумал"}
PROMOTION = {"doctor_rank": "doctor", "since": "2100-01-01"}
COMMANDS: dict[str, Command] = {
    f"{QUOTE}/send": once(Clinic.quote, "quote.sent", "409 quote_not_open"),
    f"{QUOTE}/accept": once(Clinic.quote, "quote.accepted", "409 quote_not_open"),
    f"{QUOTE}/decline": once(Clinic.quote, "quote.declined", "409 quote_not_open"),
    f"{QUOTE}/cancel": once(Clinic.quote, "quote.cancelled", "409 quote_not_open", REASON),
    f"{QUOTE}/extend": once(sent, "quote.extended", "422 invalid_input", LONGER),
    f"{QUOTE}/revise": once(sent, "quote.revised", "409 quote_not_open", {"revision": 1}),
    f"{QUOTE}/reprice": once(sent, "quote.repriced", "409 quote_not_open", {"revision": 1}),
    # The invoice is another thing; of the quote it is told that it was accepted.
    f"{QUOTE}/invoice": once(
        Clinic.quote, "quote.accepted", "409 quote_already_invoiced", running.ISSUED, status=201
    ),
    f"{QUOTE}/approve": once(Clinic.dear_quote, "quote.discount_approved", "409 no_discount_waiting"),
    # The quote stays where it is, and each says why.
    f"{QUOTE}/refuse-discount": each(Clinic.dear_quote, "quote.discount_refused", REASON),
    f"{QUOTE}/links": each(sent, "quote.sent", {}, status=201, told=1),
    f"{QUOTE}/links/<uuid:link_id>/revoke": each(Clinic.link, "quote_link.revoked", told=1),
    f"{QUOTE}/compare": each(Clinic.quote, "quote.created", VARIANTS, told=1),
    f"{INVOICE}/issue": once(Clinic.draft, "invoice.issued", "409 invoice_not_draft"),
    f"{INVOICE}/discard": once(Clinic.draft, "invoice.discarded", "409 invoice_not_draft"),
    f"{INVOICE}/approve": once(Clinic.dear_draft, "invoice.discount_approved", "409 no_discount_waiting"),
    f"{INVOICE}/refuse-discount": each(Clinic.dear_draft, "invoice.discount_refused", REASON),
    f"{INVOICE}/cancel": once(Clinic.invoice, "invoice.cancelled", "409 invoice_not_issued", REASON),
    f"{INVOICE}/acts": once(Clinic.invoice, "invoice.issued", "409 nothing_to_render", status=201),
    f"{INVOICE}/credit-notes": once(Clinic.invoice, "invoice.issued", "422 invalid_input", CREDIT, status=201),
    "/v1/acts/<uuid:act_id>/cancel": once(Clinic.act, "act.cancelled", "409 act_cancelled", REASON),
    "/v1/payments/<uuid:payment_id>/allocations": once(
        Clinic.payment, "payment.allocated", "409 amount_exceeds_payment",
        lambda clinic: {"allocations": [{"invoice": clinic.invoice().rpartition("/")[2], "amount": "70.00"}]},
    ),
    "/v1/payments/<uuid:payment_id>/refunds": once(
        Clinic.payment, "payment.refunded", "409 amount_exceeds_payment", REFUND, status=201
    ),
    "/v1/shifts/<uuid:shift_id>/close": once(
        Clinic.shift, "shift.closed", "409 shift_closed", {"counted": {"cash": "0.00"}}
    ),
    f"{ORDER}/publish": once(Clinic.order, "price_order.published", "409 order_not_draft"),
    f"{ORDER}/discard": once(Clinic.order, "price_order.discarded", "409 order_not_draft"),
    # Drafts are edited under If-Match, and that is no event.
    f"{ORDER}/bulk": once(
        Clinic.order, "price_order.created", "412 precondition_failed", {"percent": "7.00"}, match=True
    ),
    # The one recorded last counts.
    "/v1/doctors/<uuid:doctor_id>/promotions": each(Clinic.doctor, "doctor.promoted", PROMOTION, status=201),
    "/v1/keys/<uuid:key_id>/revoke": once(Clinic.key, "api_key.revoked", "409 key_revoked"),
    # Each ends the secrets before the last one.
    "/v1/keys/<uuid:key_id>/rotate": each(Clinic.key, "api_key.rotated", {"overlap_hours": 24}),
    f"{STAFF}/reset-password": each(Clinic.account, "staff.password_reset"),
    f"{STAFF}/sign-out": each(Clinic.account, "staff.signed_out"),
    f"{STAFF}/remove-second-factor": once(Clinic.account_with_factor, "staff.second_factor_removed", "404 not_found"),
    f"{WEBHOOK}/disable": each(Clinic.webhook, "webhook.disabled", told=1),
    f"{WEBHOOK}/enable": each(Clinic.webhook, "webhook.enabled", {}, told=0),
    f"{WEBHOOK}/rotate-secret": each(Clinic.webhook, "webhook.secret_rotated", {"overlap_hours": 24}),
    f"{WEBHOOK}/test": each(Clinic.webhook, "webhook.created", status=202, told=1),
    f"{WEBHOOK}/replay": each(Clinic.webhook, "webhook.replayed", {"from": 1, "to": 2}, status=202),
}  # fmt: skip
OF_A_BRANCH = ("/v1/quotes", "/v1/invoices", "/v1/acts", "/v1/payments", "/v1/shifts")


@pytest.fixture
def clinic(service: Service, desk: Desk) -> Iterator[Clinic]:
    yield Clinic(desk, service.another(desk, discount_ceiling=0), service.caller())
    desk.check_books()


def test_s06_every_command_is_in_the_table():
    commands = {
        each.rule for each in ROUTES if each.method == "POST" and each.rule.startswith("/v1/") and each.parameters
    }
    assert commands == COMMANDS.keys()


@pytest.mark.parametrize("rule", COMMANDS)
def test_s06_a_command_is_done_as_often_as_it_may_be_however_many_give_it_at_once(clinic, rule):
    command = COMMANDS[rule]
    address = command.thing(clinic)
    caller = clinic.desk if rule.startswith(OF_A_BRANCH) else clinic.office
    body = command.body(clinic) if callable(command.body) else command.body
    headers = {"If-Match": caller.get(address).headers["ETag"]} if command.match else {}
    answers = at_once(CALLERS, lambda _: caller.post(f"{address}/{rule.rpartition('/')[2]}", body, **headers))
    assert seen(answers) == command.seen
    done = sum(each.status < 300 for each in answers) if command.told is None else command.told
    assert events(clinic, address).count(command.event) == done


def events(clinic: Clinic, address: str) -> list[str]:
    """What the journal has of the thing at this address, in the order of commits."""
    with psycopg.connect(clinic.desk.urls.owner) as conn:
        sql = "SELECT type FROM journal WHERE object_id = %s::uuid ORDER BY position"
        return [row[0] for row in conn.execute(sql, (address.rpartition("/")[2],))]
