"""The page of an invoice: a draft is issued or put away there, and whatever is refused is said there."""

from datetime import date

import pytest

from clinic.settings import Settings
from tests import given, given_payers
from tests.browser import Person, forms, quick_passwords, text  # noqa: F401
from tests.given import made
from wsgi import create_app

pytestmark = pytest.mark.usefixtures("quick_passwords")
CONSULTATION = ("ONC-CONS-1", "candidate")  # 5300.00


@pytest.fixture
def desk(clinic):
    return Person(clinic.app, "reception")


def plain(page):
    return text(page).replace("\u00a0", " ")


def at(invoice):
    return f"/desk/invoices/{invoice['id']}"


def issued(person, invoice, page=None, **typed):
    """The answer to the button that issues."""
    return person.press(page or person.get(at(invoice)), f"{at(invoice)}/issue", **{"confirmed": "yes"} | typed)


def buttons(page):
    return {action.rpartition("/")[2] for action, _ in forms(page)} & {"issue", "discard"}


def read(clinic, invoice):
    return made(clinic.get(f"/v1/invoices/{invoice['id']}"))


def test_a_draft_is_issued_once_it_is_said_to_be_checked(clinic, desk):
    draft = clinic.draft(CONSULTATION)
    page = desk.get(at(draft))
    assert buttons(page) == {"issue", "discard"} and 'id="date"' not in page.text
    wrong = issued(desk, draft, page, confirmed=None)
    assert wrong.status_code == 422 and 'id="confirmed-fault"' in wrong.text
    assert "Отметьте, что плательщик, услуги и сумма проверены" in plain(wrong)
    assert issued(desk, draft, page, confirmed="maybe").status_code == 422
    assert read(clinic, draft)["status"] == "draft"
    answers = [issued(desk, draft, wrong) for _ in range(2)]
    assert [each.status_code for each in answers] == [303, 303]
    kept = read(clinic, draft)
    assert (kept["status"], kept["number"]) == ("issued", "2026-000001")
    page = desk.follow(answers[0])
    assert "2026-000001" in plain(page) and buttons(page) == set()


def test_a_draft_put_away_gives_its_quote_back(clinic, desk):
    quote = clinic.quote(CONSULTATION)
    draft = clinic.invoice(quote, issue=False)
    page = desk.get(at(draft))
    assert "Услуги сметы можно будет выставить снова" in plain(page)
    answers = [desk.press(page, f"{at(draft)}/discard") for _ in range(2)]
    assert [each.status_code for each in answers] == [303, 303]
    page = desk.follow(answers[0])
    assert "отброшен" in plain(page) and buttons(page) == set()
    assert "Остаток" not in plain(page)  # nothing is owed of it
    assert clinic.invoice(quote)["status"] == "issued"


def test_only_who_may_give_another_day_is_asked_for_one(clinic, desk):
    boss = Person(clinic.app, "administrator", login="boss")
    with given.day("2026-11-26"):
        clinic.invoice(clinic.quote(CONSULTATION))
        drafts = [clinic.draft(CONSULTATION) for _ in range(2)]
    forged = issued(desk, drafts[0], date="2026-11-27")
    assert forged.status_code == 403 and "Недостаточно прав" in plain(forged)
    early = issued(boss, drafts[0], date="2026-11-25")
    assert early.status_code == 409 and 'value="2026-11-25"' in early.text
    assert "Последний документ — от 26.11.2026" in plain(early)
    future = issued(boss, drafts[0], early, date="2199-01-01")
    assert future.status_code == 422 and 'id="date-fault"' in future.text and 'value="2199-01-01"' in future.text
    boss.follow(issued(boss, drafts[0], future, date="2026-11-27"))
    assert [read(clinic, each)["date"] for each in drafts] == ["2026-11-27", "2026-11-26"]


def test_buttons_stand_only_where_they_may_be_pressed(clinic):
    draft = clinic.draft(CONSULTATION)
    accountant = Person(clinic.app, "accountant", login="boris")
    page = accountant.get(at(draft))
    assert buttons(page) == {"issue"}
    token = forms(page)[-1][1]["form_token"]
    assert accountant.client.post(f"{at(draft)}/discard", data={"form_token": token}).status_code == 403
    assert accountant.client.post(f"{at(draft)}/issue", data={"confirmed": "yes"}).status_code == 403
    assert read(clinic, draft)["status"] == "draft"


