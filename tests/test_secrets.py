"""Settings that are secret: from the environment or a file nobody else reads; production takes no weak ones (S40)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clinic import secret_key, server
from clinic.settings import WrongSettings, from_environment

ROOT = Path(__file__).parents[1]
KEY = "0123456789abcdef0123456789abcdef"
STRONG = {"CLINIC_ENV": "production", "CLINIC_SECRET_KEY": KEY, "DATABASE_URL": "postgresql:///x"}


def kept(folder, text, mode=0o600):
    path = folder / "secret"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def refusal(env):
    with pytest.raises(WrongSettings) as refused:
        from_environment(env)
    return str(refused.value)


def test_s40_a_secret_is_read_from_a_file(tmp_path):
    assert from_environment({"CLINIC_SECRET_KEY_FILE": kept(tmp_path, KEY + "\n")}).secret_key == KEY
    url = "postgresql://clinic:word@db/clinic"
    assert from_environment({"DATABASE_URL_FILE": kept(tmp_path, url)}).database_url == url


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o601])
def test_s40_a_file_others_may_touch_is_refused(tmp_path, mode):
    said = refusal({"CLINIC_SECRET_KEY_FILE": kept(tmp_path, KEY, mode)})
    assert "CLINIC_SECRET_KEY: others may read" in said
    assert KEY not in said


def test_s40_a_file_that_cannot_be_read_is_named(tmp_path):
    assert "cannot be read" in refusal({"CLINIC_SECRET_KEY_FILE": str(tmp_path / "none")})
    (tmp_path / "binary").write_bytes(b"\xff\xfe" * 40)
    (tmp_path / "binary").chmod(0o600)
    assert "cannot be read: not text" in refusal({"CLINIC_SECRET_KEY_FILE": str(tmp_path / "binary")})


def test_s40_a_secret_given_twice_is_refused(tmp_path):
    assert "given twice" in refusal({"CLINIC_SECRET_KEY": KEY, "CLINIC_SECRET_KEY_FILE": kept(tmp_path, KEY)})


def test_what_is_no_secret_has_no_file():
    assert "CLINIC_PORT_FILE: no such setting" in refusal({"CLINIC_PORT_FILE": "/x"})


def test_s40_a_short_secret_in_a_file_is_refused_without_being_told(tmp_path):
    said = refusal({"CLINIC_SECRET_KEY_FILE": kept(tmp_path, "short-secret")})
    assert "at least 32" in said
    assert "short-secret" not in said


def test_the_server_and_the_worker_get_the_secret_and_not_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("CLINIC_SECRET_KEY_FILE", kept(tmp_path, KEY))
    env = server._environment(from_environment(), "postgresql:///x")
    assert env["CLINIC_SECRET_KEY"] == KEY
    assert "CLINIC_SECRET_KEY_FILE" not in env
    assert from_environment({name: env[name] for name in env if name.startswith(("CLINIC_", "DATABASE_"))})


def test_roles_that_need_a_second_factor_reach_the_server():
    settings = from_environment({"CLINIC_REQUIRE_SECOND_FACTOR": "administrator, accountant", "CLINIC_SECRET_KEY": KEY})
    assert settings.require_second_factor == {"administrator", "accountant"}
    assert (
        server._environment(settings, "postgresql:///x")["CLINIC_REQUIRE_SECOND_FACTOR"] == "accountant,administrator"
    )
    assert "nurse is none of" in refusal({"CLINIC_REQUIRE_SECOND_FACTOR": "administrator,nurse"})


def test_production_starts_with_what_is_strong():
    assert from_environment(STRONG).production
    assert from_environment(STRONG | {"CLINIC_PUBLIC_URL": "https://clinic.example"})
    assert from_environment(STRONG | {"CLINIC_PUBLIC_URL": "http://localhost:8000"})
    embedded = {name: text for name, text in STRONG.items() if name == "CLINIC_ENV"}
    assert from_environment(embedded), "beside its own database the key is made and kept"


@pytest.mark.parametrize(
    ("weak", "said"),
    [
        ({"CLINIC_SECRET_KEY": ""}, "CLINIC_SECRET_KEY: needed in production"),
        ({"CLINIC_SECRET_KEY": "k" * 64}, "CLINIC_SECRET_KEY: too simple"),
        ({"CLINIC_SECRET_KEY": "changeme" * 8}, "CLINIC_SECRET_KEY: too simple"),
        ({"CLINIC_PUBLIC_URL": "http://clinic.example"}, "CLINIC_PUBLIC_URL: https:// is needed"),
    ],
)
def test_s40_production_does_not_start_with_what_is_weak(weak, said):
    assert said in refusal(STRONG | weak)
    assert from_environment(STRONG | weak | {"CLINIC_ENV": "development"})


def test_the_refusal_is_one_line_of_the_command_and_not_a_trace():
    env = {name: text for name, text in os.environ.items() if not name.startswith(("CLINIC_", "DATABASE_"))}
    done = subprocess.run(
        [sys.executable, "wsgi.py", "serve"], cwd=ROOT, env=env | STRONG | {"CLINIC_SECRET_KEY": "k" * 64},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode != 0
    assert done.stderr.strip().splitlines() == [
        "clinic: CLINIC_SECRET_KEY: too simple for production: at least 10 different characters are needed"
    ]


def test_s40_a_kept_key_that_others_may_read_is_refused(tmp_path):
    settings = from_environment({"CLINIC_DATA": str(tmp_path)})
    secret_key.lasting(settings)
    (tmp_path / "secret.key").chmod(0o644)
    with pytest.raises(WrongSettings, match="others may read"):
        secret_key.lasting(settings)


def test_s40_no_command_takes_a_secret_as_an_argument():
    for path in (ROOT / package for package in ("clinic", "catalog", "billing")):
        for module in path.glob("*commands.py"):
            assert "--password" not in module.read_text()
            assert "--secret" not in module.read_text()
