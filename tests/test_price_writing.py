"""Price lists as files that go out: what they say, that they can be read again, and that paper is whole."""

import csv
import io
import re
from datetime import timedelta
from decimal import Decimal
from typing import Any

import openpyxl
import pypdf
import pytest
from hypothesis import given as each_of
from hypothesis import settings
from hypothesis import strategies as st

from catalog import (
    price_files,
    price_orders,
    price_rows,
    price_sheets,
    price_template,
    price_writing,
    tables,
)
from catalog.price_lists import PriceList
from catalog.price_sheets import Entry, PriceSheet
from clinic import db, pdf
from clinic.auth import COMMAND_LINE
from clinic.command import change
from tests import given, given_prices
from tests.given_prices import line, on, published, service
from tests.test_pages import REQUISITES

DAY = on("2026-11-23")
NEXT = DAY + timedelta(days=1)
BASE = PriceList("base", "Основной прейскурант", "Base price list", "base", True, None, None, None, None, None, 1)


def entry(article: str = "MRI-1", **more: Any) -> Entry:
    said = {
        "article": article, "name_ru": "МРТ печени", "name_en": "Liver MRI", "category": "mri", "category_ru": "МРТ",
        "category_en": "MRI", "nomenclature_codes": ["A05.14.001"], "unit": "услуга", "note": None,
        "priced_by_rank": False, "doctor_rank": "none", "rank_ru": "врач", "rank_en": "doctor", "kind": "fixed",
        "amount": Decimal("13700.00"), "vat_category": "exempt_medical", "vat_rate": None, "tax_deduction_code": "1",
        "valid_from": DAY, "valid_until": None, "order": "1", "order_date": DAY, "price_list": "base",
    }  # fmt: skip
    return Entry(**(said | more))


def sheet(*entries: Entry, **more: Any) -> PriceSheet:
    said: dict[str, Any] = {
        "on": DAY, "price_list": BASE, "fallback": None, "order": price_sheets.Order("45", DAY, on("2026-11-01")),
        "entries": entries, "clinic": "Клиника", "requisites": None,
    }  # fmt: skip
    return PriceSheet(**(said | more))


def content(of: PriceSheet, format: str, lang: str = "ru", encoding: str = "utf-8") -> bytes:
    return price_writing.written(of, format, lang, encoding).content


def pages(raw: bytes) -> list[str]:
    return [page.extract_text().replace("\u00a0", " ") for page in pypdf.PdfReader(io.BytesIO(raw)).pages]


@pytest.fixture
def clinic_day(app):
    """It is the sample's day, and the clinic has the sample's prices."""
    with given.day("2026-11-23"):
        given.sample()
        yield app


def loaded(raw: bytes, **more: Any) -> price_files.Report:
    with change(COMMAND_LINE) as made:
        order = price_orders.Wanted(date=made.today, effective_from=NEXT, **more)
        return price_files.load(made, raw, order, publish=True)


# ---- There and back ----


def prices_of(of: PriceSheet) -> list[tuple[Any, ...]]:
    return [
        (each.article, each.doctor_rank, each.kind, each.amount, each.name_ru, each.nomenclature_codes, each.unit)
        for each in of.entries
    ]


@pytest.mark.parametrize(("format", "lang"), [("csv", "ru"), ("xlsx", "ru"), ("xlsx", "en")])
def test_a_list_that_went_out_comes_back_as_it_was(clinic_day, format, lang):
    before = price_sheets.read("base", DAY)
    report = loaded(content(before, format, lang))
    assert (report.rows, report.problems) == (31, [])
    assert {each.code for each in report.warnings} == {"code_missing"}
    after = price_sheets.read("base", NEXT)
    assert after.order and after.order.effective_from == NEXT
    assert prices_of(after) == prices_of(before)


@pytest.mark.parametrize("text", ["=1+2", "+7 495", "-1", "@SUM(A1)", "'=1+2", "''@x", '=HYPERLINK("http://x")'])
def test_s20_a_formula_goes_out_as_text_and_comes_back_whole(text):
    raw = content(sheet(entry(name_ru=text)), "csv")
    assert list(csv.reader(io.StringIO(raw.decode("utf-8-sig")), delimiter=";"))[1][1] == f"'{text}"
    book = content(sheet(entry(name_ru=text)), "xlsx")
    assert (opened(book)["B5"].data_type, opened(book)["B5"].hyperlink) == ("s", None)
    for file in (raw, book):
        assert [row.name_ru for row in price_rows.read(file).rows] == [text]


