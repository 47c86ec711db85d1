"""Price lists over HTTP as files, for the staff and for everybody."""

import io

import openpyxl
import pypdf
import pytest

from catalog import price_shelf, price_writing
from clinic.auth import COMMAND_LINE
from clinic.command import change
from tests import given
from tests.given_prices import line, published

FILE = "/v1/price-lists/base/file"


@pytest.fixture(autouse=True)
def sample_day():
    with given.day("2026-11-23"):
        yield


@pytest.mark.parametrize("format", price_writing.FORMATS)
def test_a_list_is_given_as_a_file_under_its_name(clinic, format):
    answer = clinic.get(f"{FILE}?format={format}")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == price_writing.TYPES[format]
    name = f"price-list-base-2026-11-23.{format}"
    assert answer.headers["Content-Disposition"] == f"attachment; filename=\"{name}\"; filename*=UTF-8''{name}"
    assert answer.headers["Cache-Control"] == "private, no-cache"


def test_what_has_not_changed_is_not_sent_again(clinic):
    first = clinic.get(f"{FILE}?format=pdf")
    again = clinic.get(f"{FILE}?format=pdf", if_none_match=first.headers["ETag"])
    assert (again.status_code, again.data) == (304, b"")
    published(line("MRI-ABD-RP", "15000.00"), since=None, number="2", corrects=_order_id())
    assert clinic.get(f"{FILE}?format=pdf", if_none_match=first.headers["ETag"]).status_code == 200


def _order_id():
    from tests.given_prices import order_id

    return order_id("1")


def test_any_day_and_language(clinic):
    page = openpyxl.load_workbook(io.BytesIO(clinic.get(f"{FILE}?format=xlsx&lang=en&on=2026-11-30").data)).active
    assert page["A1"].value == "Base price list on 30 November 2026"
    before = clinic.get(f"{FILE}?format=json&on=2026-11-22").get_json()
    assert (before["order"], before["items"]) == (None, [])
    text = pypdf.PdfReader(io.BytesIO(clinic.get(f"{FILE}?format=pdf&on=2026-11-22").data)).pages[0].extract_text()
    assert "На этот день прейскурант не утверждён." in text


def test_an_old_encoding_on_request(clinic):
    answer = clinic.get(f"{FILE}?format=csv&encoding=cp1251")
    assert answer.headers["Content-Type"] == "text/csv; charset=windows-1251"
    assert "Первичный приём" in answer.data.decode("cp1251")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [("?format", "required")]),
        ("?format=doc", [("?format", "not_a_choice")]),
        ("?format=csv&on=tomorrow", [("?on", "not_day")]),
        ("?format=csv&encoding=koi8", [("?encoding", "not_a_choice")]),
    ],
)
def test_what_cannot_be_given(clinic, query, found):
    assert given.faults(clinic.get(FILE + query)) == found


def test_an_unknown_list_and_a_caller_without_the_right(clinic):
    assert clinic.get("/v1/price-lists/nobodys/file?format=csv").status_code == 404
    assert given.caller(clinic.app, "quotes:read").get(f"{FILE}?format=csv").status_code == 403
    assert clinic.app.test_client().get(f"{FILE}?format=csv").status_code == 401


@pytest.mark.parametrize("format", ["csv", "xlsx"])
def test_the_empty_form(clinic, format):
    answer = clinic.get(f"/v1/price-orders/template?format={format}")
    assert answer.headers["Content-Type"] == price_writing.TYPES[format]
    assert f"price-list-template.{format}" in answer.headers["Content-Disposition"]
    again = clinic.get(f"/v1/price-orders/template?format={format}", if_none_match=answer.headers["ETag"])
    assert again.status_code == 304


# ---- For everybody ----


def test_everybody_may_print_the_base_list(clinic):
    answer = clinic.app.test_client().get("/prices/file")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/pdf")
    assert answer.headers["Cache-Control"] == "public, max-age=60, stale-if-error=86400"
    assert {"Accept-Language", "Cookie"} <= set(answer.vary)
    again = clinic.app.test_client().get("/prices/file", headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304


def test_a_stranger_is_given_the_language_asked_for(clinic):
    for asked, word in (("en", "Order"), ("ru", "приказом")):
        raw = clinic.app.test_client().get(f"/prices/file?format=pdf&lang={asked}").data
        assert word.lower() in pypdf.PdfReader(io.BytesIO(raw)).pages[0].extract_text().lower()


def test_the_page_of_prices_leads_to_the_files(clinic):
    page = clinic.app.test_client().get("/prices?lang=en").get_data(as_text=True)
    for format in ("pdf", "xlsx", "csv"):
        assert f'href="/prices/file?format={format}&amp;lang=en"' in page


def test_a_stranger_gets_no_other_list_and_no_wrong_address(clinic):
    stranger = clinic.app.test_client()
    assert stranger.get("/prices/file?format=doc").status_code == 422
    assert stranger.get("/prices/file?on=soon").status_code == 422
    with change(COMMAND_LINE) as made:
        made.conn.execute("INSERT INTO price_list (code, name_ru, name_en) VALUES ('staff', 'Свои', 'Staff')")
    published(line("MRI-ABD-RP", "1.00"), price_list="staff", number="C-1")
    assert b"1,00;" not in stranger.get("/prices/file?format=csv&price_list=staff").data.replace(b"0,00", b"")


def test_a_file_is_made_once_for_all_its_readers(clinic, monkeypatch):
    clinic.get(f"{FILE}?format=pdf")
    monkeypatch.setattr(price_writing, "written", None)
    assert clinic.app.test_client().get("/prices/file?format=pdf").status_code == 200


def test_while_a_large_file_is_made_others_are_asked_to_wait(clinic, monkeypatch):
    monkeypatch.setattr(price_shelf, "_PATIENCE", 0.01)
    price_shelf._files.clear()
    with price_shelf._alone():
        answer = clinic.get(f"{FILE}?format=pdf")
    assert (answer.status_code, answer.get_json()["code"]) == (429, "too_many_requests")
    assert clinic.get(f"{FILE}?format=pdf").status_code == 200
