"""Reception compares variants of a quote on a page, and makes a quote of one."""

from __future__ import annotations

import pytest

from tests import browser, given
from tests.browser import Person, quick_passwords  # noqa: F401
from tests.given import made

CONSULTATION, CONTRAST, PLAIN = "ONC-CONS-1", "CT-ABD-RP-BOLUS", "CT-ABD-RP"


@pytest.fixture
def anna(clinic, quick_passwords):  # noqa: F811
    return Person(clinic.app, "reception")


@pytest.fixture
def quote(clinic):
    return clinic.quote((CONSULTATION, "none"), (CONTRAST, None), patient={"id": "P-7", "name": "Иванова"})


def page_of(quote):
    return f"/desk/quotes/{quote['id']}/compare"


def said(page):
    return browser.text(page).replace("\u00a0", " ")


def test_at_first_the_other_ranks_stand_beside_the_quote(anna, quote):
    assert page_of(quote) in anna.get(f"/desk/quotes/{quote['id']}").text
    page = anna.get(page_of(quote))
    assert page.status_code == 200
    assert "Итого 17 700,00 ₽ 19 300,00 ₽ 22 500,00 ₽" in said(page)
    assert "Разница +1 600,00 ₽ +4 800,00 ₽" in said(page)
    assert "Total 17 700,00 ₽" in said(anna.get(page_of(quote) + "?lang=en"))


def test_a_study_without_contrast_and_a_visit_left_out_are_chosen_from_lists(anna, quote):
    page = anna.get(f"{page_of(quote)}?v1-{CONTRAST}={PLAIN}&v2-{CONSULTATION}=-")
    assert f"{PLAIN} вместо {CONTRAST}" in said(page)
    assert f"без {CONSULTATION}" in said(page)
    assert "Итого 17 700,00 ₽ 12 540,00 ₽ 14 000,00 ₽" in said(page)
    assert "Разница −5 160,00 ₽ −3 700,00 ₽" in said(page)
    # What was chosen is still chosen.
    (form,) = [fields for _, fields in browser.forms(page) if f"v3-{CONTRAST}" in fields]
    assert (form[f"v1-{CONTRAST}"], form[f"v2-{CONSULTATION}"], form["v3-rank"]) == (PLAIN, "-", "")


def test_a_button_makes_a_draft_of_a_variant_for_the_same_patient_once(anna, clinic, quote):
    page = anna.get(f"{page_of(quote)}?v1-rank=doctor&v1-{CONTRAST}={PLAIN}")
    answers = [anna.press(page, page_of(quote)) for _ in range(2)]
    draft, again = (each.headers["Location"].rpartition("/")[2] for each in answers)
    assert draft == again != quote["id"]
    kept = made(clinic.get(f"/v1/quotes/{draft}"))
    assert (kept["status"], kept["totals"]["total"], kept["patient"]) == (
        "draft",
        "17340.00",
        {"id": "P-7", "name": "Иванова"},
    )
    assert made(clinic.get(f"/v1/quotes/{quote['id']}"))["lines"] == quote["lines"]


def test_a_variant_that_cannot_be_had_says_why_and_the_others_stay(anna, quote):
    page = anna.get(f"{page_of(quote)}?v1-rank=professor&v2-rank=doctor&v3-{CONTRAST}=NONE-SUCH")
    assert page.status_code == 200
    assert f"у услуги {CONSULTATION} нет цены" in said(page)
    assert "Услуги с артикулом NONE-SUCH нет" in said(page)
    assert "Итого 17 700,00 ₽ 22 500,00 ₽ Разница" in said(page)
    (form,) = [fields for _, fields in browser.forms(page) if f"v3-{CONTRAST}" in fields]
    assert (form["v1-rank"], form[f"v3-{CONTRAST}"]) == ("professor", "NONE-SUCH")
    everything_out = anna.get(f"{page_of(quote)}?v1-{CONTRAST}=-&v1-{CONSULTATION}=-")
    assert "не осталось ни одной строки" in said(everything_out)


def test_a_package_is_left_out_whole(anna, clinic):
    quote = clinic.quote({"package": "CT-MRI-DAY"}, (CONSULTATION, "none"))
    page = anna.get(f"{page_of(quote)}?v1-CT-MRI-DAY=-")
    assert "Итого 28 630,00 ₽ 3 700,00 ₽" in said(page)


def test_a_form_that_was_tampered_with_makes_nothing(anna, clinic, quote):
    page = anna.get(f"{page_of(quote)}?v1-rank=doctor")
    refused = anna.press(page, page_of(quote), v1__rank="NO RANK")
    assert refused.status_code == 422
    assert "не той формы" in said(refused)
    assert len(made(clinic.get("/v1/quotes"))["items"]) == 1


def test_another_branch_sees_no_quote_of_ours(clinic, quote, quick_passwords):  # noqa: F811
    made(clinic.post("/v1/branches", {"code": "north", "name": "Север", "prefix": "С"}))
    stranger = Person(clinic.app, "reception", branch="north", login="boris")
    assert stranger.get(page_of(quote)).status_code == 404
    assert given.caller(clinic.app, "quotes:read").get(page_of(quote)).status_code == 303
