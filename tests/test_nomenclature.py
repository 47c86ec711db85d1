"""Codes of Order 804n: their form (domain rules 1 to 3), and the register that tells which of them there are."""

import csv
import io
import re
from datetime import date

import pytest
from click.testing import CliRunner

from catalog import nomenclature, price_files, price_orders, sample
from catalog.nomenclature import Report
from catalog.nomenclature_commands import nomenclature_commands
from catalog.services import NOMENCLATURE, ServicePatch
from clinic import db
from clinic.auth import COMMAND_LINE
from clinic.command import change
from clinic.fields import faults_in
from tests import books, given, given_prices


@pytest.mark.parametrize(
    "code",
    ["A06.30.005.002", "B01.027.001", "A06.30.005", "A30.01.001", "A01.01.001", "B09.999.999", "B01.027.001.010"],
)
def test_a_right_code(code):
    assert re.fullmatch(NOMENCLATURE, code, re.ASCII)


@pytest.mark.parametrize(
    "code",
    [
        "А06.30.005",  # a Cyrillic А
        "В01.027.001",  # a Cyrillic В
        "A6.30.5",
        "b01.027.001",
        "A31.01.001",
        "A00.01.001",
        "A06.30.005.02",
        "B01.027.001\n",
        " B01.027.001",
        "B00.027.001",
        "B10.027.001",
        "A06.30.٠٠٥",
        "",
    ],
)
def test_a_wrong_code(code):
    faults = faults_in(ServicePatch().validate({"nomenclature_codes": [code]}))
    assert [(each.pointer, each.code) for each in faults] == [("/nomenclature_codes/0", "wrong_nomenclature_code")]


def test_a_service_may_have_several_codes_and_none():
    for codes in (["A05.30.005", "A05.30.007"], []):
        assert ServicePatch().load({"nomenclature_codes": codes}) == {"nomenclature_codes": codes}


def test_a_code_twice_is_refused():
    faults = faults_in(ServicePatch().validate({"nomenclature_codes": ["B01.027.001", "B01.027.001"]}))
    assert [(each.pointer, each.code) for each in faults] == [("/nomenclature_codes", "repeated_code")]


# ---- The register ----

HEADER = ["ID", "S_CODE", "NAME", "REL", "DATEOUT"]
REAL = sorted(
    {
        code
        for row in csv.DictReader(io.StringIO(sample.FILE.read_text("utf-8-sig")), delimiter=";")
        for code in row["nomenclature_codes"].split(",")
        if code
    }
)


def register(*rows: list[object], header: list[str] = HEADER, encoding: str = "utf-8") -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=";").writerows([header, *rows])
    return text.getvalue().encode(encoding)


def entry(code: str, rel: int = 1, ended: str = "") -> list[object]:
    return [f"7{code}", code, f"Услуга {code}", rel, ended]


def load(raw: bytes, *, dry_run: bool = False) -> Report:
    with change(COMMAND_LINE) as made:
        return nomenclature.load(made, raw, dry_run=dry_run)


def known() -> dict[str, tuple[bool, date | None]]:
    with db.reading() as conn:
        rows = conn.execute("SELECT code, in_force, ended_on FROM nomenclature").fetchall()
    return {code: (in_force, ended) for code, in_force, ended in rows}


def problems(report: Report) -> list[tuple[int, str | None, str]]:
    assert known() == {}, "with a problem nothing is taken over"
    return [(each.row, each.column, each.code) for each in report.problems]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1251"])
def test_the_register_is_taken_over(opened, encoding):
    report = load(register(*map(entry, REAL), encoding=encoding))
    assert (report.codes, report.in_force, report.added, report.withdrawn) == (len(REAL), len(REAL), len(REAL), 0)
    assert known() == dict.fromkeys(REAL, (True, None))


def test_columns_may_stand_in_any_order_among_others(opened):
    header = ["PARENT", "dateout", "REL", "NAME", "S_CODE", "ID", "SORT"]
    rows = [["1", "", 1, "Приём", "B01.027.001", "77", "5"], ["1", "01.05.2020", 0, "МРТ", "A05.14.001", "78", ""]]
    load(register(*rows, header=header))
    assert known() == {"B01.027.001": (True, None), "A05.14.001": (False, date(2020, 5, 1))}


