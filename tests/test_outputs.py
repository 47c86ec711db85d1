"""What goes out, route by route: what was typed stays text (S17), and nothing private is kept or named (S41).

Every address of the application is asked, once for what there is and once with hostile texts in place of what it takes;
then every form is sent with them. A new route is asked by itself.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote, unquote_plus

import pypdf
import pytest
from argon2 import PasswordHasher
from werkzeug.test import TestResponse

from clinic import db, passwords
from tests import browser, given, given_texts
from tests.browser import Person
from tests.running import new_database
from tests.test_matrix import APP, DESCRIPTION, ROUTES, Route
from tests.test_safe_code import MODULES

CANARY = "Канарейкина"
HOSTILE = """Я"'--></script><b hack>{{7*'q'}}"""
PERSON = f"{CANARY} {HOSTILE}"
WORKED_OUT = "qqqqqqq"
"""What a template would make of the hostile text."""
TAKEN_BY_PAGES = {
    "after", "article", "before", "category", "code", "fingerprint", "format", "id", "lang", "next", "number", "on",
    "only", "page", "q", "since", "status", "total", "until",
}  # fmt: skip
"""What pages take in their addresses, beside what their forms ask for."""
INSTEAD = {
    # Where a parameter of the same name means something else, or what is known is in another state.
    "/problems/<code>": {"code": "not_found"},
    "/v1/price-lists/<string:code>/file": {"code": "base"},
    "/desk/invoices/<uuid:invoice_id>/edit": {"invoice_id": "draft"},
    "/desk/invoices/<uuid:invoice_id>/parts": {"invoice_id": "draft_of_quote"},
    "/desk/quotes/<uuid:quote_id>/edit": {"quote_id": "editable"},
}
NEEDED = {
    "/prices/file": "format=csv",
    "/v1/price-lists/<string:code>/file": "format=csv",
    "/v1/quotes/verify": "code=7K3Q-92MT-F",
}
"""Queries without which there is no answer."""
ELSEWHERE = {
    "/account/second-factor.svg": "nobody is setting one up",
    "/desk/quotes": "the way to a quote by its code",
    "/sign-in/code": "who has given his code is sent on",
    "/sign-in/provider": "there is no provider",
    "/sign-in/provider/back": "the same",
    "/metrics": "no token is set",
    "/v1/books/check": "it asks for a job",
}
"""Addresses that do not answer 200, and why."""


@dataclass(frozen=True)
class Asked:
    """A request to a route and its answer; `plain` when there was nothing hostile in the request itself."""

    route: Route
    path: str
    answer: TestResponse
    plain: bool

    def __str__(self) -> str:
        return f"{self.route.method} {self.path} {self.answer.status_code}"


@pytest.fixture(scope="module")
def answers(cluster) -> Iterator[list[Asked]]:
    kept, passwords._hasher = passwords._hasher, PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    with new_database(cluster) as urls, given.day(given.FIRST_DAY):
        db.open_pool(urls.app, size=4)
        with db.seeing(None):
            given.main_branch()
            given.sample()
            clinic, anna, known = given_texts.whole_clinic(APP, HOSTILE, PERSON)
            yield list(walk(clinic, anna, known))
        db.close_pool()
    passwords._hasher = kept


