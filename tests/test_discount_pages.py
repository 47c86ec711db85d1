"""Discounts on pages: the queue, the decision, what reception sees of it, and the rules."""

from __future__ import annotations

from typing import Any

import pytest
from werkzeug.test import TestResponse

from clinic import branches, clock
from clinic.auth import COMMAND_LINE
from clinic.command import change
from tests import given
from tests.browser import Person, quick_passwords, text  # noqa: F401
from tests.given import Caller, line, made

pytestmark = pytest.mark.usefixtures("quick_passwords")
QUEUE = "/desk/approvals"
RULES = "/desk/discounts"


@pytest.fixture
def reception(clinic: Caller) -> Person:
    return Person(clinic.app, "reception")


@pytest.fixture
def senior(clinic: Caller) -> Person:
    return Person(clinic.app, "senior_reception", login="olga")


@pytest.fixture
def administrator(clinic: Caller) -> Person:
    return Person(clinic.app, "administrator", login="boss")


def discounted(person: Person, percent: str) -> TestResponse:
    """The page of a quote with this discount, made at the desk."""
    page = person.press(person.get("/desk"), "/desk", add="CT-ABD-RP")
    filled: dict[str, Any] = {"do": "save", "discount_percent": percent, "discount_reason": "repeat"}
    return person.follow(person.press(page, "/desk", **filled))


def decided(person: Person, quote: TestResponse, do: str, reason: str = "") -> TestResponse:
    """What comes of deciding in the queue."""
    action = quote.request.path.replace("/desk/quotes/", f"{QUEUE}/quotes/")
    return person.press(person.get(QUEUE), action, do=do, reason=reason)


# ---- The queue ----


def test_who_may_approve_sees_what_waits_with_its_prices_and_lets_it_go(reception, senior):
    quote = discounted(reception, "12,5")
    seen = text(senior.get(QUEUE))
    for told in ("anna", "8 840,00 ₽", "1 105,00 ₽", "12,50 %", "7 735,00 ₽", "повторное обращение", "12,5 %"):
        assert told in seen, told
    assert "черновик, скидка ждёт" in text(reception.get("/desk"))
    assert decided(senior, quote, "approve").status_code == 303
    assert "Ничего не ждёт решения" in text(senior.get(QUEUE))
    assert "скидка ждёт" not in text(reception.get("/desk"))
    path = quote.request.path
    assert "Скидка утверждена: olga" in text(reception.get(path))
    assert reception.press(reception.get(path), f"{path}/accept").status_code == 303


def test_a_refusal_needs_a_reason_and_the_author_reads_it(reception, senior):
    quote = discounted(reception, "12,5")
    without = decided(senior, quote, "refuse")
    assert (without.status_code, "Поле обязательно" in text(without)) == (422, True)
    assert decided(senior, quote, "refuse", "Не больше десяти").status_code == 303
    assert "Ничего не ждёт решения" in text(senior.get(QUEUE))
    assert "Отказано (olga): Не больше десяти" in text(reception.get(quote.request.path))
    paper = text(reception.get(f"{quote.request.path}/print"))
    assert "НЕ УТВЕРЖДЕНО" in paper


def test_what_is_above_ones_own_ceiling_says_so_and_stays(reception, senior, administrator):
    quote = discounted(reception, "50")
    assert "выше вашего предела" in text(senior.get(QUEUE))
    refused = decided(senior, quote, "approve", "Пусть будет")
    assert (refused.status_code, "Скидка выше той, что вы можете дать сами" in text(refused)) == (403, True)
    assert 'value="Пусть будет"' in refused.text
    assert decided(administrator, quote, "approve").status_code == 303


def test_nobody_is_offered_to_approve_his_own(senior):
    quote = discounted(senior, "50")
    page = senior.get(QUEUE)
    assert "Эта скидка ваша" in text(page)
    assert "Утвердить скидку" not in text(page)
    assert "Утвердить скидку" not in text(senior.get(quote.request.path))


def test_reception_has_no_queue(reception):
    assert reception.get(QUEUE).status_code == 403
    assert QUEUE not in reception.get("/desk").text


def test_a_decision_on_the_page_of_the_quote_leads_back_to_it(reception, senior):
    quote = discounted(reception, "12,5")
    path = quote.request.path
    action = path.replace("/desk/quotes/", f"{QUEUE}/quotes/")
    answer = senior.press(senior.get(path), action, do="approve")
    assert (answer.status_code, answer.headers["Location"]) == (303, path)
    assert "Утвердить скидку" not in text(senior.follow(answer))


