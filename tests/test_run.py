"""run.py: what it installs, and how it runs the tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import run


def test_the_development_requirements_hold_the_runtimes_at_the_same_versions():
    assert pins(run.RUNTIME) <= pins(run.DEVELOPMENT)


@pytest.mark.parametrize("lock", [run.RUNTIME, run.DEVELOPMENT])
def test_the_requirements_are_pinned_by_hash_and_name_no_place(lock):
    text = lock.read_text()
    assert text.count("==") <= text.count("--hash=sha256:")
    assert not re.search(r"https?://|--index|--find-links", text)


def test_an_installed_development_environment_serves_too(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "VENV", tmp_path)
    monkeypatch.setattr(run, "PYTHON", tmp_path / "python")
    (tmp_path / "python").touch()
    assert not run.is_installed(run.RUNTIME)
    run.stamp(run.DEVELOPMENT).write_text(run.contents(run.DEVELOPMENT))
    assert run.is_installed(run.RUNTIME)
    run.stamp(run.DEVELOPMENT).write_text("of another version")
    assert not run.is_installed(run.RUNTIME)


@pytest.mark.parametrize("args", [["-n0"], ["-p", "no:xdist"], ["--pdb", "tests/test_run.py"]])
def test_whoever_says_how_to_run_the_tests_is_obeyed(args):
    assert run.in_parallel(args) == args


def pins(lock: Path) -> set[str]:
    return set(re.findall(r"^([a-z0-9._-]+==\S+)", lock.read_text(), re.M))
