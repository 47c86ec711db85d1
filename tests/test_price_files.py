"""Price lists as accountants send them, and back."""

import codecs
from datetime import timedelta
from decimal import Decimal

import pytest
from click.testing import CliRunner

from catalog import commands, price_files, price_orders, price_rows, price_sheets, price_writing, sample
from catalog.price_files import Report
from clinic import clock, db
from clinic.auth import COMMAND_LINE
from clinic.command import change
from clinic.errors import InvalidInput
from tests import given, given_prices
from tests.given_prices import amount

HEADER = "article;name_ru;name_en;category_ru;nomenclature_codes;doctor_rank;price_kind;price"
MRI = "MRI-1;МРТ печени;Liver MRI;МРТ;A05.14.001;;fixed;13700,00"


@pytest.fixture(autouse=True)
def mri(opened):
    given_prices.category()


def load(text: str | bytes, **more) -> Report:
    publish, dry_run = more.pop("publish", True), more.pop("dry_run", False)
    raw = text if isinstance(text, bytes) else text.encode()
    with change(COMMAND_LINE) as made:
        order = price_orders.Wanted(date=made.today, **{"effective_from": made.today, **more})
        return price_files.load(made, raw, order, publish=publish, dry_run=dry_run)


def rows(*lines: str) -> str:
    return "\r\n".join([HEADER, *lines])


def problems(report: Report) -> list[tuple[int, str | None, str]]:
    assert report.order is None
    return [(each.row, each.column, each.code) for each in report.problems]


def export(day) -> str:
    return price_writing.written(price_sheets.read("base", day), "csv").content.decode()


# ---- What is read ----


def test_a_file_becomes_an_order_and_its_services():
    report = load(rows(MRI))
    assert (report.rows, report.refused, report.problems) == (1, 0, [])
    assert amount("MRI-1") == "13700.00"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1251", "utf-16"])
@pytest.mark.parametrize("delimiter", [";", ",", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_encodings_and_delimiters(encoding, delimiter, end):
    text = end.join([HEADER, MRI.replace("13700,00", '"13700,00"')]).replace(";", delimiter)
    assert load(text.encode(encoding)).problems == []
    assert amount("MRI-1") == "13700.00"


@pytest.mark.parametrize(
    ("written", "rubles"),
    [
        ("67200,00", "67200.00"),
        ("67200.00", "67200.00"),
        ("67200", "67200.00"),
        ("67200,5", "67200.50"),
        ("67 200,00", "67200.00"),
        ("67\u00a0200,00", "67200.00"),
        ("67\u202f200,00", "67200.00"),
        ("67\u2009200", "67200.00"),
        ("1 234 567,89", "1234567.89"),
        ("0,00", "0.00"),
    ],
)
def test_prices_as_people_write_them(written, rubles):
    assert price_rows.price(written) == Decimal(rubles)


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("67.200", "ambiguous_money"),
        ("67,200", "ambiguous_money"),
        ("67 20 0,00", "wrong_price"),
        ("1e5", "wrong_price"),
        ("-5", "wrong_price"),
        ("67200,005", "wrong_price"),
        ("٥٠", "wrong_price"),
        ("бесплатно", "wrong_price"),
        ("67.200,00", "wrong_price"),
    ],
)
def test_what_is_no_price_or_two_is_refused(written, code):
    assert problems(load(rows(MRI.replace("13700,00", written)))) == [(2, "price", code)]


def test_empty_rows_are_passed_over():
    report = load(rows(MRI, ";;;;;;;", "", ";;;;;;;"))
    assert (report.rows, report.problems) == (1, [])


def test_a_blank_rank_means_not_priced_by_rank_and_a_rank_may_be_written_as_on_the_door():
    load(
        rows(
            MRI,
            "CONS;Приём;Visit;МРТ;;none;;3700",
            "CONS;Приём;Visit;МРТ;;к.м.н.;;5300",
        )
    )
    assert (amount("MRI-1"), amount("CONS", "none"), amount("CONS", "candidate")) == ("13700.00", "3700.00", "5300.00")
    assert amount("CONS") == "rank_required"


def test_on_request_has_no_amount():
    load(rows("MRI-1;МРТ;MRI;МРТ;;;on_request;"))
    assert given_prices.answer("MRI-1").kind == "on_request"


def test_columns_may_come_in_any_order_and_some_may_be_missing():
    load("Price;Category_ru;name_en;name_ru;article\n100;МРТ;MRI;МРТ;MRI-1")
    assert amount("MRI-1") == "100.00"


# ---- What is refused, and where ----


