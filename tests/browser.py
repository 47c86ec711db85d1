"""A person at a browser without scripts: follows links, fills in the form that is shown, presses its buttons."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest
from argon2 import PasswordHasher
from werkzeug.test import TestResponse

from clinic import branches, passwords, staff
from clinic.auth import COMMAND_LINE
from clinic.command import change
from clinic.http import App

PASSWORD = "correct horse battery"


@pytest.fixture
def quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords are hashed fast: how slow it must be is another test's concern."""
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


class _Forms(HTMLParser):
    """The forms of a page: for each its address and what its fields hold."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[tuple[str, dict[str, str]]] = []
        self._select: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        flags = dict(attrs).keys()
        name = given.get("name", "")
        if tag == "form":
            self.forms.append((given.get("action", ""), {}))
        if not self.forms:
            return
        fields = self.forms[-1][1]
        if tag == "input" and name and (given.get("type") not in ("radio", "checkbox") or "checked" in flags):
            fields[name] = given.get("value", "")
        elif tag == "select":
            self._select = name
        elif tag == "option" and self._select and ("selected" in flags or self._select not in fields):
            fields[self._select] = given.get("value", "")


class Person:
    """Somebody with a browser of his own; signed in when a role is given."""

    def __init__(self, app: App, role: str | None = None, *, branch: str | None = None, login: str = "anna") -> None:
        self.client = app.test_client()
        self.login = login
        if role is not None:
            with change(COMMAND_LINE) as made:
                of = branches.get(made.conn, branch, COMMAND_LINE).id if branch else None
                staff.create(made, login, role, PASSWORD, branch_id=of)
            self.sign_in()

    def sign_in(self, next_: str = "/", password: str = PASSWORD, **headers: str) -> TestResponse:
        form = {"login": self.login, "password": password, "next": next_}
        return self.client.post("/sign-in", data=form, headers=headers)

    def cookie(self) -> str:
        found = self.client.get_cookie("session")
        assert found is not None
        return found.value

    def get(self, path: str, **headers: str) -> TestResponse:
        return self.client.get(path, headers={name.replace("_", "-"): text for name, text in headers.items()})

    def press(self, page: TestResponse, action: str, **filled: Any) -> TestResponse:
        """Fill in the form that goes to `action` and send it; a name's __ stands for a hyphen."""
        fields = next(fields for to, fields in forms(page) if to == action)
        typed = {name.replace("__", "-"): value for name, value in filled.items()}
        sent = {name: value for name, value in (fields | typed).items() if value is not None}
        return self.client.post(action, data=sent)

    def follow(self, answer: TestResponse) -> TestResponse:
        assert answer.status_code == 303, text(answer)
        return self.get(answer.headers["Location"])


def forms(page: TestResponse) -> list[tuple[str, dict[str, str]]]:
    parser = _Forms()
    parser.feed(page.text)
    return parser.forms


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self._in_script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_script = tag == "script"

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if not self._in_script:
            self.words += data.split()


def text(page: TestResponse) -> str:
    """What a reader sees, with single spaces."""
    parser = _Words()
    parser.feed(page.text)
    return " ".join(parser.words)
