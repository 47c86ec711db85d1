"""Guarantee letters: until when and up to how much what is invoiced under one is promised, also for two at once."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors as pg

from clinic import branches
from clinic.auth import COMMAND_LINE
from clinic.command import change
from tests import given, given_payers, running
from tests.given import faults, made
from tests.running import at_once, seen

LETTER = {"number": "ГП-7", "valid_until": "2199-12-31", "limit": "10000.00"}
CONSULTATION = ("ONC-CONS-1", "candidate")  # 5300.00


def insurer(**letter):
    return given_payers.INSURER | {"guarantee_letter": LETTER | letter}


def invoiced(clinic, payer, **more):
    quote = clinic.quote(CONSULTATION)
    return clinic.post(f"/v1/quotes/{quote['id']}/invoice", {"payer": payer, "issue": True, **more})


def letters(clinic, query=""):
    return made(clinic.get(f"/v1/guarantee-letters{query}"))["items"]


def refused(response, code):
    problem = response.get_json()
    assert (response.status_code, problem["code"]) == (409, code), problem
    return problem


def test_what_is_issued_is_used_and_what_is_credited_comes_back(clinic):
    first = made(invoiced(clinic, insurer()))
    (letter,) = letters(clinic)
    assert letter == {"inn": "1234567894", **LETTER, "currency": "RUB", "used": "5300.00", "left": "4700.00"}
    problem = refused(invoiced(clinic, insurer()), "guarantee_limit_exceeded")
    assert problem["left"] == "4700.00"
    note = {"lines": [{"position": 1, "amount": "600.00"}], "reason": "Ошибка"}
    made(clinic.post(f"/v1/invoices/{first['id']}/credit-notes", note))
    made(invoiced(clinic, insurer()))
    assert letters(clinic)[0]["left"] == "0.00"
    made(clinic.post(f"/v1/invoices/{first['id']}/cancel", {"reason": "Ошибка"}))
    assert letters(clinic)[0]["used"] == "5300.00"


def test_drafts_use_nothing(clinic):
    made(invoiced(clinic, insurer(), issue=False))
    assert letters(clinic) == []


def test_a_letter_that_has_expired_by_the_day_of_issue_is_refused_with_the_day(clinic):
    with given.day("2026-11-23"):
        problem = refused(invoiced(clinic, insurer(valid_until="2026-11-22")), "guarantee_letter_expired")
        assert problem["valid_until"] == "2026-11-22"
        assert problem["lines"] == [{"position": 1, "day": "2026-11-23"}]
        made(invoiced(clinic, insurer(valid_until="2026-11-23")))


def test_the_day_of_the_service_is_asked_first(clinic):
    with given.day("2026-11-23"):
        draft = made(
            clinic.post(
                "/v1/invoices",
                {
                    "payer": insurer(valid_until="2026-11-24"),
                    "lines": [given.line(*CONSULTATION), given.line(*CONSULTATION, service_date="2026-11-25")],
                },
            )
        )
        problem = refused(clinic.post(f"/v1/invoices/{draft['id']}/issue", {}), "guarantee_letter_expired")
        assert problem["lines"] == [{"position": 2, "day": "2026-11-25"}]


@pytest.mark.parametrize("other", [{"limit": "20000.00"}, {"valid_until": "2199-12-30"}])
def test_a_known_letter_has_no_other_terms(clinic, other):
    made(invoiced(clinic, insurer()))
    assert refused(invoiced(clinic, insurer(**other)), "guarantee_letter_differs")["known"] == LETTER


def test_a_slip_is_put_right_by_cancelling(clinic):
    wrong = made(invoiced(clinic, insurer(limit="5300.00")))
    made(clinic.post(f"/v1/invoices/{wrong['id']}/cancel", {"reason": "Ошибка"}))
    made(invoiced(clinic, insurer()))
    assert letters(clinic)[0]["limit"] == "10000.00"


def test_the_number_alone_means_the_letter_that_is_known(clinic):
    made(invoiced(clinic, insurer()))
    again = invoiced(clinic, given_payers.INSURER | {"guarantee_letter": {"number": "ГП-7"}})
    assert refused(again, "guarantee_limit_exceeded")["left"] == "4700.00"


def test_a_letter_without_terms_promises_everything(clinic):
    for _ in range(3):
        made(invoiced(clinic, given_payers.INSURER))
    (letter,) = letters(clinic)
    assert (letter["valid_until"], letter["limit"], letter["used"], letter["left"]) == (None, None, "15900.00", None)


def test_the_limit_is_one_for_all_branches_and_another_insurers_number_is_another_letter(clinic):
    with change(COMMAND_LINE) as done:
        branches.create(done, "north", "Север", "С")
    north = given.caller(clinic.app, "*", branch="north")
    made(invoiced(clinic, insurer()))
    refused(invoiced(north, insurer()), "guarantee_limit_exceeded")
    made(invoiced(north, given_payers.ANOTHER_INSURER | {"guarantee_letter": LETTER}))
    assert [each["inn"] for each in letters(north)] == ["1234567894", "7707083893"]
    assert [each["inn"] for each in letters(north, "?inn=7707083893&number=ГП-7")] == ["7707083893"]
    assert letters(north, "?number=ГП-8") == []
    assert faults(north.get("/v1/guarantee-letters?inn=1")) == [("?inn", "wrong_inn")]
    page = made(north.get("/v1/guarantee-letters?limit=1"))
    second = made(north.get(f"/v1/guarantee-letters?limit=1&cursor={page['next_cursor']}"))
    assert [each["inn"] for each in page["items"] + second["items"]] == ["1234567894", "7707083893"]


def test_the_database_itself_refuses_what_the_program_forgets(clinic, monkeypatch):
    with given.day("2026-11-23"):
        made(invoiced(clinic, insurer()))
        monkeypatch.setattr("billing.guarantee_letters.promised", lambda *_: None)
        for payer in (insurer(), insurer(limit="20000.00"), insurer(number="ГП-8", valid_until="2026-11-22")):
            assert invoiced(clinic, payer).status_code == 500
        assert letters(clinic)[0]["used"] == "5300.00"


@pytest.mark.parametrize("column", ["used = 0", "limit_amount = NULL", "valid_until = NULL"])
def test_the_application_cannot_move_a_letter(clinic, opened, column):
    made(invoiced(clinic, insurer()))
    with psycopg.connect(opened.app) as conn, pytest.raises(pg.InsufficientPrivilege):
        conn.execute(f"UPDATE guarantee_letter SET {column}")


@pytest.mark.xdist_group("server")
def test_two_invoices_at_once_never_exceed_the_limit_together(cluster):
    with running.new_database(cluster) as urls, running.service(urls) as service:
        desk = service.branch()
        for turn in range(10):
            payer = insurer(number=f"ГП-{turn}", limit="15000.00")
            # A letter that is new would be waited for by its unique key alone.
            running.made(desk.invoice(desk.quote(), payer=payer))
            answers = two_at_once(desk, payer)
            assert seen(answers) == {"200": 1, "409 guarantee_limit_exceeded": 1}
        desk.check_books()


def two_at_once(desk, payer):
    drafts = [running.made(desk.invoice(desk.quote(), payer=payer, issue=False)) for _ in range(2)]
    return at_once(2, lambda n: desk.post(f"/v1/invoices/{drafts[n]['id']}/issue", {}))
