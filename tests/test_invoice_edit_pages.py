"""The reception's form over a draft invoice: what is changed, what stays, and that nothing typed is lost."""

import pytest

from clinic import db
from tests.browser import Person, quick_passwords, text  # noqa: F401
from tests.given import line, made

pytestmark = pytest.mark.usefixtures("quick_passwords")

GOODWILL = {"discount_reason": "goodwill"}


@pytest.fixture
def desk(clinic):
    return Person(clinic.app, "reception")


def plain(page):
    return text(page).replace("\u00a0", " ")


def form_of(invoice):
    return f"/desk/invoices/{invoice['id']}/edit"


def read(clinic, invoice):
    return made(clinic.get(f"/v1/invoices/{invoice['id']}"))


def test_a_draft_gets_another_service_and_another_payer(clinic, desk):
    draft = clinic.draft(("CT-ABD-RP", None), comment="Натощак")
    assert f'href="{form_of(draft)}"' in desk.get(form_of(draft).removesuffix("/edit")).text
    form = desk.get(form_of(draft))
    assert "Изменить черновик счёта" in plain(form) and 'value="Натощак"' in form.text
    found = desk.press(form, form_of(draft), do="search", q="приём онколога", comment="До еды")
    added = desk.press(found, form_of(draft), add="ONC-CONS-1 doctor", **{"lines-0-quantity": "2"})
    assert "26 180,00 ₽" in plain(added) and 'value="До еды"' in added.text
    page = desk.follow(
        desk.press(added, form_of(draft), do="save", **{"payer-name": "Другой", "due_date": "2199-01-01"})
    )
    for part in ("без номера", "26 180,00 ₽", "Другой", "01.01.2199"):
        assert part in plain(page), part
    kept = read(clinic, draft)
    assert (kept["comment"], kept["payer"]["name"], kept["totals"]["total"]) == ("До еды", "Другой", "26180.00")


def test_what_is_not_touched_stays(clinic, desk):
    letter = {"number": "ГП-1", "valid_until": "2199-01-01", "limit": "90000.00"}
    payer = {"kind": "insurer", "ref": "I-1", "name": "Страховая", "inn": "7702070139", "kpp": "770101001"}
    lines = [
        line("CT-ABD-RP", service_date="2199-01-02"),
        line("US-LIVER", unit_price="2500.50", price_reason="сложный случай", quantity="1.5"),
    ]
    draft = made(
        clinic.post(
            "/v1/invoices",
            {
                "lines": lines,
                "payer": payer | {"guarantee_letter": letter},
                "patient": {"id": "P-5", "name": "Иванова", "phone": "+7 900"},
                "due_date": "2199-02-03",
                "discount_amount": "10.00",
                **GOODWILL,
            },
        )
    )
    desk.follow(desk.press(desk.get(form_of(draft)), form_of(draft), do="save", comment="Новое"))
    kept = read(clinic, draft)
    assert kept["comment"] == "Новое"
    changed = ("comment", "updated_at", "approval", "lines")
    assert {name: kept[name] for name in kept if name not in changed} == {
        name: draft[name] for name in draft if name not in changed
    }
    with db.seeing(None), db.reading() as conn:
        of_patient = "SELECT phone FROM invoice JOIN party ON party.id = patient_party WHERE invoice.id = %(id)s"
        assert db.value(conn, of_patient, {"id": draft["id"]}) == "+7 900"
    # Who saves the form gives the prices by hand.
    assert [each | {"priced_by": None} for each in kept["lines"]] == [
        each | {"priced_by": None} for each in draft["lines"]
    ]


def test_a_patient_who_pays_still_pays_when_he_is_another(clinic, desk):
    payer = {"kind": "person", "is_patient": True}
    draft = clinic.draft(("CT-ABD-RP", None), patient={"id": "P-5", "name": "Иванова"}, payer=payer)
    other = {"patient-id": "P-6", "patient-name": "Петрова"}
    desk.follow(desk.press(desk.get(form_of(draft)), form_of(draft), do="save", **other))
    kept = read(clinic, draft)
    assert [(kept[name].get("id") or kept[name]["ref"], kept[name]["name"]) for name in ("patient", "payer")] == [
        ("P-6", "Петрова")
    ] * 2


def test_nothing_typed_is_lost_when_it_is_wrong_or_comes_late(clinic, desk):
    draft = clinic.draft(("CT-ABD-RP", None))
    form = desk.get(form_of(draft))
    wrong = desk.press(
        form, form_of(draft), do="save", comment="Долгий текст", due_date="2020-01-01",
        **{"lines-0-quantity": "много", "payer-inn": "12"},
    )  # fmt: skip
    assert wrong.status_code == 422
    for typed in ("много", "Долгий текст", "2020-01-01", "12"):
        assert f'value="{typed}"' in wrong.text, typed
    for field in ("lines-0-quantity", "payer-inn"):
        assert f'id="{field}-fault"' in wrong.text, field
    # What is wrong stands where it is seen.
    assert "<details open>" in wrong.text and "<details open>" not in form.text
    passed = desk.press(wrong, form_of(draft), do="save", **{"lines-0-quantity": "2", "payer-inn": ""})
    assert passed.status_code == 422 and 'id="due_date-fault"' in passed.text and 'value="2020-01-01"' in passed.text
    api = f"/v1/invoices/{draft['id']}"
    made(clinic.patch(api, {"comment": "Чужая правка"}, match=clinic.get(api).headers["ETag"]))
    late = desk.press(form, form_of(draft), do="save", comment="Долгий текст")
    assert late.status_code == 412
    assert 'value="Долгий текст"' in late.text and "изменилось" in plain(late)
    desk.follow(desk.press(late, form_of(draft), do="save"))
    assert read(clinic, draft)["comment"] == "Долгий текст"


def test_saving_twice_changes_once_and_saving_something_else_asks(clinic, desk):
    draft = clinic.draft(("CT-ABD-RP", None))
    form = desk.get(form_of(draft))
    answers = [desk.press(form, form_of(draft), do="save", comment="Раз") for _ in range(2)]
    assert [each.status_code for each in answers] == [303, 303]
    other = desk.press(form, form_of(draft), do="save", comment="Два")
    assert other.status_code == 409 and 'value="Два"' in other.text and "сохранена" in plain(other)
    assert read(clinic, draft)["comment"] == "Раз"


def test_only_a_direct_draft_has_the_form(clinic, desk):
    of_quote = clinic.invoice(clinic.quote(("CT-ABD-RP", None)), issue=False)
    assert desk.get(form_of(of_quote)).status_code == 404
    draft = clinic.draft(("CT-ABD-RP", None))
    form = desk.get(form_of(draft))
    made(clinic.post(f"/v1/invoices/{draft['id']}/issue"))
    assert desk.get(form_of(draft)).status_code == 409
    late = desk.press(form, form_of(draft), do="save", comment="Поздно")
    assert late.status_code == 409 and 'value="Поздно"' in late.text
    for invoice in (of_quote, draft):
        assert "/edit" not in desk.get(form_of(invoice).removesuffix("/edit")).text
    assert Person(clinic.app, "accountant", login="boris").get(form_of(draft)).status_code == 403


def test_the_form_speaks_english_too(clinic, desk):
    draft = clinic.draft(("CT-ABD-RP", None))
    desk.get("/?lang=en")
    page = plain(desk.get(form_of(draft)))
    for part in ("Change the draft invoice", "On the invoice", "Name of the payer", "Due date", "Leave it as it is"):
        assert part in page, part
