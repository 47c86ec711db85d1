"""Who may do what, route by route: docs/access.md against the application, and the wall between branches.

The routes come from the application itself, the rights from the document: a route without a row fails, and so does a
row without a route.
"""

from __future__ import annotations

import io
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from argon2 import PasswordHasher
from werkzeug.test import TestResponse

from clinic import branches, db, passwords, sealing, sessions, staff
from clinic.auth import COMMAND_LINE, PUBLIC, ROLES, SCOPES, SIGNED_IN
from clinic.command import change
from clinic.http import App
from tests import given, given_money, given_webhooks
from tests.browser import PASSWORD
from tests.conftest import SETTINGS
from tests.running import new_database
from wsgi import create_app

DOCUMENT = Path(__file__).parents[1] / "docs" / "access.md"
READING = ("GET", "HEAD", "OPTIONS")
OF_ALL_BRANCHES = {
    "article", "order_id", "doctor_id", "doctor_rank", "price_list", "package", "discount_reason", "filename",
    "reference",
}  # fmt: skip
"""Parameters that name what belongs to no branch: the catalog, and rules of the whole clinic."""
CHOICES = {"kind", "way", "move"}
"""Parameters that name nothing."""
NAMED_BY_ROUTE = {
    # A parameter of this name means different things.
    "/problems/<code>": None,
    "/desk/discounts/reasons/<string:code>": None,
    "/v1/price-lists/<string:code>/file": None,
    # The token is the right: who has the link sees the quote, whoever he is.
    "/q/<string:token>": None,
}


@dataclass(frozen=True)
class Route:
    """One method of one address."""

    method: str
    rule: str
    scope: str
    or_scope: str | None = None
    """Another one that lets a caller in too; what he does there is judged by the command."""

    @property
    def scopes(self) -> set[str]:
        return {self.scope, self.or_scope or self.scope}

    @property
    def is_json(self) -> bool:
        return self.rule.startswith(("/v1/", "/health/", "/metrics"))

    @property
    def parameters(self) -> dict[str, str]:
        """Name -> converter."""
        found = re.findall(r"<(?:((?:\w+)(?:\([^)]*\))?):)?(\w+)>", self.rule)
        return {name: converter for converter, name in found}

    def path(self, **values: str) -> str:
        """The address with these values, and something that does not exist for all others."""
        path = self.rule
        for name, converter in self.parameters.items():
            nothing = str(uuid4()) if converter.startswith(("uuid", "code_or_id")) else "no-such-thing"
            if converter.startswith("any("):
                nothing = converter[4:].split(",")[0].strip(" )")
            path = re.sub(rf"<[^<>]*\b{name}>", values.get(name, nothing), path)
        return path


def routes(app: App) -> list[Route]:
    return sorted(
        (
            Route(
                method,
                str(rule),
                getattr(app.view_functions[rule.endpoint], "scope", ""),
                getattr(app.view_functions[rule.endpoint], "or_scope", None),
            )
            for rule in app.url_map.iter_rules()
            if not rule.endpoint.endswith("static")
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        ),
        key=lambda each: (not each.is_json, each.rule, each.method),
    )


APP = create_app(SETTINGS)
APP.config["PROPAGATE_EXCEPTIONS"] = False
ROUTES = routes(APP)
DESCRIPTION = APP.test_client().get("/v1/openapi.json").get_json()


def operation(route: Route) -> dict[str, Any]:
    """What the description says of the route; of one that it does not know, nothing."""
    # Its address has {name} where the rule has <type:name>.
    path = re.sub(r"<(?:[^<>]*:)?(\w+)>", r"{\1}", route.rule)
    found: dict[str, Any] = DESCRIPTION["paths"].get(path, {}).get(route.method.lower(), {})
    return found


