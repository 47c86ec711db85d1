"""No regular expression of ours is a trap: none takes more than linear time, whatever it is shown."""

from __future__ import annotations

import ast
import importlib
import re
import re._parser as parser  # type: ignore[import-not-found]
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clinic import fields
from tests.conftest import SETTINGS
from wsgi import create_app

ROOT = Path(__file__).parents[1]
MODULES = sorted(path for package in ("clinic", "catalog", "billing") for path in (ROOT / package).glob("*.py"))
SOURCE = "".join(path.read_text() for path in MODULES)
FLAGS = {"compile": 1, "match": 2, "fullmatch": 2, "search": 2, "findall": 2, "finditer": 2, "split": 3, "sub": 4}
"""Functions of `re`, and which of their arguments has flags."""
NOT_WRITTEN_OUT = {("clinic/fields.py", "pattern")}
"""The one place whose pattern is somebody else's: that of a field, found where the field is made."""
NESTED = {
    "clinic/event_routes.py": "types are divided by commas, and no type has one",
    "catalog/workbooks.py": "what a cell has inside is divided by `<`, and the parts have none",
}
"""Repetitions inside repetitions, and why there is one way only to read a text by them."""
SIZES = (8, 12, 16, 20, 24, 28, 32, 1024, 8192, 131_072)
"""Letters of the texts; a trap of exponential time is found among the first ones."""


@dataclass(frozen=True)
class Found:
    """A regular expression where it stands."""

    place: str
    pattern: str | bytes
    asked: frozenset[str]
    """How it is used: `match`, `fullmatch`, or anything else, which tries it at every place."""
    flags: int = 0

    def __str__(self) -> str:
        return f"{self.place} {self.pattern!r}"


