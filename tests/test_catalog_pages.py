"""The pages of the person who keeps prices: files that come in and go out, and what prices refer to."""

from __future__ import annotations

import io
import re

import psycopg
import pytest

from catalog import price_imports
from clinic import db, kept_files, uploads, worker
from tests import given
from tests.browser import Person, forms, quick_passwords, text  # noqa: F401
from tests.given import price_file

pytestmark = pytest.mark.usefixtures("quick_passwords")

NEXT_WEEK = "2026-11-30"
RIGHT = price_file(3)
WRONG = RIGHT.replace(b"102,00", "бесплатно".encode())


@pytest.fixture
def today():
    with given.day(given.FIRST_DAY) as day:
        yield day


@pytest.fixture
def keeper(today, clinic):
    return Person(clinic.app, "price_keeper")


def said(page):
    return text(page).replace("\xa0", " ")


def form_of(page, action):
    return next(fields for to, fields in forms(page) if to == action)


def brought(person, page, action, file=None, name="prices.csv", **filled):
    """The answer to the form when a file was chosen in it, or none."""
    form = form_of(page, action)
    form.pop("file", None)
    typed = {field.replace("__", "-"): value for field, value in filled.items()}
    sent = form | typed | ({"file": (io.BytesIO(file), name)} if file is not None else {})
    return person.client.post(action, data=sent, content_type="multipart/form-data")


def prices_brought(person, file=None, page=None, **filled):
    page = page or person.get("/catalog/import")
    return brought(person, page, "/catalog/import", file, **({"do": "check", "effective_from": NEXT_WEEK} | filled))


def count(what, **values):
    with db.reading() as conn:
        return int(db.value(conn, f"SELECT count(*) FROM {what}", values))


def orders():
    return count("price_order")


def work(opened):
    """Let a worker have its turn."""
    db.open_pool(opened.app, size=worker.CONNECTIONS, worker=True)
    assert worker.Worker(opened.app).do_next()


# ---- A price list comes in ----


def test_a_file_is_checked_and_then_loaded_without_being_chosen_again(keeper):
    before = orders()
    checked = prices_brought(keeper, RIGHT, number="77", note="осень")
    assert checked.status_code == 200, said(checked)
    assert "Файл можно загрузить" in said(checked)
    assert orders() == before
    loaded = prices_brought(keeper, page=checked, do="load")
    assert "Черновик приказа создан" in said(loaded)
    (address,) = set(re.findall(r"/catalog/orders/[0-9a-f-]{36}", loaded.text))
    order = keeper.get(address)
    assert "№ 77" in said(order)
    assert "осень" in said(order)


def test_pressing_load_twice_makes_one_order(keeper):
    page = keeper.get("/catalog/import")
    before = orders()
    first, second = (prices_brought(keeper, RIGHT, page, do="load") for _ in range(2))
    assert (first.status_code, second.status_code) == (200, 303)
    assert second.headers["Location"] in first.text
    assert orders() == before + 1


def test_wrong_rows_are_told_by_row_column_and_reason(keeper):
    before = orders()
    for button in ("check", "load"):
        refused = prices_brought(keeper, WRONG, do=button)
        assert "Ничего не создано" in said(refused)
        assert "ошибка" in said(refused)
        assert '<td class="number" data-label="Строка">4</td>' in refused.text
        assert '<td data-label="Столбец">Цена</td>' in refused.text
        assert 'name="kept"' not in refused.text
    assert refused.status_code == 422
    assert orders() == before


def test_of_many_findings_the_first_are_shown_and_the_rest_counted(keeper):
    many = price_file(600).replace(b",00", b"!")
    shown = prices_brought(keeper, many)
    assert shown.text.count('class="mark bad"') == 500
    assert "И ещё замечаний: 100" in said(shown)


