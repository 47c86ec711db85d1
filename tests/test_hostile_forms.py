"""Hostile values in every field of every form: a fault beside the field or a refusal by name, never a defect."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

import pytest
from werkzeug.test import TestResponse

from clinic import sessions
from tests import browser
from tests.browser import quick_passwords  # noqa: F401
from tests.test_hostile_json import Clinic, clinic  # noqa: F401
from tests.test_matrix import APP, ROUTES, Visitor, database, people, wall  # noqa: F401
from tests.test_outputs import Page

pytestmark = pytest.mark.usefixtures("quick_passwords")

VALUES = {
    "NUL": "a%00b", "a lone surrogate": "%ED%A0%80", "no UTF-8": "%FF%FE", "many digits": "9" * 5000,
    "an exponent out of range": "1e99999999999999999999", "nought of one": "0e99999999999999999999", "sNaN": "sNaN",
    "Infinity": "-Infinity", "other digits": quote("١٢"), "a date that is none": "2026-02-30",
    "the year nought": "0000-00-00", "the last year": "9999-12-31", "below nought": "-1", "much text": "x" * 20_000,
    "half a UUID": "urn:uuid:",
}  # fmt: skip
"""What is typed, as it is sent."""
POSTS = [each for each in ROUTES if each.method == "POST" and not each.is_json and each.rule != "/sign-out"]
NAMES = sorted(
    {
        name
        for package in ("clinic", "catalog", "billing")
        for template in (Path(__file__).parents[1] / package / "templates").glob("*.html")
        for name in re.findall(r'name="([a-z][a-z_-]*)"', template.read_text())
    }
)
"""Of fields of any form: sent all together to where no form was seen."""

Form = tuple[str, dict[str, str]]
"""Where it goes, and what it sends when nothing is changed in it."""


def forms_of(clinic: Clinic, person: Visitor, known: dict[str, str]) -> dict[str, list[Form]]:  # noqa: F811
    """The forms of all pages, by the rule of the address they go to."""
    found: dict[str, list[Form]] = {}
    rules = APP.url_map.bind("localhost")
    for route in ROUTES:
        if route.method == "GET" and not route.is_json:
            path = route.path(**known)
            page = person.ask(route, path)
            if page.mimetype == "text/html":
                every = {action: fields for _, action, fields in Page(page.text).forms}
                for action, fields in browser.forms(page):
                    address = (action or path).partition("?")[0]
                    if "form_token" in fields and rules.test(address, "POST"):
                        rule = str(rules.match(address, "POST", return_rule=True)[0])
                        found.setdefault(rule, []).append((address, dict.fromkeys(every[action], "") | fields))
    return found


@pytest.fixture(scope="module")
def forms(clinic, people, wall):  # noqa: F811
    """Of what this branch has and of what the other one has: drafts here, issued documents there."""
    person = people["administrator"]
    here, there = (forms_of(clinic, person, known) for known in (clinic.known, clinic.known | wall.foreign))
    return {rule: (here.get(rule, []) + there.get(rule, []))[:3] for rule in here.keys() | there.keys()}


def test_s24_most_forms_are_seen(forms):
    assert len({each.rule for each in POSTS} - forms.keys()) < 15
    assert len(NAMES) > 60


@pytest.mark.parametrize("route", POSTS, ids=lambda each: each.rule)
def test_s24_no_value_of_a_field_breaks_a_form(route, forms, people, clinic):  # noqa: F811
    person = people["administrator"]
    seen = forms.get(route.rule, [(route.path(**clinic.known), {})])
    for address, fields in seen[:1]:
        for names in [{each} for each in fields.keys() - {"form_token"}] or [set(NAMES)]:
            for what, value in VALUES.items():
                answer = sent(person, address, fields | dict.fromkeys(names, ""), names, value)
                assert answer.status_code < 500, (names, what, answer.status_code)


def sent(person: Visitor, address: str, fields: dict[str, str], names: set[str], value: str) -> TestResponse:
    """The form with this value in these of its fields, as it is escaped already."""
    assert person.token
    typed = fields | {"form_token": sessions.form_token(person.token)}
    pairs = [f"{quote(each)}={value if each in names else quote(text)}" for each, text in typed.items()]
    return person.client.post(address, data="&".join(pairs), content_type="application/x-www-form-urlencoded")
