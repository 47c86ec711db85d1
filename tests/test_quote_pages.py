"""The reception's pages of a quote's life: its form, further revisions, today's prices, the last day, the end."""

import pytest

from billing import quote_validity
from tests import given
from tests.browser import Person, quick_passwords, text  # noqa: F401
from tests.given import line, made
from tests.test_pages import address, basket, quote_page
from tests.test_quote_revisions import prices_rise

pytestmark = pytest.mark.usefixtures("quick_passwords")


@pytest.fixture
def desk(clinic):
    return Person(clinic.app, "reception")


def plain(page):
    return text(page).replace("\u00a0", " ")


def edited(person, page, **filled):
    """The page of the quote after its form was opened, filled in and saved."""
    form = person.get(address(page) + "/edit")
    return person.follow(person.press(form, address(page) + "/edit", do="save", **filled))


def test_a_draft_is_changed_in_the_form_it_was_made_in(desk):
    quote = quote_page(desk, "CT-ABD-RP", patient__name="Иванова Анна", comment="Натощак")
    path = address(quote) + "/edit"
    form = desk.get(path)
    assert "Изменить смету" in plain(form) and 'value="Иванова Анна"' in form.text and 'value="Натощак"' in form.text
    found = desk.press(form, path, do="search", q="приём онколога", patient__id="P-5")
    added = desk.press(found, path, add="ONC-CONS-1 doctor", **{"lines-0-quantity": "2"})
    assert "26 180,00 ₽" in plain(added)
    page = desk.follow(desk.press(added, path, do="save", valid_until="2199-01-01"))
    assert address(page) == address(quote)
    for part in ("/1", "26 180,00 ₽", "Иванова Анна P-5", "Натощак", "01.01.2199"):
        assert part in plain(page), part


def test_what_the_form_does_not_show_first_is_not_lost(clinic, desk):
    lines = [
        line("CT-ABD-RP", discount_amount="40.00", discount_reason="goodwill", service_date="2199-01-02"),
        line("US-LIVER", unit_price="2500.50", price_reason="сложный случай", quantity="1.5"),
    ]
    quote = clinic.quote(*lines, kind="approximate", discount_amount="10.00", discount_reason="repeat")
    page = edited(desk, desk.get(f"/desk/quotes/{quote['id']}"), comment="Новое")
    kept = made(clinic.get(f"/v1/quotes/{quote['id']}"))
    assert kept["comment"] == "Новое"
    same = ("kind", "totals", "discount_amount", "discount_reason", "valid_until", "price_list", "patient")
    assert {name: kept[name] for name in same} == {name: quote[name] for name in same}
    asked = ("article", "quantity", "service_date", "unit_price", "price_reason", "discount_amount", "discount_reason")
    assert [{name: each[name] for name in asked} for each in kept["lines"]] == [
        {name: each[name] for name in asked} for each in quote["lines"]
    ]
    assert page.status_code == 200


def test_nothing_typed_is_lost_when_an_edit_is_wrong_or_comes_late(clinic, desk):
    quote = quote_page(desk, "CT-ABD-RP")
    path = address(quote) + "/edit"
    form = desk.get(path)
    wrong = desk.press(form, path, do="save", comment="Долгий текст", **{"lines-0-quantity": "много"})
    assert wrong.status_code == 422
    assert 'value="много"' in wrong.text and 'value="Долгий текст"' in wrong.text
    api = f"/v1{address(quote).removeprefix('/desk')}"
    made(clinic.patch(api, {"comment": "Чужая правка"}, match=clinic.get(api).headers["ETag"]))
    late = desk.press(form, path, do="save", comment="Долгий текст")
    assert late.status_code == 412
    assert 'value="Долгий текст"' in late.text and "изменилось" in plain(late)
    assert "Показано то, что есть теперь" in plain(late) and "ETag" not in plain(late)
    assert "Долгий текст" in plain(desk.follow(desk.press(late, path, do="save")))


def test_saving_an_edit_twice_changes_once(clinic, desk):
    quote = quote_page(desk, "CT-ABD-RP")
    desk.press(quote, address(quote) + "/send")
    form = desk.get(address(quote) + "/edit")
    answers = [desk.press(form, address(quote) + "/edit", do="save") for _ in range(2)]
    assert [each.status_code for each in answers] == [303, 303]
    assert made(clinic.get(f"/v1{address(quote).removeprefix('/desk')}"))["revision"] == 2


def test_what_is_out_gets_a_revision_at_the_prices_that_were_quoted(clinic):
    with given.day("2027-03-10"):
        desk = Person(clinic.app, "reception")
        quote = quote_page(desk, "CT-ABD-RP")
        desk.press(quote, address(quote) + "/send")
    with given.day("2027-03-12") as today:
        desk.sign_in()
        prices_rise(clinic, today)
        path = address(quote) + "/edit"
        form = desk.get(path)
        assert "Названные цены сохраняются по 09.04.2027" in plain(form) and "8 840,00 ₽" in plain(form)
        page = desk.follow(desk.press(form, path, do="save", **{"lines-0-quantity": "2"}))
        for part in ("/2", "17 680,00 ₽", "Редакции", "было 1, стало 2", "8 840,00 ₽"):
            assert part in plain(page), part
        # A former revision is changed no more.
        refused = desk.press(form, path, do="save", comment="Ещё")
        assert refused.status_code in (409, 412)
        assert 'value="Ещё"' in refused.text
        assert "/2" in plain(desk.get(address(quote) + "/print"))


