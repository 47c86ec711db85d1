"""Domain rule 74: whoever reads or exports a person's documents leaves a row for each, which nobody changes."""

from __future__ import annotations

import re

import psycopg
import pytest

from clinic import db
from tests import given, given_money
from tests.browser import Person, quick_passwords  # noqa: F401 — a fixture
from tests.conftest import SETTINGS
from tests.given import made
from wsgi import create_app

READS = {"quotes:read", "quotes:write", "invoices:read", "invoices:write", "payments:read", "exports:read"}
"""Scopes whose GETs show documents of persons."""
NOBODYS = {
    "/v1/numbering/proof": "counts of numbers",
    "/v1/discount-reasons": "a table of the clinic's",
    "/v1/discount-reasons/<string:discount_reason>": "a table of the clinic's",
    "/v1/quotes/<uuid:quote_id>/approvals": "who approved how much",
    "/v1/invoices/<uuid:invoice_id>/approvals": "who approved how much",
    "/v1/quotes/<uuid:quote_id>/links": "when links end",
    "/desk/quotes/<uuid:quote_id>/links": "when links end",
    "/v1/guarantee-letters": "insurers and sums",
    "/desk/guarantee-letters": "insurers and sums",
    "/v1/shifts": "a desk and sums",
    "/v1/shifts/<uuid:shift_id>": "a desk and sums",
    "/v1/quotes/verify": "what stands on the paper at hand, without names",
    "/desk": "an empty form",
    "/desk/quotes": "the way to a quote by its code",
    "/desk/verify": "an empty form",
    "/shifts": "a desk and sums",
    "/shifts/<uuid:shift_id>": "a desk and sums",
}
"""Addresses under those scopes that show nobody's documents, and what they show."""


def reading(app):
    """Every address that shows documents of persons."""
    for rule in sorted(app.url_map.iter_rules(), key=str):
        scope = getattr(app.view_functions[rule.endpoint], "scope", None)
        if scope in READS and "GET" in rule.methods and str(rule) not in NOBODYS:
            yield str(rule)


RULES = list(reading(create_app(SETTINGS)))


@pytest.fixture
def known(clinic):
    """What the parameters of addresses name: documents of one patient."""
    patient = {"patient": {"id": "P-1", "name": "Иванова Анна"}}
    quote = clinic.quote(("MRI-ABD-RP", None), **patient)
    invoice = clinic.invoice(clinic.quote(("MRI-ABD-RP", None), **patient))
    payment = given_money.payment(clinic, "100.00", invoice)
    act = made(clinic.post(f"/v1/invoices/{invoice['id']}/acts", {}))
    credited = {"lines": [{"position": 1, "amount": "100.00"}], "reason": "Ошибка"}
    note = made(clinic.post(f"/v1/invoices/{invoice['id']}/credit-notes", credited))
    return {
        "quote_id": quote["id"],
        "invoice_id": invoice["id"],
        "payment_id": payment["id"],
        "act_id": act["id"],
        "credit_note_id": note["id"],
        "ref": "P-1",
    }


@pytest.mark.parametrize("rule", RULES)
def test_every_reading_leaves_a_row(clinic, known, quick_passwords, rule):  # noqa: F811
    if rule == "/desk/invoices/<uuid:invoice_id>/edit":
        known = known | {"invoice_id": clinic.draft(("MRI-ABD-RP", None))["id"]}
    if rule == "/desk/invoices/<uuid:invoice_id>/parts":
        known = known | {"invoice_id": clinic.invoice(clinic.quote(("MRI-ABD-RP", None)), issue=False)["id"]}

    def named(match):
        assert match[1] in known, f"{rule}: say in `known` what {match[1]} may be, or in NOBODYS what it shows"
        return known[match[1]]

    path = re.sub(r"<(?:\w+:)?(\w+)>", named, rule)
    before = rows()
    reader = clinic if rule.startswith("/v1/") else Person(clinic.app, "administrator").client
    answer = reader.get(path)
    assert answer.status_code == 200, answer.get_data(as_text=True)[:500]
    answer.get_data()
    assert rows() > before, f"{rule} shows documents and tells nobody"


def rows():
    with db.reading() as conn:
        return int(db.value(conn, "SELECT count(*) FROM access_log"))


@pytest.mark.parametrize(
    "sql", ["UPDATE access_log SET actor = 'nobody'", "DELETE FROM access_log", "TRUNCATE access_log"]
)
def test_the_log_only_grows(clinic, opened, sql):
    invoice = clinic.invoice(clinic.quote(given.line("MRI-ABD-RP")))
    clinic.get(f"/v1/invoices/{invoice['id']}")
    for url in (opened.app, opened.owner):
        with (
            psycopg.connect(url) as conn,
            pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.RestrictViolation)),
        ):
            conn.execute(sql)