def test_a_workbook_with_numbers_and_dates_is_read_the_same(opened):
    load(books.xlsx(HEADER, [77, "B01.027.001", "Приём", 1, None], [78, "A05.14.001", "МРТ", 0, date(2020, 5, 1)]))
    assert known() == {"B01.027.001": (True, None), "A05.14.001": (False, date(2020, 5, 1))}


@pytest.mark.parametrize("order", [1, -1])
def test_of_several_rows_of_a_code_the_one_in_force_counts(opened, order):
    rows = [entry("A05.14.001", 0, "2019-01-01"), entry("A05.14.001"), entry("A05.14.001", 0, "2021-01-01"),
            entry("A05.30.005", 0, "2019-01-01"), entry("A05.30.005", 0, "2021-01-01")]  # fmt: skip
    load(register(*rows[::order]))
    assert known() == {"A05.14.001": (True, None), "A05.30.005": (False, date(2021, 1, 1))}


def test_a_code_that_a_newer_file_lacks_is_no_longer_in_force(opened):
    load(register(entry("A05.14.001"), entry("A05.30.005")))
    report = load(register(entry("A05.30.005"), entry("A05.30.007")))
    assert (report.added, report.withdrawn) == (1, 1)
    assert known() == {"A05.14.001": (False, None), "A05.30.005": (True, None), "A05.30.007": (True, None)}


def test_a_dry_run_changes_nothing_and_says_the_same(opened):
    raw = register(*map(entry, REAL))
    assert load(raw, dry_run=True) == Report(len(REAL), [], [], codes=len(REAL), in_force=len(REAL), added=len(REAL))
    assert known() == {}


def test_sections_and_codes_of_another_form_are_passed_over(opened):
    report = load(
        register(["1", "A", "Раздел", 1, ""], ["2", "A05.14", "МРТ", 1, ""], entry("F01.1"), entry("A05.14.001"))
    )
    assert [(each.row, each.code) for each in report.warnings] == [(4, "code_passed_over")]
    assert list(known()) == ["A05.14.001"]


def test_every_wrong_row_is_told_and_nothing_is_taken_over(opened):
    report = load(
        register(
            entry("А05.14.001"),  # a Cyrillic А
            entry("A05.14.001", 2),
            entry("A05.14.001", 0, "31.02.2020"),
            ["", "A05.14.001", "", 1, ""],
            entry("A05.30.005"),
        )
    )
    assert problems(report) == [
        (2, "S_CODE", "look_alike_letters"), (3, "REL", "not_in_force_flag"), (4, "DATEOUT", "not_a_day"),
        (5, "ID", "empty_cell"), (5, "NAME", "empty_cell"),
    ]  # fmt: skip


def test_a_file_of_other_columns_is_told(opened):
    assert problems(load(register(["1", "x"], header=["ID", "S_CODE"]))) == [
        (1, "NAME", "missing_column"), (1, "REL", "missing_column"), (1, "DATEOUT", "missing_column"),
    ]  # fmt: skip
    assert problems(load(b"\x89PNG\r\n")) == [(1, None, "other_format")]
    assert problems(load(register())) == [(1, None, "no_rows")]


# ---- What it says of services ----


def warnings(clinic: given.Caller, article: str) -> list[str]:
    return [each["message"] for each in clinic.get(f"/v1/services/{article}?lang=en").get_json()["warnings"]]


def test_codes_are_not_doubted_while_no_register_is_loaded(clinic):
    assert warnings(clinic, "MRI-ABD-RP") == []
    assert warnings(clinic, "US-LIVER") == ["The service has no code of Order 804n."]