def test_a_draft_that_moved_meanwhile_is_looked_at_again(clinic, desk):
    draft = clinic.draft(CONSULTATION)
    before = desk.get(at(draft))
    api = f"/v1/invoices/{draft['id']}"
    made(clinic.patch(api, {"comment": "Чужая правка"}, match=clinic.get(api).headers["ETag"]))
    for move in ("issue", "discard"):
        late = desk.press(before, f"{at(draft)}/{move}", confirmed="yes")
        assert late.status_code == 412 and "Показано то, что есть теперь" in plain(late), move
        assert "Чужая правка" in plain(late) and "checked" not in late.text
    made(clinic.post(f"{api}/issue"))
    for move in ("issue", "discard"):
        late = desk.press(before, f"{at(draft)}/{move}", confirmed="yes")
        assert late.status_code == 409 and "Сейчас он выставлен" in plain(late), move
    other = clinic.draft(CONSULTATION)
    page = desk.get(at(other))
    made(clinic.post(f"/v1/invoices/{other['id']}/discard"))
    late = issued(desk, other, page)
    assert late.status_code == 409 and "Сейчас он отброшен" in plain(late)


def test_a_last_day_to_pay_that_has_passed_is_said_with_its_way_out(clinic):
    with given.day("2026-11-23"):
        draft = clinic.draft(CONSULTATION, due_date="2026-11-24")
    with given.day("2026-11-25"):
        answer = issued(Person(clinic.app, "reception"), draft)
    assert answer.status_code == 422 and "Последний день оплаты раньше дня выставления" in plain(answer)


def test_prices_that_changed_are_told_with_old_and_new(clinic):
    with given.day("2026-12-01"):
        draft = clinic.draft(CONSULTATION)
        given.price(CONSULTATION[0], "5600.00", date(2026, 12, 5), CONSULTATION[1])
    with given.day("2026-12-05"):
        desk = Person(clinic.app, "reception")
        answer = issued(desk, draft)
        assert answer.status_code == 409 and "Строка 1: было 5 300,00 ₽, стало 5 600,00 ₽." in plain(answer)
        desk.get("/?lang=en")
        assert "Line 1: 5 300,00 ₽ before, 5 600,00 ₽ now." in plain(issued(desk, draft))


LETTER = {"number": "ГП-7", "valid_until": "2199-12-31", "limit": "10000.00"}


@pytest.mark.parametrize(
    ("letter", "ru", "en"),
    [
        ({}, "больше остатка по гарантийному письму. По письму осталось 4 700,00 ₽.", "4 700,00 ₽ is left of it."),
        (
            {"limit": "9000.00"},
            "Известно оно так: действует по 31.12.2199, на сумму до 10 000,00 ₽.",
            "It is known so: valid until 31 December 2199, for at most 10 000,00 ₽.",
        ),
        (
            {"number": "ГП-8", "valid_until": "2026-11-23"},
            "Последний день письма — 23.11.2026. Позже: строка 1 — 25.11.2026.",
            "Its last day is 23 November 2026. Later: line 1 — 25 November 2026.",
        ),
    ],
)
def test_a_guarantee_letter_that_does_not_cover_an_invoice_is_told_with_its_terms(clinic, letter, ru, en):
    def insurer(**more):
        return given_payers.INSURER | {"guarantee_letter": LETTER | more}

    with given.day("2026-11-25"):
        clinic.invoice(clinic.quote(CONSULTATION), payer=insurer())
        draft = clinic.draft(CONSULTATION, payer=insurer(**letter))
        desk = Person(clinic.app, "reception")
        refused = issued(desk, draft)
        assert refused.status_code == 409 and ru in plain(refused), plain(refused)
        assert "`" not in plain(refused) and "checked" in refused.text
        desk.get("/?lang=en")
        assert en in plain(issued(desk, draft))


def test_without_requisites_production_says_who_sets_them(opened):
    app = create_app(Settings(env="production", secret_key="k" * 32))
    given.main_branch()
    given.sample()
    answer = issued(Person(app, "reception"), given.caller(app, "*").draft(CONSULTATION))
    assert answer.status_code == 409 and "их задаёт администратор" in plain(answer)


def test_the_page_of_a_draft_speaks_english_too(clinic, desk):
    draft = clinic.draft(CONSULTATION)
    desk.get("/?lang=en")
    page = plain(desk.get(at(draft)))
    for part in ("Issue the invoice", "Payer, services and sum are checked", "Put the draft away", "brought back"):
        assert part in page, part
