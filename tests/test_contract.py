"""The contract as it is published, tried by machine: whatever comes in, what goes out is as described."""

from __future__ import annotations

import copy
import itertools
import json
import re
import tomllib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import psycopg
import pytest
import schemathesis
from hypothesis import settings
from jsonschema import Draft202012Validator, FormatChecker  # type: ignore[import-untyped]
from psycopg import sql
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.transport.prepare import get_exclude_headers
from schemathesis.transport.serialization import Binary

from clinic import addresses, db, fields, sealing
from clinic.auth import ROLES, SCOPES, SIGNED_IN
from clinic.embedded import Cluster
from tests import given, given_money, given_payers, given_webhooks
from tests.conftest import SETTINGS
from tests.running import TEMPLATE
from wsgi import create_app

CONFIG = Path(__file__).parents[1] / "schemathesis.toml"
# Made while tests are collected, since each operation becomes a test of its own; it opens no connection.
APP = create_app(SETTINGS)
APP.config["PROPAGATE_EXCEPTIONS"] = False
DESCRIPTION: dict[str, Any] = APP.test_client().get("/v1/openapi.json").get_json()
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, operations in DESCRIPTION["paths"].items()
    for method, operation in operations.items()
    if method != "parameters"
}
KEY = re.compile(r"[\x21-\x7e]{8,255}", re.ASCII)
PROBLEM = "application/problem+json"
CHANGES_ANYHOW = {"access_log", "api_key_secret", "idempotency"}
"""What may change without an effect: notes of reading, a key's last use, keys of calls."""

contract = schemathesis.openapi.from_wsgi("/v1/openapi.json", APP, config=SchemathesisConfig.from_path(CONFIG))
FEW = tomllib.loads(CONFIG.read_text()) | {
    # Each case is sent by everybody.
    "generation": {"deterministic": True, "max-examples": 2, "no-shrink": True},
    "phases": {"coverage": {"enabled": False}, "stateful": {"enabled": False}},
}
by_roles = schemathesis.openapi.from_wsgi("/v1/openapi.json", APP, config=SchemathesisConfig.from_dict(FEW))


@pytest.fixture(scope="module")
def database(cluster: Cluster) -> Iterator[str]:
    """One database for all of this module: some thousand requests are made to it."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(cluster.owner_url("postgres"), autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY file_copy")
        yield name
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def clinic(cluster: Cluster, database: str) -> Iterator[given.Caller]:
    """The clinic with its real price list, and a program that has every scope by its name."""
    # Made-up hosts are asked for by the hundred, and the example's must be there.
    ask, addresses.look_up = addresses.look_up, lambda *_: ["8.8.8.8"]
    sealing.use(SETTINGS.secret_key)  # other tests end with other keys
    db.open_pool(cluster.app_url(database), size=4)
    # The day the examples speak of: the same requests find the same clinic on any day.
    with given.day("2026-11-23"):
        given.main_branch()
        given.sample()
        yield given.caller(APP, *SCOPES)
    addresses.look_up = ask
    db.close_pool()


@pytest.fixture(scope="module")
def callers(clinic):
    """What each role's program sends, and what a stranger sends, who has no role and no key."""
    keys = {role: given.key(*scopes) for role, scopes in ROLES.items()}
    return {role: {"Authorization": f"Bearer {secret}"} for role, secret in keys.items()} | {None: {}}