EXAMPLES = {
    f"{each.method} {each.rule}": content["application/json"]["example"]
    for each in ROUTES
    if (content := operation(each).get("requestBody", {}).get("content", {}))
    and "example" in content.get("application/json", {})
}
EXAMPLES["POST /v1/quotes/<uuid:quote_id>/invoice"] = {"payer": given.PAYER}  # to issue it at once is another right
EXAMPLES["PUT /v1/branches/<string:code>/requisites"] = {
    "name": "ООО «Клиника»", "short_name": "Клиника", "inn": "1234567894", "kpp": "770101001", "ogrn": "1027700132195",
    "address": "Москва", "bank": {"bik": "044525225", "name": "Банк", "account": "40702810200000012345",
                                  "corr_account": "30101810400000000225"},
}  # fmt: skip
"""Bodies that are read without a fault, so that a request comes as far as what it names."""
NAMES = [f"{each.method} {each.rule}" for each in ROUTES]


# ---- The document ----


def table() -> str:
    """The tables of the document, as the routes and roles are."""
    roles = ["| Role | Scopes |", "|---|---|"]
    roles += [f"| `{role}` | {' '.join(f'`{scope}`' for scope in sorted(scopes))} |" for role, scopes in ROLES.items()]
    programs = ["| Route | Scope |", "|---|---|"]
    programs += [
        f"| `{each.method} {each.rule}` | {' or '.join(sorted(each.scopes))} |" for each in ROUTES if each.is_json
    ]
    pages = [f"| Page | Scope | {' | '.join(ROLES)} |", f"|---|---|{'---|' * len(ROLES)}"]
    for each in ROUTES:
        if not each.is_json:
            marks = " | ".join("yes" if may(role, each) else "" for role in ROLES)
            pages.append(f"| `{each.method} {each.rule}` | {each.scope} | {marks} |")
    return "\n".join(
        ["## Roles", "", *roles, "", "## Pages", "", *pages, "", "## Routes for programs", "", *programs, ""]
    )


def may(role: str, route: Route) -> bool:
    return route.scope in (PUBLIC, SIGNED_IN) or bool({"*", route.scope} & ROLES[role])


def rows() -> dict[str, list[str]]:
    """The cells of each row of the document by its first."""
    found = {}
    for line in DOCUMENT.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `"):
            found[cells[0].strip("`")] = cells[1:]
    return found


def test_every_route_has_a_row_and_every_row_a_route():
    listed = [name for name in rows() if " /" in name]
    assert sorted(set(NAMES) - set(listed)) == [], "routes without a row: write the tables anew"
    assert sorted(set(listed) - set(NAMES)) == [], "rows without a route"


def test_the_document_says_what_roles_and_routes_are():
    assert table() in DOCUMENT.read_text(), (
        "docs/access.md differs; look at what has changed, and write it by: "
        'python -c "from tests.test_matrix import write; write()"'
    )


def write() -> None:
    """Put the tables into the document anew."""
    words = DOCUMENT.read_text().partition("## Roles")[0]
    DOCUMENT.write_text(words + table())


# ---- Routes x callers ----


@pytest.fixture(scope="module")
def database(cluster):
    with new_database(cluster) as urls:
        sealing.use(SETTINGS.secret_key)  # other tests end with other keys
        db.open_pool(urls.app, size=4)
        given.main_branch()
        with change(COMMAND_LINE) as made:
            branches.create(made, "north", "Север", "С")
        given.sample()
        yield urls
        db.close_pool()


def ask(route: Route, secret: str | None, path: str | None = None, body: Any = None) -> TestResponse:
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    headers |= {"Idempotency-Key": uuid4().hex, "If-Match": '"x"'}
    if body is None and route.method != "GET":
        body = EXAMPLES.get(f"{route.method} {route.rule}", {})
    return APP.test_client().open(path or route.path(), method=route.method, json=body, headers=headers)


@pytest.fixture(scope="module")
def keys(database) -> dict[str, str]:
    """A key for each scope alone."""
    return {scope: given.key(scope) for scope in SCOPES}


