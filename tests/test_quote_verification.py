"""A quote on paper is ours, and says what ours says; or it is not, and nothing more is told."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from billing import quote_verification
from clinic import clock, limits
from tests import browser, given
from tests.browser import Person, quick_passwords  # noqa: F401
from tests.given import faults, made

CODE = "7K3Q-92MT-F"
"""A right code that is nobody's."""
OUT = "/v1/quotes/verify?code="


@pytest.fixture
def quote(clinic):
    return clinic.quote(("ONC-CONS-1", "none"), ("CT-ABD-RP-BOLUS", None), patient={"id": "P-7", "name": "Иванова"})


def paper(quote):
    return f"{quote['code']}/{quote['revision']}"


def verified(caller, quote, **more):
    query = "".join(f"&{name}={text}" for name, text in more.items())
    return made(caller.get(f"{OUT}{paper(quote)}{query}"))


def test_a_genuine_paper_is_told_by_what_it_has_on_it_and_no_name(clinic, quote):
    answer = clinic.get(f"{OUT}{paper(quote)}&total=17700.00")
    found = made(answer)
    print_of_it = found.pop("fingerprint")
    assert re.fullmatch(r"[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}", print_of_it)
    assert found == {
        "genuine": True, "code": quote["code"], "revision": 1, "newest_revision": 1, "status": "draft",
        "date": quote["date"], "valid_until": quote["valid_until"], "currency": "RUB", "total": "17700.00", "lines": 2,
        "total_agrees": True, "fingerprint_agrees": None, "purged_at": None,
    }  # fmt: skip
    assert "Иванова" not in answer.text
    assert "P-7" not in answer.text
    assert verified(clinic, quote, fingerprint=print_of_it)["fingerprint_agrees"] is True
    assert verified(clinic, quote, fingerprint=print_of_it.replace("-", "").upper())["fingerprint_agrees"] is True


def test_an_altered_paper_is_told(clinic, quote):
    found = verified(clinic, quote, total="7700", fingerprint="000000000000")
    assert (found["genuine"], found["total_agrees"], found["fingerprint_agrees"]) == (True, False, False)


def test_any_branch_may_check_any_quote(clinic, quote):
    made(clinic.post("/v1/branches", {"code": "north", "name": "Север", "prefix": "С"}))
    north = given.caller(clinic.app, "quotes:read", branch="north")
    assert north.get(f"/v1/quotes/{quote['id']}").status_code == 404
    assert verified(north, quote)["genuine"] is True


def test_s29_a_quote_that_is_not_ours_and_a_revision_that_never_was_are_told_alike(clinic, quote):
    unknown, never = made(clinic.get(OUT + CODE)), verified(clinic, {**quote, "revision": 2})
    assert unknown == never | {"code": CODE}
    assert {name for name, value in unknown.items() if value is not None} == {"genuine", "code"}
    assert unknown["genuine"] is False


@pytest.mark.parametrize("typed", ["7K3Q-92MT-G", "7K3Q-92MT", "7K3Q-92MT-F/x", "7K3Q-92MT-F/1/1", "%D0%A2K3Q-92MT-F"])
def test_a_mistyped_code_is_told_without_a_look_up(clinic, monkeypatch, typed):
    monkeypatch.setattr(quote_verification, "_kept", None)
    monkeypatch.setattr(limits, "must_have_room", None)
    assert faults(clinic.get(OUT + typed)) == [("?code", "mistyped_code")]


def test_s29_who_makes_codes_up_is_held_up_and_others_are_not(clinic, quote):
    with clock.frozen(datetime(2026, 11, 24, 9, tzinfo=UTC)):
        other = given.caller(clinic.app, "quotes:read")
        guesser = given.caller(clinic.app, "quotes:read")
        answers = [guesser.get(OUT + CODE) for _ in range(quote_verification.MISSES.most + 1)]
        assert [each.status_code for each in answers[:-1]] == [200] * quote_verification.MISSES.most
        assert (answers[-1].status_code, answers[-1].headers["Retry-After"]) == (429, "20")
        # Nor is he told of one that there is.
        assert guesser.get(OUT + paper(quote)).status_code == 429
        for _ in range(quote_verification.MISSES.most + 1):
            assert verified(other, quote)["genuine"] is True
        assert other.get(OUT + CODE).status_code == 200
    with clock.frozen(datetime(2026, 11, 24, 9, tzinfo=UTC) + timedelta(seconds=20)):
        assert verified(guesser, quote)["genuine"] is True