def test_a_decision_on_what_was_changed_meanwhile_is_looked_at_again(reception, senior, administrator):
    quote = discounted(reception, "12,5")
    page = senior.get(QUEUE)
    assert decided(administrator, quote, "approve").status_code == 303
    action = quote.request.path.replace("/desk/quotes/", f"{QUEUE}/quotes/")
    assert senior.press(page, action, do="refuse", reason="Нет").status_code == 412


def test_a_direct_draft_is_approved_on_its_page(clinic, senior):
    author = given.caller(clinic.app, "*", discount_ceiling=0)
    lines = [line("CT-ABD-RP", discount_percent="10", discount_reason="goodwill")]
    draft = made(author.post("/v1/invoices", {"lines": lines, "payer": given.PAYER}))
    assert "Счёт без номера" in text(senior.get(QUEUE))
    path = f"/desk/invoices/{draft['id']}"
    page = senior.get(path)
    assert "Скидка ждёт утверждения" in text(page)
    answer = senior.press(page, f"{QUEUE}/invoices/{draft['id']}", do="approve", reason="Можно")
    assert answer.headers["Location"] == path
    assert "Скидка утверждена: olga — Можно" in text(senior.follow(answer))


def test_the_queue_of_a_branch_is_its_own(clinic):
    with change(COMMAND_LINE) as made_here:
        branches.create(made_here, "north", "Север", "С")
    discounted(Person(clinic.app, "reception", login="nora", branch="north"), "12,5")
    assert "Ничего не ждёт" in text(Person(clinic.app, "senior_reception", login="mira", branch="main").get(QUEUE))
    assert "nora" in text(Person(clinic.app, "senior_reception", login="nina", branch="north").get(QUEUE))


@pytest.mark.parametrize("lang", ["ru", "en"])
def test_pages_are_whole_in_both_languages(reception, administrator, lang):
    quote = discounted(reception, "12,5")
    for path in (QUEUE, RULES, f"{RULES}/reasons/staff", quote.request.path):
        page = administrator.get(f"{path}?lang={lang}")
        assert page.status_code == 200
        assert 'aria-current="page"' in page.text
        assert page.text.count('aria-current="page"') == 1


# ---- The rules ----


def test_an_administrator_adds_a_reason_and_ends_one(administrator, reception):
    page = administrator.get(RULES)
    action = f"{RULES}/reasons"
    wrong = administrator.press(page, action, code="День", name__ru="День рождения")
    assert (wrong.status_code, 'value="День рождения"' in wrong.text) == (422, True)
    fresh = {"code": "birthday", "name__ru": "День рождения", "name__en": "Birthday"}
    page = administrator.follow(administrator.press(page, action, **fresh))
    assert "День рождения" in text(page)
    taken = administrator.press(page, action, **fresh)
    assert (taken.status_code, "уже есть" in text(taken)) == (409, True)
    one = f"{RULES}/reasons/repeat"
    today = clock.today().isoformat()
    page = administrator.follow(administrator.press(administrator.get(one), one, valid_until=today))
    assert "не действует" in text(page)
    desk = reception.press(reception.get("/desk"), "/desk", add="CT-ABD-RP")
    assert ('value="birthday"' in desk.text, 'value="repeat"' in desk.text) == (True, False)
    past = administrator.press(administrator.get(one), one, valid_until="2026-01-01")
    assert past.status_code == 422
    assert "Этот день уже прошёл" in text(past)


def test_an_administrator_sets_ceilings_and_who_saw_old_ones_looks_again(administrator, reception):
    page = administrator.get(RULES)
    action = f"{RULES}/ceilings"
    wrong = administrator.press(page, action, ceiling__reception="много")
    assert (wrong.status_code, 'value="много"' in wrong.text) == (422, True)
    assert administrator.press(page, action, ceiling__reception="12,5").status_code == 303
    assert 'value="12,5"' in administrator.get(RULES).text
    assert administrator.press(page, action, ceiling__reception="50").status_code == 412
    assert "ждёт утверждения" not in text(discounted(reception, "12,5"))


def test_only_an_administrator_sees_the_rules(senior):
    assert senior.get(RULES).status_code == 403