@pytest.fixture(scope="module")
def keys_without(database) -> dict[str, str]:
    """For each scope: a key that has all others."""
    return {scope: given.key(*(each for each in SCOPES if each != scope)) for scope in SCOPES}


FOR_PROGRAMS = [each for each in ROUTES if each.is_json and each.rule.startswith("/v1/")]


@pytest.mark.parametrize("route", FOR_PROGRAMS, ids=lambda each: f"{each.method} {each.rule}")
def test_s01_a_route_asks_for_its_scope_and_no_other(route, keys, keys_without):
    stranger = ask(route, None).status_code
    if route.scope == PUBLIC:
        assert stranger not in (401, 403)
        return
    assert stranger == 401
    assert ask(route, "cb_00000000_" + "A" * 43).status_code == 401
    if route.scope == SIGNED_IN:
        assert ask(route, keys["catalog:read"]).status_code not in (401, 403)
        return
    for scope, secret in keys.items():
        status = ask(route, secret).status_code
        assert (status not in (401, 403)) if scope in route.scopes else (status == 403), (scope, status)
    if route.or_scope is not None:
        return
    refused = ask(route, keys_without[route.scope])
    assert (refused.status_code, refused.get_json()["scope"]) == (403, route.scope)


@pytest.fixture(scope="module")
def people(database) -> dict[str, Visitor]:
    kept, passwords._hasher = passwords._hasher, PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    found = {role: Visitor.signed_in(role, role.replace("_", "-")) for role in ROLES}
    passwords._hasher = kept
    return found


class Visitor:
    """Somebody with the session cookie of an account."""

    def __init__(self, token: str | None) -> None:
        self.token = token
        self.client = APP.test_client()
        if token:
            self.client.set_cookie("session", token)

    @classmethod
    def signed_in(cls, role: str, login: str, branch: str | None = None) -> Visitor:
        with change(COMMAND_LINE) as made:
            branch_id = branches.id_of(made.conn, branch)
            staff_id = staff.create(made, login, role, PASSWORD, branch_id=branch_id)
            hashed = db.value(made.conn, "SELECT password_hash FROM staff WHERE id = %s", (staff_id,))
            return cls(sessions.open_(made.conn, staff_id, hashed, "test"))

    def ask(self, route: Route, path: str | None = None) -> TestResponse:
        form = {"form_token": sessions.form_token(self.token)} if self.token else {}
        data = None if route.method == "GET" else form
        return self.client.open(path or route.path(), method=route.method, data=data)


PAGES = [each for each in ROUTES if not each.is_json and each.rule != "/sign-out"]


@pytest.mark.parametrize("route", PAGES, ids=lambda each: f"{each.method} {each.rule}")
def test_s01_a_page_is_open_to_the_roles_of_its_row(route, people):
    marks = rows()[f"{route.method} {route.rule}"][1:]
    stranger = Visitor(None).ask(route)
    if route.scope == PUBLIC:
        assert stranger.status_code != 403
        assert not stranger.headers.get("Location", "").startswith("/sign-in?")
    elif route.method in READING:
        assert stranger.headers["Location"].startswith("/sign-in?")
    else:
        assert stranger.status_code == 401
    for role, mark in zip(ROLES, marks, strict=True):
        if route.rule == "/sign-in" and route.method == "POST":
            continue  # which ends the session it is sent in
        answer = people[role].ask(route)
        refused = answer.status_code == 403 or (answer.status_code == 401 and b"sign_in_needed" in answer.data)
        assert refused is not bool(mark), (role, answer.status_code)


# ---- The wall between branches (S2) ----


@dataclass(frozen=True)
class Wall:
    """A program and an administrator of the branch `main`, and what the branch `north` has."""

    secret: str
    person: Visitor
    foreign: dict[str, str]
    words: set[str]
    """Ids, numbers, codes and names of the other branch: none of its lists may show them."""