def test_windows_1251_comes_back_too(clinic_day):
    before = price_sheets.read("base", DAY)
    report = loaded(content(before, "csv", encoding="cp1251"))
    assert report.problems == []
    assert prices_of(price_sheets.read("base", NEXT)) == prices_of(before)


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=60).map(
    lambda text: " ".join(text.split())
).filter(bool)  # fmt: skip
HARD = st.sampled_from(["=1+2", "'=1", "''@", "-", "+7", "#N/A", "1,5", "007", "01.02.2026", "TRUE", "a;b", 'a"b', '"',
                        "_x0041_", "1e5", "'", "@SUM(A1)", "sep=;", "<b>&amp;", "https://x.example/"])  # fmt: skip


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@each_of(st.lists(TEXT | HARD, min_size=1, max_size=30, unique=True))
def test_any_text_of_a_csv_comes_back(names):
    names = [name for name in names if not tables.is_error(name)]
    back = price_rows.read(content(sheet(*(entry(f"A-{n}", name_ru=each) for n, each in enumerate(names))), "csv"))
    assert ([row.name_ru for row in back.rows], back.problems == [] or not names) == (names, True)


@settings(max_examples=6, deadline=None, derandomize=True, database=None)
@each_of(st.lists(TEXT | HARD, min_size=60, max_size=60))
def test_any_text_of_a_workbook_comes_back(names):
    names = [name for each in names if not tables.is_error(name := re.sub("[\ufffe\uffff]", "", each).strip()) and name]
    back = price_rows.read(content(sheet(*(entry(f"A-{n}", name_ru=each) for n, each in enumerate(names))), "xlsx"))
    assert ([row.name_ru for row in back.rows], back.problems) == (names, [])


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@each_of(st.lists(st.integers(0, 10**13 - 1).map(lambda kopecks: Decimal(kopecks) / 100), min_size=1, max_size=40))
def test_any_sum_of_a_csv_comes_back(sums):
    back = price_rows.read(content(sheet(*(entry(f"A-{n}", amount=each) for n, each in enumerate(sums))), "csv"))
    assert [row.amount for row in back.rows] == sums


# ---- CSV ----


def test_csv_is_what_a_russian_excel_opens():
    raw = content(
        sheet(entry(name_ru="=cmd|'/c calc'!A1", amount=Decimal("14000.00")), entry("B", name_ru='a"b')), "csv"
    )
    assert raw.startswith(b"\xef\xbb\xbfarticle;name_ru;")
    rows = list(csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline=""), delimiter=";"))
    assert (rows[1][1], rows[1][8], rows[2][1]) == ("'=cmd|'/c calc'!A1", "14000,00", 'a"b')
    assert b'"a""b"' in raw
    assert raw.count(b"\r\n") == raw.count(b"\n") == 3


def test_windows_1251_has_no_sign_of_the_ruble_and_no_thin_space():
    raw = content(sheet(entry(name_ru="Приём 67\u202f200\u00a0₽, café № 1 «λ»")), "csv", encoding="cp1251")
    assert "Приём 67\u00a0200\u00a0руб., cafe № 1 «?»" in raw.decode("cp1251")
    assert price_writing.written(sheet(), "csv", encoding="cp1251").type == "text/csv; charset=windows-1251"


# ---- XLSX ----


def opened(raw: bytes) -> Any:
    return openpyxl.load_workbook(io.BytesIO(raw)).active


def test_s20_a_workbook_has_numbers_as_numbers_and_codes_as_text():
    page = opened(content(sheet(entry("00123", name_ru="=1+2"), entry("B", kind="on_request", amount=None)), "xlsx"))
    assert (page["A5"].value, page["A5"].data_type, page["A5"].number_format) == ("00123", "s", "@")
    assert (page["B5"].value, page["B5"].data_type) == ("=1+2", "s"), "text, no formula"
    assert (page["I5"].value, page["I5"].number_format) == (13700, "#,##0.00")
    assert page["I6"].value is None


def test_a_workbook_says_by_which_order_and_keeps_its_header_in_sight():
    page = opened(content(sheet(entry()), "xlsx"))
    assert page["A2"].value == "Прейскурант утверждён приказом № 45 от 01.11.2026, действует с 23.11.2026."
    assert (page["A4"].value, page["I4"].value) == ("Артикул", "Цена")
    assert (page.freeze_panes, page.print_title_rows) == ("B5", "$4:$4")
    assert opened(content(sheet(entry()), "xlsx", "en"))["A4"].value == "article"


