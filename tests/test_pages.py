import re
from datetime import date
from typing import Any

import psycopg
import pytest
from werkzeug.test import TestResponse

from clinic import branches, dates, db, http
from clinic.auth import COMMAND_LINE
from clinic.command import change
from clinic.errors import FAULTS, Problem
from clinic.settings import Settings
from tests import given
from tests.browser import PASSWORD, Person, forms, quick_passwords, text  # noqa: F401
from wsgi import create_app

HOSTILE = "<script>alert('x')</script>\" onload=\"1"
REQUISITES: dict[str, Any] = {
    "name": "ООО «Клиника <здоровья>»", "short_name": "ООО «Клиника»", "inn": "1234567894", "kpp": "770101001",
    "ogrn": "1027700132195", "address": "Москва, ул. Примерная, 1",
    "bank": {"bik": "044525225", "name": "Банк", "account": "40702810200000012345",
             "corr_account": "30101810400000000225"},
    "licence": "Л041-01137-77/00000001", "director": "Петров П. П.", "accountant": None, "phone": None, "email": None,
}  # fmt: skip


pytestmark = pytest.mark.usefixtures("quick_passwords")


@pytest.fixture
def stranger(app):
    return Person(app)


@pytest.fixture
def desk(clinic):
    """A receptionist in a clinic with the real price list."""
    return Person(clinic.app, "reception")


def basket(person: Person, *services: str) -> TestResponse:
    """The desk's page with these services in the form."""
    page = person.get("/desk")
    for service in services:
        page = person.press(page, "/desk", add=service)
    return page


def quote_page(person: Person, *services: str, **filled: Any) -> TestResponse:
    """The page of a quote made at the desk."""
    return person.follow(person.press(basket(person, *services), "/desk", do="save", **filled))


def invoice_page(person: Person, quote: TestResponse, **filled: Any) -> TestResponse:
    """The page of the invoice issued from the quote that `quote` shows."""
    return person.follow(person.press(quote, address(quote) + "/invoice", **({"payer__name": "Анна"} | filled)))


def address(page: TestResponse) -> str:
    return page.request.path


def seen(action: str) -> list[str]:
    """Which kinds of documents the access log has under `action`."""
    with db.reading() as conn:
        rows = conn.execute("SELECT object_type FROM access_log WHERE action = %s ORDER BY id", (action,))
        return [row[0] for row in rows]


# ---- Dates ----


def test_a_long_date_has_its_month_in_the_genitive():
    assert dates.long(date(2026, 11, 23)) == "23 ноября 2026 г."
    assert dates.long(date(2026, 5, 1)) == "1 мая 2026 г."
    assert dates.long(date(2026, 11, 23), "en") == "23 November 2026"


def test_a_short_date_is_not_ambiguous_in_either_language():
    assert dates.short(date(2026, 12, 11), "ru") == "11.12.2026"
    assert dates.short(date(2026, 12, 11), "en") == "11 December 2026"


# ---- Who may see a page ----


@pytest.mark.parametrize("path", ["/desk", "/accounting", "/accounting/invoices.csv", "/desk/quotes?code=1"])
def test_strangers_are_sent_to_sign_in(stranger, path):
    answer = stranger.get(path)
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith("/sign-in?next=")


def test_after_signing_in_one_is_where_one_wanted_to_go(clinic):
    person = Person(clinic.app, "reception")
    person.client.delete_cookie("session")
    form = person.get(person.get("/desk?lang=en").headers["Location"])
    answer = person.press(form, "/sign-in", login="anna", password=PASSWORD)
    assert answer.headers["Location"] == "/desk?lang=en"
    assert person.follow(answer).status_code == 200


@pytest.mark.parametrize(
    "elsewhere",
    ["//evil.example", "https://evil.example/", "/\\evil.example", "javascript:alert(1)", "/ok\r\nX: y", "", "desk"],
)
def test_signing_in_leads_nowhere_else(app, elsewhere):
    answer = Person(app, "reception").sign_in(elsewhere)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")


