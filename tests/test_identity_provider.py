"""Signing in by an identity provider, which runs beside the tests: who comes in, and what is not believed."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta

import pytest
import requests
from joserfc.jwk import RSAKey

from clinic import clock, db, provider_sign_in, sessions, staff
from clinic.auth import COMMAND_LINE
from clinic.command import change
from clinic.embedded import CHECKOUT
from clinic.errors import Unauthorized
from clinic.settings import Settings, WrongSettings, from_environment
from tests import given
from tests.browser import PASSWORD, Person, quick_passwords, text  # noqa: F401
from tests.provider import CLIENT, SECRET, running_provider
from wsgi import create_app

pytestmark = pytest.mark.usefixtures("quick_passwords")
VERA = {"sub": "a1b2", "preferred_username": "Vera.P@clinic", "groups": ["staff", "front-desk"]}
BACK = "/sign-in/provider/back"


@pytest.fixture
def provider():
    provider_sign_in._known.clear()
    with running_provider() as found:
        yield found
    provider_sign_in._known.clear()


@pytest.fixture
def settings(provider):
    return Settings(
        secret_key="k" * 32, public_url="http://localhost", oidc_issuer=provider.issuer, oidc_client_id=CLIENT,
        oidc_client_secret=SECRET,
        oidc_roles=("groups", (("clinic-admins", "administrator"), ("front-desk", "reception"))),
    )  # fmt: skip


@pytest.fixture
def app(opened, settings):
    app = create_app(settings)
    app.config["PROPAGATE_EXCEPTIONS"] = False
    given.main_branch()
    return app


@pytest.fixture
def person(app):
    return Person(app)


@pytest.mark.parametrize("issuer", [None, "http://127.0.0.1:9"])
def test_the_libraries_it_needs_are_loaded_at_start_where_there_is_one_and_else_never(issuer):
    made = "import sys; from wsgi import create_app; from clinic.settings import Settings; "
    made += f"create_app(Settings(secret_key='k' * 32, oidc_issuer={issuer!r})); "
    made += "print('authlib' in sys.modules, 'joserfc' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", made], cwd=CHECKOUT, check=True, capture_output=True, text=True)
    assert told.stdout.split() == ([str(issuer is not None)] * 2)


def goes(person, next_="/desk"):
    """The address over there that the browser is sent to."""
    answer = person.get(f"/sign-in/provider?next={next_}")
    assert answer.status_code == 303, text(answer)
    return answer.headers["Location"]


def comes_back(person, brought):
    return person.client.get(BACK, query_string=brought)


def signs_in(person, provider, claims=VERA, **differing):
    return comes_back(person, provider.somebody_signs_in(goes(person), claims, **differing))


def accounts():
    with db.reading() as conn:
        return [(each.login, each.role, each.password) for each in staff.page(conn, COMMAND_LINE, None, 100)]


# ---- Who comes in ----


def test_somebody_with_a_role_over_there_comes_in_and_gets_an_account(person, provider):
    answer = signs_in(person, provider)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/desk")
    assert person.get("/desk").status_code == 200
    assert person.get("/admin/keys").status_code == 403
    assert accounts() == [("vera.p", "reception", "none")]


def test_he_has_the_same_account_whatever_he_is_called_later(person, provider):
    signs_in(person, provider)
    signs_in(person, provider, VERA | {"preferred_username": "vera.smith"})
    assert accounts() == [("vera.p", "reception", "none")]


def test_the_role_is_the_one_of_today(app, person, provider):
    signs_in(person, provider)
    assert signs_in(person, provider, VERA | {"groups": ["front-desk", "clinic-admins"]}).status_code == 303
    assert accounts() == [("vera.p", "administrator", "none")]
    types = [each["type"] for each in given.caller(app, "*").events() if each["type"].startswith("staff")]
    assert types == ["staff.created", "staff.role_changed"]
    assert signs_in(person, provider, VERA | {"groups": []}).status_code == 401


@pytest.mark.parametrize("groups", [[], ["other"], None, "front", {"front-desk": 1}, 7])
def test_without_a_role_nobody_comes_in_and_no_account_is_made(person, provider, groups):
    assert signs_in(person, provider, VERA | {"groups": groups}).status_code == 401
    assert accounts() == []


def test_a_claim_may_be_one_word(person, provider):
    assert signs_in(person, provider, VERA | {"groups": "front-desk"}).status_code == 303


def test_an_account_with_that_login_is_not_taken_over(person, provider):
    with change(COMMAND_LINE) as made:
        staff.create(made, "vera.p", "administrator", PASSWORD)
    signs_in(person, provider)
    logins = {login: (role, password) for login, role, password in accounts()}
    assert logins.pop("vera.p") == ("administrator", "own")
    [(other, kept)] = logins.items()
    assert other.startswith("vera.p-")
    assert kept == ("reception", "none")


def test_a_disabled_account_stays_out(person, provider):
    signs_in(person, provider)
    with change(COMMAND_LINE) as made:
        staff.edit(made, staff.locked(made, staff.called(made.conn, "vera.p")), {"active": False})
    assert signs_in(person, provider).status_code == 401
    assert person.get("/desk").status_code == 303


def test_the_same_subject_of_another_issuer_is_somebody_else(person, provider, settings):
    signs_in(person, provider)
    with running_provider() as other:
        signs_in(
            Person(create_app(replace(settings, oidc_issuer=other.issuer))), other, VERA | {"groups": "clinic-admins"}
        )
    assert [role for _, role, _ in accounts()] == ["reception", "administrator"]


def test_no_second_factor_of_ours_is_asked(opened, settings, provider):
    given.main_branch()
    app = create_app(replace(settings, require_second_factor=frozenset({"reception"})))
    person = Person(app)
    signs_in(person, provider)
    assert person.get("/desk").status_code == 200
    create_app(settings)


def test_there_is_no_password_to_change_or_reset(app, person, provider):
    signs_in(person, provider)
    assert person.sign_in(password=PASSWORD).status_code == 401
    admin = given.caller(app, "*")
    account = admin.get("/v1/staff").get_json()["items"][0]
    answer = admin.post(f"/v1/staff/{account['id']}/reset-password")
    assert (answer.status_code, answer.get_json()["code"]) == (409, "password_not_ours")


# ---- What is not believed ----


def test_an_answer_that_this_browser_has_not_asked_for_is_refused(app, person, provider):
    brought = provider.somebody_signs_in(goes(Person(app)), VERA)
    assert comes_back(person, brought).status_code == 401, "a stranger's link signs nobody in as the stranger"
    goes(person)
    assert comes_back(person, brought).status_code == 401


@pytest.mark.parametrize("change_", [{"state": "x"}, {"state": "ё"}, {"state": ""}, {"code": "never-issued"}])
def test_an_answer_that_was_altered_is_refused(person, provider, change_):
    brought = provider.somebody_signs_in(goes(person), VERA)
    assert comes_back(person, brought | change_).status_code == 401


def test_an_answer_is_good_once(person, provider):
    brought = provider.somebody_signs_in(goes(person), VERA)
    assert comes_back(person, brought).status_code == 303
    assert comes_back(person, brought).status_code == 401


def test_an_answer_that_comes_too_late_is_refused(person, provider):
    brought = provider.somebody_signs_in(goes(person), VERA)
    with clock.frozen(clock.now() + timedelta(seconds=601)):
        assert comes_back(person, brought).status_code == 401


@pytest.mark.parametrize(
    "differing",
    [
        {"nonce": "another"}, {"iss": "https://evil.example"}, {"aud": "another-client"}, {"aud": [CLIENT, "another"]},
        {"exp": 1}, {"azp": "another-client"}, {"sub": ""}, {"sub": 7}, {"sub": "x" * 256}, {"iat": "yesterday"},
    ],
    ids=str,
)  # fmt: skip
def test_a_token_that_is_not_for_us_and_for_now_is_refused(person, provider, differing):
    assert signs_in(person, provider, **differing).status_code == 401
    assert accounts() == []


def test_a_token_signed_by_a_key_that_is_not_the_providers_is_refused(person, provider):
    provider.forger = RSAKey.generate_key(2048, {"kid": "first"})
    assert signs_in(person, provider).status_code == 401
    provider.forger = RSAKey.generate_key(2048, {"kid": "never heard of"})
    assert signs_in(person, provider).status_code == 401
    assert accounts() == []


def test_new_keys_of_the_provider_are_read_when_they_are_met(person, provider):
    signs_in(person, provider)
    provider.keys = [RSAKey.generate_key(2048, {"kid": "second"})]
    assert signs_in(person, provider).status_code == 303


def test_the_provider_may_say_no(person, provider):
    goes(person)
    answer = person.client.get(BACK, query_string={"error": "access_denied", "error_description": "<b>no</b>"})
    assert answer.status_code == 401
    assert "<b>no" not in answer.text
    provider.refuses = True
    assert signs_in(person, provider).status_code == 401


# ---- The provider is away ----


def test_when_it_is_away_passwords_still_open_the_door(app, person, provider):
    provider.away = True
    answer = person.get("/sign-in/provider")
    assert answer.status_code == 503
    assert "Поставщик удостоверений не отвечает" in text(answer)
    assert Person(app, "reception", login="anna").get("/desk").status_code == 200


def test_it_is_not_waited_for_without_end(person, provider, monkeypatch):
    monkeypatch.setattr(provider_sign_in, "_TIMEOUT", (0.2, 0.2))
    provider.pauses = 3.0
    begun = time.monotonic()
    assert person.get("/sign-in/provider").status_code == 503
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize(
    "told",
    [
        {"issuer": "https://evil.example"}, {"token_endpoint": "http://169.254.169.254/latest"},
        {"jwks_uri": "http://127.0.0.1:1/keys"}, {"jwks_uri": "file:///etc/passwd"}, {"jwks_uri": None},
        {"authorization_endpoint": "https://evil.example/authorize"}, {"token_endpoint": 7},
        {"token_endpoint": "http://[::1"},
    ],
    ids=str,
)  # fmt: skip
def test_only_addresses_of_the_issuer_are_asked(person, provider, told):
    provider.told = told
    assert person.get("/sign-in/provider").status_code == 503
    assert set(provider.asked) <= {"/.well-known/openid-configuration", "/keys"}


def test_no_redirect_is_followed(monkeypatch, person, provider):
    seen = []
    real = requests.Session.request

    def watched(session, *args, **more):
        seen.append(more.get("allow_redirects"))
        return real(session, *args, **more)

    monkeypatch.setattr(requests.Session, "request", watched)
    signs_in(person, provider)
    assert len(seen) == 3
    assert not any(seen)


def test_what_the_provider_says_of_itself_is_read_once(app, person, provider):
    for each in range(3):
        signs_in(Person(app), provider, VERA | {"sub": f"s{each}", "preferred_username": f"p{each}"})
    assert provider.asked.count("/keys") == 1


# ---- Settings ----


def test_without_a_provider_there_is_no_such_door(opened):
    given.main_branch()
    stranger = Person(create_app(Settings(secret_key="k" * 32)))
    assert stranger.get("/sign-in/provider").status_code == 404
    assert stranger.get(BACK).status_code == 404
    assert "/sign-in/provider" not in stranger.get("/sign-in").text


def test_passwords_can_be_switched_off(opened, settings, provider):
    given.main_branch()
    app = create_app(replace(settings, password_sign_in=False))
    anna = Person(app, "reception")
    answer = anna.sign_in()
    assert (answer.status_code, "выключен" in text(answer)) == (403, True)
    page = anna.get("/sign-in")
    assert 'name="password"' not in page.text
    assert "/sign-in/provider?next=%2F" in page.text


COMPLETE = {
    "CLINIC_OIDC_ISSUER": "https://id.example/realms/clinic", "CLINIC_OIDC_CLIENT_ID": CLIENT,
    "CLINIC_OIDC_ROLES": "groups:clinic-admins=administrator, front-desk=reception",
    "CLINIC_PUBLIC_URL": "https://clinic.example",
}  # fmt: skip


def test_roles_are_read_from_one_setting():
    settings = from_environment(COMPLETE)
    assert settings.oidc_roles == ("groups", (("clinic-admins", "administrator"), ("front-desk", "reception")))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"CLINIC_OIDC_CLIENT_ID": ""}, "CLINIC_OIDC_CLIENT_ID: needed"),
        ({"CLINIC_OIDC_ROLES": ""}, "CLINIC_OIDC_ROLES: needed"),
        ({"CLINIC_OIDC_ROLES": "groups"}, "claim:value=role"),
        ({"CLINIC_OIDC_ROLES": "groups:a=nurse"}, "nurse is none of"),
        ({"CLINIC_PUBLIC_URL": ""}, "CLINIC_PUBLIC_URL: needed"),
        ({"CLINIC_OIDC_ISSUER": "http://id.example"}, "https:// is needed"),
        ({"CLINIC_OIDC_ISSUER": "", "CLINIC_PASSWORD_SIGN_IN": "0"}, "nobody could sign in"),
    ],
)
def test_settings_that_do_not_fit_together_stop_the_start(wrong, said):
    with pytest.raises(WrongSettings, match=said):
        from_environment(COMPLETE | wrong)


def test_a_session_of_the_provider_ends_like_any_other(person, provider):
    signs_in(person, provider)
    with clock.frozen(clock.now() + timedelta(minutes=31)), pytest.raises(Unauthorized):
        sessions.find(person.cookie())