def walk(clinic: given.Caller, anna: Person, known: dict[str, str]) -> Iterator[Asked]:
    pages = []
    for route in (each for each in ROUTES if each.method == "GET"):
        read = clinic.get if route.is_json else anna.get
        path = route.path(**values(route, known))
        plain = f"{path}?{NEEDED[route.rule]}" if route.rule in NEEDED else path
        asked = Asked(route, plain, read(plain), True)
        asked.answer.get_data()
        yield asked
        pages.append(asked)
        for query in queries(asked):
            yield Asked(route, f"{path}?{query}", read(f"{path}?{query}"), False)
        texts = {name for name, converter in route.parameters.items() if converter in ("", "string")}
        if texts:
            path = route.path(**values(route, known) | dict.fromkeys(texts, quote(HOSTILE, safe="")))
            yield Asked(route, path, read(path), False)
    typed = [(page, *form) for page in pages if page.answer.mimetype == "text/html" for form in forms(page.answer)]
    for page, action, fields in sorted(typed, key=lambda each: each[1].endswith("/cancel")):  # which ends the others
        answer = anna.client.post(action, data=fields)
        yield Asked(page.route, f"{page.path} -> {action}", answer, False)
        if answer.status_code == 303:
            yield Asked(page.route, f"{page.path} -> {action} ->", anna.get(answer.headers["Location"]), False)


def queries(asked: Asked) -> Iterator[str]:
    """The hostile text as everything an address takes at once, then as each thing its forms ask for, then as a name."""
    taken = described(asked.route) if asked.route.is_json else TAKEN_BY_PAGES
    yield "&".join(f"{name}={quote(HOSTILE)}" for name in sorted(taken))
    if asked.answer.mimetype == "text/html":
        asking = [fields for method, _, fields in Page(asked.answer.text).forms if method == "get"]
        for name in sorted({name for fields in asking for name in fields}):
            yield f"{quote(name)}={quote(HOSTILE)}"
    yield f"{quote(HOSTILE)}={quote(HOSTILE)}"


def values(route: Route, known: dict[str, str]) -> dict[str, str]:
    instead = INSTEAD.get(route.rule, {})
    named = {name: known.get(word, word) for name, word in instead.items()}
    for name, converter in route.parameters.items():
        if not converter.startswith("any("):
            assert name in named or name in known, f"{route.rule}: say in given_texts what {name} may be"
    return known | named


def described(route: Route) -> set[str]:
    """The query parameters of a route for programs."""
    path = re.sub(r"<(?:[^<>]*:)?(\w+)>", r"{\1}", route.rule)
    operations = DESCRIPTION["paths"].get(path, {})
    told = operations.get("get", {}).get("parameters", []) + operations.get("parameters", [])
    return {each["name"] for each in told if each.get("in") == "query"}


