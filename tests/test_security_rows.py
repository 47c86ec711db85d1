"""The table of docs/security.md: every row is shown by tests of its number, and every such test stands in its row."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
TABLE = re.findall(
    r"^\| S([0-9]+) \|[^|]+\|[^|]+\| ([^|]+) \|$", (TESTS.parent / "docs" / "security.md").read_text(), re.MULTILINE
)
ROWS = {int(number): shown for number, shown in TABLE}
"""Number -> the cell that says what shows it."""
NOT_BUILT = {32}
"""Rows about what the service does not do: it cannot be tried."""


def named(number: int) -> set[str]:
    """The tests that a row names."""
    return set(re.findall(r"`(test_\w+)`", ROWS[number]))


def written() -> list[str]:
    """The tests there are."""
    return [
        node.name
        for path in TESTS.glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]


def test_the_table_has_each_row_once():
    assert [int(number) for number, _ in TABLE] == list(range(1, 45))


def test_every_test_that_a_row_names_exists():
    there = set(written())
    missing = {f"S{number}": sorted(named(number) - there) for number in ROWS if named(number) - there}
    assert not missing


def test_every_row_is_shown_by_a_test_of_its_number():
    for number in ROWS:
        of_it = [each for each in named(number) if each.startswith(f"test_s{number:02}_")]
        assert of_it or number in NOT_BUILT, f"S{number} has no test of its own"


def test_every_test_of_a_row_stands_in_its_row():
    for name in written():
        if number := re.match(r"test_s([0-9]{2})_", name):
            assert name in named(int(number[1])), f"docs/security.md does not name {name}"