def test_a_wrong_password_and_an_unknown_login_get_the_same_answer(app):
    person = Person(app, "reception")
    person.client.delete_cookie("session")
    wrong = person.sign_in(password="wrong password 12")
    person.login = "nobody"
    unknown = person.sign_in(password="wrong password 12")
    person.login = "no such FORM of a login\0"
    malformed = person.sign_in()
    assert {page.status_code for page in (wrong, unknown, malformed)} == {401}
    assert "Имя или пароль неверны" in text(wrong)
    assert text(wrong) == text(unknown) == text(malformed)
    assert not any("Set-Cookie" in page.headers for page in (wrong, unknown, malformed))


def test_too_many_wrong_passwords_must_wait(app):
    person = Person(app, "reception")
    for _ in range(10):
        assert person.sign_in(password="wrong password 12").status_code == 401
    answer = person.sign_in()
    assert answer.status_code == 429
    assert answer.headers["Retry-After"]
    assert "Слишком много запросов" in text(answer)


def test_a_login_may_be_typed_with_capitals_and_spaces(app):
    person = Person(app, "reception")
    person.login = " Anna "
    assert person.sign_in().status_code == 303


def test_the_session_cookie_is_for_our_pages_only(app):
    cookie = Person(app, "reception").sign_in().headers["Set-Cookie"]
    assert cookie.startswith("session=")
    assert {"HttpOnly", "Path=/", "SameSite=Lax"} <= set(cookie.split("; "))
    assert "Domain" not in cookie


def test_with_https_the_session_cookie_goes_over_https_only(opened):
    given.main_branch()
    app = create_app(Settings(secret_key="k" * 32, public_url="https://clinic.example"))
    app.config["SERVER_NAME"] = "clinic.example"
    answer = Person(app, "reception").sign_in()
    assert answer.headers["Set-Cookie"].startswith("__Host-session=")
    assert "Secure" in answer.headers["Set-Cookie"]
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_signing_in_again_ends_the_session_before(app):
    person = Person(app, "reception")
    old = person.cookie()
    person.sign_in()
    assert person.get("/desk").status_code == 200
    person.client.set_cookie("session", old)
    assert person.get("/desk").status_code == 303


def test_an_old_cookie_is_worth_nothing_after_signing_out(app):
    person = Person(app, "reception")
    page = person.get("/desk")
    cookie = person.cookie()
    answer = person.press(page, "/sign-out")
    assert answer.headers["Location"] == "/"
    assert person.client.get_cookie("session") is None
    person.client.set_cookie("session", cookie)
    assert person.get("/desk").status_code == 303
    assert person.press(page, "/desk").status_code == 401


def test_a_cookie_never_opens_the_json_contract(desk):
    assert desk.get("/v1/quotes").status_code == 401


@pytest.mark.parametrize(
    ("role", "path", "status"),
    [
        ("reception", "/desk", 200), ("reception", "/accounting", 403), ("reception", "/accounting/invoices.csv", 403),
        ("accountant", "/accounting", 200), ("accountant", "/desk", 403),
        ("price_keeper", "/desk", 403), ("price_keeper", "/accounting", 403),
        ("administrator", "/desk", 200), ("administrator", "/accounting", 200),
    ],
)  # fmt: skip
def test_each_role_sees_its_own_pages(app, role, path, status):
    assert Person(app, role).get(path).status_code == status


def test_the_start_page_shows_only_doors_that_open(app, stranger):
    def doors(person: Person) -> set[str]:
        return set(re.findall(r'<li><a href="(/[a-z-]+)">', person.get("/").text))

    assert doors(stranger) == {"/prices", "/docs", "/sign-in"}
    assert doors(Person(app, "reception")) == {"/prices", "/desk", "/shifts", "/docs"}
    assert doors(Person(app, "accountant", login="rita")) == {"/prices", "/accounting", "/docs"}


# ---- Forms that only our own pages can send ----


