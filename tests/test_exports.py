import csv
import html
import io
import re
from datetime import date
from decimal import Decimal
from uuid import UUID

import pytest
from werkzeug.test import TestResponse

from billing import exports
from billing.exports import Period
from clinic import branches, db
from clinic.auth import COMMAND_LINE
from clinic.command import change
from clinic.errors import DatabaseAway
from tests import given
from tests.browser import Person, quick_passwords, text  # noqa: F401

CSV = "/accounting/invoices.csv"
NOVEMBER = Period(date(2026, 11, 1), date(2026, 11, 30))


pytestmark = pytest.mark.usefixtures("quick_passwords")


@pytest.fixture
def books(clinic):
    """An accountant of a clinic with the real price list, on 23 November 2026."""
    with given.day("2026-11-23"):
        yield Person(clinic.app, "accountant")


def table(answer: TestResponse) -> list[list[str]]:
    return list(csv.reader(io.StringIO(answer.data.decode("utf-8-sig")), delimiter=";"))


def numbers(page: TestResponse) -> list[str]:
    return re.findall(r">(2026-[0-9]{6})<", page.text)


def test_the_file_opens_in_a_russian_spreadsheet(books, clinic):
    clinic.invoice(clinic.quote(("ONC-CONS-1", "none"), ("CT-ABD-RP-BOLUS", None), patient={"id": "P-7"}))
    answer = books.get(f"{CSV}?lang=ru")
    assert answer.mimetype == "text/csv"
    assert answer.data.startswith(b"\xef\xbb\xbf")
    lines = answer.data.decode("utf-8-sig").split("\r\n")
    assert lines[0] == (
        "Номер;Дата;Состояние;Вид плательщика;Код плательщика;Плательщик;ИНН;КПП;Код пациента;Сумма;НДС;Оплачено;"
        "Уменьшено;В том числе НДС;Кредит-ноты;Остаток;Код сметы"
    )
    assert lines[1].startswith(
        "2026-000001;23.11.2026;выставлен;физическое лицо;P-1;Иванова Анна;;;P-7;17700,00;Без НДС: 17700,00;0,00;0,00;"
        "0,00;;17700,00;"
    )
    assert lines[2] == ""
    assert "\n" not in "".join(lines)


def test_the_name_of_the_file_names_days_and_nobody(books):
    answer = books.get(f"{CSV}?since=2026-11-01&until=2026-11-30")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="invoices-2026-11-01-2026-11-30.csv"'
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+7 495", "-1", "@SUM(A1)", "\tx", "\rx"])
def test_s20_a_text_that_looks_like_a_formula_is_guarded(text):
    assert exports.safe(text) == f"'{text}"


@pytest.mark.parametrize("text", ["Иванова", "ООО «А=Б»", "1-2", "", "5+"])
def test_s20_other_texts_stay_as_they_are(text):
    assert exports.safe(text) == text


def test_s20_a_hostile_payer_is_guarded_quoted_and_comes_back_whole(books, clinic):
    name = '=cmd|"/C; calc"'
    clinic.invoice(clinic.quote(("CT-ABD-RP", None)), payer={"kind": "person", "name": name})
    answer = books.get(CSV)
    assert ';"\'=cmd|""/C; calc""";' in answer.data.decode()
    assert table(answer)[1][5] == f"'{name}"


def test_s20_numbers_are_never_guarded():
    row = exports.Row(
        UUID(int=1), "2026-000001", date(2026, 11, 23), "issued", {"kind": "person", "inn": None, "kpp": None},
        UUID(int=2), "P-1", None, Decimal("1220.00"), [("22", "1220.00", "220.00")], Decimal("1300.00"),
        Decimal("0.00"), Decimal("0.00"), [], None, "Анна",
    )  # fmt: skip
    assert row.balance == Decimal("-80.00")
    assert exports._cells(row, "ru")[9:15] == (
        "1220,00",
        "НДС 22 %: 220,00",
        "1300,00",
        "0,00",
        "0,00",
        "",
    )
    assert exports._cells(row, "ru")[15] == "-80,00"


def test_each_vat_rate_has_a_row_and_exempt_is_not_zero_percent():
    row = exports.Row(
        UUID(int=1), "1", date(2026, 11, 23), "issued", {}, UUID(int=2), "P-1", None, Decimal("4930.00"),
        [("22", "1220.00", "220.00"), ("0", "10.00", "0.00"), (None, "3700.00", None)], Decimal(0), Decimal(0),
        Decimal(0), [], None,
    )  # fmt: skip
    assert row.vat_rows("ru") == [
        ("НДС 22 %", Decimal("220.00")), ("НДС 0 %", Decimal("0.00")), ("Без НДС", Decimal("3700.00")),
    ]  # fmt: skip
    assert [said for said, _ in row.vat_rows("en")] == ["VAT 22 %", "VAT 0 %", "No VAT"]


def test_the_register_holds_the_days_asked_for_both_included(books, clinic):
    for day in ("2026-11-24", "2026-11-25", "2026-11-26"):
        with given.day(day):
            clinic.invoice(clinic.quote(("CT-ABD-RP", None)))
    found = table(books.get(f"{CSV}?since=2026-11-24&until=2026-11-25"))
    assert [row[1] for row in found[1:]] == ["24.11.2026", "25.11.2026"]


