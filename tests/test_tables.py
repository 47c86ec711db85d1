"""Price lists as accountants really send them: which rows are read, and how it is said why not."""

import datetime
import io
import random
import re
import socket
import zipfile
from collections.abc import Sequence
from decimal import Decimal

import pytest

from catalog import price_rows, tables
from catalog.price_rows import Row, Sheet
from tests import books

ENGLISH = ["article", "name_ru", "name_en", "category_ru", "price"]
RUSSIAN = ["Артикул", "Наименование услуги", "Наименование (англ.)", "Категория", "Стоимость, руб."]
MRI = ["MRI-1", "МРТ печени", "Liver MRI", "МРТ", 13700]


def read(raw: bytes | str) -> Sheet:
    return price_rows.read(raw.encode() if isinstance(raw, str) else raw)


def one(raw: bytes | str) -> Row:
    """The only row of a file without a fault."""
    sheet = read(raw)
    assert sheet.problems == []
    assert len(sheet.rows) == 1
    return sheet.rows[0]


def told(raw: bytes | str) -> list[tuple[int, str | None, str]]:
    sheet = read(raw)
    for each in sheet.problems:
        assert "{" not in each.as_json("ru")["message"] + each.as_json("en")["message"]
    return [(each.row, each.column, each.code) for each in sheet.problems]


def csv(*rows: Sequence[object], delimiter: str = ";", end: str = "\r\n") -> str:
    return end.join(delimiter.join(map(str, row)) for row in rows)


# ---- Where the table stands ----


def test_a_title_and_an_empty_row_may_stand_above_the_header():
    title = ["Прейскурант ООО «Клиника»; утверждён приказом № 45 от 01.11.2026"]
    row = one(books.xlsx(title, [], ["Действует с 15.11.2026"], [], RUSSIAN, MRI))
    assert (row.number, row.article, row.amount) == (6, "MRI-1", Decimal("13700.00"))
    assert one(csv(["«Прейскурант»; приказ № 45"], [], RUSSIAN, MRI)).number == 4


def test_rows_keep_the_numbers_that_a_spreadsheet_shows():
    wrong = ["MRI-2", "", "MRI", "МРТ", 100]
    assert told(books.xlsx(["Прейскурант"], [], RUSSIAN, MRI, [], wrong)) == [(6, "name_ru", "empty_cell")]


def test_russian_headings_are_known_however_they_are_punctuated():
    header = ["№ п/п", " АРТИКУЛ ", "Наименование  услуги:", "Код услуги (номенклатура)", "Учёная степень", "Вид цены",
              "Цена, ₽", "НДС", "Ед. изм."]  # fmt: skip
    row = one(csv(header, [1, "CONS", "Приём", "B01.027.001", "к. м. н.", "от", "5 300,00", "Без НДС", "приём"]))
    assert (row.doctor_rank, row.kind, row.amount, row.vat_category, row.unit, row.nomenclature_codes) == (
        "к. м. н.", "from", Decimal("5300.00"), "exempt_medical", "приём", ["B01.027.001"],
    )  # fmt: skip


def test_a_heading_that_may_mean_two_columns_is_not_guessed():
    assert told(csv([*RUSSIAN, "Код"], [*MRI, "A05.14.001"])) == [(1, "Код", "unknown_column")]


def test_every_alias_leads_to_one_column():
    from catalog.price_columns import BY_HEADING, HEADINGS

    written = [tables.heading(word) for column, words in HEADINGS.items() for word in (column, *words)]
    assert {
        word for word in written if len({c for c, ws in HEADINGS.items() if word in map(tables.heading, ws)}) > 1
    } == set()
    assert set(written) <= BY_HEADING.keys()


def test_a_header_of_two_rows_with_merged_headings():
    def merge(book):
        book.active.merge_cells("E1:F1")
        for letter in "ABCD":
            book.active.merge_cells(f"{letter}1:{letter}2")

    raw = books.xlsx(
        [*RUSSIAN[:4], "Оплата"], ["", "", "", "", "Вид цены", "Цена"], [*MRI[:4], "от", 13700], change=merge
    )
    row = one(raw)
    assert (row.kind, row.amount) == ("from", Decimal("13700.00"))