def test_a_form_without_its_token_is_refused(desk):
    page = desk.get("/desk")
    assert desk.press(page, "/desk", form_token=None).status_code == 403
    assert desk.press(page, "/desk", form_token="0" * 64).status_code == 403
    assert desk.press(page, "/sign-out", form_token="ё").status_code == 403
    assert desk.press(page, "/desk").status_code == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost.evil.example", "http://localhost:1"]
)
def test_a_form_from_a_foreign_page_is_refused(desk, origin):
    form = next(fields for to, fields in forms(desk.get("/desk")) if to == "/desk")
    for path in ("/desk", "/sign-in", "/sign-out"):
        assert desk.client.post(path, data=form, headers={"Origin": origin}).status_code == 403
    assert desk.client.post("/desk", data=form, headers={"Origin": "http://localhost"}).status_code == 200


def test_a_token_of_another_session_is_refused(clinic):
    anna, rita = Person(clinic.app, "reception"), Person(clinic.app, "reception", login="rita")
    token = next(fields for to, fields in forms(rita.get("/desk")) if to == "/desk")["form_token"]
    assert anna.press(anna.get("/desk"), "/desk", form_token=token).status_code == 403


# ---- Headers ----

PUBLIC_PAGES = ("/", "/prices", "/sign-in", "/docs", "/problems", "/problems/not_found")


@pytest.mark.parametrize("path", [*PUBLIC_PAGES, "/nowhere", "/desk/quotes", "/static/nothing.css"])
def test_every_answer_carries_the_security_headers(app, path):
    for person in (Person(app), Person(app, "price_keeper")):
        headers = person.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["X-Request-Id"]
        for rule in ("default-src 'self'", "object-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"):
            assert rule in policy
        assert "script-src" not in policy
        assert "unsafe" not in policy


def test_no_page_has_scripts_or_styles_written_into_it(clinic):
    person = Person(clinic.app, "administrator")
    quote = quote_page(person, "ONC-CONS-1 none")
    invoice = invoice_page(person, quote)
    paths = [*PUBLIC_PAGES, "/desk", "/accounting", address(quote), address(quote) + "/print", address(invoice),
             address(invoice) + "/print", "/nowhere"]  # fmt: skip
    for path in paths:
        page = person.get(path).text
        assert not re.search(
            r"<script(?! src=\"/static/| type=\"application/ld\+json\">\{)|<style|\sstyle=|\son[a-z]+=", page
        ), path
        assert not re.search(r"(src|href|action)=\"(https?:)?//", page), f"{path} points outside"


def test_pages_are_kept_by_nobody_but_prices_by_everybody_for_a_minute(clinic):
    person = Person(clinic.app)
    for path in ("/", "/sign-in", "/docs", "/problems", "/nowhere"):
        assert person.get(path).headers["Cache-Control"] == "no-store", path
    with given.day("2026-11-23", at="23:59:30"):
        prices = person.get("/prices")
    assert prices.headers["Cache-Control"] == "public, max-age=30, stale-if-error=86400"
    assert {"Accept-Language", "Cookie"} <= set(prices.vary)
    again = person.get("/prices", If_None_Match=person.get("/prices").headers["ETag"])
    assert (again.status_code, again.text) == (304, "")


def test_prices_shown_to_somebody_signed_in_are_kept_by_nobody(desk):
    assert desk.get("/prices").headers["Cache-Control"] == "no-store"
    assert "anna" in text(desk.get("/prices"))


def test_static_files_may_be_kept_under_the_address_with_their_hash(stranger):
    style = re.search(r'href="(/static/style\.css\?v=[0-9a-f]{12})"', stranger.get("/").text)
    assert style
    assert "immutable" in stranger.get(style[1]).headers["Cache-Control"]
    assert "immutable" not in stranger.get("/static/style.css").headers["Cache-Control"]


# ---- Languages ----


@pytest.mark.parametrize("path", [*PUBLIC_PAGES, "/nowhere"])
def test_pages_speak_the_language_that_is_asked_for(stranger, path):
    for lang, word in (("ru", "Войти"), ("en", "Sign in")):
        page = stranger.get(f"{path}?lang={lang}")
        assert f'<html lang="{lang}">' in page.text
        assert page.headers["Content-Language"] == lang
        assert path == "/sign-in" or word in text(page)


