"""Guarantee letters at the desk: what was promised, what is left of it, on a page of their own and on invoices."""

import psycopg
import pytest

from clinic import branches
from clinic.auth import COMMAND_LINE
from clinic.command import change
from tests import given_payers
from tests.browser import Person, quick_passwords, text  # noqa: F401
from tests.given import made

pytestmark = pytest.mark.usefixtures("quick_passwords")
CONSULTATION = ("ONC-CONS-1", "candidate")  # 5300.00
PAGE = "/desk/guarantee-letters"
LETTER = {"number": "ГП-7", "valid_until": "2199-12-31", "limit": "10000.00"}


@pytest.fixture
def desk(clinic):
    return Person(clinic.app, "reception")


def plain(page):
    return text(page).replace("\u00a0", " ")


def insurer(**letter):
    return given_payers.INSURER | {"guarantee_letter": LETTER | letter}


def test_a_letter_is_shown_with_what_is_used_and_left(clinic, desk):
    assert "Таких писем нет" in plain(desk.get(PAGE))
    clinic.invoice(clinic.quote(CONSULTATION), payer=insurer())
    clinic.invoice(clinic.quote(CONSULTATION), payer=insurer(number="ГП-8", limit=None, valid_until=None))
    page = plain(desk.get(PAGE))
    for part in (
        "№ ГП-7 АО «Страховщик» ИНН 1234567894 31.12.2199 10 000,00 ₽ 5 300,00 ₽ 4 700,00 ₽",
        "№ ГП-8 АО «Страховщик» ИНН 1234567894 без срока без лимита 5 300,00 ₽ без лимита",
    ):
        assert part in page, page
    desk.get("/?lang=en")
    assert "Valid until Limit Used Left № ГП-7" in plain(desk.get(PAGE))


def test_letters_are_found_by_insurer_and_number(clinic, desk):
    clinic.invoice(clinic.quote(CONSULTATION), payer=insurer())
    other = given_payers.ANOTHER_INSURER | {"name": "Другая", "guarantee_letter": {"number": "ДР-1"}}
    clinic.invoice(clinic.quote(CONSULTATION), payer=other)
    for query, seen in (("?inn=7707083893", "ДР-1"), ("?number=ГП-7", "ГП-7"), ("?inn=7707083893&number=ГП-7", None)):
        page = plain(desk.get(PAGE + query))
        assert [number for number in ("ГП-7", "ДР-1") if f"№ {number}" in page] == [seen] * bool(seen), query
    wrong = desk.get(PAGE + "?inn=123&number=ГП-7")
    assert wrong.status_code == 422 and 'id="inn-fault"' in wrong.text
    assert 'value="123"' in wrong.text and 'value="ГП-7"' in wrong.text


def test_many_letters_are_read_page_by_page(clinic, desk, opened):
    with psycopg.connect(opened.owner) as owner:
        owner.execute(
            """
            INSERT INTO guarantee_letter (insurer_inn, number)
            SELECT '1234567894', 'А-' || lpad(n::text, 3, '0') FROM generate_series(1, 51) AS n
            """
        )
    page = desk.get(f"{PAGE}?inn=1234567894")
    assert "№ А-050" in plain(page) and "№ А-051" not in plain(page)
    further = page.text.partition('class="button second" href="')[2].partition('"')[0].replace("&amp;", "&")
    page = plain(desk.get(further))
    assert "№ А-051" in page and "№ А-050" not in page and "Дальше" not in page
    assert desk.get(f"{PAGE}?inn=1234567894&cursor=abc").status_code == 400


def test_an_invoice_says_what_is_left_of_its_letter(clinic, desk):
    draft = clinic.draft(CONSULTATION, payer=insurer())
    at = f"/desk/invoices/{draft['id']}"
    page = plain(desk.get(at))
    assert "№ ГП-7 по 31.12.2199, не больше 10 000,00 ₽" in page and "Осталось по письму" not in page
    made(clinic.post(f"/v1/invoices/{draft['id']}/issue"))
    # Who names the number alone means the letter that is known.
    named = given_payers.INSURER | {"guarantee_letter": {"number": "ГП-7"}}
    by_number = clinic.draft(CONSULTATION, payer=named)
    for each in (draft, by_number):
        page = plain(desk.get(f"/desk/invoices/{each['id']}"))
        assert "не больше 10 000,00 ₽" in page and "Осталось по письму 4 700,00 ₽" in page
    # The draft comes to more than that.
    assert '<span class="mark bad">4' in desk.get(f"/desk/invoices/{by_number['id']}").text
    assert '<span class="mark bad">4' not in desk.get(at).text


def test_the_limit_is_given_where_an_insurer_is_chosen_to_pay(clinic, desk):
    quote = clinic.quote(CONSULTATION)
    at = f"/desk/quotes/{quote['id']}"
    form = desk.get(at)
    assert f'href="{PAGE}"' in form.text
    typed = {
        "payer-kind": "insurer", "payer-name": "АО «Страховщик»", "payer-inn": "1234567894", "payer-kpp": "770101001",
        "payer-guarantee_letter-number": "ГП-7", "payer-guarantee_letter-valid_until": "2199-12-31",
        "payer-guarantee_letter-limit": "10 000,00",
    }  # fmt: skip
    wrong = desk.press(form, f"{at}/invoice", **typed | {"payer-guarantee_letter-limit": "много"})
    assert wrong.status_code == 422 and 'id="payer-guarantee_letter-limit-fault"' in wrong.text
    assert 'value="много"' in wrong.text
    desk.follow(desk.press(wrong, f"{at}/invoice", **typed))
    (letter,) = made(clinic.get("/v1/guarantee-letters"))["items"]
    assert (letter["limit"], letter["left"]) == ("10000.00", "4700.00")


def test_a_letter_is_of_the_clinic_and_its_invoices_are_of_their_branches(clinic):
    with change(COMMAND_LINE) as making:
        branches.create(making, "north", "Север", "С")
    clinic.invoice(clinic.quote(CONSULTATION), payer=insurer())
    page = plain(Person(clinic.app, "reception", branch="north").get(PAGE))
    assert "№ ГП-7" in page and "4 700,00 ₽" in page and "Страховщик" not in page
    assert Person(clinic.app, "price_keeper", login="boris").get(PAGE).status_code == 403