@pytest.mark.parametrize("format", price_writing.FORMATS)
def test_the_same_list_has_the_same_bytes(format):
    assert content(sheet(entry()), format) == content(sheet(entry()), format)


# ---- JSON ----


def test_json_has_what_the_feed_has(clinic_day):
    feed = clinic_day.test_client().get("/v1/prices?on=2026-11-23").get_json()
    ours = price_sheets.read("base", DAY).as_json("ru")
    assert [each["article"] for each in ours["items"]] == [each["article"] for each in feed["items"]]
    for item, public in zip(ours["items"], feed["items"], strict=True):
        # Days are written when the body is.
        for price, shown in zip(item["prices"], public["prices"], strict=True):
            assert {name: str(price[name]) for name in shown} == {name: str(value) for name, value in shown.items()}
        assert {name: item[name] for name in public if name != "prices"} == {
            name: value for name, value in public.items() if name != "prices"
        }


def test_a_list_that_falls_back_tells_where_a_price_is_from(clinic_day):
    with change(COMMAND_LINE) as made:
        made.conn.execute(
            "INSERT INTO price_list (code, name_ru, name_en, fallback) VALUES ('staff', 'Свои', 'Staff', 'base')"
        )
    published(line("MRI-ABD-RP", "9000.00"), line("CT-ABD-RP", None), price_list="staff", number="C-1")
    of = price_sheets.read("staff", DAY)
    found = {each["article"]: each["prices"][0] for each in of.as_json("ru")["items"]}
    assert (found["MRI-ABD-RP"]["amount"], found["MRI-ABD-RP"]["price_list"], found["MRI-ABD-RP"]["fallback"]) == (
        "9000.00", "staff", False,
    )  # fmt: skip
    assert (found["HEP-DRAIN-PT"]["amount"], found["HEP-DRAIN-PT"]["fallback"]) == ("67200.00", True)
    assert "CT-ABD-RP" not in found, "withdrawn from this list, it is not to be had from the other one"
    assert [each.article for each in of.own] == ["MRI-ABD-RP"]
    text = "".join(pages(content(of, "pdf")))
    assert "приказом № C-1" in text
    assert "HEP-DRAIN-PT" not in text
    assert "по прейскуранту «Основной прейскурант»" in text


def test_a_day_gone_by_has_its_own_prices(clinic_day):
    published(line("MRI-ABD-RP", "15000.00"), since=NEXT, number="2")
    with given.day("2026-11-25"):
        assert "13700,00" in content(price_sheets.read("base", DAY), "csv").decode()
        assert "15000,00" in content(price_sheets.read("base", NEXT), "csv").decode()


def test_a_service_sold_no_longer_is_in_the_lists_of_the_days_before(clinic_day):
    with given.day("2026-11-25"), change(COMMAND_LINE) as made:
        made.conn.execute(
            "UPDATE medical_service SET active = false, inactive_since = '2026-11-25' WHERE article = 'ONC-PLASMA'"
        )
    articles = [{each.article for each in price_sheets.read("base", day).entries} for day in (NEXT, on("2026-11-25"))]
    assert articles[0] - articles[1] == {"ONC-PLASMA"}


# ---- PDF ----


def test_the_paper_has_every_article_name_and_price(clinic_day):
    of = price_sheets.read("base", DAY)
    text = " ".join(" ".join(pages(content(of, "pdf"))).split())
    joined = text.replace(" ", "")
    for each in of.entries:
        assert each.article in joined
        assert each.name_ru.replace(" ", "") in joined
        assert all(code in joined for code in each.nomenclature_codes)
    for said in ("3 700,00", "5 300,00", "8 500,00", "67 200,00", "14 000,00", "8 840,00", "13 700,00", "0,00"):
        assert said in text
    assert text.count("по запросу") == 23
    assert "Прейскурант утверждён приказом № 1 от 23.11.2026, действует с 23.11.2026." in text
    assert "Без НДС" in text
    for section in {each.category_ru for each in of.entries}:
        assert section in text