def test_the_language_once_chosen_stays_and_the_address_comes_before_it(stranger):
    assert '<html lang="en">' in stranger.get("/", Accept_Language="en").text
    stranger.get("/?lang=ru")
    assert '<html lang="ru">' in stranger.get("/prices", Accept_Language="en").text
    assert '<html lang="en">' in stranger.get("/prices?lang=en").text
    assert '<html lang="en">' in stranger.get("/").text


def test_the_language_of_pages_is_not_that_of_the_json_contract(stranger):
    stranger.get("/?lang=en")
    assert stranger.get("/v1/nowhere").get_json()["title"] == "Ничего не найдено"


def test_the_language_switch_keeps_the_rest_of_the_address(stranger):
    assert 'href="/prices?q=%D0%BC%D1%80%D1%82&amp;lang=en"' in stranger.get("/prices?q=мрт").text


# ---- Refusals and the description ----


def test_every_code_is_explained_in_both_languages(stranger):
    for code, problem in Problem.every().items():
        page = stranger.get(f"/problems/{code}")
        shown = text(page).replace(" .", ".")
        assert page.status_code == 200
        assert str(problem.status) in shown
        assert all(problem.words(lang)[0] in shown for lang in ("ru", "en")), code
    for code in FAULTS:
        assert stranger.get(f"/problems/{code}").status_code == 200


def test_an_unknown_code_is_not_found(stranger):
    assert stranger.get("/problems/no_such_code").status_code == 404


def test_one_table_lists_every_code(stranger):
    page = stranger.get("/problems?lang=en").text
    assert all(f'href="/problems/{code}"' in page for code in (*Problem.every(), *FAULTS))


def test_s39_a_defect_is_a_page_with_a_request_id_and_nothing_else(app, stranger, monkeypatch, caplog):
    name = "Иванова Анна"

    def broken(*_, **__):
        raise RuntimeError(name)

    monkeypatch.setattr("catalog.browsing.page", broken)
    page = stranger.get("/prices")
    assert page.status_code == 500
    assert page.headers["X-Request-Id"] in text(page)
    assert "Иванова" not in page.text
    assert "Иванова" not in caplog.text


def test_the_description_is_json_that_is_sent_once(stranger):
    answer = stranger.get("/v1/openapi.json")
    assert answer.get_json()["openapi"].startswith("3.1")
    assert "/v1/quotes" in answer.get_json()["paths"]
    assert stranger.get("/v1/openapi.json", If_None_Match=answer.headers["ETag"]).status_code == 304


def test_the_description_can_be_read_without_scripts(stranger):
    page = stranger.get("/docs").text
    assert "/v1/quotes/{quote_id}/invoice" in page
    assert 'data-description="/v1/openapi.json"' in page


# ---- Prices ----


def test_prices_show_ranks_side_by_side_and_say_the_order(clinic):
    with given.day("2026-11-23"):
        page = Person(clinic.app).get("/prices")
    shown = text(page)
    assert "врач к.м.н. д.м.н." in shown
    assert "Первичный приём врача-онколога ONC-CONS-1 · B01.027.001 3 700 ₽ 5 300 ₽ 8 500 ₽" in shown.replace(
        "\u00a0", " "
    )
    assert "67\u00a0200\u00a0₽" in page.text
    assert "по запросу" in shown
    assert "Приказ № 1" in shown


def test_prices_can_be_searched_in_either_language_with_a_slip(clinic):
    person = Person(clinic.app)
    for words in ("мрт забрюшинного", "MRI retroperitoneal", "консилиум"):
        assert "Найдено услуг: 0" not in text(person.get(f"/prices?q={words}")), words
    nothing = person.get("/prices?q=%00ъъъъъъъ")
    assert nothing.status_code == 200
    assert "Найдено услуг: 0" in text(nothing)


def test_a_clinic_without_prices_says_so(stranger):
    page = stranger.get("/prices")
    assert page.status_code == 200
    assert "прейскурант не утверждён" in text(page)


