"""A clinic with a document of every kind and a history to attack."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from billing import privacy, quote_purge
from clinic import db
from clinic.auth import COMMAND_LINE
from clinic.command import change
from clinic.embedded import Cluster, Urls
from tests import given, given_money, given_payers, given_quotes
from tests.conftest import SETTINGS
from tests.running import new_database
from wsgi import create_app


@dataclass(frozen=True)
class Books:
    """A clinic with an issued invoice and the quote it was made from, a cancelled invoice, a draft and an act.

    A quote is sent, and its last day was moved.

    Of the issued one 100.00 is paid by a payment of 300.00, of which 50.00 was given back and 20.00 pays another one,
    and 100.00 by another payment. One shift is closed, one open.
    """

    urls: Urls
    ids: dict[str, str]


@contextmanager
def kept(cluster: Cluster) -> Iterator[Books]:
    """These books in a database of their own."""
    with new_database(cluster) as urls:
        db.open_pool(urls.app, size=2)
        try:
            with db.seeing(None):
                yield Books(urls, _made(urls))
        finally:
            db.close_pool()


def _made(urls: Urls) -> dict[str, str]:
    given.main_branch()
    given.sample()
    clinic = given.caller(create_app(SETTINGS), "*")
    quote = clinic.quote(("ONC-CONS-1", "candidate"))
    issued = clinic.invoice(quote)
    given.made(clinic.post(f"/v1/quotes/{quote['id']}/links"))
    cancelled = clinic.invoice(clinic.quote(("ONC-CONS-1", "candidate")))
    given.made(clinic.post(f"/v1/invoices/{cancelled['id']}/cancel", {"reason": "Ошибка"}))
    given_quotes.aged(urls, clinic.quote(("ONC-CONS-1", "candidate")), 100)
    quote_purge.purge(90)
    dear = clinic.quote(given.line("CT-ABD-RP", discount_percent="50", discount_reason="goodwill"))
    second_person = given.caller(clinic.app, "*", discount_ceiling=100)
    given.made(second_person.post(f"/v1/quotes/{dear['id']}/approve", {}))
    draft = clinic.draft(("ONC-CONS-1", "candidate"))
    sent = clinic.quote(("ONC-CONS-1", "candidate"))
    given.made(clinic.post(f"/v1/quotes/{sent['id']}/send", {}))
    longer = {"valid_until": "2199-01-01", "reason": "Отпуск пациента"}
    given.made(clinic.post(f"/v1/quotes/{sent['id']}/extend", longer))
    payment = given_money.payment(clinic, "300.00", (issued, "100.00"))
    given.made(given_money.refunded(clinic, payment, "50.00"))
    closed = given.made(clinic.post("/v1/shifts", {"desk": "Касса 1"}))
    given.made(clinic.post(f"/v1/shifts/{closed['id']}/close", {"counted": {"cash": "0.00"}}))
    opened = given.made(clinic.post("/v1/shifts", {"desk": "Касса 1"}))
    given_money.payment(clinic, "100.00", issued)
    second = given_money.invoice(clinic, "20.00")
    given.made(clinic.post(f"/v1/payments/{payment['id']}/allocations", {"allocations": [{"invoice": second["id"]}]}))
    credited = clinic.invoice(clinic.quote(("ONC-CONS-1", "candidate"), ("CT-ABD-RP", None)))
    lines = [{"position": 1, "amount": "300.00"}]
    note = given.made(clinic.post(f"/v1/invoices/{credited['id']}/credit-notes", {"lines": lines, "reason": "Ошибка"}))
    foreign = clinic.invoice(clinic.quote(("ONC-CONS-1", "none")), payer=given.PAYER | {"ref": "P-2"})
    rendered = clinic.invoice(clinic.quote(("ONC-CONS-1", "none")), payer=given_payers.INSURER)
    given.made(clinic.post(f"/v1/invoices/{rendered['id']}/acts", {}))
    given.made(clinic.get(f"/v1/invoices/{issued['id']}"))  # which is noted
    with change(COMMAND_LINE) as asked:
        privacy.erase(asked, given.PAYER["ref"], years=5)  # which has to wait
    named = {
        "quote": quote, "issued": issued, "cancelled": cancelled, "draft": draft, "payment": payment,
        "closed": closed, "opened": opened, "foreign": foreign, "sent": sent, "credited": credited, "note": note,
    }  # fmt: skip
    return {name: each["id"] for name, each in named.items()}


@contextmanager
def undone(url: str) -> Iterator[psycopg.Connection]:
    """A connection whose every change is undone."""
    with psycopg.connect(url) as conn:
        conn.execute("SET clinic.branch = '*'")
        yield conn
        conn.rollback()
