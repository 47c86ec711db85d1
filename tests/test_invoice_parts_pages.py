"""The form over a draft made from a quote: other parts, another payer, and that nothing typed is lost."""

import pytest

from tests.browser import Person, quick_passwords, text  # noqa: F401
from tests.given import line, made

pytestmark = pytest.mark.usefixtures("quick_passwords")


@pytest.fixture
def desk(clinic):
    return Person(clinic.app, "reception")


@pytest.fixture
def quote(clinic):
    return clinic.quote(
        line("MRI-ABD-RP", quantity="3"), ("CT-ABD-RP", None), patient={"id": "P-5", "name": "Иванова Анна"}
    )


@pytest.fixture
def draft(clinic, quote):
    """Two of the three of the first line."""
    payer = {"kind": "person", "is_patient": True}
    return clinic.invoice(quote, issue=False, payer=payer, lines=[{"position": 1, "quantity": "2"}])


def plain(page):
    return text(page).replace("\u00a0", " ")


def form_of(draft):
    return f"/desk/invoices/{draft['id']}/parts"


def read(clinic, draft):
    return made(clinic.get(f"/v1/invoices/{draft['id']}"))


def parts(invoice):
    return [(each["quote_position"], each["quantity"]) for each in invoice["lines"]]


def test_other_parts_and_another_payer_are_saved(clinic, desk, draft):
    page = desk.get(form_of(draft).removesuffix("/parts"))
    assert f'href="{form_of(draft)}"' in page.text
    form = desk.get(form_of(draft))
    assert 'name="part-1" value="2"' in form.text and 'name="part-2" value=""' in form.text
    typed = {"part-1": "3", "part-2": "1", "payer-is_patient": None, "payer-name": "Петрова", "due_date": "2199-01-01"}
    page = desk.follow(desk.press(form, form_of(draft), comment="За маму", **typed))
    for part in ("Петрова", "01.01.2199", "За маму", "49 940,00 ₽"):
        assert part in plain(page), part
    assert parts(read(clinic, draft)) == [(1, "3"), (2, "1")]


def test_what_is_not_touched_stays(clinic, desk, quote):
    payer = {"kind": "person", "ref": "R-9", "name": "Петров"}
    draft = clinic.invoice(quote, issue=False, payer=payer, lines=[{"position": 1, "quantity": "2"}], comment="Срочно")
    desk.follow(desk.press(desk.get(form_of(draft)), form_of(draft)))
    kept = read(clinic, draft)
    assert {name: kept[name] for name in kept if name != "updated_at"} == {
        name: draft[name] for name in draft if name != "updated_at"
    }


def test_wrong_parts_are_said_beside_their_lines(clinic, desk, quote, draft):
    form = desk.get(form_of(draft))
    typed = {"part-1": "7", "part-2": "много", "payer-inn": "12", "due_date": "2199-01-01"}
    wrong = desk.press(form, form_of(draft), comment="Долгий текст", **typed)
    assert wrong.status_code == 422 and 'id="part-2-fault"' in wrong.text and 'id="payer-inn-fault"' in wrong.text
    for value in (*typed.values(), "Долгий текст"):
        assert f'value="{value}"' in wrong.text, value
    wrong = desk.press(wrong, form_of(draft), **{"part-2": "", "payer-inn": ""})
    assert wrong.status_code == 422 and "Осталось выставить 3" in plain(wrong) and 'id="part-1-fault"' in wrong.text
    nothing = desk.press(wrong, form_of(draft), **{"part-1": ""})
    assert nothing.status_code == 422 and "Укажите, что выставить из сметы" in plain(nothing)
    # What another invoice has is not this one's.
    clinic.invoice(quote, lines=[{"position": 1, "quantity": "1"}])
    late = desk.press(form, form_of(draft), **{"part-1": "3"})
    assert late.status_code == 422 and "Осталось выставить 2" in plain(late)
    assert parts(read(clinic, draft)) == [(1, "2")]


def test_a_draft_that_moved_meanwhile_is_looked_at_again(clinic, desk, draft):
    form, api = desk.get(form_of(draft)), f"/v1/invoices/{draft['id']}"
    made(clinic.patch(api, {"comment": "Чужая правка"}, match=clinic.get(api).headers["ETag"]))
    late = desk.press(form, form_of(draft), comment="Долгий текст")
    assert late.status_code == 412 and 'value="Долгий текст"' in late.text
    answers = [desk.press(late, form_of(draft)) for _ in range(2)]
    assert [each.status_code for each in answers] == [303, 303]
    assert read(clinic, draft)["comment"] == "Долгий текст"
    form = desk.get(form_of(draft))
    made(clinic.post(f"{api}/issue"))
    for answer in (desk.get(form_of(draft)), desk.press(form, form_of(draft), comment="Поздно")):
        assert answer.status_code == 409 and "Сейчас он выставлен" in plain(answer)
    assert form_of(draft) not in desk.get(form_of(draft).removesuffix("/parts")).text


def test_services_beyond_the_quote_stay(clinic, desk, quote):
    extra = {"extra_lines": [line("ONC-CONS-1", "candidate")], "consent_ref": "C-17"}
    draft = clinic.invoice(quote, issue=False, lines=[{"position": 1, "quantity": "2"}], **extra)
    form = desk.get(form_of(draft))
    assert "Сверх сметы остаётся: Первичный приём врача-онколога, 5 300,00 ₽." in plain(form)
    desk.follow(desk.press(form, form_of(draft), **{"part-1": "1"}))
    assert parts(read(clinic, draft)) == [(1, "1"), (None, "1")]


def test_the_form_is_for_drafts_of_quotes_and_who_may_write_them(clinic, desk, draft):
    assert desk.get(form_of(clinic.draft(("CT-ABD-RP", None)))).status_code == 404
    assert Person(clinic.app, "accountant", login="boris").get(form_of(draft)).status_code == 403
    desk.get("/?lang=en")
    page = plain(desk.get(form_of(draft)))
    for part in ("Change the draft invoice", "On the invoice", "Prices are the quote's", "Leave it as it is"):
        assert part in page, part
