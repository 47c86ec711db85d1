"""Files by their content, never by their names: what comes in keeps none, and what goes out has one of ours."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import psycopg
import pytest
from werkzeug.test import TestResponse

from tests import books, given
from tests.test_catalog_pages import form_of
from tests.test_hostile_json import Clinic, clinic  # noqa: F401
from tests.test_matrix import APP, EXAMPLES, ROUTES, Route, Visitor, database, people, wall  # noqa: F401

IMPORTS = "/v1/price-orders/imports"
TABLE = given.price_file(1)
BOOK = books.xlsx(*[row.split(";") for row in TABLE.decode().split("\r\n")])
MARK = "Канарейка"
NAMES = (
    f"../../../../tmp/{MARK}.csv", f"/etc/{MARK}", f"C:\\Windows\\{MARK}.csv", f"{MARK}\r\nX-Evil: 1", f"{MARK}\n.csv",
    f'{MARK}".csv', f"{MARK};filename=b.csv", f"{MARK}\u202evsc.exe", f"{MARK}\u2066\u200b.csv", f"{MARK}\x00.csv",
    f"<script>{MARK}</script>", f"{MARK}{{{{7*7}}}}", f"{MARK}%00%0d%0a.csv", f"{MARK}" + "x" * 5000,
    f"=cmd|' /C {MARK}'!A0", f"{MARK}\ud800.csv",
)  # fmt: skip


def sent(caller: given.Caller, file: bytes, name: str, type_: str | None = None) -> TestResponse:
    parts: dict[str, Any] = {"effective_from": given.LATER, "file": (io.BytesIO(file), name, type_)}
    return caller.app.test_client().post(
        f"{IMPORTS}?dry_run=true",
        data=parts,
        content_type="multipart/form-data",
        headers={"Authorization": f"Bearer {caller.secret}"},
    )


def raw_multipart(name: str) -> bytes:
    """A body in which the name of the file stands as it is, quoted or not."""
    head = f'Content-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: text/csv\r\n\r\n'
    day = f'Content-Disposition: form-data; name="effective_from"\r\n\r\n{given.LATER}\r\n'
    return b"".join(
        [b"--b\r\n", day.encode(), b"--b\r\n", head.encode("utf-8", "surrogatepass"), TABLE, b"\r\n--b--\r\n"]
    )


# ---- What comes in ----


@pytest.mark.parametrize(
    ("name", "type_"),
    [("prices.csv", "text/csv"), ("prices.xlsx", "image/png"), ("prices.exe", "application/x-msdownload"),
     ("prices", "application/pdf"), (".htaccess", "text/html"), ("prices.csv.xlsx", None)],
)  # fmt: skip
def test_s23_a_file_is_what_its_content_says(name, type_, clinic):  # noqa: F811
    for content in (TABLE, BOOK):
        assert given.made(sent(clinic.caller, content, name, type_))["accepted"] == 1
    for content, code in (
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "other_format"), (b"%PDF-1.7", "other_format"),
        (b"<html><script>", "other_format"), (b"MZ\x90\x00" + bytes(range(32)), "unreadable_file"),
        (b"\x7fELF\x02" + bytes(99), "unreadable_file"), (b"#!/bin/sh\n", "missing_column"),
    ):  # fmt: skip
        refused = sent(clinic.caller, content, name, type_).get_json()
        assert code in {each["code"] for each in refused["problems"]}, (content[:8], refused)
        assert refused["accepted"] == 0


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_s23_a_name_that_is_sent_changes_nothing_and_is_not_kept(name, clinic, database):  # noqa: F811
    body = raw_multipart(name)
    answer = clinic.caller.app.test_client().post(
        IMPORTS,
        data=body,
        content_type="multipart/form-data; boundary=b",
        headers={"Authorization": f"Bearer {clinic.caller.secret}"},
    )
    # A name may break the form of the body itself, and then the file is not found in it.
    assert answer.status_code in {201, 200, 400, 422}, answer.text
    assert "x-evil" not in {name.lower() for name, _ in answer.headers}
    assert MARK not in answer.get_data(as_text=True) + str(answer.headers)
    with psycopg.connect(database.owner, autocommit=True) as conn:
        tables = [table for (table,) in conn.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
        for table in tables:
            found = conn.execute(f"SELECT count(*) FROM {table} AS t WHERE t::text LIKE %s", (f"%{MARK}%",)).fetchone()
            assert found == (0,), table


@pytest.mark.parametrize("name", [NAMES[7], NAMES[8], f"<script>{MARK}</script>"], ids=ascii)
def test_s23_a_page_says_the_name_as_text_that_reads_one_way(name, clinic, people):  # noqa: F811
    keeper = people["price_keeper"].client
    form = form_of(keeper.get("/catalog/import"), "/catalog/import") | {"do": "check", "effective_from": given.LATER}
    page = keeper.post(
        "/catalog/import", data=form | {"file": (io.BytesIO(TABLE), name)}, content_type="multipart/form-data"
    )
    text = page.get_data(as_text=True)
    assert page.status_code == 200
    assert f"<script>{MARK}" not in text
    assert not set(text) & set("\u202e\u2066\u200b\x00")


# ---- What goes out ----

OURS = re.compile(
    r"attachment; filename=\"[a-z0-9][a-z0-9._-]*\"(?:; filename\*=UTF-8''[a-z0-9][a-z0-9._-]*)?", re.ASCII
)
EVIL = (
    "%00", "a%00b", "%0d%0aX-Evil:%201", "%E2%80%AEfdp", "..%2f..%2f..%2fetc%2fpasswd", "%2e%2e%2fwsgi.py",
    "..%5c..%5cwsgi.py",
    "%ff", "%ED%A0%80", "%C0%80", "a" * 3000, "'%3bDROP%20TABLE%20x--", "%3Cscript%3E", "%7B%7B7*7%7D%7D", "%25s%25n",
    "~", "%20", ".", "-", "NaN", "null", "9" * 400, "%EF%BC%8E%EF%BC%8E%EF%BC%8F",
)  # fmt: skip
"""What stands in addresses in the place of a name, already escaped."""


def ask(route: Route, path: str, secret: str, person: Visitor) -> TestResponse:
    if not route.is_json:
        return person.ask(route, path)
    headers = {"Authorization": f"Bearer {secret}", "Idempotency-Key": "file-names-" + "x" * 9}
    body = None if route.method == "GET" else EXAMPLES.get(f"{route.method} {route.rule}", {})
    return APP.test_client().open(path, method=route.method, json=body, headers=headers)


GIVING = [each for each in ROUTES if each.method == "GET"]
WORDS = [
    each for each in ROUTES if any(not converter.startswith(("uuid", "any")) for converter in each.parameters.values())
]
"""Routes whose address has a word of the caller's."""