def test_the_fingerprint_says_what_the_lines_say_and_not_whose_they_are_nor_what_became_of_it(clinic, quote, opened):
    before = verified(clinic, quote)["fingerprint"]
    made(clinic.post(f"/v1/quotes/{quote['id']}/send"))
    assert verified(clinic, quote)["fingerprint"] == before
    with psycopg.connect(opened.owner) as conn:
        conn.execute("SET session_replication_role = replica")
        for change in (
            "UPDATE quote_revision SET patient_party = NULL, patient_ref = NULL, valid_until = valid_until + 7",
            "UPDATE quote_line SET invoiced_quantity = quantity",
        ):
            conn.execute(change)
            assert print_of(conn) == before
        for change in (
            "UPDATE quote_line SET name_ru = 'x' WHERE position = 2",
            "UPDATE quote_line SET amount = amount - 1, discount = discount + 1 WHERE position = 2",
            "UPDATE quote_revision SET kind = 'approximate'",
            "UPDATE quote_revision SET comment = 'x'",
        ):
            was = print_of(conn)
            conn.execute(change)
            assert print_of(conn) != was, change


def print_of(conn):
    (digits,) = conn.execute("SELECT quote_fingerprint(quote_revision) FROM quote_revision").fetchone()
    return quote_verification.shown(digits)


# ---- On pages ----


@pytest.fixture
def accountant(clinic, quick_passwords):  # noqa: F811
    return Person(clinic.app, "accountant")


def test_what_is_printed_is_what_is_verified(accountant, quote):
    sheet = browser.text(accountant.get(f"/desk/quotes/{quote['id']}/print?lang=en"))
    printed = re.search(r"code (\S+?) ?, fingerprint (\S+)", sheet)
    assert printed and printed[1] == paper(quote)
    page = accountant.get(f"/desk/verify?code={printed[1]}&total=17 700,00&fingerprint={printed[2]}&lang=en")
    assert page.status_code == 200
    assert "The quote is ours." in browser.text(page)
    assert "Lines 2" in browser.text(page)


def test_the_desk_is_told_what_is_wrong_and_loses_nothing_typed(accountant, quote):
    empty = accountant.get("/desk/verify")
    assert (empty.status_code, "Отпечаток" in browser.text(empty)) == (200, True)
    wrong = accountant.get("/desk/verify?code=7K3Q-92MT-G&total=много&fingerprint=zz")
    assert wrong.status_code == 422
    assert "проверочный знак" in browser.text(wrong)
    assert browser.forms(wrong)[-1][1] == {"code": "7K3Q-92MT-G", "total": "много", "fingerprint": "zz"}
    assert "Такой сметы у нас нет" in browser.text(accountant.get(f"/desk/verify?code={CODE}"))
    altered = browser.text(accountant.get(f"/desk/verify?code={paper(quote)}&total=1"))
    assert "Итог не тот" in altered


def test_who_guesses_at_the_desk_is_held_up_too(accountant):
    for _ in range(quote_verification.MISSES.most):
        accountant.get(f"/desk/verify?code={CODE}")
    held_up = accountant.get(f"/desk/verify?code={CODE}")
    assert held_up.status_code == 429
    assert int(held_up.headers["Retry-After"]) > 0
    assert "Слишком много" in browser.text(held_up)


def test_everything_wrong_is_told_at_once(clinic):
    assert faults(clinic.get(f"{OUT}7K3Q-92MT-G&total=1.234&fingerprint=x")) == [
        ("?code", "mistyped_code"),
        ("?fingerprint", "wrong_form"),
        ("?total", "not_money"),
    ]
    assert faults(clinic.get("/v1/quotes/verify")) == [("?code", "required")]