@pytest.mark.parametrize(
    ("row", "column", "code"),
    [
        (MRI.replace("MRI-1", ""), "article", "empty_cell"),
        (MRI.replace("MRI-1", "mri 1"), "article", "wrong_article"),
        (MRI.replace("MRI-1", "МRI-1"), "article", "look_alike_letters"),
        (MRI.replace("A05.14.001", "А05.14.001"), "nomenclature_codes", "look_alike_letters"),
        (MRI.replace("A05.14.001", "A05.14"), "nomenclature_codes", "wrong_nomenclature_code"),
        (MRI.replace("МРТ печени", ""), "name_ru", "empty_cell"),
        (MRI.replace(";МРТ;", ";Рентген;"), "category_ru", "unknown_category"),
        (MRI.replace(";;fixed", ";академик;fixed"), "doctor_rank", "unknown_rank"),
        (MRI.replace("fixed", "approximately"), "price_kind", "wrong_choice"),
        (MRI.replace("13700,00", ""), "price", "price_missing"),
        (MRI.replace("fixed", "on_request"), "price", "price_not_expected"),
        (MRI + ";more", None, "too_many_cells"),
    ],
)
def test_a_wrong_cell_is_named(row, column, code):
    assert problems(load(rows(row))) == [(2, column, code)]
    assert amount("MRI-1") == "unknown_article"


def test_look_alike_letters_are_told_by_name():
    report = load(rows(MRI.replace("A05.14.001", "А05.14.001,В01.001.001")))
    assert "А" in report.as_json("ru")["problems"][0]["message"]


def test_every_wrong_row_is_told_and_nothing_is_made():
    report = load(rows(MRI, "X;;Y;МРТ;;;fixed;1", MRI.replace("MRI-1", "MRI-2"), "Z;Имя;Name;Нет;;;fixed;z"))
    assert problems(report) == [
        (3, "name_ru", "empty_cell"),
        (5, "price", "wrong_price"),
    ]
    assert (report.rows, report.refused, report.as_json("en")["accepted"]) == (4, 2, 2)
    assert amount("MRI-2") == "unknown_article"


def test_the_same_article_and_rank_twice_is_refused():
    assert problems(load(rows(MRI, MRI))) == [(3, "doctor_rank", "repeated_row")]


def test_rows_of_one_article_must_agree():
    other = "CONS;{};Visit;МРТ;;{};;100"
    report = load(rows(other.format("Приём", "none"), other.format("Приём онколога", "doctor")))
    assert problems(report) == [(3, "name_ru", "rows_disagree")]


def test_an_article_has_ranks_in_all_rows_or_in_none():
    other = "CONS;Приём;Visit;МРТ;;{};;100"
    assert problems(load(rows(other.format("none"), other.format("")))) == [(3, "doctor_rank", "rank_mixed")]


def test_a_service_that_exists_keeps_how_it_is_priced():
    given_prices.service("CONS", priced_by_rank=True, ru="Приём", en="Visit")
    assert problems(load(rows("CONS;Приём;Visit;МРТ;;;;100"))) == [(2, "doctor_rank", "rank_required")]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("article;name_en;category_ru\nA;B;МРТ", [(1, "name_ru", "missing_column"), (1, "price", "missing_column")]),
        (HEADER + ";colour\n" + MRI, [(1, "colour", "unknown_column")]),
        (HEADER + ";price\n" + MRI, [(1, "price", "repeated_column")]),
        (HEADER, [(1, None, "no_rows")]),
        ("", [(1, None, "no_rows")]),
        (HEADER + '\n"A;B', [(2, None, "broken_quotes")]),
        (codecs.BOM_UTF16_LE + b"a", [(1, None, "unreadable_file")]),
    ],
)
def test_a_wrong_header_is_told_by_column(text, found):
    assert problems(load(text)) == found


def test_a_wrong_order_is_no_row():
    with pytest.raises(InvalidInput) as refused:
        load(rows(MRI), effective_from=clock.today() - timedelta(days=1))
    assert [each.code for each in refused.value.faults] == ["effective_date_passed"]


# ---- What is only worth a look ----


def test_a_missing_code_is_a_warning():
    report = load(rows(MRI.replace("A05.14.001", "")))
    assert [(each.row, each.column, each.code) for each in report.warnings] == [
        (2, "nomenclature_codes", "code_missing")
    ]
    assert report.order is not None


def test_names_of_services_that_exist_are_not_changed_silently():
    load(rows(MRI))
    tomorrow = clock.today() + timedelta(days=1)
    report = load(
        rows(MRI.replace("МРТ печени", "МРТ почек").replace("A05.14.001", "A05.28.001")), effective_from=tomorrow
    )
    assert [(each.column, each.code) for each in report.warnings] == [
        ("name_ru", "name_differs"),
        ("nomenclature_codes", "catalog_differs"),
    ]
    assert given_prices.answer("MRI-1", on=tomorrow).name_ru == "МРТ печени"


def test_a_dry_run_makes_nothing_and_finds_what_a_real_one_would():
    assert load(rows(MRI), dry_run=True).order is None
    assert amount("MRI-1") == "unknown_article"
    with db.reading() as conn:
        assert db.value(conn, "SELECT count(*) FROM journal WHERE type LIKE 'price_order%'") == 0
    with pytest.raises(InvalidInput):
        load(rows(MRI), dry_run=True, effective_from=clock.today() - timedelta(days=1))