def test_what_is_wrong_with_the_order_loses_neither_what_was_typed_nor_the_file(keeper):
    refused = prices_brought(keeper, RIGHT, effective_from="", number="5", note="Опечатка")
    assert refused.status_code == 422
    assert "Заполните это поле" in said(refused)
    assert 'value="Опечатка"' in refused.text
    assert "prices.csv" in said(refused)
    assert "Файл можно загрузить" in said(prices_brought(keeper, page=refused))


@pytest.mark.parametrize(
    ("file", "complaint"),
    [(None, "Выберите файл"), (b"", "Выберите файл"), (b"%PDF-1.7 \x00\xff", "fault"), (b"PK\x03\x04junk", "fault")],
)
def test_what_is_no_price_list_is_said_beside_the_field(keeper, file, complaint):
    refused = prices_brought(keeper, file, number="5")
    assert refused.status_code == 422
    assert 'id="file-fault"' in refused.text
    assert complaint in refused.text
    assert 'value="5"' in refused.text


@pytest.mark.parametrize("beyond", [1, kept_files.LARGEST_FORM])
def test_a_file_too_large_is_said_beside_the_field(keeper, beyond):
    refused = prices_brought(keeper, b"x" * (uploads.LARGEST + beyond))
    assert refused.status_code == 422
    assert "больше 20 МиБ" in said(refused)
    assert count("kept_file") == 0


def test_a_kept_file_is_nobody_elses(keeper, clinic):
    checked = prices_brought(keeper, RIGHT)
    other = Person(clinic.app, "price_keeper", login="olga")
    kept = form_of(checked, "/catalog/import")["kept"]
    refused = prices_brought(other, kept=kept, do="load")
    assert refused.status_code == 422
    assert "выберите его снова" in said(refused)


def test_a_file_is_kept_for_an_hour(keeper, opened):
    checked = prices_brought(keeper, RIGHT)
    with psycopg.connect(opened.owner) as conn:
        conn.execute("UPDATE kept_file SET kept_at = now() - interval '61 minutes'")
    assert "выберите его снова" in said(prices_brought(keeper, page=checked, do="load"))
    assert kept_files.purge() == 1


def test_of_each_person_the_three_newest_files_are_kept(keeper):
    for _ in range(5):
        prices_brought(keeper, RIGHT)
    assert count("kept_file") == 3


def test_a_long_file_becomes_a_job_whose_page_shows_the_report_and_offers_to_load(keeper, opened, monkeypatch):
    monkeypatch.setattr(price_imports, "MOST_ROWS", 2)
    before = orders()
    waiting = keeper.follow(prices_brought(keeper, RIGHT, number="77"))
    assert '<meta http-equiv="refresh" content="2">' in waiting.text
    assert "ждёт очереди" in said(waiting)
    address = waiting.request.full_path
    work(opened)
    checked = keeper.get(address)
    assert "refresh" not in checked.text
    assert "Файл можно загрузить" in said(checked)
    assert orders() == before
    loading = keeper.follow(keeper.press(checked, "/catalog/import", do="load"))
    work(opened)
    loaded = keeper.get(loading.request.full_path)
    assert "Черновик приказа создан" in said(loaded)
    assert orders() == before + 1
    assert count("price_order WHERE number = '77'") == 1


def test_the_report_of_a_long_wrong_file_is_shown_too(keeper, opened, monkeypatch):
    monkeypatch.setattr(price_imports, "MOST_ROWS", 2)
    waiting = keeper.follow(prices_brought(keeper, WRONG, do="load"))
    work(opened)
    failed = keeper.get(waiting.request.full_path)
    assert "Ничего не создано" in said(failed)
    assert 'data-label="Строка">4<' in failed.text


def test_a_job_is_shown_to_nobody_else(keeper, clinic, monkeypatch):
    monkeypatch.setattr(price_imports, "MOST_ROWS", 2)
    address = prices_brought(keeper, RIGHT).headers["Location"]
    assert Person(clinic.app, "price_keeper", login="olga").get(address).status_code == 404