class Page(HTMLParser):
    """What a browser makes of a page: texts, elements, addresses, and forms.

    A form is its method, where it goes, and what it sends with the hostile text in every field; `typed` are the fields
    that people type words into, `shown` all that they see.
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.names: set[str] = set()
        self.addresses: list[str] = []
        self.title = ""
        self.forms: list[tuple[str, str, dict[str, str]]] = []
        self.typed: set[str] = set()
        self.shown: set[str] = set()
        self._inside: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside.append(tag)
        self.names |= {tag, *(name for name, _ in attrs)}
        told = {name: value or "" for name, value in attrs}
        self.texts += told.values()
        self.addresses += [told[name] for name in ("href", "src", "action", "formaction") if name in told]
        if tag == "form":
            self.forms.append((told.get("method", "get").lower(), told.get("action", ""), {}))
        elif self.forms and (name := told.get("name", "")) and tag in ("input", "textarea", "select", "button"):
            hidden = told.get("type") == "hidden" and name in ("form_token", "key")
            self.forms[-1][2][name] = told.get("value", "") if hidden or tag == "button" else PERSON
            if tag == "textarea" or (tag == "input" and told.get("type", "text") in ("text", "search")):
                self.typed.add(name)
            if tag != "button" and told.get("type") != "hidden":
                self.shown.add(name)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self._inside[-1:] == ["title"]:
            self.title += data


def forms(answer: TestResponse) -> Iterator[tuple[str, dict[str, str]]]:
    """Where forms that people fill in go; what they send has the hostile text in every field, then in typed ones."""
    page = Page(answer.text)
    as_given = dict(browser.forms(answer))
    for method, action, fields in page.forms:
        if method == "post" and page.shown & fields.keys() and not action.startswith(("/sign-", "/account")):
            yield action, fields
            if words := dict.fromkeys(page.typed & fields.keys(), PERSON):
                yield action, as_given[action] | words


def pages(answers: list[Asked]) -> list[tuple[Asked, Page]]:
    return [(each, Page(each.answer.text)) for each in answers if each.answer.mimetype == "text/html"]


# ---- What was asked ----


def test_every_address_is_asked_for_what_there_is(answers):
    others = {str(each) for each in answers if each.plain and each.answer.status_code != 200}
    assert {each.partition(" ")[2].rpartition(" ")[0] for each in others} == ELSEWHERE.keys(), (
        f"make in given_texts what it shows and name it in INSTEAD, or say in ELSEWHERE why not: {others}"
    )


def test_no_hostile_text_breaks_anything(answers):
    assert [str(each) for each in answers if each.answer.status_code >= 500] == []


def test_forms_are_read_and_some_of_them_taken(answers):
    sent = [each for each in answers if " -> " in each.path]
    assert [str(each) for each in sent if each.answer.status_code in (401, 403, 404)] == []
    assert sum(each.answer.status_code == 422 for each in sent) > 20
    assert sum(each.path.endswith("->") for each in sent) > 2


# ---- S17: texts stay texts ----

SHOWN_BY = {
    "/accounting", "/accounting/payments", "/admin/keys", "/admin/webhooks", "/catalog",
    "/catalog/orders/<uuid:order_id>",
    "/desk/acts/<uuid:act_id>/print", "/desk/approvals", "/desk/credit-notes/<uuid:credit_note_id>/print",
    "/desk/discounts", "/desk/discounts/reasons/<string:code>", "/desk/invoices/<uuid:invoice_id>",
    "/desk/invoices/<uuid:invoice_id>/print", "/desk/quotes/<uuid:quote_id>", "/desk/quotes/<uuid:quote_id>/compare",
    "/desk/quotes/<uuid:quote_id>/edit", "/desk/quotes/<uuid:quote_id>/print", "/prices", "/prices/<string:article>",
    "/q/<string:token>", "/shifts", "/shifts/<uuid:shift_id>",
}  # fmt: skip
"""Pages that surely show what was typed somewhere: a walk that finds it nowhere would show nothing."""


def test_s17_a_hostile_text_is_text_on_every_page(answers):
    seen = set()
    for asked, page in pages(answers):
        assert not [each for each in page.names if "hack" in each], (
            f"{asked} has an element or attribute of whoever typed it"
        )
        assert WORKED_OUT not in asked.answer.text, f"{asked} works out what was typed"
        if asked.plain and any(HOSTILE in each for each in page.texts):
            seen.add(asked.route.rule)
    assert SHOWN_BY - seen == set()


def test_s17_no_page_has_a_script_of_its_own_or_leads_to_one(answers):
    for asked, page in pages(answers):
        for address in page.addresses:
            assert re.match(r"[/?#]|https?://|data:image/|mailto:|tel:|$|[\w.-]+$", address), (str(asked), address)
        assert not re.search(r"<script(?![^>]*\b(src|type=\"application/ld\+json\"))", asked.answer.text), str(asked)
        assert not [name for name in page.names if name.startswith("on")], str(asked)


def test_s17_json_gives_the_text_back_and_is_no_page(answers):
    shown = set()
    for asked in answers:
        if asked.route.is_json and "json" in asked.answer.mimetype:
            assert asked.answer.headers["X-Content-Type-Options"] == "nosniff"
            body = json.loads(asked.answer.data)
            shown |= {asked.route.rule} if HOSTILE in texts(body) else set()
    assert {"/v1/quotes/<uuid:quote_id>", "/v1/invoices", "/v1/services", "/v1/prices", "/v1/branches"} <= shown


def texts(body: Any) -> str:
    """All texts of a JSON value, one after another."""
    if isinstance(body, dict):
        return "\n".join([*map(str, body), *map(texts, body.values())])
    return "\n".join(map(texts, body)) if isinstance(body, list) else str(body)


def test_s17_linked_data_ends_its_element_by_itself(answers):
    (asked,) = (each for each in answers if each.plain and each.route.rule == "/prices/<string:article>")
    (told,) = re.findall(r'<script type="application/ld\+json">(.*?)</script>', asked.answer.text, re.DOTALL)
    assert HOSTILE in texts(json.loads(told))


def test_s17_files_have_it_in_one_cell_and_papers_print_it(answers):
    files = [each for each in answers if each.plain and each.answer.mimetype == "text/csv"]
    assert len(files) >= 2
    for asked in files:
        rows = list(csv.reader(io.StringIO(asked.answer.data.decode("utf-8-sig")), delimiter=";"))
        assert {len(row) for row in rows if row} != {1}
        cells = [cell for row in rows for cell in row if "hack" in cell]
        assert cells and all(HOSTILE in cell for cell in cells), str(asked)
    paper = pypdf.PdfReader(io.BytesIO(APP.test_client().get("/prices/file?format=pdf").data))
    assert "</script><b hack>{{7*" in "".join(page.extract_text() for page in paper.pages)


def test_s17_headers_are_not_written_by_who_asks(answers):
    for asked in answers:
        for name, value in asked.answer.headers:
            assert "hack" not in value or name == "Location", (str(asked), name)
            assert CANARY not in unquote_plus(value), (str(asked), name)
    for address in (
        "/sign-in?next=/%0d%0aX-Hack:%201",
        "/prices?lang=en%0d%0aX-Hack:%201",
        "/nothing%0d%0aX-Hack:%201",
    ):
        answer = APP.test_client().get(address)
        assert answer.status_code < 500
        assert "X-Hack" not in answer.headers


# ---- S18: nothing typed is a statement ----

STATEMENTS = (
    "' OR '1'='1", "1; DROP TABLE invoice", "x') OR true --", "%", "_", "\\", "%(branch)s", "%s", "$1", "{0}", "\x00",
    "пациент'); SELECT pg_sleep(9)--",
)  # fmt: skip
SORTED_BY = ("sort", "order", "order_by", "sort_by", "direction", "fields", "columns", "offset")
LISTS = [each for each in ROUTES if each.method == "GET" and each.rule.startswith("/v1/") and not each.parameters]


@pytest.mark.parametrize("route", LISTS, ids=lambda each: each.rule)
def test_s18_no_list_is_sorted_by_names_of_the_caller(answers, route):
    clinic = given.caller(APP, "*")
    for name in SORTED_BY:
        answer = clinic.get(f"{route.rule}?{name}=id;drop")
        # Who asks for the description is told the same whatever else he says.
        told = 422 if route.rule != "/v1/openapi.json" else 200
        assert (answer.status_code, name) == (told, name)
        assert told == 200 or (f"?{name}", "unknown_member") in given.faults(answer)


@pytest.mark.parametrize("route", [each for each in LISTS if described(each) - {"lang"}], ids=lambda each: each.rule)
def test_s18_no_filter_is_a_statement(answers, route):
    clinic = given.caller(APP, "*")
    for name in sorted(described(route) - {"lang", "wait"}):
        for text in STATEMENTS:
            answer = clinic.get(f"{route.rule}?{name}={quote(text)}")
            assert answer.status_code in (200, 400, 422), (name, text, answer.status_code)
            if answer.status_code == 200 and name != "q":
                assert [each for each in answer.get_json().values() if isinstance(each, list) and each] == [], (
                    name,
                    text,
                )
    assert clinic.get("/v1/invoices").get_json()["items"]


# ---- S41: nothing private is kept, named or passed on ----

_PUBLIC = r"public, max-age=[0-9]+, stale-if-error=86400"
KEPT = {
    "/v1/prices": _PUBLIC,
    "/prices/file": _PUBLIC,
    # Looked at again each time; nothing of a patient is in them.
    "/v1/openapi.json": "no-cache",
    "/v1/price-lists/<string:code>/file": "private, no-cache",
    "/v1/price-orders/template": "private, no-cache",
}
"""What a cache may keep, whoever asks: prices, and what describes the service."""
KEPT_OF_STRANGERS = ("/prices", f"/prices/{given_texts.ARTICLE}")
"""Pages without anybody's name when nobody is signed in."""


