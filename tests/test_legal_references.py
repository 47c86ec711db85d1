"""Domain rule 33: papers name the act of law in force on their day, and never one that has ended."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest
from psycopg import errors as pg

from clinic import clock
from tests import given
from tests.browser import Person, quick_passwords, text  # noqa: F401
from tests.given import faults, made

pytestmark = pytest.mark.usefixtures("quick_passwords")
PATH = "/v1/legal-references/paid_services"
TEXT = {"ru": "Новые правила", "en": "New rules"}


@pytest.fixture
def autumn(app, monkeypatch):
    """A clinic that has sold since August 2026."""
    monkeypatch.setattr(given, "FIRST_DAY", "2026-08-01")
    given.sample()
    return given.caller(app, "*")


@pytest.fixture
def front(app):
    return Person(app, "administrator")


def drawn_up(clinic, day):
    """A quote and an invoice of this day."""
    with given.day(day):
        return clinic.quote(("CT-ABD-RP", None)), clinic.invoice(clinic.quote(("CT-ABD-RP", None)))


def shown(front, quote, invoice):
    """The two pages, and the two papers."""
    paths = (f"/desk/quotes/{quote['id']}", f"/desk/invoices/{invoice['id']}")
    return [text(front.get(path)) for path in paths], [text(front.get(f"{path}/print")) for path in paths]


def put(clinic, since, until=None, **more):
    return clinic.put(PATH, {"text": TEXT, "valid_from": str(since), "valid_until": until and str(until), **more})


def test_rule_33_a_document_of_the_last_day_names_the_decree(autumn, front):
    quote, invoice = drawn_up(autumn, "2026-08-31")
    assert (quote["date"], quote["warnings"]) == ("2026-08-31", [])
    pages, papers = shown(front, quote, invoice)
    assert all("№ 736" in paper and "пп. 2 п. 2 ст. 149 НК РФ" in paper for paper in papers)
    assert not any("Ссылка на закон не печатается" in page for page in pages)


@pytest.mark.parametrize("day", ["2026-09-01", "2026-09-02"])
def test_rule_33_a_document_of_a_later_day_names_none_and_warns(autumn, front, day):
    quote, invoice = drawn_up(autumn, day)
    (warning,) = quote["warnings"]
    assert (warning["code"], warning["no"]) == ("legal_reference_missing", None)
    assert warning["message"]["en"].startswith(f"No text of the legal reference paid_services is in force on {day}")
    assert made(autumn.get(f"/v1/quotes/{quote['id']}"))["warnings"] == [warning]
    pages, papers = shown(front, quote, invoice)
    assert not any("736" in paper or "Ссылка на закон не печатается" in paper for paper in papers)
    assert all("149 НК РФ" in paper for paper in papers)
    shown_day = f"{day[8:]}.{day[5:7]}.2026"
    assert all(f"её текста, действующего на {shown_day}, нет" in page for page in pages), pages
    assert not any("PUT" in page for page in pages)


def test_an_invoice_warns_wherever_it_is_answered(autumn):
    def told(invoice):
        return [
            (each["code"], each["message"]["en"].partition(" is in force on ")[2][:10]) for each in invoice["warnings"]
        ]

    missing = "legal_reference_missing"
    with given.day("2026-08-31"):
        draft, untouched = (autumn.draft(("CT-ABD-RP", None)) for _ in range(2))
        assert told(draft) == []
    path = f"/v1/invoices/{draft['id']}"
    with given.day("2026-09-01"):
        assert told(autumn.draft(("CT-ABD-RP", None))) == [(missing, "2026-09-01")]
        assert told(autumn.invoice(autumn.quote(("CT-ABD-RP", None)), issue=False)) == [(missing, "2026-09-01")]
        assert told(made(autumn.get(path))) == []
        # A draft that is priced again is of today, and so is one that is issued.
        lines = {"lines": [given.line("CT-ABD-RP")]}
        edited = made(autumn.patch(path, lines, match=autumn.get(path).headers["ETag"]))
        assert told(edited) == [(missing, "2026-09-01")]
    with given.day("2026-09-02"):
        issued, late = (made(autumn.post(f"/v1/invoices/{each['id']}/issue")) for each in (draft, untouched))
        assert told(issued) == told(late) == [(missing, "2026-09-02")]
        assert made(autumn.get(path))["warnings"] == issued["warnings"]
        listed = {each["id"]: each["warnings"] for each in made(autumn.get("/v1/invoices"))["items"]}
        assert listed[draft["id"]] == issued["warnings"]
        cancelled = made(autumn.post(f"{path}/cancel", {"reason": "Ошибка"}))
        assert told(made(autumn.get(path))) == told(issued) and cancelled
        made(put(autumn, "2026-09-01"))
        assert made(autumn.get(path))["warnings"] == []


def test_the_successor_is_named_by_documents_of_its_days(autumn, front):
    documents = drawn_up(autumn, "2026-09-02")
    periods = made(put(autumn, "2026-09-01"))["items"]
    assert [(each["valid_from"], each["valid_until"]) for each in periods] == [
        ("2026-09-01", None),
        ("2023-09-01", "2026-09-01"),
    ]
    assert all("Новые правила" in paper for paper in shown(front, *documents)[1])
    assert made(autumn.get(f"/v1/quotes/{documents[0]['id']}"))["warnings"] == []
    (event,) = [each for each in autumn.events() if each["type"] == "legal_reference.changed"]
    assert event["data"] == {"code": "paid_services", "valid_from": "2026-09-01", "valid_until": None}
    made(put(autumn, "2026-09-01"))
    assert autumn.events()[-1] == event


def test_a_further_text_ends_the_present_one(clinic):
    today = clock.today()
    soon = today + timedelta(days=10)
    made(put(clinic, today))
    periods = made(put(clinic, soon, text={"ru": "Иные", "en": "Others"}))["items"]
    assert [each["valid_until"] for each in periods][:2] == [None, str(soon)]
    assert made(put(clinic, today, today + timedelta(days=5)))["items"][1]["valid_until"] != str(soon)
    assert made(clinic.get("/v1/legal-references"))["items"][0] == made(put(clinic, today, soon))["items"][0]


def test_days_that_are_over_do_not_change(clinic):
    today = clock.today()
    assert faults(put(clinic, today, today)) == [("/valid_until", "before_valid_from")]
    decree = made(clinic.get("/v1/legal-references"))["items"][0]
    assert faults(put(clinic, "2023-09-01", text=decree["text"])) == [("/valid_until", "past_period")]
    assert put(clinic, "2025-01-01", "2025-02-01").status_code == 422
    made(put(clinic, "2026-09-01"))
    other = {"text": {"ru": "Иные", "en": "Others"}}
    assert faults(put(clinic, today - timedelta(days=1), **other)) == [("/valid_from", "past_period")]
    assert put(clinic, "2026-09-01", **other).status_code == 409
    assert faults(put(clinic, "2026-09-01", "2026-10-01")) == [("/valid_until", "past_period")]
    assert clinic.put("/v1/legal-references/other", {"text": TEXT, "valid_from": "2027-01-01"}).status_code == 404
    assert put(given.caller(clinic.app, "catalog:write"), "2027-01-01").status_code == 403


@pytest.mark.parametrize(
    "attack",
    [
        "UPDATE legal_reference SET valid = daterange(lower(valid), NULL) WHERE code = 'paid_services'",
        "UPDATE legal_reference SET valid = daterange(lower(valid), '2026-08-01') WHERE code = 'paid_services'",
        "UPDATE legal_reference SET valid = daterange(lower(valid) - 1, upper(valid))",
        "UPDATE legal_reference SET text_ru = 'x'",
        "DELETE FROM legal_reference",
    ],
)
def test_the_database_keeps_periods_that_are_over(opened, attack):
    with psycopg.connect(opened.owner) as owner, pytest.raises(pg.RestrictViolation):
        owner.execute(attack)
