"""Parts of a quote and services beyond it, put on an invoice at the desk; what an insurer's letter has against one."""

import pytest

from tests import given, given_payers
from tests.browser import Person, forms, quick_passwords, text  # noqa: F401
from tests.given import made

pytestmark = pytest.mark.usefixtures("quick_passwords")
QUOTED = ("MRI-ABD-RP", None)  # 13700.00
PAYS = {"payer-kind": "person", "payer-name": "Петрова Анна", "due_date": "2199-01-01"}


@pytest.fixture
def desk(clinic):
    return Person(clinic.app, "reception")


def plain(page):
    return text(page).replace("\u00a0", " ")


def at(quote):
    return f"/desk/quotes/{quote['id']}"


def opened_form(desk, quote, **typed):
    """The form, reached from the quote's own with what was typed there."""
    page = desk.get(at(quote))
    fields = next(fields for action, fields in forms(page) if action == f"{at(quote)}/invoice")
    return desk.client.post(f"{at(quote)}/invoicing", data=fields | PAYS | typed | {"do": "more"})


def pressed(desk, page, quote, do="issue", **typed):
    return desk.press(page, f"{at(quote)}/invoicing", do=do, **typed)


def with_scan(desk, quote, **typed):
    found = pressed(desk, opened_form(desk, quote, **typed), quote, do="search", q="CT-ABD-RP")
    return pressed(desk, found, quote, do=None, add="CT-ABD-RP")


def invoices_of(clinic, quote):
    return made(clinic.get(f"/v1/invoices?quote={quote['id']}"))["items"]


def test_a_firm_quote_is_exceeded_with_the_patients_consent(clinic, desk):
    quote = clinic.quote(QUOTED)
    page = with_scan(desk, quote)
    for part in ("Сверх сметы", "8 840,00 ₽", "Всего по счёту 22 540,00 ₽"):
        assert part in plain(page), part
    wrong = pressed(desk, page, quote, comment="Срочно")
    assert wrong.status_code == 422 and 'id="consent_ref-fault"' in wrong.text
    assert "нужно согласие пациента, укажите его номер" in plain(wrong)
    for typed in ("Петрова Анна", "2199-01-01", "Срочно"):
        assert f'value="{typed}"' in wrong.text, typed
    cyrillic = pressed(desk, wrong, quote, consent_ref="С 17")
    assert cyrillic.status_code == 422 and 'value="С 17"' in cyrillic.text
    shown = desk.follow(pressed(desk, cyrillic, quote, consent_ref="C-17"))
    assert "C-17" in plain(shown) and "Срочно" in plain(shown)
    (invoice,) = invoices_of(clinic, quote)
    assert (invoice["status"], invoice["consent_ref"], invoice["due_date"]) == ("issued", "C-17", "2199-01-01")
    assert [(line["article"], line["quote_position"]) for line in invoice["lines"]] == [
        ("MRI-ABD-RP", 1),
        ("CT-ABD-RP", None),
    ]


def test_an_approximate_quote_asks_for_no_consent(clinic, desk):
    quote = clinic.quote(QUOTED, kind="approximate")
    page = with_scan(desk, quote)
    assert 'id="consent_ref"' not in page.text and "предупреждают заранее" in plain(page)
    desk.follow(pressed(desk, page, quote))
    assert invoices_of(clinic, quote)[0]["totals"]["total"] == "22540.00"


def test_what_is_wrong_stands_beside_its_field_and_nothing_typed_is_lost(clinic, desk):
    quote = clinic.quote(QUOTED)
    page = with_scan(desk, quote, **{"payer-kind": "organisation", "payer-inn": "12"})
    wrong = pressed(desk, page, quote, consent_ref="C-17", **{"lines-0-quantity": "много"})
    assert wrong.status_code == 422
    for field, typed in {"lines-0-quantity": "много", "payer-inn": "12"}.items():
        assert f'id="{field}-fault"' in wrong.text and f'value="{typed}"' in wrong.text, field
    ranked = pressed(desk, page, quote, do=None, add="ONC-CONS-1")
    assert "Выберите звание врача" in plain(ranked)
    # Without its line, who pays stays as it was typed.
    bare = pressed(desk, wrong, quote, do=None, remove="0")
    assert "согласия пациента" not in plain(bare)
    again = pressed(desk, bare, quote, do=None, add="CT-ABD-RP")
    for typed in ("12", "Петрова Анна", "C-17"):
        assert f'value="{typed}"' in again.text, typed