def test_a_day_that_cannot_be_read_shows_the_prices_of_today(clinic):
    assert Person(clinic.app).get("/prices?on=yesterday").status_code == 200


# ---- The desk ----


def test_from_search_to_a_printed_quote_and_an_issued_invoice(desk):
    found = desk.press(desk.get("/desk"), "/desk", do="search", q="приём онколога")
    assert "ONC-CONS-1 candidate" in found.text
    page = desk.press(found, "/desk", add="ONC-CONS-1 candidate")
    page = desk.press(page, "/desk", add="CT-ABD-RP-BOLUS")
    page = desk.press(page, "/desk", do="recalculate", **{"lines-0-quantity": "2"})
    assert "24\u00a0600,00\u00a0₽" in page.text
    assert "Двадцать четыре тысячи шестьсот рублей 00 копеек" in text(page)
    assert "приказ № 1" in text(page)

    quote = desk.follow(desk.press(page, "/desk", do="save", patient__id="P-1", patient__name="Иванова Анна"))
    assert "черновик" in text(quote) and "Иванова Анна" in text(quote)
    paper = text(desk.get(address(quote) + "/print"))
    for part in ("Смета №", "/1 от", "Смета твёрдая", "ОБРАЗЕЦ / SAMPLE", "A06.30.005.002", "Без НДС", "Всего к оплате",
                 "Составил(а)", "приказ № 1"):  # fmt: skip
        assert part in paper, part

    invoice = desk.follow(desk.press(quote, address(quote) + "/invoice"))
    assert "выставлен, не оплачен" in text(invoice)
    paper = text(desk.get(address(invoice) + "/print"))
    for part in ("Счёт на оплату №", "-000001 от", "Иванова Анна", "Всего наименований 2, на сумму 24 600,00 руб.",
                 "Без налога (НДС) –", "Руководитель", "Бухгалтер"):  # fmt: skip
        assert part in paper.replace("\u00a0", " "), part
    assert "выставлен счёт" in text(desk.get(address(quote)))


def test_the_same_pages_speak_english(desk):
    quote = quote_page(desk, "ONC-CONS-1 doctor")
    desk.get("/?lang=en")
    invoice = invoice_page(desk, desk.get(address(quote)))
    assert "Initial appointment with an oncologist, Doctor of Medicine" in text(desk.get(address(quote)))
    assert "This is a firm quote" in text(desk.get(address(quote) + "/print"))
    assert "Invoice No." in text(desk.get(address(invoice) + "/print"))


def test_lines_can_be_removed_and_ranks_changed(desk):
    page = basket(desk, "ONC-CONS-1 none", "CT-ABD-RP")
    page = desk.press(page, "/desk", remove="1", **{"lines-0-doctor_rank": "doctor"})
    assert "CT-ABD-RP" not in page.text
    assert "8\u00a0500,00\u00a0₽" in page.text


def test_nothing_typed_is_lost_when_a_field_is_wrong(desk):
    page = basket(desk, "ONC-CONS-1 none", "CT-ABD-RP")
    typed = {"lines-0-quantity": "много", "patient-id": "№ 1", "patient-name": "Анна", "comment": "к обеду",
             "kind": "approximate", "valid_until": "2020-01-01", "q": "узи"}  # fmt: skip
    page = desk.press(page, "/desk", do="save", **typed)
    assert page.status_code == 422
    sent = next(fields for to, fields in forms(page) if to == "/desk")
    assert typed.items() <= sent.items()
    for field in ("lines-0-quantity", "patient-id"):
        assert f'aria-describedby="{field}-fault"' in page.text, field
    # The other line is priced all the same.
    assert "8\u00a0840,00\u00a0₽" in page.text


def test_a_decimal_comma_and_spaces_in_sums_are_understood(desk):
    page = desk.press(
        basket(desk, "ONC-BOARD"), "/desk",
        **{"lines-0-quantity": "1,5", "lines-0-unit_price": "12 000,50", "lines-0-price_reason": "решение врача"},
    )  # fmt: skip
    assert "18\u00a0000,75\u00a0₽" in page.text