def test_the_row_of_column_numbers_below_a_header_is_none_of_the_list():
    assert one(books.xlsx(RUSSIAN, [1, 2, 3, 4, 5], MRI)).number == 3


def test_merged_cells_are_meant_for_each_of_their_rows():
    header = ["article", "name_ru", "doctor_rank", "price"]
    rows = [["CONS", "Приём", "врач", 3700], ["", "", "к.м.н.", 5300], ["", "", "д.м.н.", 8500]]

    def merge(book):
        book.active.merge_cells("A2:A4")
        book.active.merge_cells("B2:B4")

    assert [(row.article, row.doctor_rank) for row in read(books.xlsx(header, *rows, change=merge)).rows] == [
        ("CONS", "врач"), ("CONS", "к.м.н."), ("CONS", "д.м.н."),
    ]  # fmt: skip


def test_without_a_category_a_row_of_one_cell_begins_a_section():
    sheet = read(csv(["Артикул", "Услуга", "Цена"], ["Консультации"], ["C-1", "Приём", 1], ["МРТ"], ["M-1", "МРТ", 2]))
    assert [(row.article, row.category_ru) for row in sheet.rows] == [("C-1", "Консультации"), ("M-1", "МРТ")]
    assert (sheet.count, sheet.problems) == (2, [])


def test_what_is_empty_behind_the_table_is_nothing():
    def format_far_away(book):
        book.active["XFD9"].number_format = "0.00"
        book.active["A90000"].number_format = "@"

    assert one(books.xlsx(ENGLISH, MRI, change=format_far_away)).number == 2
    assert one(csv([*ENGLISH, *[""] * 16_379], [*MRI, *[""] * 16_379])).number == 2


def test_the_sheet_with_the_header_is_read_and_named():
    def add(book):
        book.active.title = "Справка"
        page = book.create_sheet("Цены 2026")
        for row in (RUSSIAN, MRI):
            page.append(row)

    sheet = read(books.xlsx(["О прейскуранте"], change=add))
    assert sheet.rows[0].article == "MRI-1"
    assert [each.as_json("ru")["message"] for each in sheet.warnings] == ["Листов несколько; прочитан «Цены 2026»."]


def test_a_hidden_sheet_is_not_read():
    def hide(book):
        page = book.create_sheet("Старые цены", 0)
        for row in ([*ENGLISH, "unit"], ["OLD", "Старая", "Old", "МРТ", 1, "шт"]):
            page.append(row)
        page.sheet_state = "hidden"
        book.active = 1

    assert one(books.xlsx(ENGLISH, MRI, change=hide)).article == "MRI-1"


def test_hidden_rows_are_read_and_told():
    def hide(book):
        book.active.row_dimensions[3].hidden = True

    sheet = read(books.xlsx(ENGLISH, MRI, ["MRI-2", *MRI[1:]], change=hide))
    assert [row.article for row in sheet.rows] == ["MRI-1", "MRI-2"]
    assert [(each.row, each.code) for each in sheet.warnings] == [(3, "hidden_row")]


def test_cells_without_a_heading_are_not_passed_over():
    raw = csv(["article", "name_ru", "", "price"], ["A", "Б", "что это?", 1])
    assert [each.as_json("en")["message"] for each in read(raw).problems] == ["The column C has cells but no heading."]


# ---- What cells hold ----


@pytest.mark.parametrize(
    ("value", "rubles"),
    [(67200.0, "67200.00"), (67200.5, "67200.50"), (0.29, "0.29"), (14000 * 1.1, "15400.00"), (4.35 * 100, "435.00"),
     ("67 200,00", "67200.00"), ("67\u202f200 ₽", "67200.00"), ("67 200 руб.", "67200.00"), (67.2, "67.20"),
     (9999999999.99, "9999999999.99")],
)  # fmt: skip
def test_a_number_is_the_number_that_excel_shows(value, rubles):
    assert one(books.xlsx(ENGLISH, [*MRI[:4], value])).amount == Decimal(rubles)


def test_every_sum_of_kopecks_is_exact():
    sums = [Decimal(random.Random(1).randrange(10**9)) / 100 + number for number in range(2000)]
    sheet = read(books.xlsx(ENGLISH, *([f"M-{n}", *MRI[1:4], float(each)] for n, each in enumerate(sums))))
    assert [row.amount for row in sheet.rows] == sums