@pytest.fixture(scope="module")
def known(clinic: given.Caller) -> dict[str, Iterator[str]]:
    """What a parameter of a path may name, in turn: without it each command would only ever answer 404."""
    quotes = [clinic.quote(("MRI-ABD-RP", None), patient={"id": "P-1"}) for _ in range(12)]
    drafts = [clinic.draft(("MRI-ABD-RP", None)) for _ in range(8)]
    issued = [clinic.invoice(quote) for quote in quotes[:4]]
    orders = [price_order(clinic) for _ in range(12)]
    rendered = clinic.invoice(clinic.quote({"article": "MRI-ABD-RP", "quantity": "9"}))
    piece = {"lines": [{"position": 1, "quantity": "1"}]}
    acts = [given.made(clinic.post(f"/v1/invoices/{rendered['id']}/acts", piece)) for _ in range(4)]
    back = {"lines": [{"position": 1, "amount": "1.00"}], "reason": "Ошибка"}
    notes = [given.made(clinic.post(f"/v1/invoices/{rendered['id']}/credit-notes", back)) for _ in range(2)]
    return {
        "order_id": itertools.cycle(orders),
        "quote_id": itertools.cycle([each["id"] for each in quotes]),
        "invoice_id": itertools.cycle([each["id"] for pair in zip(drafts, issued * 2, strict=True) for each in pair]),
        "act_id": itertools.cycle([each["id"] for each in acts]),
        "credit_note_id": itertools.cycle([each["id"] for each in notes]),
        # Not those that the examples sell: these may come to be sold no longer.
        "article": itertools.cycle(["ONC-REMOTE", "ONC-BOARD"]),
        "code": itertools.repeat("main"),
        "reference": itertools.cycle(["paid_services", "vat_exemption"]),
        "discount_reason": itertools.repeat("repeat"),
        # Not the key that asks.
        "key_id": itertools.cycle([key(clinic) for _ in range(4)]),
        "webhook_id": itertools.cycle(
            [given_webhooks.webhook(clinic, "https://his.example.org/")["id"] for _ in range(4)]
        ),
        "staff_id": itertools.cycle([account(clinic, f"person-{n}") for n in range(4)]),
        "job_id": itertools.repeat(given.job(clinic)),
        # By code and by id; not the one that the examples sell.
        "package": itertools.cycle([given.package(clinic, "OTHER-DAY")["id"], "CT-MRI-DAY"]),
        # Nor these: what is tried may end a list, and let a doctor go.
        "price_list": itertools.repeat(given_payers.price_list(clinic, "staff", "staff")["code"]),
        "doctor_rank": itertools.cycle(["candidate", "professor"]),
        "doctor_id": itertools.repeat(given_payers.doctor(clinic)["id"]),
        "payment_id": itertools.cycle([given_money.payment(clinic, "100.00", issued[0])["id"] for _ in range(4)]),
        "link_id": itertools.repeat(link(clinic)),
        "shift_id": itertools.cycle(
            [given.made(clinic.post("/v1/shifts", {"desk": f"Касса {n}"}))["id"] for n in range(4)]
        ),
        "ref": itertools.repeat("P-1"),
    }


def link(clinic):
    """The id of a link; of another quote than those that are aimed at, or it would be revoked at once."""
    sent = clinic.quote(("MRI-ABD-RP", None))
    given.made(clinic.post(f"/v1/quotes/{sent['id']}/send"))
    return given.made(clinic.post(f"/v1/quotes/{sent['id']}/links"))["id"]


def key(clinic):
    """The id of a key."""
    return given.made(clinic.post("/v1/keys", {"name": "another", "scopes": ["catalog:read"]}))["id"]


def account(clinic, login):
    """The id of an account."""
    return given.made(clinic.post("/v1/staff", {"login": login, "role": "reception"}))["id"]


def price_order(clinic):
    """The id of a draft that could be published."""
    lines = [{"article": "CT-ABD-RP", "doctor_rank": "none", "kind": "fixed", "amount": "9000.00"}]
    return given.made(clinic.post("/v1/price-orders", {"effective_from": "2027-01-01", "lines": lines}))["id"]


# ---- What is published ----