def test_the_paper_speaks_english(clinic_day):
    text = " ".join(" ".join(pages(content(price_sheets.read("base", DAY), "pdf", "en"))).split())
    assert "Approved by order No. 1 of 23 November 2026, in force from 23 November 2026." in text
    assert "Candidate of Medical Science" in text
    assert "page 1 of 2" in text
    assert "on request" in text


def test_two_thousand_services_fill_numbered_pages_with_their_header_on_each():
    of = sheet(*(entry(f"A-{n:04}", amount=Decimal(n) + Decimal("0.50")) for n in range(2000)))
    texts = pages(content(of, "pdf"))
    assert len(texts) > 30
    for number, text in enumerate(texts, start=1):
        assert f"стр. {number} из {len(texts)}" in text
        assert "Артикул" in text
        assert "приказом № 45" in text
    whole = " ".join(texts)
    assert set(re.findall(r"A-[0-9]{4}", whole)) == {f"A-{n:04}" for n in range(2000)}
    assert whole.count(",50") == 2000


def test_the_paper_names_the_clinic_by_its_requisites():
    text = " ".join(pages(content(sheet(entry(), requisites=REQUISITES), "pdf"))[0].split())
    assert "ООО «Клиника <здоровья>»" in text
    assert "ИНН 1234567894, КПП 770101001, ОГРН 1027700132195" in text
    assert "Л041-01137-77/00000001" in text
    assert "ОБРАЗЕЦ" not in text
    assert REQUISITES["bank"]["account"] not in text
    assert "ОБРАЗЕЦ" in pages(content(sheet(entry()), "pdf"))[0]


def test_kinds_ends_notes_and_vat_are_said_in_words():
    of = sheet(
        entry("A", kind="from", amount=Decimal("67200.00")),
        entry("B", valid_until=on("2026-12-01"), note="С контрастом"),
        entry("C", vat_category="standard", vat_rate=Decimal("22.00"), unit="сутки"),
    )
    text = " ".join(pages(content(of, "pdf"))[0].split())
    assert "от 67 200,00" in text
    assert "окончательная цена — по смете" in text
    assert "по 30.11.2026" in text
    assert "С контрастом" in text
    assert "том числе НДС 22 %" in text
    assert text.count("Без НДС") == 2
    assert "сутки" in text


@pytest.mark.parametrize(
    "text",
    [
        '#read("/etc/passwd")', '#import "@preview/x:1.0.0": *', '#include "t.typ"', '#eval("6*7") #{6*7}',
        "= Заголовок", "*жирный* _курсив_ $x$ \\ @ref <tag>", "₽ № « » — ё",
    ],
)  # fmt: skip
def test_s19_no_text_is_a_program_on_paper(text):
    assert text.replace(" ", "") in pages(content(sheet(entry(name_ru=text)), "pdf"))[0].replace(" ", "").replace(
        "\n", ""
    )


def test_the_paper_is_archival_dated_by_its_day_and_has_its_own_fonts():
    reader = pypdf.PdfReader(io.BytesIO(content(sheet(entry()), "pdf")))
    assert reader.metadata and reader.metadata.title == "Основной прейскурант на 23 ноября 2026 г."
    assert reader.metadata.creation_date and reader.metadata.creation_date.date() == DAY
    assert "pdfaid:part" in reader.xmp_metadata.rdf_root.toxml()  # type: ignore[union-attr]
    assert reader.root_object["/MarkInfo"]["/Marked"]  # type: ignore[index]
    fonts = {font["/BaseFont"] for font in _fonts(reader)}
    assert fonts and all("PTSans" in name for name in fonts)


def _fonts(reader: Any) -> list[Any]:
    return [font.get_object() for page in reader.pages for font in page["/Resources"]["/Font"].values()]


def test_s19_a_template_reads_nothing_outside_the_program(tmp_path):
    secret, template = tmp_path / "secret", tmp_path / "t.typ"
    secret.write_text("secret")
    template.write_text('#read("secret")')
    with pytest.raises(Exception, match="root"):
        pdf.render(template, {}, "ru", DAY)


# ---- The empty form ----


def test_the_form_is_read_as_a_list_without_rows(app):
    with db.reading() as conn:
        for format in price_template.FORMATS:
            back = price_rows.read(price_template.made(conn, format).content)
            assert [each.code for each in back.problems] == ["no_rows"], format