def test_lines_beyond_have_no_discount_and_are_no_packages(clinic, desk):
    quote = clinic.quote(QUOTED)
    page = pressed(desk, with_scan(desk, quote), quote, do="search", q="CT-MRI-DAY")
    assert "discount" not in page.text and "add_package" not in page.text
    forged = pressed(desk, page, quote, do=None, add_package="CT-MRI-DAY")
    refused = pressed(desk, forged, quote, consent_ref="C-17")
    assert refused.status_code == 422 and invoices_of(clinic, quote) == []


def test_sending_twice_makes_one_invoice(clinic, desk):
    quote = clinic.quote(QUOTED)
    page = with_scan(desk, quote)
    answers = [pressed(desk, page, quote, do="draft", consent_ref="C-17") for _ in range(2)]
    assert [each.status_code for each in answers] == [303, 303]
    (draft,) = invoices_of(clinic, quote)
    assert draft["status"] == "draft" and "Выставить счёт" in plain(desk.follow(answers[0]))
    late = pressed(desk, page, quote, do="draft", consent_ref="C-18")
    assert late.status_code == 409 and "Сейчас она: выставлен счёт" in plain(late)
    assert len(invoices_of(clinic, quote)) == 1


def test_a_part_of_a_quote_is_invoiced_and_the_rest_later(clinic, desk):
    quote = clinic.quote(given.line("MRI-ABD-RP", quantity="3"), ("CT-ABD-RP", None), ("ONC-CONS-1", "candidate"))
    page = pressed(desk, opened_form(desk, quote), quote, do="recalculate", **{"part-1": "2", "part-2": ""})
    assert "Итого по смете 32 700,00 ₽" in plain(page)
    desk.follow(pressed(desk, page, quote))
    (first,) = invoices_of(clinic, quote)
    assert [(line["quote_position"], line["quantity"]) for line in first["lines"]] == [(1, "2"), (3, "1")]
    rest = opened_form(desk, quote)
    assert 'id="part-1" name="part-1" value="1"' in rest.text and "Итого по смете 22 540,00 ₽" in plain(rest)
    assert 'id="part-2"' in rest.text and 'id="part-3"' not in rest.text
    desk.follow(pressed(desk, rest, quote))
    assert made(clinic.get(f"/v1/quotes/{quote['id']}"))["status"] == "invoiced"


def test_a_wrong_part_is_said_beside_its_line(clinic, desk):
    quote = clinic.quote(("MRI-ABD-RP", None), given.line("CT-ABD-RP", quantity="2"))
    page = with_scan(desk, quote)
    for do in ("recalculate", "issue"):
        for typed, said in {"много": "Нужно количество", "7": "Осталось выставить 2", "-1": "больше нуля"}.items():
            wrong = pressed(desk, page, quote, do=do, consent_ref="C-17", **{"part-2": typed})
            assert 'id="part-2-fault"' in wrong.text and said in plain(wrong), (do, typed)
            assert f'value="{typed}"' in wrong.text and 'value="Петрова Анна"' in wrong.text
        nothing = pressed(desk, page, quote, do=do, consent_ref="C-17", **{"part-1": "", "part-2": "0"})
        assert "Укажите, что выставить из сметы" in plain(nothing)
    assert invoices_of(clinic, quote) == []


def test_a_part_that_another_invoice_took_meanwhile_is_said_with_what_is_left(clinic, desk):
    quote = clinic.quote(given.line("MRI-ABD-RP", quantity="3"))
    page = opened_form(desk, quote)
    clinic.invoice(quote, lines=[{"position": 1, "quantity": "2"}])
    late = pressed(desk, page, quote)
    assert late.status_code == 422 and "Осталось выставить 1" in plain(late) and 'value="3"' in late.text
    assert len(invoices_of(clinic, quote)) == 1