def test_the_description_is_openapi():
    assert DESCRIPTION["openapi"].startswith("3.1")
    contract.validate()
    for schema in DESCRIPTION["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_says_what_it_does_and_who_may_call_it(name):
    operation = OPERATIONS[name]
    assert operation["summary"]
    if operation["security"]:
        assert operation["security"] == [{"key": []}]
        assert operation["x-scope"] in {*SCOPES, "signed_in"}
        assert "401" in operation["responses"]
        assert ("403" in operation["responses"]) == (operation["x-scope"] != "signed_in")
    else:
        assert name.startswith("GET "), "strangers only read"


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_describes_its_query_and_its_headers(name):
    described = {(each["in"], each["name"]) for each in OPERATIONS[name].get("parameters", []) if "in" in each}
    refused = {
        code
        for answer in OPERATIONS[name]["responses"].values()
        for media_type in answer.get("content", {}).values()
        for code in media_type.get("examples", {})
    }
    assert ("query", "lang") in described
    assert (("header", "Idempotency-Key") in described) == ("idempotency_key_reused" in refused)
    assert (("header", "If-Match") in described) == ("precondition_failed" in refused)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_refusal_of_an_operation_is_shown_by_an_example(name):
    for status, answer in OPERATIONS[name]["responses"].items():
        if status < "400":
            continue
        assert answer["description"], status
        shown = answer["content"][PROBLEM]
        assert shown["schema"] == {"$ref": "#/components/schemas/Problem"}
        assert shown["examples"], status
        for code, example in shown["examples"].items():
            assert (example["value"]["code"], example["value"]["status"]) == (code, int(status))
            assert_fits(shown["schema"], example["value"])


def examples_of(media):
    yield from [media["example"]] if "example" in media else []
    yield from (each["value"] for each in media.get("examples", {}).values())


def bodies_with_examples():
    for name, operation in OPERATIONS.items():
        for media in operation.get("requestBody", {}).get("content", {}).values():
            for example in examples_of(media):
                yield pytest.param(media["schema"], example, id=name)


@pytest.mark.parametrize(("schema", "example"), list(bodies_with_examples()))
def test_an_example_of_a_body_is_one_that_is_taken(schema, example):
    assert_fits(schema, example)
    if reads := readers().get(schema.get("$ref", "").rpartition("/")[2]):
        reads.load(example)


def answers_with_examples():
    for name, operation in OPERATIONS.items():
        for status, answer in operation["responses"].items():
            for media in answer.get("content", {}).values() if status < "400" else ():
                for example in examples_of(media):
                    yield pytest.param(media["schema"], example, id=f"{name} {status}")


@pytest.mark.parametrize(("schema", "example"), list(answers_with_examples()))
def test_an_example_of_an_answer_is_as_described(schema, example):
    assert_fits(schema, example)


def assert_fits(schema, value):
    """Against the schema, whose references lead into the description; nothing that it does not name."""
    whole = {**schema, "components": DESCRIPTION["components"]}
    wrong = list(Draft202012Validator(whole, format_checker=FormatChecker()).iter_errors(value))
    assert not wrong, "\n".join(f"{'/'.join(map(str, each.path))}: {each.message}" for each in wrong)


def readers():
    """The schemas that read bodies, by their names in the description."""
    plugin = APP.extensions["clinic-api"].ma_plugin
    found = {name: key[0] for key, name in plugin.converter.refs.items()}
    return {name: schema() for name, schema in found.items() if issubclass(schema, fields.Shape)}


# ---- What is answered ----

turn = itertools.count()
ANSWERED = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
    response_schema_conformance,
]  # fmt: skip
"""What holds for every answer, whoever asks: no defect, and nothing that the description does not tell of."""


@contract.parametrize()
@settings(derandomize=True, database=None, deadline=None)
def test_every_answer_is_as_described(case, clinic, known):
    # A key that was made up may come twice, and what that means is tried elsewhere.
    if KEY.fullmatch(case.headers.get("Idempotency-Key", "")):
        case.headers["Idempotency-Key"] = uuid.uuid4().hex
    if next(turn) % 2:
        aim(case, clinic, known)
    wait_for_nobody(case)
    # The client of this transport unpacks nothing.
    case.call_and_validate(headers={"Authorization": f"Bearer {clinic.secret}", "Accept-Encoding": "identity"})


@by_roles.parametrize()
@settings(derandomize=True, database=None, deadline=None)
def test_every_answer_to_every_role_and_to_strangers_is_as_described(case, clinic, known, callers):
    """Who has the scope gets as far as the others would; who has not is refused before anything else."""
    name = case.operation.label
    if next(turn) % 2:
        aim(case, clinic, known)
    wait_for_nobody(case)
    # Some cases are about who shows no key.
    shows_a_key = "Authorization" not in get_exclude_headers(case)
    for role, headers in callers.items() if shows_a_key else [(None, {})]:
        fresh = {"Idempotency-Key": uuid.uuid4().hex} if "Idempotency-Key" in case.headers else {}
        answer = case.call(headers={"Accept-Encoding": "identity", **headers, **fresh})
        case.validate_response(answer, checks=ANSWERED)
        if refused_to(role, name) and leads_to_a_route(case):
            assert answer.status_code == (403 if headers else 401), role
        else:
            assert answer.status_code != 401, role