# ---- There and back ----


def test_what_is_exported_can_be_imported_and_is_the_same():
    load(rows(MRI, "CONS;=Приём;-Visit;МРТ;;none;from;3700", "CONS;=Приём;-Visit;МРТ;;doctor;on_request;"))
    tomorrow = clock.today() + timedelta(days=1)
    exported = export(clock.today())
    assert "'=Приём" in exported, "a spreadsheet would compute it"
    report = load(exported, effective_from=tomorrow)
    assert (report.rows, report.problems, [each.code for each in report.warnings]) == (3, [], ["code_missing"])
    assert export(tomorrow) == exported


# ---- On the command line ----


@pytest.fixture
def run(opened, monkeypatch, tmp_path):
    """Runs `prices …` on this test's database and answers status and output."""
    monkeypatch.setenv("DATABASE_URL", opened.owner)
    monkeypatch.chdir(tmp_path)

    def run_prices(*words: str):
        done = CliRunner().invoke(commands.prices, words)
        # The command has closed the pool that this process shares with it.
        db.open_pool(opened.app, size=2)
        return done.exit_code, done.stdout

    return run_prices


def test_import_publish_and_export_by_hand(run, tmp_path):
    (tmp_path / "new.csv").write_text(rows(MRI.replace("A05.14.001", "")))
    status, said = run("import", "new.csv", "--number", "7-п")
    assert status == 0
    assert "warning: row 2, nomenclature_codes:" in said
    assert "1 rows: 1 accepted, 0 refused" in said
    assert amount("MRI-1") == "price_not_set"
    status, said = run("publish", str(given_prices.order_id("7-п")))
    assert (status, said) == (0, f"Order No. 7-п is published; its prices begin on {clock.today()}.\n")
    assert amount("MRI-1") == "13700.00"
    assert run("export", "out.csv") == (0, "")
    assert (tmp_path / "out.csv").read_bytes().decode("utf-8-sig").splitlines()[1].startswith("MRI-1;МРТ печени;")


@pytest.mark.parametrize(
    ("words", "begins"),
    [
        (("out.pdf",), b"%PDF"),
        (("out.xlsx", "--lang", "en"), b"PK"),
        (("out.json",), b'{"on":"'),
        (("out.csv", "--encoding", "cp1251"), b"article;"),
        (("out.txt", "--format", "csv"), b"\xef\xbb\xbfarticle;"),
    ],
)
def test_export_into_any_format(run, tmp_path, words, begins):
    load(rows(MRI))
    assert run("export", *words, "--on", str(clock.today())) == (0, "")
    assert (tmp_path / words[0]).read_bytes().startswith(begins)


def test_a_file_of_an_unknown_ending_is_not_guessed(run, tmp_path):
    assert run("export", "out.doc")[0] == 2
    assert run("template", "form.pdf")[0] == 2
    assert list(tmp_path.iterdir()) == []


def test_the_empty_form_by_hand(run, tmp_path):
    assert run("template", "form.xlsx") == (0, "")
    assert [each.code for each in price_rows.read((tmp_path / "form.xlsx").read_bytes()).problems] == ["no_rows"]
    status, said = run("template")
    assert (status, said.lstrip("\ufeff")[:8]) == (0, "article;")


def test_a_refused_file_gives_status_1_and_makes_nothing(run, tmp_path):
    (tmp_path / "new.csv").write_text(rows(MRI, MRI.replace("MRI-1", "MRI-2").replace("13700,00", "13.700")))
    status, said = run("import", "new.csv", "--publish")
    assert status == 1
    assert "problem: row 3, price:" in said
    assert "2 rows: 1 accepted, 1 refused" in said
    assert "Nothing was made." in said
    assert amount("MRI-1") == "unknown_article"


def test_a_dry_run_says_what_would_be(run, tmp_path):
    (tmp_path / "new.csv").write_text(rows(MRI))
    status, said = run("import", "new.csv", "--dry-run", "--publish")
    assert (status, said.splitlines()[-1]) == (0, "A dry run: nothing was made.")
    assert amount("MRI-1") == "unknown_article"


# ---- The sample ----


class TestTheSample:
    @pytest.fixture(autouse=True)
    def mri(self):
        """No category of our own: the catalog is empty."""

    def test_is_order_number_1_of_today(self, opened):
        given.sample()
        assert given_prices.answer("MRI-ABD-RP").order_number == "1"
        with db.reading() as conn:
            assert db.value(conn, "SELECT count(*) FROM medical_service") == 29

    def test_is_loaded_once(self, opened):
        given.sample()
        with change(COMMAND_LINE) as made:
            assert not sample.load(made)

    def test_is_not_loaded_into_a_catalog_that_has_something(self, opened):
        given_prices.service("MRI-1")
        with change(COMMAND_LINE) as made:
            assert not sample.load(made)