def test_a_service_with_an_unknown_or_a_withdrawn_code_says_so(clinic):
    load(register(entry("A05.30.005", 0, "2020-05-01"), entry("B01.027.001"), entry("A06.30.005.001", 0)))
    unknown = "The code A05.30.007 is not in the nomenclature of Order 804n."
    withdrawn = "The code A05.30.005 is withdrawn from the nomenclature of Order 804n (01.05.2020)."
    assert warnings(clinic, "MRI-ABD-RP") == [withdrawn, unknown]
    assert warnings(clinic, "CT-ABD-RP") == [
        "The code A06.30.005.001 is withdrawn from the nomenclature of Order 804n."
    ]
    assert warnings(clinic, "ONC-CONS-1") == []
    listed = {each["article"]: each["warnings"] for each in clinic.get("/v1/services").get_json()["items"]}
    assert [each["code"] for each in listed["MRI-ABD-RP"]] == ["code_withdrawn", "code_unknown"]


def test_a_code_is_good_until_the_day_it_ends(opened):
    load(register(entry("A05.14.001", 1, "2026-12-01")))
    with db.reading() as conn:
        for day, found in ((date(2026, 11, 30), []), (date(2026, 12, 1), ["code_withdrawn"])):
            told = nomenclature.warnings(conn, day, {"M": ["A05.14.001"]})
            assert [each.code for each in told["M"]] == found


def test_a_file_of_prices_is_told_too(opened):
    given_prices.category()
    load(register(entry("A05.30.005", 0, "2020-05-01")))
    header = "article;name_ru;name_en;category_ru;nomenclature_codes;price"
    raw = f"{header}\nM-1;А;A;МРТ;A05.30.005;1\nM-2;Б;B;МРТ;A05.30.007;2"
    with change(COMMAND_LINE) as made:
        order = price_orders.Wanted(date=made.today, effective_from=made.today)
        report = price_files.load(made, raw.encode(), order)
    assert [(each.row, each.column, each.code) for each in report.warnings] == [
        (2, "nomenclature_codes", "code_withdrawn"), (3, "nomenclature_codes", "code_unknown"),
    ]  # fmt: skip
    assert report.order is not None


# ---- On the command line ----


@pytest.fixture
def run(opened, monkeypatch, tmp_path):
    """Runs `nomenclature …` on this test's database and answers status and output."""
    given.main_branch()
    given.sample()
    monkeypatch.setenv("DATABASE_URL", opened.owner)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")

    def run_nomenclature(*words: str, file: bytes | None = None):
        if file is not None:
            (tmp_path / "register.csv").write_bytes(file)
            words = (words[0], str(tmp_path / "register.csv"), *words[1:])
        done = CliRunner().invoke(nomenclature_commands, words)
        # The command has closed the pool that this process shares with it.
        db.open_pool(opened.app, size=2)
        return done.exit_code, done.stdout

    return run_nomenclature


def test_load_and_check_by_hand(run):
    assert run("check") == (0, "No register is loaded: only the form of the codes was checked.\n")
    assert run("load", "--dry-run", file=register(*map(entry, REAL)))[0] == 0
    assert known() == {}
    status, said = run("load", file=register(*map(entry, REAL)))
    assert (status, said) == (0, f"{len(REAL)} codes, {len(REAL)} in force: {len(REAL)} new, 0 withdrawn\n")
    assert run("check") == (0, "Every code is in force.\n")
    assert run("load", file=register(*map(entry, REAL[:-1])))[0] == 0
    status, said = run("check")
    assert (status, said) == (
        1, f"ONC-CONS-1: The code {REAL[-1]} is withdrawn from the nomenclature of Order 804n. (code_withdrawn)\n",
    )  # fmt: skip


def test_a_refused_register_has_status_1(run):
    status, said = run("load", file=register(entry("A05.14.001", 7)))
    assert status == 1
    assert "problem: row 2, REL: REL is 1 (in force) or 0." in said
    assert said.endswith("Nothing was changed.\n")
    assert known() == {}


def test_loading_is_an_event(clinic):
    load(register(*map(entry, REAL)))
    event = clinic.events()[-1]
    assert (event["type"], event["data"]) == (
        "nomenclature.loaded", {"codes": len(REAL), "added": len(REAL), "withdrawn": 0},
    )  # fmt: skip