OR_MAY = {"POST /v1/invoices/{invoice_id}/cancel": {"invoices:issue"}}
"""Who is let in by another scope, too; what he may do there is judged by the command."""


def refused_to(role, name):
    """Whether the operation is closed to whoever has the rights of this role; None has none, and no key."""
    scope, also = OPERATIONS[name].get("x-scope"), OR_MAY.get(name, set())
    if role is None or scope is None:
        return scope is not None
    return scope != SIGNED_IN and not {scope, "*", *also} & ROLES[role]


def leads_to_a_route(case):
    """Not where an id was made up that is none: that address is nobody's."""
    return APP.url_map.bind("localhost").test(unquote(case.formatted_path), case.method)


def wait_for_nobody(case):
    if case.query.get("wait") in range(11):
        case.query["wait"] = 0  # nobody will make the event that is waited for


def aim(case, clinic, known):
    """Name something that exists, at its present version, in place of what was made up and well-formed."""
    for name, value in case.path_parameters.items():
        if re.fullmatch(r"[0-9a-fA-F-]{36}" if name.endswith("_id") else r"[A-Za-z0-9._-]{1,32}", str(value)):
            case.path_parameters[name] = next(known[name])
    if isinstance(case.body, dict) and "file" in case.body:
        # Made-up bytes are no price list.
        case.body["file"] = Binary(given.price_file(2, prefix=uuid.uuid4().hex[:8].upper()))
        case.body.pop("corrects", None)
    if case.headers.get("If-Match"):
        case.headers["If-Match"] = etag(clinic, case.formatted_path)


def etag(clinic, path):
    """The present version of what stands at this address, or of what the address is inside."""
    whole = re.match(r"/v1/price-orders/[^/]+", path)
    return clinic.get(whole[0] if whole else path).headers.get("ETag", '"none"')


# ---- What is refused ----

