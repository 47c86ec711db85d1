"""Keys of programs: made, listed, replaced while the old secret still works, taken back."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import psycopg
import pytest
from click.testing import CliRunner
from psycopg import errors as pg

from clinic import api_keys, branches, clock, db
from clinic.auth import COMMAND_LINE, SCOPES
from clinic.command import change
from clinic.errors import Unauthorized
from clinic.key_commands import keys as key_commands
from tests import given
from tests.browser import Person, quick_passwords, text  # noqa: F401

pytestmark = pytest.mark.usefixtures("quick_passwords")
WANTED = {"name": "Scheduling", "scopes": ["quotes:read", "catalog:read"]}


@pytest.fixture
def admin(app):
    return given.caller(app, "*", discount_ceiling=Decimal(100))


def another_branch(code="north"):
    with change(COMMAND_LINE) as made:
        branches.create(made, code, code, code[0].upper())


def new_key(admin, **more):
    return given.made(admin.post("/v1/keys", WANTED | more, key=""))


def calls_as(admin, secret):
    """The status that a program with this secret gets."""
    return given.Caller(admin.app, secret).get("/v1/quotes").status_code


def listed(admin):
    return admin.get("/v1/keys").get_json()["items"]


# ---- Making ----


def test_a_key_is_made_with_what_was_asked_and_works(admin):
    made = new_key(admin, branch="main", days=30, discount_ceiling="5")
    assert made["scopes"] == ["catalog:read", "quotes:read"]
    assert (made["branch"], made["discount_ceiling"]) == ("main", "5.00")
    assert made["secret"].startswith(made["secrets"][0]["prefix"])
    assert calls_as(admin, made["secret"]) == 200


def test_s07_a_secret_is_shown_once_and_kept_nowhere(admin, opened):
    made = new_key(admin)
    shown = str(admin.get(f"/v1/keys/{made['id']}").get_json()) + str(listed(admin)) + str(admin.events())
    assert made["secret"] not in shown
    hidden = made["secret"].split("_", 2)[2]
    assert len(hidden) == 43, "256 bits"
    with psycopg.connect(opened.owner) as owner:
        for (table,) in owner.execute("SELECT relname FROM pg_class WHERE relkind = 'r' AND relowner <> 10"):
            rows = owner.execute(f"SELECT x::text FROM {table} AS x".encode()).fetchall()
            assert not any(hidden in row[0] for row in rows), table


def test_a_key_is_made_without_an_idempotency_key_since_its_answer_must_not_be_kept(admin):
    first = given.made(admin.post("/v1/keys", WANTED, key="the-same-key"))
    second = given.made(admin.post("/v1/keys", WANTED, key="the-same-key"))
    assert first["id"] != second["id"]


@pytest.mark.parametrize(
    ("wanted", "fault"),
    [
        ({"scopes": []}, ("/scopes", "wrong_count")),
        ({"scopes": ["quotes:reed"]}, ("/scopes/0", "not_a_choice")),
        ({"branch": "nowhere"}, ("/branch", "unknown_branch")),
        ({"days": 0}, ("/days", "not_whole")),
        ({"discount_ceiling": "101"}, ("/discount_ceiling", "not_percent")),
        ({"name": " "}, ("/name", "wrong_length")),
    ],
)
def test_a_wrong_wish_is_named(admin, wanted, fault):
    assert given.faults(admin.post("/v1/keys", WANTED | wanted, key="")) == [fault]


def test_a_key_gives_no_more_than_it_has(app):
    another_branch()
    own = given.caller(app, "admin", "quotes:read", branch="main", discount_ceiling=Decimal(5))
    more = {"name": "more", "scopes": ["quotes:read", "quotes:write", "*"], "branch": "north", "discount_ceiling": "6"}
    assert set(given.faults(own.post("/v1/keys", more, key=""))) == {
        ("/scopes/1", "scope_above_own"), ("/scopes/2", "scope_above_own"), ("/branch", "unknown_branch"),
        ("/discount_ceiling", "ceiling_above_own"),
    }  # fmt: skip
    everywhere = {"name": "more", "scopes": ["quotes:read"]}
    assert given.faults(own.post("/v1/keys", everywhere, key="")) == [("/branch", "branch_not_own")]
    given.made(own.post("/v1/keys", everywhere | {"branch": "main", "discount_ceiling": "5"}, key=""))


def test_a_key_with_every_scope_by_name_cannot_give_the_star(app):
    own = given.caller(app, *SCOPES)
    assert given.faults(own.post("/v1/keys", {"name": "all", "scopes": ["*"]}, key="")) == [
        ("/scopes/0", "scope_above_own")
    ]


def test_keys_of_another_branch_are_not_there(app, admin):
    another_branch()
    own = given.caller(app, "*", branch="main")
    foreign = new_key(admin, branch="north")
    for of_all in (foreign, new_key(admin)):
        for method, path in (("get", ""), ("post", "/rotate"), ("post", "/revoke")):
            assert getattr(own, method)(f"/v1/keys/{of_all['id']}{path}").status_code == 404
    assert {each["branch"] for each in listed(own)} == {"main"}


# ---- Replacing and taking back ----


def test_both_secrets_work_until_the_overlap_is_over(admin):
    made = new_key(admin)
    rotated = given.made(admin.post(f"/v1/keys/{made['id']}/rotate", {"overlap_hours": 24}))
    assert rotated["id"] == made["id"]
    assert (calls_as(admin, made["secret"]), calls_as(admin, rotated["secret"])) == (200, 200)
    with clock.frozen(clock.now() + timedelta(hours=24, seconds=1)):
        assert (calls_as(admin, made["secret"]), calls_as(admin, rotated["secret"])) == (401, 200)
    secrets = {each["prefix"]: each for each in listed(admin)[0]["secrets"]}
    assert secrets[made["secret"][:11]]["ends_at"] is not None
    assert secrets[rotated["secret"][:11]]["ends_at"] is None
    assert secrets[made["secret"][:11]]["last_used_at"] is not None, "it can be seen that the old one is still in use"


def test_with_no_overlap_the_old_secret_ends_at_once(admin):
    made = new_key(admin)
    rotated = given.made(admin.post(f"/v1/keys/{made['id']}/rotate", {"overlap_hours": 0}))
    assert (calls_as(admin, made["secret"]), calls_as(admin, rotated["secret"])) == (401, 200)


def test_a_second_rotation_ends_the_oldest_secret(admin):
    made = new_key(admin)
    second = given.made(admin.post(f"/v1/keys/{made['id']}/rotate"))
    third = given.made(admin.post(f"/v1/keys/{made['id']}/rotate"))
    assert [calls_as(admin, each["secret"]) for each in (made, second, third)] == [401, 200, 200]


def test_s28_answers_to_idempotency_keys_survive_the_rotation(clinic):
    admin = clinic
    made = new_key(admin, scopes=["quotes:write"])
    old = given.Caller(admin.app, made["secret"])
    first = old.post("/v1/quotes", {"lines": [given.line("CT-ABD-RP")]}, key="one-and-the-same")
    rotated = given.made(admin.post(f"/v1/keys/{made['id']}/rotate", {"overlap_hours": 0}))
    again = given.Caller(admin.app, rotated["secret"]).post(
        "/v1/quotes", {"lines": [given.line("CT-ABD-RP")]}, key="one-and-the-same"
    )
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.get_json() == first.get_json()


def test_rotation_can_give_the_key_a_new_end(admin):
    made = new_key(admin, days=1)
    rotated = given.made(admin.post(f"/v1/keys/{made['id']}/rotate", {"days": 10}))
    with clock.frozen(clock.now() + timedelta(days=5)):
        assert calls_as(admin, rotated["secret"]) == 200
    with clock.frozen(clock.now() + timedelta(days=11)):
        assert calls_as(admin, rotated["secret"]) == 401


def test_nobody_gets_the_secret_of_a_key_that_may_do_more(app, admin):
    strong = new_key(admin, scopes=["payments:refund"])
    weak = given.caller(app, "admin")
    answer = weak.post(f"/v1/keys/{strong['id']}/rotate")
    assert (answer.status_code, answer.get_json()["scope"]) == (403, "payments:refund")
    assert weak.post(f"/v1/keys/{strong['id']}/revoke").status_code == 200, "taking back is for every administrator"


def test_s07_a_revoked_key_is_refused_at_once_and_for_ever(admin, opened):
    made = new_key(admin)
    rotated = given.made(admin.post(f"/v1/keys/{made['id']}/rotate"))
    assert given.made(admin.post(f"/v1/keys/{made['id']}/revoke"))["revoked_at"]
    assert (calls_as(admin, made["secret"]), calls_as(admin, rotated["secret"])) == (401, 401)
    for command in ("rotate", "revoke"):
        answer = admin.post(f"/v1/keys/{made['id']}/{command}")
        assert (answer.status_code, answer.get_json()["code"]) == (409, "key_revoked")
    with psycopg.connect(opened.app, options="-c clinic.branch=*") as conn, pytest.raises(pg.RestrictViolation):
        conn.execute("UPDATE api_key SET revoked_at = NULL WHERE id = %s", (made["id"],))


def test_the_database_lets_no_secret_that_has_ended_work_again(admin, opened):
    made = new_key(admin)
    admin.post(f"/v1/keys/{made['id']}/rotate")
    for later in ("NULL", "ends_at + interval '1 hour'"):
        with psycopg.connect(opened.app, options="-c clinic.branch=*") as conn, pytest.raises(pg.RestrictViolation):
            conn.execute(f"UPDATE api_key_secret SET ends_at = {later} WHERE ends_at IS NOT NULL".encode())


def test_each_step_of_a_key_is_an_event_without_its_secret(admin):
    made = new_key(admin)
    admin.post(f"/v1/keys/{made['id']}/rotate", {"overlap_hours": 2})
    admin.post(f"/v1/keys/{made['id']}/revoke")
    of_key = [each for each in admin.events() if each["object"]["id"] == made["id"]]
    assert [(each["type"], each["data"]) for each in of_key] == [
        ("api_key.created", {"scopes": ["catalog:read", "quotes:read"]}),
        ("api_key.rotated", {"overlap_hours": 2}),
        ("api_key.revoked", {}),
    ]


def test_keys_are_listed_page_by_page(admin):
    names = [new_key(admin, name=f"key {n}")["name"] for n in range(5)]
    first = admin.get("/v1/keys?limit=3").get_json()
    rest = admin.get(f"/v1/keys?limit=3&cursor={first['next_cursor']}").get_json()
    assert [each["name"] for each in first["items"] + rest["items"]] == [*reversed(names), "test"]
    assert rest["next_cursor"] is None


# ---- Pages ----


def test_a_key_is_made_replaced_and_revoked_by_pages(app):
    person = Person(app, "administrator")
    page = person.press(person.get("/admin/keys"), "/admin/keys", name="Касса", scopes="quotes:read", days="30")
    assert page.status_code == 200
    assert page.headers["Cache-Control"] == "no-store"
    first = page.text.partition('id="secret" value="')[2].partition('"')[0]
    with db.reading() as conn:
        key = api_keys.page(conn, COMMAND_LINE, None, 1)[0]
    assert (key.name, key.scopes) == ("Касса", ["quotes:read"])
    assert api_keys.authenticate(f"Bearer {first}").id == key.id
    page = person.press(person.get("/admin/keys"), f"/admin/keys/{key.id}/rotate", overlap_hours="0")
    second = page.text.partition('id="secret" value="')[2].partition('"')[0]
    with pytest.raises(Unauthorized):
        api_keys.authenticate(f"Bearer {first}")
    assert api_keys.authenticate(f"Bearer {second}").id == key.id
    page = person.follow(person.press(person.get("/admin/keys"), f"/admin/keys/{key.id}/revoke"))
    assert "отозван" in text(page)
    assert second not in page.text


def test_a_form_with_faults_keeps_what_was_typed(app):
    person = Person(app, "administrator")
    page = person.press(person.get("/admin/keys"), "/admin/keys", name="Касса <b>", days="many", discount_ceiling="7,5")
    assert page.status_code == 422
    assert 'value="Касса &lt;b&gt;"' in page.text
    assert 'value="many"' in page.text
    assert "Выберите хотя бы одно право." in text(page)
    assert 'id="days-fault"' in page.text


# ---- Commands ----


def test_keys_are_made_listed_replaced_and_revoked_by_commands(app, opened, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", opened.owner)

    def run(*words):
        # A command opens a pool of its own and closes it.
        done = CliRunner().invoke(key_commands, [*words])
        db.open_pool(opened.app, size=2)
        return done

    made = run("create", "Scheduling", "--scope", "quotes:read", "--days", "10")
    assert made.exit_code == 0, made.stderr
    secret = made.stdout.strip()
    assert calls_as(given.caller(app, "*"), secret) == 200
    assert secret[:11] in run("list").stdout
    assert secret not in run("list").stdout
    rotated = run("rotate", secret[:11], "--overlap-hours", "0").stdout.strip()
    assert calls_as(given.caller(app, "*"), secret) == 401
    assert calls_as(given.caller(app, "*"), rotated) == 200
    assert run("revoke", rotated).exit_code == 0
    assert calls_as(given.caller(app, "*"), rotated) == 401
    assert "revoked" in run("list").stdout
    assert run("create", "x", "--scope", "quotes:reed").exit_code == 2