def written() -> Iterator[Found]:
    """Every pattern of the application, by file."""
    for path in MODULES:
        place = f"{path.parent.name}/{path.name}"
        names = vars(importlib.import_module(f"{path.parent.name}.{path.stem}"))
        tree = ast.parse(path.read_text())
        kept = {node.value: node.targets[0] for node in ast.walk(tree) if isinstance(node, ast.Assign)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            flags = takes_a_pattern(node, names, place)
            if flags is None or (place, ast.unparse(node.args[0])) in NOT_WRITTEN_OUT:
                continue
            bits = sum(int(evaluated(each, names)) for each in flags)
            yield Found(place, evaluated(node.args[0], names), how(node, kept.get(node)), bits)


def how(call: ast.Call, kept: ast.expr | None) -> frozenset[str]:
    """What is done with the pattern of this call, which is kept under a name or used at once."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    if name != "compile":
        return frozenset({name if name in FLAGS else "fullmatch"})
    assert isinstance(kept, ast.Name), ast.unparse(call)
    return frozenset(re.findall(rf"\b{kept.id}\.({'|'.join(FLAGS)})\(", SOURCE))


def takes_a_pattern(node: ast.Call, names: dict[str, Any], place: str) -> list[ast.expr] | None:
    """The flags of a call whose first argument is a pattern."""
    match node.func:
        case ast.Attribute(value=ast.Name(id="re"), attr=name):
            given = [each.value for each in node.keywords if each.arg == "flags"]
            return None if name in {"escape", "RegexFlag"} else given + node.args[FLAGS[name] : FLAGS[name] + 1]
        case ast.Attribute(attr="Form") | ast.Name(id="Form"):
            return [ASCII] if evaluated(node.func, names) is fields.Form else None
        case ast.Attribute(attr="__init__", value=ast.Call(func=ast.Name(id="super"))):
            of_form = place == "clinic/fields.py" and isinstance(node.args[0], ast.Constant | ast.JoinedStr)
            return [ASCII] if of_form else None
    return None


ASCII = ast.parse("re.ASCII", mode="eval").body


def evaluated(node: ast.expr, names: dict[str, Any]) -> Any:
    return eval(compile(ast.Expression(node), "pattern", "eval"), {"re": re} | names)  # noqa: S307 — our own source


def of_addresses() -> Iterator[Found]:
    """What the parts of addresses are matched by."""
    for name, converter in create_app(SETTINGS).url_map.converters.items():
        yield Found(f"<{name}:…>", converter.regex, frozenset({"match"}))


PATTERNS = list(dict.fromkeys([*written(), *of_addresses()]))


def parsed(found: Found) -> Any:
    return parser.parse(found.pattern, found.flags)


def repetitions(tree: Any) -> Iterator[tuple[Any, ...]]:
    """Every repetition that may have many lengths, with what stands before it: (before, least, body)."""
    before = ""
    for operation, argument in tree:
        if operation in REPEATS:
            least, most, body = argument
            if most - least >= 8:
                yield before, least, body
        for inner in parts(operation, argument):
            for found in repetitions(inner):
                yield before + found[0], *found[1:]
        before += sample_of(operation, argument)


REPEATS = {parser.MAX_REPEAT, parser.MIN_REPEAT, parser.POSSESSIVE_REPEAT}


def parts(operation: Any, argument: Any) -> list[Any]:
    """The patterns inside one."""
    if operation in REPEATS:
        return [argument[2]]
    if operation is parser.SUBPATTERN:
        return [argument[3]]
    if operation is parser.BRANCH:
        return list(argument[1])
    if operation in {parser.ASSERT, parser.ASSERT_NOT}:
        return [argument[1]]
    return [argument] if operation is parser.ATOMIC_GROUP else []


def sample(tree: Any) -> str:
    """A text that the pattern matches, or nearly."""
    return "".join(sample_of(operation, argument) for operation, argument in tree)


def sample_of(operation: Any, argument: Any) -> str:
    if operation is parser.LITERAL:
        return chr(argument)
    if operation is parser.NOT_LITERAL:
        return "a" if argument == ord(" ") else " "
    if operation is parser.IN:
        return letter_of(argument)
    if operation is parser.ANY:
        return "a"
    if operation in REPEATS:
        return sample(argument[2]) * int(argument[0] or min(1, argument[1]))
    inner = parts(operation, argument)
    return sample(inner[0]) if inner and operation not in {parser.ASSERT, parser.ASSERT_NOT} else ""


def letter_of(members: Any) -> str:
    """A letter of a set, or of those that a negated one has not."""
    for letter in " a0A-_.:;/<>=!\"'\\\tо₽":
        inside = any(is_in(ord(letter), *each) for each in members if each[0] is not parser.NEGATE)
        if inside != (members[0][0] is parser.NEGATE):
            return letter
    operation, argument = next(each for each in members if each[0] is not parser.NEGATE)
    return chr(argument if operation is parser.LITERAL else argument[0])


def is_in(code: int, operation: Any, argument: Any) -> bool:
    if operation is parser.LITERAL:
        return bool(code == argument)
    if operation is parser.RANGE:
        return bool(argument[0] <= code <= argument[1])
    classes = {
        parser.CATEGORY_SPACE: r"\s", parser.CATEGORY_DIGIT: r"\d", parser.CATEGORY_WORD: r"\w",
        parser.CATEGORY_NOT_SPACE: r"\S", parser.CATEGORY_NOT_DIGIT: r"\D", parser.CATEGORY_NOT_WORD: r"\W",
    }  # fmt: skip
    return re.fullmatch(classes[argument], chr(code)) is not None


def attacks(found: Found, size: int) -> Iterator[str]:
    """Texts of about so many letters that begin as the pattern wants, go on and on, and do not end so."""
    for before, _, body in repetitions(parsed(found)):
        once = sample(body) or "a"
        for end in ("\x00", "a", "!", "<"):
            yield before + once * (size // len(once)) + end
            begun = before + once
            yield begun * (size // len(begun)) + end
    whole = sample(parsed(found)) or "a"
    yield whole * (size // len(whole))
    yield whole[:-1] * (size // max(1, len(whole) - 1)) + "\x00"


def test_s26_the_patterns_are_found():
    assert len(PATTERNS) > 80
    assert {"clinic/fields.py", "clinic/lists.py", "catalog/workbooks.py", "<uuid:…>"} <= {
        each.place for each in PATTERNS
    }


def test_s26_no_pattern_repeats_what_repeats():
    """But for those of which it is known why a text can be read by them in one way only."""
    nested = set()
    for found in PATTERNS:
        if any(next(repetitions(body), None) for _, _, body in repetitions(parsed(found))):
            nested.add(found.place)
    assert nested == NESTED.keys()


@pytest.mark.parametrize("found", PATTERNS, ids=str)
def test_s26_a_pattern_takes_a_time_in_proportion_to_the_text(found):
    """Two microseconds a letter at most, however many letters: thirty times what is usual, and a line."""
    pattern = re.compile(found.pattern, found.flags)
    asked = [getattr(pattern, each) for each in found.asked & {"match", "fullmatch"}]
    if not asked or found.asked - {"match", "fullmatch"}:
        asked.append(lambda text: sum(1 for _ in pattern.finditer(text)))
    for size in SIZES:
        for attack in attacks(found, size):
            text = attack if isinstance(found.pattern, str) else attack.encode()
            for ask in asked:
                began = time.process_time()
                ask(text)
                assert time.process_time() - began < 0.05 + 2e-6 * len(text), (size, attack[:60])