DEEP = 1000
HOSTILE: dict[str, tuple[int, bytes]] = {
    "no body": (422, b""),
    "no JSON": (400, b"lines=MRI-ABD-RP"),
    "cut off": (400, b'{"lines": ['),
    "two texts": (400, b'{"lines": []} {}'),
    "NaN": (400, b'{"lines": [{"article": "MRI-ABD-RP", "quantity": NaN}]}'),
    "Infinity": (400, b'{"lines": [{"article": "MRI-ABD-RP", "quantity": -Infinity}]}'),
    "a float": (422, b'{"lines": [{"article": "MRI-ABD-RP", "quantity": 1.5}]}'),
    "a float out of range": (422, b'{"lines": [{"article": "MRI-ABD-RP", "quantity": 1e999}]}'),
    "an exponent of many digits": (400, b'{"lines": [{"article": "MRI-ABD-RP", "quantity": 1e' + b"9" * 40 + b"}]}"),
    "a hundred thousand digits": (400, b'{"lines": [{"article": "MRI-ABD-RP", "quantity": ' + b"9" * 10**5 + b"}]}"),
    "a hundred thousand digits as text": (
        422,
        b'{"lines": [{"article": "MRI-ABD-RP", "quantity": "' + b"9" * 10**5 + b'"}]}',
    ),
    "the same member twice": (400, b'{"lines": [{"article": "MRI-ABD-RP"}], "lines": []}'),
    "the same member twice inside": (400, b'{"lines": [{"article": "MRI-ABD-RP", "article": "CT-ABD-RP"}]}'),
    "an unknown member": (422, b'{"lines": [{"article": "MRI-ABD-RP"}], "total": "0.01"}'),
    "deep objects": (400, b'{"comment": ' * DEEP + b"1" + b"}" * DEEP),
    "deep lists": (400, b'{"lines": ' + b"[" * DEEP + b"]" * DEEP + b"}"),
    "lists without an end": (400, b"[" * 10**5),
    "NUL": (422, b'{"lines": [{"article": "MRI-ABD-RP"}], "comment": "a\\u0000b"}'),
    "NUL, bare": (400, b'{"lines": [{"article": "MRI-ABD-RP"}], "comment": "a\x00b"}'),
    "a lone surrogate": (422, b'{"lines": [{"article": "MRI-ABD-RP"}], "comment": "\\ud800"}'),
    "a lone surrogate as a member": (400, b'{"lines": [{"article": "MRI-ABD-RP"}], "\\udfff": 1}'),
    "a surrogate in UTF-8": (400, b'{"lines": [{"article": "MRI-ABD-RP"}], "comment": "\xed\xa0\x80"}'),
    "windows-1251": (400, '{"lines": [{"article": "MRI-ABD-RP"}], "comment": "смета"}'.encode("cp1251")),
    "UTF-16": (400, '{"lines": [{"article": "MRI-ABD-RP"}]}'.encode("utf-16")),
    "a byte order mark": (400, b'\xef\xbb\xbf{"lines": [{"article": "MRI-ABD-RP"}]}'),
    "a list": (422, b'[{"article": "MRI-ABD-RP"}]'),
    "a text": (422, b'"MRI-ABD-RP"'),
    "null": (422, b"null"),
    "a number": (422, b"0"),
    "an object for a list": (422, b'{"lines": {"article": "MRI-ABD-RP"}}'),
    "a list for an object": (422, b'{"lines": [["MRI-ABD-RP"]]}'),
    "a list for a text": (422, b'{"lines": [{"article": ["MRI-ABD-RP"]}]}'),
    "no lines": (422, b'{"lines": []}'),
    "more lines than allowed": (422, b'{"lines": [' + b", ".join([b'{"article": "MRI-ABD-RP"}'] * 201) + b"]}"),
    "a line feed at the end": (422, b'{"lines": [{"article": "MRI-ABD-RP\\n"}]}'),
    "other digits": (422, '{"lines": [{"article": "MRI-ABD-RP", "quantity": "١"}]}'.encode()),
    "true for one": (422, b'{"lines": [{"article": "MRI-ABD-RP", "quantity": true}]}'),
    "too large": (413, b'{"lines": [{"article": "MRI-ABD-RP"}], "comment": "' + b"a" * 300_000 + b'"}'),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_s24_a_hostile_body_is_refused_by_a_name(clinic, name):
    status, body = HOSTILE[name]
    assert_refused(sent(clinic, "/v1/quotes", body), status)


@pytest.mark.parametrize(
    ("path", "type_", "status"),
    [
        ("/v1/quotes", "text/plain", 415),
        ("/v1/quotes", "application/x-www-form-urlencoded", 415),
        ("/v1/quotes", "multipart/form-data; boundary=b", 415),
        ("/v1/quotes", "application/xml", 415),
        ("/v1/quotes", "", 415),
        ("/v1/quotes?lang=ru&lang=en", "application/json", 422),
        ("/v1/quotes?lang=ru&lang=ru", "application/json", 422),
        ("/v1/quotes?lang=de", "application/json", 422),
        ("/v1/quotes?price=1", "application/json", 422),
        ("/v1/quotes?lang=%00", "application/json", 422),
        ("/v1/quotes?lang=%ff", "application/json", 422),
    ],
)
def test_a_wrong_type_or_query_is_refused_by_a_name(clinic, path, type_, status):
    assert_refused(sent(clinic, path, b'{"lines": [{"article": "MRI-ABD-RP"}]}', type_), status)


def needed_headers():
    for name, operation in OPERATIONS.items():
        for each in operation.get("parameters", ()):
            if each["in"] == "header" and each["required"]:
                yield pytest.param(name, each["name"], id=f"{name} {each['name']}")


@pytest.mark.parametrize(("name", "header"), list(needed_headers()))
def test_a_needed_header_is_missed_by_name(clinic, known, name, header):
    method, path = name.split()
    media = OPERATIONS[name].get("requestBody", {}).get("content", {}).get("application/json", {})
    fresh = {
        "quote_id": iter([clinic.quote(("MRI-ABD-RP", None))["id"]]),
        "invoice_id": iter([clinic.draft(("MRI-ABD-RP", None))["id"]]),
        "order_id": iter([price_order(clinic)]),
        "payment_id": iter([given_money.payment(clinic, "100.00")["id"]]),
        "package": iter([given.made(clinic.get("/v1/packages/CT-MRI-DAY"))["id"]]),
    }
    answer = APP.test_client().open(
        aimed(path, known | fresh),
        method=method,
        json=next(examples_of(media), {}),
        headers={"Authorization": f"Bearer {clinic.secret}"},
    )
    status, code = {
        "Idempotency-Key": (400, "idempotency_key_required"),
        "If-Match": (428, "precondition_required"),
    }[header]
    assert (answer.status_code, answer.get_json()["code"]) == (status, code)


def aimed(path, known):
    """The path with things that exist."""
    return re.sub(r"\{(\w+)\}", lambda match: next(known[match[1]]), path)


def test_s24_bad_input_changes_nothing(cluster, database, clinic, known):
    with psycopg.connect(cluster.owner_url(database), autocommit=True) as conn:
        before = contents(conn)
        tried = sum(try_wrong_bodies(clinic, known, name) for name in OPERATIONS)
        for status, body in HOSTILE.values():
            assert_refused(sent(clinic, "/v1/quotes", body), status)
        assert tried > 200
        assert contents(conn) == before


def try_wrong_bodies(clinic, known, name):
    """Send every wrong form of an operation's body to something that exists; how many there were."""
    method, path = name.split()
    matches = any(each["name"] == "If-Match" for each in OPERATIONS[name].get("parameters", ()))
    media = OPERATIONS[name].get("requestBody", {}).get("content", {}).get("application/json")
    if media is None:
        return 0
    wrong = list(wrong_bodies(media))
    for body in wrong:
        address = aimed(path, known)
        headers = {"Authorization": f"Bearer {clinic.secret}", "Idempotency-Key": uuid.uuid4().hex}
        if matches:
            headers["If-Match"] = etag(clinic, address)
        # Not `json=`: for that client None is no body, and here it is the body `null`.
        answer = APP.test_client().open(
            address, method=method, data=json.dumps(body), content_type="application/json", headers=headers
        )
        assert_refused(answer, None)
    return len(wrong)


WRONG: tuple[Any, ...] = (1.5, {"unknown": 1}, [[]], "\x00", "😀" * 5000)


def wrong_bodies(media):
    """The example, or an empty object, with each member in turn left out, unknown, or of another kind."""
    example: dict[str, Any] = next(examples_of(media), {})
    schema = DESCRIPTION["components"]["schemas"][media["schema"]["$ref"].rpartition("/")[2]]
    yield from ([], [example], "text", 1, None)
    yield {**example, "unknown": 1}
    for member in schema.get("required", ()):
        yield {name: value for name, value in example.items() if name != member}
    for member in schema["properties"]:
        for wrong in WRONG:
            yield {**copy.deepcopy(example), member: wrong}


def contents(conn):
    """Every table by its number of rows and a digest of what they hold."""
    named = conn.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    query = sql.SQL("SELECT count(*), md5(string_agg(each::text, ' ' ORDER BY each::text)) FROM {} AS each")
    return {
        table: conn.execute(query.format(sql.Identifier(table))).fetchone()
        for (table,) in named
        if table not in CHANGES_ANYHOW
    }


def sent(clinic, path, body, type_="application/json"):
    headers = {"Authorization": f"Bearer {clinic.secret}", "Idempotency-Key": uuid.uuid4().hex}
    return APP.test_client().post(path, data=body, content_type=type_, headers=headers)


def assert_refused(answer, status):
    """A problem by its name, with 4xx."""
    assert 400 <= answer.status_code < 500, answer.text[:500]
    assert status in (None, answer.status_code), answer.text[:500]
    assert answer.mimetype == PROBLEM
    problem = answer.get_json()
    assert problem["status"] == answer.status_code
    assert_fits({"$ref": "#/components/schemas/Problem"}, problem)