def test_s41_nothing_is_kept_by_caches_but_prices(answers):
    for asked in answers:
        told = asked.answer.headers.getlist("Cache-Control")
        if asked.answer.status_code == 200 and asked.route.rule in KEPT:
            assert len(told) == 1 and re.fullmatch(KEPT[asked.route.rule], told[0]), (str(asked), told)
        else:
            assert told == ["no-store"], (str(asked), told)


def test_s41_pages_of_prices_are_kept_for_strangers_alone(answers):
    for path in KEPT_OF_STRANGERS:
        page = APP.test_client().get(path)
        assert re.fullmatch(_PUBLIC, page.headers["Cache-Control"])
        assert "Cookie" in page.headers["Vary"]
        assert not {"Set-Cookie", "form_token"} & {*page.headers.keys(), *Page(page.text).texts}


def test_s41_static_files_are_kept_and_what_is_not_there_is_not():
    visitor = APP.test_client()
    (address,) = set(re.findall(r'href="(/static/[^"]+\.css[^"]*)"', visitor.get("/sign-in").text))
    assert visitor.get(address).headers["Cache-Control"] == "public, max-age=31536000, immutable"
    for missing in ("/static/nothing.css?v=1", "/nothing", "/v1/nothing"):
        assert visitor.get(missing).headers["Cache-Control"] == "no-store", missing