@pytest.mark.parametrize("route", GIVING, ids=lambda each: each.rule)
def test_s23_a_file_goes_out_under_a_name_of_ours(route, clinic, people):  # noqa: F811
    """As an attachment, of letters that need no quoting, whatever was asked for."""
    path = route.path(**clinic.known)
    for asked in ("", "?format=csv", "?format=xlsx&lang=en", "?since=2026-01-01&until=2026-12-31"):
        answer = ask(route, path + asked, clinic.caller.secret, people["administrator"])
        named = answer.headers.get("Content-Disposition")
        if named is not None:
            assert OURS.fullmatch(named), named
        elif answer.status_code == 200:
            # What is no attachment is something that browsers show, and never by guessing.
            assert answer.mimetype in SHOWN, answer.mimetype
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


SHOWN = {"text/html", "application/json", "application/pdf", "image/svg+xml", "text/plain", "text/csv"}


@pytest.mark.parametrize("route", WORDS, ids=lambda each: f"{each.method} {each.rule}")
def test_s23_no_word_in_an_address_leads_anywhere_else(route, clinic, people):  # noqa: F811
    person = people["administrator"]
    for word in EVIL:
        values = {
            name: word for name, converter in route.parameters.items() if not converter.startswith(("uuid", "any"))
        }
        answer = ask(route, route.path(**(clinic.known | values)), clinic.caller.secret, person)
        assert answer.status_code < 500, (word, answer.status_code)
        assert route.rule == "/static/<path:filename>" or answer.status_code != 200 or b"7*7" not in answer.data, word
        assert "X-Evil" not in answer.headers
        assert b"root:" not in answer.data
        assert b"create_app" not in answer.data


PAGES = [each for each in GIVING if not each.is_json]
ASKED = sorted(
    {
        name
        for package in ("clinic", "catalog", "billing")
        for path in (Path(__file__).parents[1] / package).glob("*.py")
        for name in re.findall(r"""request\.args(?:\.get\(|\[)"(\w+)""", path.read_text())
    }
)
"""What pages ask of the query of an address."""


@pytest.mark.parametrize("route", PAGES, ids=lambda each: each.rule)
def test_s23_no_word_in_a_query_breaks_a_page(route, clinic, people):  # noqa: F811
    assert len(ASKED) > 10
    for word in EVIL:
        path = route.path(**clinic.known) + "?" + "&".join(f"{name}={word}" for name in ASKED)
        answer = people["administrator"].ask(route, path)
        assert answer.status_code < 500, (word, answer.status_code)
        assert "X-Evil" not in answer.headers


@pytest.mark.parametrize("word", EVIL)
def test_s23_static_files_are_those_of_their_folder(word):
    for path in (f"/static/{word}", f"/static/fonts/../{word}", f"/static//{word}", f"/static/%2e%2e/{word}"):
        answer = APP.test_client().get(path)
        assert answer.status_code in {404, 308}, (path, answer.status_code)