def test_a_hostile_file_is_only_text(keeper):
    hostile = RIGHT.replace(b"102,00", b"<script>alert(1)</script>")
    shown = prices_brought(keeper, hostile, name="<script>x.csv")
    assert "<script>" not in shown.text


def test_a_form_of_another_session_brings_no_file(keeper):
    page = keeper.get("/catalog/import")
    assert prices_brought(keeper, RIGHT, page, form_token="0" * 64).status_code == 403
    assert count("kept_file") == 0


def test_the_empty_form_is_given(keeper):
    assert keeper.get("/catalog/import/template?format=xlsx").data[:2] == b"PK"
    assert keeper.get("/catalog/import/template?format=csv").data.decode("utf-8-sig").startswith("article;name_ru;")


# ---- The register of Order 804n ----

REGISTER = (
    "ID;S_CODE;NAME;REL;DATEOUT\n1;B01.027.001;Прием врача-онколога первичный;1;\n2;A05.30.005;МРТ;0;2020-05-01\n"
).encode()


def register_brought(person, file=None, page=None, **filled):
    page = page or person.get("/catalog/nomenclature")
    return brought(person, page, "/catalog/nomenclature", file, **({"do": "check"} | filled))


def test_the_register_is_checked_and_then_loaded(keeper):
    assert "не загружена" in said(keeper.get("/catalog/nomenclature"))
    checked = register_brought(keeper, REGISTER)
    assert "Файл можно загрузить" in said(checked)
    assert count("nomenclature") == 0
    loaded = register_brought(keeper, page=checked, do="load")
    assert "Номенклатура загружена" in said(loaded)
    assert count("nomenclature") == 2
    assert "нет в номенклатуре 804н" in said(keeper.get("/catalog/nomenclature"))


def test_a_wrong_register_changes_nothing(keeper):
    refused = register_brought(keeper, REGISTER.replace(b";1;", b";2;"), do="load")
    assert refused.status_code == 422
    assert "В REL нужно 1" in said(refused)
    assert count("nomenclature") == 0


def test_a_long_register_becomes_a_job(keeper, opened, monkeypatch):
    monkeypatch.setattr(price_imports, "MOST_ROWS", 1)
    waiting = keeper.follow(register_brought(keeper, REGISTER))
    work(opened)
    checked = keeper.get(waiting.request.full_path)
    assert "Файл можно загрузить" in said(checked)
    loading = keeper.follow(keeper.press(checked, "/catalog/nomenclature", do="load"))
    work(opened)
    assert "Номенклатура загружена" in said(keeper.get(loading.request.full_path))
    assert count("nomenclature") == 2


def test_programs_load_the_register(clinic):
    tried = clinic.upload("/v1/nomenclature/imports?dry_run=true", file=REGISTER)
    assert (tried.status_code, tried.get_json()["added"], count("nomenclature")) == (200, 2, 0)
    loaded = clinic.upload("/v1/nomenclature/imports", file=REGISTER)
    assert loaded.get_json() == {
        "rows": 2, "problems": [], "warnings": [], "codes": 2, "in_force": 1, "added": 2, "withdrawn": 0,
    }  # fmt: skip
    assert count("nomenclature") == 2


def test_a_wrong_register_of_a_program_is_refused_by_rows(clinic):
    refused = clinic.upload("/v1/nomenclature/imports", file=REGISTER.replace(b";1;", b";2;"))
    assert refused.status_code == 422
    assert [(each["row"], each["column"]) for each in refused.get_json()["problems"]] == [(2, "REL")]


def test_a_long_register_of_a_program_becomes_a_job(clinic, opened, monkeypatch):
    monkeypatch.setattr(price_imports, "MOST_ROWS", 1)
    asked = clinic.upload("/v1/nomenclature/imports", file=REGISTER)
    assert asked.status_code == 202
    work(opened)
    assert clinic.get(asked.headers["Location"]).get_json()["result"]["codes"] == 2