NAME = "Севернова Полярна"


@pytest.fixture(scope="module")
def wall(database) -> Wall:
    north = given.caller(APP, "*", branch="north", discount_ceiling=100)
    payer = given.PAYER | {"ref": "NORTH-1", "name": NAME}
    quote = north.quote(("MRI-ABD-RP", None), patient={"id": "NORTH-2", "name": NAME})
    given.made(north.post(f"/v1/quotes/{quote['id']}/send"))
    link = given.made(north.post(f"/v1/quotes/{quote['id']}/links"))
    draft = north.draft(("MRI-ABD-RP", None))
    issued = north.invoice(north.quote(given_money.costing("100.00")), payer=payer)
    rendered = north.invoice(north.quote(given.line("MRI-ABD-RP", quantity="2")), payer=payer)
    piece = {"lines": [{"position": 1, "quantity": "1"}]}
    act = given.made(north.post(f"/v1/invoices/{rendered['id']}/acts", piece))
    payment = given_money.payment(north, "100.00", issued, payer=payer)
    shift = given.made(north.post("/v1/shifts", {"desk": "Северная касса"}))
    dear = north.quote(given.line("CT-ABD-RP", discount_percent="50", discount_reason="goodwill"))
    job = given.job(north)
    key = given.made(
        north.post("/v1/keys", {"name": "Северная", "scopes": ["catalog:read"], "branch": "north"}, key="")
    )
    spoilt = north.invoice(north.quote(("MRI-ABD-RP", None)), payer=payer)
    given.made(north.post(f"/v1/invoices/{spoilt['id']}/cancel", {"reason": "Ошибка"}))
    note = given.made(north.get("/v1/credit-notes"))["items"][0]["id"]
    webhook = given_webhooks.webhook(north, "https://93.184.216.34/north")
    Visitor.signed_in("reception", "far-away", "north")
    with db.reading() as conn:
        account = str(staff.called(conn, "far-away"))
        session = str(sessions.of(conn, UUID(account))[0].id)
    foreign = {
        "quote_id": quote["id"], "invoice_id": issued["id"], "act_id": act["id"], "payment_id": payment["id"],
        "shift_id": shift["id"], "link_id": link["id"], "document_id": dear["id"], "job_id": job, "key_id": key["id"],
        "credit_note_id": note, "webhook_id": webhook["id"], "staff_id": account, "session_id": session,
        "ref": "NORTH-1", "code": "north",
    }  # fmt: skip
    words = {
        *foreign.values(), draft["id"], rendered["id"], quote["code"], issued["number"], act["number"], NAME,
        "Северная касса", "far-away", "NORTH-2",
    } - {"north"}  # fmt: skip
    near = Visitor.signed_in("administrator", "near", "main")
    return Wall(given.key("*", branch="main", discount_ceiling=100), near, foreign, words)


def of_a_branch(route: Route) -> list[str]:
    """The parameters of a route that name something of a branch."""
    if route.rule in NAMED_BY_ROUTE:
        return []
    return [name for name in route.parameters if name not in OF_ALL_BRANCHES | CHOICES]


BEHIND_THE_WALL = [each for each in ROUTES if of_a_branch(each)]


def test_s02_every_parameter_of_a_route_is_known(wall):
    for route in ROUTES:
        assert set(of_a_branch(route)) <= wall.foreign.keys(), f"{route.rule}: of a branch, or of all?"


@pytest.mark.parametrize("route", BEHIND_THE_WALL, ids=lambda each: f"{each.method} {each.rule}")
def test_s02_what_another_branch_has_answers_like_what_there_is_not(route, wall):
    values = {name: wall.foreign[name] for name in of_a_branch(route)}
    missing = {
        name: str(uuid4()) if route.parameters[name].startswith("uuid") else "nothing" for name in of_a_branch(route)
    }
    if route.is_json:
        answers = [(ask(route, wall.secret, route.path(**each)), each) for each in (values, missing)]
    else:
        answers = [(wall.person.ask(route, route.path(**each)), each) for each in (values, missing)]
    (foreign, of_foreign), (none, of_none) = answers
    assert foreign.status_code == none.status_code
    assert told(foreign, of_foreign) == told(none, of_none)
    if (route.method in READING or route.is_json) and "ref" not in route.parameters:
        assert foreign.status_code == 404, foreign.get_data(as_text=True)


