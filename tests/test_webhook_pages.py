"""Pages of webhooks: an administrator sees who hears nothing, and why, and sends again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clinic import db
from tests import given
from tests.browser import Person, forms, quick_passwords, text  # noqa: F401
from tests.conftest import SETTINGS
from tests.given_webhooks import HERE, Receiver, deliver, happen, state, webhook
from wsgi import create_app

pytestmark = pytest.mark.usefixtures("quick_passwords")


@pytest.fixture
def api(opened):
    # As the deliverer's own process has it: each of its threads sees every branch.
    db.open_pool(opened.app, size=4, worker=True)
    app = create_app(replace(SETTINGS, webhooks_allow=HERE))
    app.config["PROPAGATE_EXCEPTIONS"] = False
    given.main_branch()
    return given.caller(app, "*")


@pytest.fixture
def admin(api):
    return Person(api.app, "administrator")


@pytest.fixture
def receiver():
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def made(api, receiver):
    return webhook(api, receiver.url, "visit.*", description="МИС")


def at(made):
    return f"/admin/webhooks/{made['id']}"


def test_an_overview_says_how_each_endpoint_is(admin, made, receiver):
    receiver.answer = 500
    happen(*["visit.noted"] * 3)
    deliver()
    shown = text(admin.get("/admin/webhooks"))
    assert "МИС" in shown
    assert "бывают отказы" in shown
    english = text(admin.get("/admin/webhooks?lang=en"))
    assert "fails now and then" in english
    assert "secret" not in text(admin.get(at(made))).lower()


def test_the_latest_messages_say_what_went_wrong(admin, made, receiver):
    receiver.answer = 500
    happen("visit.noted")
    deliver()
    shown = text(admin.get(at(made)))
    assert "visit.noted" in shown
    assert "отказ 500" in shown
    assert "refused 500" in text(admin.get(f"{at(made)}?lang=en"))
    assert "Таких сообщений нет" in text(admin.get(f"{at(made)}?status=dead&lang=ru"))


def test_an_endpoint_is_disabled_and_enabled_again(api, admin, made, receiver):
    after = admin.follow(admin.press(admin.get(at(made)), f"{at(made)}/disable"))
    assert "отключён" in text(after)
    happen("visit.missed")
    assert state(api, made)["status"] == "disabled"
    after = admin.follow(admin.press(after, f"{at(made)}/enable"))
    assert "работает" in text(after)
    deliver()
    assert receiver.types == ["visit.missed"]


def test_events_are_sent_again_and_a_test_at_once(api, admin, made, receiver):
    happen("visit.noted")
    deliver()
    page = admin.get(at(made))
    assert admin.press(page, f"{at(made)}/test").status_code == 303
    end = str(api.events()[-1]["position"])
    again = [to for to, fields in forms(page) if to == f"{at(made)}/replay" and "event" in fields]
    assert again == [f"{at(made)}/replay"]
    assert admin.press(page, f"{at(made)}/replay", **{"from": "1", "to": end}).status_code == 303
    deliver()
    assert sorted(receiver.types) == ["visit.noted", "visit.noted", "webhook.ping"]


def test_a_wrong_range_is_told_beside_its_field_and_nothing_typed_is_lost(admin, made):
    refused = admin.press(admin.get(at(made)), f"{at(made)}/replay", **{"from": "5", "to": "x"})
    assert refused.status_code == 422
    page = refused.get_data(as_text=True)
    assert 'id="to-fault"' in page
    assert 'value="5"' in page
    assert 'value="x"' in page
    refused = admin.press(refused, f"{at(made)}/replay", **{"from": "5", "to": ""})
    assert "что-то одно" in text(refused)


def test_the_pages_need_their_right_and_show_no_other_branch(api, made):
    assert Person(api.app, "accountant").get("/admin/webhooks").status_code == 403
    given.made(api.post("/v1/branches", {"code": "north", "name": "Север", "prefix": "С"}))
    north = Person(api.app, "administrator", branch="north", login="vera")
    assert "МИС" not in text(north.get("/admin/webhooks"))
    assert north.get(at(made)).status_code == 404