def test_a_price_on_request_is_asked_for_where_it_is_missing(desk):
    page = basket(desk, "ONC-BOARD")
    assert "впишите цену и её основание" in text(page)
    assert 'aria-describedby="lines-0-unit_price-fault"' in page.text
    assert "unit_price и" not in text(page)


def test_a_discount_of_the_whole_quote_needs_a_reason(desk):
    page = desk.press(basket(desk, "CT-ABD-RP"), "/desk", discount_percent="5,0")
    assert "Выберите причину скидки" in text(page)
    page = desk.press(page, "/desk", discount_reason="repeat")
    assert "Скидка 442,00 ₽ Итого 8 398,00 ₽" in text(page)
    quote = desk.follow(desk.press(page, "/desk", do="save"))
    assert "Скидка 442,00 ₽" in text(quote)


def test_a_discount_above_what_a_receptionist_may_give_waits(desk):
    quote = quote_page(desk, "CT-ABD-RP", discount_percent="50", discount_reason="goodwill")
    assert "Скидка ждёт утверждения" in text(quote)
    refused = desk.press(quote, address(quote) + "/accept")
    assert refused.status_code == 409
    assert "Скидка выше той" in text(refused)


def test_forged_lines_are_faults_and_not_defects(desk):
    page = desk.press(desk.get("/desk"), "/desk", add="NO-SUCH ARTICLE <b>")
    assert page.status_code == 200
    assert desk.press(desk.get("/desk"), "/desk", add="NO-SUCH\0ARTICLE").status_code == 422
    page = desk.press(desk.get("/desk"), "/desk", do="save", **{"lines-0-article": "NO-SUCH", "lines-0-quantity": "1"})
    assert page.status_code == 422
    assert "NO-SUCH" in text(page)


def test_saving_twice_makes_one_quote(desk):
    page = basket(desk, "CT-ABD-RP")
    first, second = (desk.press(page, "/desk", do="save") for _ in range(2))
    assert first.headers["Location"] == second.headers["Location"]


def test_a_form_that_made_a_quote_and_was_changed_asks_before_it_makes_another(desk):
    page = basket(desk, "CT-ABD-RP")
    first = desk.press(page, "/desk", do="save")
    changed = desk.press(page, "/desk", do="save", **{"lines-0-quantity": "2"})
    assert changed.status_code == 409
    assert "уже сохранена" in text(changed)
    second = desk.press(changed, "/desk", do="save")
    assert second.status_code == 303
    assert second.headers["Location"] != first.headers["Location"]


def test_pressing_issue_twice_makes_one_invoice(desk):
    quote = quote_page(desk, "CT-ABD-RP")
    answers = [desk.press(quote, address(quote) + "/invoice", payer__name="Анна") for _ in range(2)]
    assert answers[0].headers["Location"] == answers[1].headers["Location"]
    with db.reading() as conn:
        assert db.value(conn, "SELECT count(*) FROM invoice") == 1


def test_a_second_form_for_the_same_quote_is_told_that_it_is_invoiced(desk):
    quote = quote_page(desk, "CT-ABD-RP")
    other = desk.get(address(quote))
    invoice_page(desk, quote)
    refused = desk.press(other, address(quote) + "/invoice", payer__name="Анна")
    assert refused.status_code == 409
    assert "всё уже выставлено" in text(refused)


def test_an_organisation_pays_with_its_numbers(desk):
    quote = quote_page(desk, "CT-ABD-RP")
    payer = {"payer-kind": "organisation", "payer-name": "ООО «Ромашка»", "payer-inn": "1234567895"}
    wrong = desk.press(quote, address(quote) + "/invoice", **payer)
    assert wrong.status_code == 422
    assert "ИНН неверен" in text(wrong) and "ООО «Ромашка»" in wrong.text
    answer = desk.press(wrong, address(quote) + "/invoice", **{"payer-inn": "1234567894", "payer-kpp": "770101001"})
    assert "ООО «Ромашка», ИНН 1234567894, КПП 770101001" in text(
        desk.get(answer.headers["Location"] + "/print")
    ).replace(" ,", ",")


