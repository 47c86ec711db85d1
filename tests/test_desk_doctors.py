"""At the desk: picking a doctor picks the rank, and staff see where a price came from."""

import pytest

from tests import given, given_payers, given_prices
from tests.browser import Person, quick_passwords, text  # noqa: F401
from tests.test_pages import address, basket, invoice_page, quote_page

pytestmark = pytest.mark.usefixtures("quick_passwords")
NAME = "Врачов Илья"


@pytest.fixture
def doctor(clinic):
    return given_payers.doctor(clinic, "doctor")


@pytest.fixture
def desk(clinic, doctor):
    return Person(clinic.app, "reception")


def test_choosing_a_doctor_chooses_the_rank_whatever_the_rank_field_says(desk, doctor):
    page = basket(desk, "ONC-CONS-1 none")
    assert "3 700,00" in text(page).replace("\xa0", " ")
    chosen = desk.press(page, "/desk", do="recalculate", lines__0__doctor=doctor["id"])
    assert "8 500,00" in text(chosen).replace("\xa0", " ")
    # No field for another rank beside him, so the two cannot differ.
    assert 'id="lines-0-doctor_rank"' not in chosen.text
    quote = desk.follow(desk.press(chosen, "/desk", do="save"))
    assert NAME in text(quote)
    assert "д.м.н." in text(quote)
    printed = desk.get(address(quote) + "/print")
    assert NAME in text(printed)
    invoice = invoice_page(desk, quote)
    assert NAME in text(invoice)
    assert NAME in text(desk.get(address(invoice) + "/print"))


def test_without_the_doctor_again_the_rank_stays_and_can_be_chosen(desk, doctor):
    chosen = desk.press(basket(desk, "ONC-CONS-1 none"), "/desk", do="recalculate", lines__0__doctor=doctor["id"])
    freed = desk.press(chosen, "/desk", do="recalculate", lines__0__doctor="")
    assert 'id="lines-0-doctor_rank"' in freed.text
    assert "8 500,00" in text(freed).replace("\xa0", " ")


def test_a_service_not_priced_by_rank_may_have_a_doctor_too(desk, doctor):
    page = quote_page(desk, "CT-ABD-RP", lines__0__doctor=doctor["id"])
    assert NAME in text(page)


def test_a_forged_doctor_is_a_fault_at_its_field(desk):
    for forged in ("nobody", "019abf0e-6c4b-7d0e-9c3a-5b8d2f6a7e17", "<script>"):
        page = desk.press(basket(desk, "CT-ABD-RP"), "/desk", do="save", lines__0__doctor=forged)
        assert page.status_code == 422
        assert "Выберите врача из списка." in text(page)
        assert 'id="lines-0-doctor-fault"' in page.text


def test_who_has_left_cannot_be_chosen(clinic, desk, doctor):
    path = f"/v1/doctors/{doctor['id']}"
    given.made(clinic.patch(path, {"active": False}, match=clinic.get(path).headers["ETag"]))
    assert NAME not in text(basket(desk, "CT-ABD-RP"))


def test_a_clinic_without_doctors_has_no_field_for_them(clinic):
    page = basket(Person(clinic.app, "reception"), "ONC-CONS-1 none")
    assert 'lines-0-doctor"' not in page.text


def test_staff_see_a_fallback_on_the_screen_and_patients_do_not_on_paper(clinic, desk):
    given_payers.price_list(clinic, "staff", "staff")
    given_prices.published(given_prices.line("CT-ABD-RP", "5000.00"), price_list="staff")
    quote = clinic.quote(("CT-ABD-RP", None), ("MRI-ABD-RP", None), price_list="staff")
    shown = text(desk.get(f"/desk/quotes/{quote['id']}"))
    assert shown.count("по прейскуранту base") == 1
    assert "Прейскурант staff" in shown
    printed = desk.get(f"/desk/quotes/{quote['id']}/print")
    note = printed.text[printed.text.index('<p class="note no-print">') :].partition("</p>")[0]
    assert "2 (base)" in note
    assert "1 (" not in note
    assert "base" not in printed.text.replace(note, "")
    invoice = clinic.invoice(quote)
    assert "2 (base)" in text(desk.get(f"/desk/invoices/{invoice['id']}/print"))
    plain = clinic.quote(("CT-ABD-RP", None))
    assert "note no-print" not in desk.get(f"/desk/quotes/{plain['id']}/print").text


def test_a_promotion_and_a_new_name_reprint_every_document_byte_for_byte(clinic, desk, doctor):
    quote = clinic.quote({"article": "ONC-CONS-1", "doctor": doctor["id"]})
    invoice = clinic.invoice(quote)
    papers = [f"/desk/quotes/{quote['id']}/print", f"/desk/invoices/{invoice['id']}/print"]
    before = [desk.get(each).data for each in papers]
    assert all(NAME.encode() in each for each in before)
    given_payers.promotion(clinic, doctor, "professor")
    path = f"/v1/doctors/{doctor['id']}"
    renamed = {"name": given_payers.names("Другова")}
    given.made(clinic.patch(path, renamed, match=clinic.get(path).headers["ETag"]))
    assert [desk.get(each).data for each in papers] == before