PERSONAL = re.compile(r"name|phone|mail|person|patient|payer|comment|birth|address|passport")
OPAQUE = {"patient", "payer"}
"""These are the caller's identifiers of persons, of a form that no name has."""


def test_s41_no_address_takes_what_a_person_is_called(answers):
    taken = {name for route in ROUTES for name in {*route.parameters, *described(route)}}
    asked_for = {
        name for _, page in pages(answers) for method, _, fields in page.forms if method == "get" for name in fields
    }
    names = {name for name in taken | asked_for if PERSONAL.search(name)} - {"filename"}
    assert names == OPAQUE
    path = DESCRIPTION["paths"]["/v1/quotes"]["get"]["parameters"]
    (patient,) = (each for each in path if each.get("name") == "patient")
    assert not re.fullmatch(patient["schema"]["pattern"], "Иванова Анна")


def test_s41_no_link_or_title_of_a_window_names_a_person(answers):
    for asked, page in pages(answers):
        if asked.plain:
            assert not [each for each in page.addresses if CANARY in unquote_plus(each)], str(asked)
        assert CANARY not in page.title, f"{asked} puts a name into the browser's history"


def test_s41_names_of_files_are_ours(answers):
    named = {
        asked.answer.headers["Content-Disposition"]
        for asked in answers
        if "Content-Disposition" in asked.answer.headers
    }
    assert len(named) >= 3
    for each in named:
        assert re.fullmatch(r"""attachment; filename="[A-Za-z0-9._-]+"(; filename\*=UTF-8''[A-Za-z0-9._-]+)?""", each)


def test_s41_the_only_picture_made_of_squares_is_for_a_second_factor():
    """It holds a login and its secret. What is printed for patients has none yet."""
    makers = [
        path for path in MODULES if re.search(r"^\s*(import|from) (segno|qrcode)", path.read_text(), re.MULTILINE)
    ]
    assert [path.name for path in makers] == ["second_factor.py"]