@pytest.mark.parametrize(("move", "said"), [("send", "отправлена"), ("accept", "принята"), ("decline", "отклонена")])
def test_a_quote_is_sent_accepted_or_declined_by_a_button(desk, move, said):
    quote = quote_page(desk, "CT-ABD-RP")
    moved = desk.follow(desk.press(quote, f"{address(quote)}/{move}"))
    assert said in text(moved)


def test_a_button_of_an_old_page_is_refused_on_the_page_itself(desk):
    quote = quote_page(desk, "CT-ABD-RP")
    desk.press(quote, address(quote) + "/decline")
    refused = desk.press(quote, address(quote) + "/accept")
    assert refused.status_code == 409
    assert "Состояние сметы этого не допускает" in text(refused)
    assert "отклонена" in text(refused)


def test_an_expired_quote_says_so_and_makes_no_invoice(desk):
    with given.day("2026-11-23"):
        desk.sign_in()
        quote = quote_page(desk, "CT-ABD-RP")
    with given.day("2026-12-24"):
        desk.sign_in()
        page = desk.get(address(quote))
        assert "срок истёк" in text(page)
        assert "Выставить счёт" not in text(page)
        late = desk.client.post(
            address(quote) + "/invoice",
            data=next(fields for to, fields in forms(page) if to == "/sign-out") | {"revision": "1", "payer-name": "А"},
        )
        assert late.status_code == 409
        assert "Срок действия сметы истёк" in text(late)


def test_a_quote_is_found_by_its_code(desk):
    quote = quote_page(desk, "CT-ABD-RP")
    code = re.findall(r"[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z](?=/1)", text(quote))[0]
    assert desk.get(f"/desk/quotes?code={code.lower().replace('-', '')}").headers["Location"] == address(quote)
    assert desk.get("/desk/quotes?code=0000-0000-0").status_code == 404
    assert code in text(desk.get("/desk"))


def test_a_quote_of_another_branch_is_like_none(clinic):
    with change(COMMAND_LINE) as made:
        branches.create(made, "north", "Северный филиал", "С")
    quote = quote_page(Person(clinic.app, "reception"), "CT-ABD-RP")
    north = Person(clinic.app, "reception", branch="north", login="nora")
    for path in ("", "/print"):
        assert north.get(address(quote) + path).status_code == 404
    missing = north.client.post(
        address(quote) + "/accept", data={"form_token": forms(north.get("/desk"))[0][1]["form_token"], "revision": "1"}
    )
    assert missing.status_code == 404


def test_reading_and_printing_documents_is_remembered(desk):
    quote = quote_page(desk, "CT-ABD-RP", patient__id="P-1")
    invoice = invoice_page(desk, quote)
    desk.get(address(quote) + "/print")
    desk.get(address(invoice) + "/print")
    assert seen("read") == ["quote", "invoice"]
    assert seen("print") == ["quote", "invoice"]


def test_with_requisites_documents_are_no_samples(desk):
    with change(COMMAND_LINE) as made:
        branches.set_requisites(made, branches.MAIN, REQUISITES)
    quote = quote_page(desk, "CT-ABD-RP")
    invoice = invoice_page(desk, quote)
    for path in (address(quote), address(quote) + "/print", address(invoice), address(invoice) + "/print", "/desk"):
        shown = text(desk.get(path))
        assert "ОБРАЗЕЦ" not in shown and "Образцы." not in shown, path
    paper = text(desk.get(address(invoice) + "/print"))
    for part in (
        "044525225",
        "40702810200000012345",
        "30101810400000000225",
        "ООО «Клиника <здоровья>»",
        "Петров П. П.",
    ):
        assert part in paper, part
    assert "Л041-01137-77/00000001" in text(desk.get(address(quote) + "/print"))