def test_the_workbook_of_the_form_explains_every_column_and_offers_choices(app):
    given_prices.category()
    with db.reading() as conn:
        book = openpyxl.load_workbook(io.BytesIO(price_template.made(conn, "xlsx").content))
    form, explained, lists = (book[name] for name in ("Прейскурант", "Как заполнять", "Списки"))
    assert form.max_row == 1, "no invented prices"
    assert [cell.value for cell in explained["A"]][1:] == list(price_writing.COLUMNS)
    assert all(cell.value for name in "CD" for cell in explained[name])
    offered = {str(each.sqref).split(":")[0]: each.formula1 for each in form.data_validations.dataValidation}
    column = {"doctor_rank": "G2", "price_kind": "H2", "vat_category": "J2", "category_ru": "D2"}
    for name, first in column.items():
        assert "Списки" in offered[first], name
    assert lists.sheet_state == "hidden"
    assert "МРТ" in {cell.value for row in lists.iter_rows() for cell in row}


def test_s20_a_category_is_no_formula_in_the_form(app):
    given_prices.category(name="=1+2")
    with db.reading() as conn:
        book = openpyxl.load_workbook(io.BytesIO(price_template.made(conn, "xlsx").content))
    cells = [cell for row in book["Списки"].iter_rows() for cell in row if cell.value == "=1+2"]
    assert [cell.data_type for cell in cells] == ["s"]


def test_a_filled_form_is_an_import(app):
    with given.day("2026-11-23"):
        given_prices.category()
        with db.reading() as conn:
            book = openpyxl.load_workbook(io.BytesIO(price_template.made(conn, "xlsx").content))
        filled = ["MRI-1", "МРТ печени", "Liver MRI", "МРТ", None, "A05.14.001", None, "fixed", 13700.5]
        for place, value in enumerate(filled, start=1):
            book["Прейскурант"].cell(2, place).value = value
        made = io.BytesIO()
        book.save(made)
        assert loaded(made.getvalue()).problems == []
        assert given_prices.amount("MRI-1", on=NEXT) == "13700.50"


# ---- What a file may leave to the catalog ----


def test_a_file_of_new_prices_need_not_repeat_the_catalog(app):
    with given.day("2026-11-23"):
        service("MRI-1", ru="МРТ печени", en="Liver MRI", nomenclature_codes=["A05.14.001"], vat_category="zero")
        report = loaded("Артикул;Наименование;Цена\r\nMRI-1;МРТ печени;14 000".encode())
        assert (report.problems, report.warnings) == ([], [])
        assert given_prices.amount("MRI-1", on=NEXT) == "14000.00"


def test_a_new_service_needs_what_the_catalog_cannot_know(app):
    with given.day("2026-11-23"):
        given_prices.category()
        report = loaded("Артикул;Наименование;Цена\r\nNEW-1;МРТ печени;14 000".encode())
        assert [(each.row, each.column, each.code) for each in report.problems] == [
            (2, "name_en", "needed_for_new"), (2, "category_ru", "needed_for_new"),
        ]  # fmt: skip


def test_the_same_article_twice_is_told_with_the_row_of_the_first(app):
    with given.day("2026-11-23"):
        service("MRI-1", ru="МРТ", en="MRI")
        report = loaded("\r\nАртикул;Наименование;Цена\r\nMRI-1;МРТ;1\r\n;;\r\nMRI-1;МРТ;2".encode())
        assert [each.as_json("ru") for each in report.problems] == [
            {"row": 5, "column": "doctor_rank", "code": "repeated_row",
             "message": "MRI-1 с этим званием уже есть в строке 3."}
        ]  # fmt: skip
        assert (report.rows, report.refused) == (2, 1)


def test_a_wrong_header_below_a_title_refuses_every_row(app):
    with given.day("2026-11-23"):
        report = loaded("Прейскурант\r\n\r\nАртикул;Наименование;Категория\r\nMRI-1;МРТ;МРТ\r\nMRI-2;МРТ;МРТ".encode())
        assert [(each.row, each.column) for each in report.problems] == [(3, "price")]
        assert (report.rows, report.refused) == (2, 2)


def test_a_new_article_of_digits_is_worth_a_look(app):
    from tests import books

    with given.day("2026-11-23"):
        given_prices.category()
        header = ["article", "name_ru", "name_en", "category_ru", "price"]
        report = loaded(books.xlsx(header, [101, "МРТ", "MRI", "МРТ", 1]))
        assert [each.code for each in report.warnings] == ["article_was_number", "code_missing"]
        assert given_prices.amount("101", on=NEXT) == "1.00"