def test_an_expired_quote_is_offered_at_todays_prices_side_by_side(clinic):
    with given.day("2027-03-10"):
        desk = Person(clinic.app, "reception")
        quote = quote_page(desk, "CT-ABD-RP", valid_until="2027-03-11")
    with given.day("2027-03-12") as today:
        desk.sign_in()
        prices_rise(clinic, today)
        quote_validity.expire()
        page = desk.get(address(quote))
        assert "Последний день сметы прошёл" in plain(page) and "истекла" in plain(page)
        assert "Продлить" not in plain(page) and "Выставить счёт" not in plain(page)
        side = desk.get(address(quote) + "/reprice")
        for part in ("8 840,00 ₽", "9 000,00 ₽", "160,00 ₽"):
            assert part in plain(side), part
        made_anew = desk.follow(desk.press(side, address(quote) + "/reprice"))
        assert "/2" in plain(made_anew) and "Итого 9 000,00 ₽" in plain(made_anew)
        again = desk.press(side, address(quote) + "/reprice")
        assert again.status_code == 409
        assert "пациент согласен" in plain(made_anew).lower()


def test_lines_without_a_price_today_are_named_before_anything_is_made(clinic, desk):
    quote = quote_page(desk, "CT-ABD-RP")
    gone = {"lines": [line("CT-ABD-RP", kind="withdrawn")], "effective_from": "2199-01-01"}
    order = made(clinic.post("/v1/price-orders", gone))
    made(clinic.post(f"/v1/price-orders/{order['id']}/publish"))
    with given.day("2199-01-02"):
        desk.sign_in()
        side = desk.get(address(quote) + "/reprice")
        assert side.status_code == 422
        assert "снята с прейскуранта" in plain(side) and "Новая редакция" in plain(side)


def test_whoever_may_extends_with_a_reason(clinic):
    with given.day("2027-03-10"):
        chief = Person(clinic.app, "administrator", login="chief")
        quote = quote_page(chief, "CT-ABD-RP", valid_until="2027-03-11")
        page = chief.get(address(quote))
        path = address(quote) + "/extend"
        wrong = chief.press(page, path, **{"extend-valid_until": "2027-03-01", "extend-reason": "Отпуск"})
        assert wrong.status_code == 422
        assert 'value="Отпуск"' in wrong.text and "должен быть позже прежнего" in plain(wrong)
        page = chief.follow(chief.press(wrong, path, **{"extend-valid_until": "2027-04-01"}))
        assert "продлена с 11.03.2027 по 01.04.2027: Отпуск" in plain(page)
        reception = Person(clinic.app, "reception")
        assert "Продлить" not in plain(reception.get(address(quote)))
        token = {"form_token": "x", "revision": "1"}
        assert reception.client.post(path, data=token).status_code == 403


def test_a_quote_is_cancelled_for_a_reason(desk):
    quote = quote_page(desk, "CT-ABD-RP")
    path = address(quote) + "/cancel"
    assert desk.press(quote, path).status_code == 422
    page = desk.follow(desk.press(quote, path, **{"cancel-reason": "Ошибка в услугах"}))
    assert "отменена" in plain(page) and "Причина отмены Ошибка в услугах" in plain(page)
    assert "Отменить смету" not in plain(page)


def test_what_is_invoiced_is_not_offered_to_be_changed(desk):
    quote = quote_page(desk, "CT-ABD-RP")
    desk.press(quote, address(quote) + "/invoice", payer__name="Анна")
    page = plain(desk.get(address(quote)))
    assert not any(word in page for word in ("Новая редакция", "Отменить смету", "По сегодняшним ценам"))
    assert desk.press(quote, address(quote) + "/cancel", **{"cancel-reason": "x"}).status_code == 409


def test_these_pages_speak_english_too(desk):
    quote = quote_page(desk, "CT-ABD-RP")
    desk.press(quote, address(quote) + "/send")
    desk.get("/?lang=en")
    assert "New revision of the quote" in plain(desk.get(address(quote) + "/edit"))
    assert "At today's prices" in plain(desk.get(address(quote) + "/reprice"))
    page = edited(desk, quote, **{"lines-0-quantity": "2"})
    assert "before 1, now 2" in plain(page)


def test_a_line_may_have_a_discount_of_its_own_at_the_desk(desk):
    page = basket(desk, "CT-ABD-RP", "MRI-ABD-RP")
    filled = {"lines-0-discount_percent": "5", "lines-0-discount_reason": "repeat"}
    assert "442,00 ₽" in plain(desk.follow(desk.press(page, "/desk", do="save", **filled)))