def test_an_issued_invoice_keeps_the_requisites_it_was_issued_with(desk):
    sample = invoice_page(desk, quote_page(desk, "CT-ABD-RP"))
    with change(COMMAND_LINE) as made:
        branches.set_requisites(made, branches.MAIN, REQUISITES)
    assert "ОБРАЗЕЦ / SAMPLE" in text(desk.get(address(sample) + "/print"))


def test_a_discount_has_a_column_of_its_own_and_none_has_none(desk, clinic):
    plain = quote_page(desk, "CT-ABD-RP")
    line = given.line("CT-ABD-RP", discount_percent="10.00", discount_reason="staff")
    quote = desk.get(f"/desk/quotes/{clinic.quote(line, {'article': 'ONC-REMOTE'})['id']}")
    for path in ("", "/print"):
        assert "Скидка" not in text(desk.get(address(plain) + path))
        shown = text(desk.get(address(quote) + path))
        assert "884,00" in shown and "7 956,00" in shown


def test_a_taxed_line_has_its_vat_beside_exempt_ones(desk, opened):
    with psycopg.connect(opened.owner) as conn:
        conn.execute("UPDATE medical_service SET vat_category = 'standard' WHERE article = 'CT-ABD-RP'")
    invoice = invoice_page(desk, quote_page(desk, "CT-ABD-RP", "ONC-CONS-1 none"))
    assert "НДС 22 % 1 594,10 ₽ Без НДС 3 700,00 ₽" in text(invoice)
    paper = text(desk.get(address(invoice) + "/print"))
    assert "В том числе НДС 22 % 1 594,10 Без НДС 3 700,00 Всего к оплате 12 540,00" in paper
    accountant = Person(desk.client.application, "accountant", login="rita")
    assert "НДС 22 %: 1594,10; Без НДС: 3700,00" in accountant.get("/accounting/invoices.csv").text


def test_a_hostile_text_is_only_text_on_every_page(clinic):
    person = Person(clinic.app, "administrator")
    quote = quote_page(
        person, "ONC-BOARD", comment=HOSTILE, patient__id="P-1", patient__name=HOSTILE,
        **{"lines-0-unit_price": "100", "lines-0-price_reason": HOSTILE},
    )  # fmt: skip
    invoice = invoice_page(person, quote, payer__is_patient=None, payer__name=HOSTILE)
    other = quote_page(person, "CT-ABD-RP")
    pages = [
        quote, invoice, person.get(address(quote) + "/print"), person.get(address(invoice) + "/print"),
        person.get("/accounting"), person.press(person.get("/desk"), "/desk", q=HOSTILE),
        person.press(basket(person, "ONC-BOARD"), "/desk", do="save", patient__id=HOSTILE, comment=HOSTILE),
        person.press(other, address(other) + "/invoice", **{"payer-inn": HOSTILE}),
        person.client.get("/prices", query_string={"q": HOSTILE}),
        person.client.post("/sign-in", data={"login": HOSTILE, "password": "x", "next": HOSTILE}),
        person.client.get("/sign-in", query_string={"next": "/" + HOSTILE}),
        person.client.get("/accounting", query_string={"since": HOSTILE}),
        person.client.get("/desk/quotes", query_string={"code": HOSTILE}),
        person.client.get("/" + HOSTILE),
    ]  # fmt: skip
    shown = 0
    for page in pages:
        assert "<script>alert" not in page.text, page.request.path
        assert 'onload="1' not in page.text, page.request.path
        shown += "&lt;script&gt;alert" in page.text
    assert shown >= 8


def test_an_id_that_is_none_is_not_found(desk):
    for path in ("/desk/quotes/1", f"/desk/quotes/{'0' * 8}-0000-0000-0000-{'0' * 12}", "/desk/invoices/x"):
        assert desk.get(path).status_code == 404


def test_another_method_is_refused_with_a_page(stranger):
    answer = stranger.client.delete("/prices")
    assert answer.status_code == 405
    assert "GET" in answer.headers["Allow"]
    assert http.LARGEST_BODY < 10**6
    assert stranger.client.post("/sign-in", data={"login": "x" * 300_000}).status_code == 413