def told(answer: TestResponse, values: dict[str, str]) -> str:
    """The body without what differs between any two requests."""
    text = answer.get_data(as_text=True) + answer.headers.get("Location", "")
    for value in values.values():
        text = text.replace(value, "ID")
    text = text.replace(answer.headers["X-Request-Id"], "REQUEST")
    return re.sub(r'name="key" value="[^"]*"', "", text)


LISTS = [each for each in ROUTES if each.method == "GET" and not each.parameters and each.rule != "/metrics"]


@pytest.mark.parametrize("route", LISTS, ids=lambda each: each.rule)
@pytest.mark.parametrize("asked", ["", "?since=2020-01-01&until=2199-12-31"])
def test_s02_no_list_or_export_shows_what_another_branch_has(route, asked, wall):
    path = route.rule + asked
    answer = ask(route, wall.secret, path) if route.is_json else wall.person.ask(route, path)
    shown = unpacked(answer.data)
    assert not [word for word in wall.words if word.encode() in shown]


def unpacked(content: bytes) -> bytes:
    """What a file shows, workbooks too."""
    if not content.startswith(b"PK"):
        return content
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        return b"".join(packed.read(name) for name in packed.namelist())


@pytest.mark.parametrize(
    "path",
    [
        "/v1/quotes?patient=NORTH-2", "/v1/invoices?payer=NORTH-1", "/v1/invoices?patient=NORTH-2",
        "/v1/payments?payer=NORTH-1", "/v1/events?type=invoice.issued", "/v1/audit?limit=200",
    ],
)  # fmt: skip
def test_s02_no_search_finds_what_another_branch_has(path, wall):
    body = ask(Route("GET", path, ""), wall.secret, path).get_data(as_text=True)
    assert not [word for word in wall.words - {"NORTH-1", "NORTH-2"} if word in body]


def test_s02_the_wall_is_there_for_writing_too(wall, database):
    """No row of the other branch was changed by anything tried above."""
    with psycopg.connect(database.owner) as owner:
        quote, invoice = wall.foreign["quote_id"], wall.foreign["invoice_id"]
        assert owner.execute("SELECT status FROM quote_revision WHERE quote_id = %s", (quote,)).fetchall() == [
            ("sent",)
        ]
        assert owner.execute("SELECT status FROM invoice WHERE id = %s", (invoice,)).fetchall() == [("issued",)]


def test_s28_the_key_of_another_client_is_another_key(wall, database):
    """The same Idempotency-Key and body: each client has its own answer, and of the other one nothing."""
    body = {"lines": [given.line("CT-ABD-RP")]}
    callers = [given.caller(APP, "quotes:write", branch=branch) for branch in ("main", "north")]
    made = [each.post("/v1/quotes", body, key="the-very-same") for each in callers]
    assert [each.status_code for each in made] == [201, 201]
    assert made[0].get_json()["id"] != made[1].get_json()["id"]


def test_s28_who_has_lost_the_right_gets_no_answer_of_before(database):
    caller = given.caller(APP, "quotes:write")
    body = {"lines": [given.line("CT-ABD-RP")]}
    given.made(caller.post("/v1/quotes", body, key="asked-before"))
    with psycopg.connect(database.owner) as owner:
        owner.execute("UPDATE api_key SET scopes = '{quotes:read}' WHERE scopes = '{quotes:write}'")
    assert caller.post("/v1/quotes", body, key="asked-before").status_code == 403