def test_a_quote_that_is_invoiced_or_over_has_no_such_form(clinic, desk):
    quote = clinic.quote(QUOTED)
    page = with_scan(desk, quote)
    clinic.invoice(quote)
    for answer in (desk.get(f"{at(quote)}/invoicing"), pressed(desk, page, quote, consent_ref="C-17")):
        assert answer.status_code == 409 and "Сейчас она: выставлен счёт" in plain(answer)
    assert "/invoicing" not in desk.get(at(quote)).text
    with given.day("2026-11-23"):
        over = clinic.quote(QUOTED, valid_until="2026-11-24")
    answer = desk.get(f"{at(over)}/invoicing")
    assert answer.status_code == 409 and "Её последний день — 24.11.2026" in plain(answer)


def test_a_quote_is_left_as_a_draft_invoice(clinic, desk):
    quote = clinic.quote(QUOTED)
    page = desk.follow(desk.press(desk.get(at(quote)), f"{at(quote)}/invoice", do="draft", **PAYS))
    assert "черновик" in plain(page) and f"{invoices_of(clinic, quote)[0]['id']}/issue" in page.text


def test_the_form_speaks_english_too(clinic, desk):
    quote = clinic.quote(QUOTED)
    desk.get("/?lang=en")
    page = plain(with_scan(desk, quote))
    for part in ("Beyond the quote", "Total of the invoice", "Reference of the patient's consent", "Keep as a draft"):
        assert part in page, part
    assert Person(clinic.app, "accountant", login="boris").get(f"{at(quote)}/invoicing").status_code == 403


INSURER = {
    "payer-kind": "insurer", "payer-name": "АО «Страховщик»", "payer-inn": "1234567894", "payer-kpp": "770101001",
    "payer-guarantee_letter-number": "ГП-7", "payer-guarantee_letter-valid_until": "2199-12-31",
    "payer-guarantee_letter-limit": "20 000,00", "consent_ref": "C-17",
}  # fmt: skip
LETTERS = [
    ({}, "limit", "По письму осталось 6 300,00 ₽.", "6 300,00 ₽ is left of it."),
    ({"limit": "19 000"}, "number", "на сумму до 20 000,00 ₽", "for at most 20 000,00 ₽"),
    (
        {"number": "ГП-8", "valid_until": "2026-11-24"},
        "valid_until",
        "Последний день письма — 24.11.2026. Позже: строка 1 — 25.11.2026",
        "Its last day is 24 November 2026. Later: line 1 — 25 November 2026",
    ),
]


@pytest.mark.parametrize(("letter", "field", "ru", "en"), LETTERS)
@pytest.mark.parametrize("way", ["invoice", "invoicing"])
def test_what_a_letter_has_against_an_invoice_stands_beside_its_field(clinic, letter, field, ru, en, way):
    known = {"number": "ГП-7", "valid_until": "2199-12-31", "limit": "20000.00"}
    with given.day("2026-11-25"):
        clinic.invoice(clinic.quote(QUOTED), payer=given_payers.INSURER | {"guarantee_letter": known})
        quote, desk = clinic.quote(QUOTED), Person(clinic.app, "reception")
        typed = INSURER | {f"payer-guarantee_letter-{name}": value for name, value in letter.items()}
        for lang, told in (("ru", ru), ("en", en)):
            desk.get(f"/?lang={lang}")
            page = desk.get(at(quote)) if way == "invoice" else opened_form(desk, quote)
            refused = desk.press(page, f"{at(quote)}/{way}", do="issue", **typed)
            assert refused.status_code == 409 and told in plain(refused), plain(refused)
            assert f'id="payer-guarantee_letter-{field}-fault"' in refused.text and "<details open>" in refused.text
            for value in typed.values():
                if way == "invoicing" or value != "C-17":
                    assert f'value="{value}"' in refused.text, value
    assert invoices_of(clinic, quote) == []