def test_an_amount_finer_than_kopecks_is_told_as_such():
    assert told(books.xlsx(ENGLISH, [*MRI[:4], 9327.255])) == [(2, "price", "finer_than_kopecks")]


@pytest.mark.parametrize(
    ("written", "kind", "amount"),
    [("от 67 200", "from", "67200.00"), ("От 67 200,50 руб.", "from", "67200.50"), ("по запросу", "on_request", None),
     ("Договорная", "on_request", None), ("снята", "withdrawn", None)],
)  # fmt: skip
def test_a_price_may_say_its_kind(written, kind, amount):
    row = one(csv(ENGLISH, [*MRI[:4], written]))
    assert (row.kind, row.amount) == (kind, amount and Decimal(amount))


def test_two_kinds_in_one_row_are_refused():
    assert told(csv([*ENGLISH, "price_kind"], [*MRI[:4], "от 5", "fixed"])) == [(2, "price", "kinds_disagree")]


@pytest.mark.parametrize(
    ("column", "value", "code"),
    [
        ("article", datetime.date(2026, 2, 1), "cell_is_date"),
        ("article", 12.1, "cell_is_number"),
        ("article", 1e20, "cell_is_number"),
        ("name_ru", True, "cell_is_flag"),
        ("name_ru", "#Н/Д", "cell_is_error"),
        ("price", "=1+2", "cell_is_formula"),
        ("price", True, "cell_is_flag"),
        ("price", datetime.datetime(2026, 2, 1, 3), "cell_is_date"),  # noqa: DTZ001
        ("price", datetime.time(1, 2), "cell_is_date"),
        ("price", -5, "wrong_price"),
    ],
)
def test_a_cell_of_another_kind_is_told(column, value, code):
    row = dict(zip(ENGLISH, MRI, strict=True)) | {column: value}
    assert told(books.xlsx(ENGLISH, list(row.values()))) == [(2, column, code)]


def test_an_error_is_no_empty_cell():
    def break_it(book):
        book.active["F2"] = "#N/A"
        book.active["F2"].data_type = "e"

    raw = books.xlsx([*ENGLISH, "doctor_rank"], MRI, change=break_it)
    assert told(raw) == [(2, "doctor_rank", "cell_is_error")]


def test_a_formula_counts_by_its_last_value():
    def computed(part: bytes) -> bytes:
        return part.replace(b"<f>E1*2</f><v />", b"<f>E1*2</f><v>13700.5</v>").replace(
            b"<f>E1*2</f><v></v>", b"<f>E1*2</f><v>13700.5</v>"
        )

    raw = books.repacked(books.xlsx(ENGLISH, [*MRI[:4], "=E1*2"]), {books.SHEET: computed})
    assert one(raw).amount == Decimal("13700.50")


def test_a_code_that_excel_made_a_number_is_read_and_marked():
    row = one(books.xlsx(ENGLISH, [101, *MRI[1:]]))
    assert (row.article, row.article_was_number) == ("101", True)
    assert not one(books.xlsx(ENGLISH, ["101", *MRI[1:]])).article_was_number


@pytest.mark.parametrize("space", ["\u00a0", "\u2009", "\u202f", "\t", "\n", "  "])
def test_text_is_squeezed_whatever_its_spaces_are(space):
    assert one(books.xlsx(ENGLISH, ["MRI-1", f" МРТ{space}печени{space}", *MRI[2:]])).name_ru == "МРТ печени"


def test_s20_the_guard_of_a_formula_is_no_part_of_the_text():
    assert one(csv(ENGLISH, ["MRI-1", "'=МРТ", *MRI[2:]])).name_ru == "=МРТ"
    assert one(csv(ENGLISH, ["MRI-1", "'МРТ'", *MRI[2:]])).name_ru == "'МРТ'"


# ---- Text files ----


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1251", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends(encoding, end):
    assert one(csv(["Прейскурант"], RUSSIAN, MRI, end=end).encode(encoding)).name_ru == "МРТ печени"


def test_the_delimiter_is_the_one_by_which_the_header_is_understood():
    title = "Прейскурант, утверждён, согласован, действует с 15.11.2026"
    assert one(csv([title], [*RUSSIAN[:4], "Цена"], MRI)).amount == Decimal("13700.00")
    assert one("sep=,\r\n" + csv(ENGLISH, MRI, delimiter=",")).number == 2


