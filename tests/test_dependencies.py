"""What is installed is what was locked, by its hashes, and what is known of its holes is asked for (S43)."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.test_safe_code import MODULES, walked

ROOT = Path(__file__).parents[1]
LOCKS = ("requirements.lock", "requirements-dev.lock")
PINNED = re.compile(r"([a-z0-9][a-z0-9.-]*)==([^\s;\\]+)( *;[^\\]+)?((?: \\\n    --hash=sha256:[0-9a-f]{64})+)\n")


def pinned(lock: str) -> dict[str, tuple[str, set[str]]]:
    """Name -> version and hashes of each requirement; whatever else stands in the file is not understood."""
    text = re.sub(r"^ *#.*\n", "", (ROOT / lock).read_text(), flags=re.MULTILINE)
    assert PINNED.sub("", text).strip() == "", f"{lock} has more than pinned and hashed requirements"
    return {name: (version, set(hashes.split("sha256:")[1:])) for name, version, _, hashes in PINNED.findall(text)}


@pytest.mark.parametrize("lock", LOCKS)
def test_s43_every_requirement_is_pinned_and_hashed(lock):
    assert len(pinned(lock)) > 40


def test_s43_development_adds_to_what_the_service_runs_on_and_changes_nothing_of_it():
    runtime, development = map(pinned, LOCKS)
    assert {name: development.get(name) for name in runtime} == runtime


def test_s43_what_is_imported_is_locked_for_the_service():
    """Nothing comes along only because something else, or development, needs it."""
    owners = importlib.metadata.packages_distributions()
    tops = {
        each.split(".")[0]
        for path in MODULES
        for node in walked(path)
        for each in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    foreign = tops - sys.stdlib_module_names - {"clinic", "catalog", "billing", "wsgi", "_typeshed"}
    unlocked = {top for top in foreign if not {normal(each) for each in owners.get(top, [])} & pinned(LOCKS[0]).keys()}
    assert len(foreign) > 20
    assert unlocked == set()


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_s43_what_is_installed_is_what_is_locked():
    installed = {normal(each.name): each.version for each in importlib.metadata.distributions()}
    locked = {name: version for name, (version, _) in pinned(LOCKS[1]).items()}
    assert {name: version for name, version in installed.items() if name in locked and locked[name] != version} == {}


def test_s43_nothing_is_installed_without_its_hash():
    words = [
        {each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str)}
        for node in walked(ROOT / "run.py")
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "run"
    ]
    installing = [each for each in words if "install" in each]
    assert len(installing) == 2
    assert all("--require-hashes" in each for each in installing)
    image = (ROOT / "Dockerfile").read_text()
    assert image.count("pip install") == image.count("pip install --no-deps --only-binary :all: --require-hashes") == 1


# ---- What is known of it ----


@pytest.fixture
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_s43_the_audit_is_a_check_of_every_change():
    assert "\ncheck .venv/bin/python .ci/audit.py\n" in (ROOT / ".ci" / "run").read_text()


HOLE = {"id": "CVE-2024-1135", "fix_versions": ["22.0.0"]}
SKIPPED = {"name": "gunicorn", "skip_reason": "not on the index"}


@pytest.mark.parametrize(
    ("told", "status", "said"),
    [
        ("", 0, "NOTHING WAS AUDITED"),
        ("no network", 0, "NOTHING WAS AUDITED"),
        ({"dependencies": []}, 0, "NOTHING WAS AUDITED"),
        ({"dependencies": [SKIPPED]}, 0, "NOTHING WAS AUDITED"),
        ({"dependencies": [{"name": "flask", "version": "3", "vulns": []}]}, 0, "1 of 1 packages audited, 0 known"),
        (
            {"dependencies": [{"name": "gunicorn", "version": "21.2.0", "vulns": [HOLE]}, SKIPPED]},
            1,
            "gunicorn 21.2.0: CVE-2024-1135, mended in 22.0.0",
        ),
    ],
)
def test_s43_the_audit_names_holes_and_says_so_when_it_knows_nothing(audit, monkeypatch, capsys, told, status, said):
    def answered(words: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        assert str(ROOT / LOCKS[1]) in words and "--require-hashes" in words
        out = told if isinstance(told, str) else json.dumps(told)
        return subprocess.CompletedProcess(words, 1, out, "unreachable")

    monkeypatch.setattr(audit.subprocess, "run", answered)
    assert audit.main() == status
    shown = capsys.readouterr().out
    assert said in shown
    assert ("NOTHING" in shown) is ("NOTHING" in said)


def test_s43_an_audit_that_hangs_ends_and_says_so(audit, monkeypatch, capsys):
    def hangs(words: list[str], **_: Any) -> None:
        raise subprocess.TimeoutExpired(words, 300)

    monkeypatch.setattr(audit.subprocess, "run", hangs)
    assert audit.main() == 0
    assert "NOTHING WAS AUDITED" in capsys.readouterr().out