def test_drafts_are_not_in_the_register_and_cancelled_invoices_are(books, clinic):
    clinic.draft(("CT-ABD-RP", None))
    gone = clinic.invoice(clinic.quote(("CT-ABD-RP", None)))
    clinic.post(f"/v1/invoices/{gone['id']}/cancel", {"reason": "ошибка"})
    assert [(row[2], row[12], row[13]) for row in table(books.get(CSV))[1:]] == [("аннулирован", "8840,00", "0,00")]


def test_a_long_register_is_read_piece_by_piece_and_loses_nothing(books, clinic, monkeypatch):
    monkeypatch.setattr(exports, "_PIECE", 2)
    monkeypatch.setattr(exports, "_BLOCK", 256)
    quotes = [clinic.quote(("CT-ABD-RP", None)) for _ in range(5)]
    numbers = [clinic.invoice(quote)["number"] for quote in quotes]
    blocks = list(exports.csv_of(COMMAND_LINE, NOVEMBER, "ru", "request-1"))
    assert len(blocks) > 2
    rows = csv.reader(io.StringIO(b"".join(blocks).decode("utf-8-sig")), delimiter=";")
    assert [row[0] for row in rows] == ["Номер", *numbers]
    assert [row[0] for row in table(books.get(CSV))[1:]] == numbers


def test_every_exported_document_is_remembered(books, clinic):
    made = [clinic.invoice(clinic.quote(("CT-ABD-RP", None))) for _ in range(2)]
    books.get(CSV)
    with db.reading() as conn:
        rows = conn.execute("SELECT object_id, actor FROM access_log WHERE action = 'export' ORDER BY id").fetchall()
    assert {str(row[0]) for row in rows} == {each["id"] for each in made}
    assert all(row[1].startswith("staff:") for row in rows)


def test_a_database_that_is_away_is_an_answer_and_not_half_a_file(books, monkeypatch):
    def away(*_):
        raise DatabaseAway()

    monkeypatch.setattr(exports, "_piece", away)
    assert books.get(CSV).status_code == 503


def test_the_page_adds_up_what_the_file_lists(books, clinic):
    for services in ((("CT-ABD-RP", None),), (("ONC-CONS-1", "doctor"), ("MRI-ABD-RP", None))):
        clinic.invoice(clinic.quote(*services))
    page = text(books.get("/accounting")).replace("\u00a0", " ")
    assert "Счетов 2 Выставлено 31 040,00 ₽ Уменьшено 0,00 ₽ Оплачено 0,00 ₽ Остаток 31 040,00 ₽" in page
    sums = [Decimal(row[9].replace(",", ".")) for row in table(books.get(CSV))[1:]]
    assert sum(sums) == Decimal("31040.00")


def test_the_page_goes_on_where_it_ended(books, clinic, monkeypatch):
    monkeypatch.setattr(exports, "PAGE", 2)
    quotes = [clinic.quote(("CT-ABD-RP", None)) for _ in range(3)]
    for quote in quotes:
        clinic.invoice(quote)
    first = books.get("/accounting")
    assert numbers(first) == ["2026-000001", "2026-000002"]
    further = re.search(r'href="(/accounting\?[^"]*after=[^"]*)"', first.text)
    assert further
    second = books.get(html.unescape(further[1]))
    assert numbers(second) == ["2026-000003"]


def test_without_days_the_month_until_today_is_shown(books):
    page = books.get("/accounting")
    assert 'value="2026-11-01"' in page.text and 'value="2026-11-23"' in page.text
    assert "счетов нет" in text(page)


@pytest.mark.parametrize("query", ["since=yesterday", "until=2026-02-30", "since=2026-11-10&until=2026-11-09"])
def test_a_wrong_period_is_told_beside_its_field(books, query):
    page = books.get(f"/accounting?{query}")
    assert page.status_code == 422
    assert "aria-invalid" in page.text
    assert books.get(f"{CSV}?{query}").status_code == 422


def test_an_accountant_of_a_branch_sees_its_documents_only(clinic):
    with change(COMMAND_LINE) as made:
        branches.create(made, "north", "Северный филиал", "С")
    clinic.invoice(clinic.quote(("CT-ABD-RP", None)))
    clinic.invoice(clinic.quote(("MRI-ABD-RP", None), branch="north"))
    north = Person(clinic.app, "accountant", branch="north")
    rows = table(north.get(CSV))[1:]
    assert [row[9] for row in rows] == ["13700,00"]
    assert "13\u00a0700,00" in north.get("/accounting").text and "8\u00a0840,00" not in north.get("/accounting").text


def test_what_is_credited_ties_with_its_notes(books, clinic):
    invoice = clinic.invoice(clinic.quote(("CT-ABD-RP", None)))
    for amount in ("40.00", "0.50"):
        body = {"lines": [{"position": 1, "amount": amount}], "reason": "Ошибка"}
        given.made(clinic.post(f"/v1/invoices/{invoice['id']}/credit-notes", body))
    headings, row = table(books.get(f"{CSV}?lang=en"))
    told = dict(zip(headings, row, strict=True))
    year = invoice["date"][:4]
    assert told["Credit notes"] == f"К-{year}-000001: 40,00; К-{year}-000002: 0,50"
    assert (told["Credited"], told["VAT credited"], told["Balance"]) == ("40,50", "0,00", "8799,50")
    page = text(books.get("/accounting"))
    assert f"40,50 ₽ К-{year}-000001 К-{year}-000002" in page.replace("\xa0", " ")
    assert "Credited 40,50 ₽" in page.replace("\xa0", " ")