def test_quotes_inside_a_cell():
    doubled = ["MRI-1", '"МРТ ""печени""; первичная"', *MRI[2:]]
    assert one(csv(ENGLISH, doubled)).name_ru == 'МРТ "печени"; первичная'
    assert one(csv(ENGLISH, ["MRI-1", 'МРТ "печени"', *MRI[2:]])).name_ru == 'МРТ "печени"'
    assert told(csv(ENGLISH, MRI, ["MRI-2", '"МРТ" печени', *MRI[2:]])) == [(3, None, "broken_quotes")]


# ---- What is no table, and what would be too much ----

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20
GOOD = books.xlsx(ENGLISH, MRI)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        pytest.param(lambda: PICTURE, "other_format", id="a picture named .xlsx"),
        pytest.param(lambda: b"%PDF-1.7 ...", "other_format", id="a PDF"),
        pytest.param(lambda: b"<html><table>", "other_format", id="a page that 1C calls .xls"),
        pytest.param(lambda: bytes(range(1, 256)) * 9, "unreadable_file", id="noise"),
        pytest.param(lambda: random.Random(7).randbytes(5000), "unreadable_file", id="more noise"),
        pytest.param(lambda: b"PK\x03\x04" + bytes(500), "unreadable_file", id="a broken zip"),
        pytest.param(lambda: GOOD[: len(GOOD) // 2], "unreadable_file", id="a book cut short"),
        pytest.param(lambda: GOOD[:-30], "unreadable_file", id="a book cut at its end"),
        pytest.param(books.bomb, "file_too_large", id="a zip bomb"),
        pytest.param(books.liar, "unreadable_file", id="a zip bomb that lies"),
        pytest.param(books.far_cell, "table_too_large", id="a cell at the far end"),
        pytest.param(lambda: bytes(tables.LARGEST_FILE + 1), "file_too_large", id="a large file"),
        pytest.param(lambda: b"a;b\n" * 200_000, "table_too_large", id="too many rows"),
        pytest.param(lambda: books.xlsx(["x"] * 16_384), "table_too_large", id="16,384 columns"),
        pytest.param(lambda: csv(["x"] * 16_384), "table_too_large", id="16,384 columns of CSV"),
        pytest.param(lambda: books.repacked(GOOD, {"xl/vbaProject.bin": b"x"}), "macro_file", id="macros"),
        pytest.param(lambda: books.repacked(GOOD, {"mimetype": b"x"}), "other_format", id="ODS"),
        pytest.param(lambda: books.repacked(GOOD, {books.SHEET: b"<no"}), "unreadable_file", id="a torn sheet"),
        pytest.param(lambda: books.repacked(GOOD, {"xl/workbook.xml": b"&x;"}), "unreadable_file", id="a torn book"),
        pytest.param(lambda: books.compound({"EncryptedPackage": b"x"}), "protected_file", id="a password"),
        pytest.param(lambda: books.compound({"Workbook": b"", "_VBA_PROJECT_CUR": b""}), "macro_file", id="XLS macros"),
        pytest.param(lambda: books.compound({"WordDocument": b"x"}), "other_format", id="a letter"),
        pytest.param(lambda: books.compound({"Workbook": b"\xff" * 50}), "unreadable_file", id="a broken XLS"),
        pytest.param(lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "unreadable_file", id="the first bytes of an XLS"),
        pytest.param(lambda: books.xls(ENGLISH, MRI)[:1800], "unreadable_file", id="an XLS cut short"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_problem(raw, code):
    sheet = read(raw())
    assert [each.code for each in sheet.problems] == [code]
    assert sheet.rows == []
    assert all(sheet.problems[0].as_json(lang)["message"] for lang in ("ru", "en"))


def test_a_changed_byte_is_noticed():
    """Packed without compression the text is legible, and only its check sum tells."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(GOOD)) as old, zipfile.ZipFile(made, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert one(made.getvalue()).article == "MRI-1"
    assert told(made.getvalue().replace(b"MRI-1", b"MRI-7")) == [(1, None, "unreadable_file")]


def test_a_workbook_that_asks_for_too_much_work_is_told_as_such(monkeypatch):
    monkeypatch.setattr(tables, "_SECONDS", 0.01)
    assert told(GOOD) == [(1, None, "workbook_too_heavy")]


def test_s21_entities_that_grow_are_not_unfolded():
    grown = b'<!DOCTYPE x [<!ENTITY a "' + b"x" * 10_000 + b'">' + b"".join(
        b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 50) for n in range(8)
    ) + b"]><workbook>&i;</workbook>"  # fmt: skip
    assert told(books.repacked(GOOD, {"xl/workbook.xml": grown})) == [(1, None, "unreadable_file")]


SECRET = "не для чужих глаз"
XML = ("xl/workbook.xml", books.SHEET, "xl/styles.xml", "xl/_rels/workbook.xml.rels", "[Content_Types].xml")
"""Parts of a workbook, read by us or by the library."""


def foreign(part: bytes, doctype: str, encoding: str) -> bytes:
    """A part of a workbook under a DTD, where its first text is the entity `&e;`."""
    text = re.sub(r"^<\?xml[^>]*>\s*", "", part.decode())
    text = re.sub(r"(<(?:sheetData|Relationships|workbookPr|t)\b[^>]*>)", r"\1&e;", text, count=1)
    return f'<?xml version="1.0" encoding="{encoding}"?>{doctype}{text}'.encode(encoding)


@pytest.mark.parametrize("part", XML)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("kind", ["a file", "a file of parameters", "the network"])
def test_s21_a_workbook_that_declares_what_it_is_made_of_is_refused_and_nothing_outside_is_read(
    tmp_path, part, encoding, kind
):
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/e.dtd"
        doctype = {
            "a file": f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{secret}">]>',
            "a file of parameters": f'<!DOCTYPE x [<!ENTITY % p SYSTEM "file://{secret}"> %p; <!ENTITY e "x">]>',
            "the network": f'<!DOCTYPE x SYSTEM "{address}" [<!ENTITY e SYSTEM "{address}">]>',
        }[kind]
        with zipfile.ZipFile(io.BytesIO(GOOD)) as whole:
            changed = foreign(whole.read(part), doctype, encoding)
        sheet = read(books.repacked(GOOD, {part: changed}))
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert SECRET not in repr(sheet)
    assert [each.code for each in sheet.problems] == ["unreadable_file"]


@pytest.mark.parametrize(
    ("begins", "is_read"),
    [
        ("", True), ('\ufeff<?xml version="1.0"?>\n', True), ("<!-- made by -->\n<?mso x?>\n", True),
        ("<!DOCTYPE worksheet>", False), ("<!-- a --><!DOCTYPE x []>", False), ("<?xml?> <!doctype x>", False),
        (f"<!--{'x' * 5000}--><!DOCTYPE x []>", False), (f"{' ' * 4090}<?x?><!DOCTYPE x []>", False),
    ],
)  # fmt: skip
def test_s21_a_part_of_a_workbook_begins_with_its_element(begins, is_read):
    book = books.repacked(GOOD, {books.SHEET: lambda part: begins.encode() + part[part.index(b"<worksheet") :]})
    assert [each.code for each in read(book).problems] == ([] if is_read else ["unreadable_file"])


def test_a_workbook_without_a_header_on_any_sheet_says_so():
    assert told(books.xlsx(["Справка"], change=lambda book: book.create_sheet("Ещё"))) == [(1, None, "no_header")]


# ---- XLS ----


def test_an_old_workbook_is_read_too():
    sheet = read(books.xls(["Прейскурант"], [], RUSSIAN, MRI, ["MRI-2", *MRI[1:4], 67200.5], hidden=[4]))
    assert [(row.number, row.article, row.amount) for row in sheet.rows] == [
        (4, "MRI-1", Decimal("13700.00")), (5, "MRI-2", Decimal("67200.50")),
    ]  # fmt: skip
    assert [(each.row, each.code) for each in sheet.warnings] == [(5, "hidden_row")]


def test_an_error_in_an_old_workbook_is_no_empty_cell():
    raw = books.xls([*ENGLISH, "doctor_rank"], MRI, errors={(1, 5): 42})
    assert told(raw) == [(2, "doctor_rank", "cell_is_error")]
