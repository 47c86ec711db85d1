"""The SQL of one command as the service really sends it, and the same as a pgbench script.

Two calls of the same command are recorded. What is the same in both becomes a constant parameter of the script; what
differs, such as ids, keys and digests, is made anew by the database for each transaction of the script, in the same
form and length. So the script cannot drift from the product, and nothing of it is written by hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

import psycopg
from psycopg.adapt import PyFormat, Transformer

CALL = "call"
"""The script's variable that numbers the calls; the expressions below are made of it."""
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)
_NAME = re.compile(r"%\((\w+)\)s", re.ASCII)
_VARIABLE = re.compile(r"(?<!:):\w", re.ASCII)
_HEX = re.compile(r"[0-9a-f]+", re.ASCII)
_MOST_IDS = 64
_LONGEST_MADE = 2000
"""Texts above this length, such as a stored answer, stay the same: their size is what costs, not their ids."""


@dataclass(frozen=True)
class Value:
    """A parameter as text, with the type the driver states, "" where it leaves the type to the server."""

    text: str | None
    type: str


@dataclass(frozen=True)
class Statement:
    """A statement with $1, $2 … as the server gets it."""

    sql: str
    values: Sequence[Value]


@contextmanager
def recording() -> Iterator[list[Statement]]:
    """The statements this process sends meanwhile, in their order."""
    found: list[Statement] = []
    execute = psycopg.Cursor.execute

    def heard(cursor: Any, query: Any, params: Any = None, **more: Any) -> Any:
        answer = execute(cursor, query, params, **more)
        if query:  # an empty one is the pool's look whether an idle connection still lives
            found.append(_statement(cursor, query, params))
        return answer

    cast(Any, psycopg.Cursor).execute = heard
    try:
        yield found
    finally:
        cast(Any, psycopg.Cursor).execute = execute


def _statement(cursor: Any, query: str, params: Any) -> Statement:
    sql = " ".join(query.split())
    if params is None:
        return Statement(sql, [])
    if not isinstance(params, Mapping):
        raise ValueError(f"only statements with named parameters can be recorded: {sql}")
    names = list(dict.fromkeys(_NAME.findall(sql)))
    shown = _NAME.sub(lambda match: f"${names.index(match[1]) + 1}", sql).replace("%%", "%")
    return Statement(shown, [_value(cursor, params[name]) for name in names])


def _value(cursor: Any, value: Any) -> Value:
    if value is None:
        return Value(None, "")
    transformer = Transformer(cursor)
    stated = transformer.get_dumper(value, PyFormat.AUTO).oid
    return Value(_text(transformer, value), _type_name(cursor, stated) if stated else "")


def _text(transformer: Any, value: Any) -> str:
    # The driver writes ids without hyphens, JSON with them: here they must be found wherever they stand.
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, list) and value and isinstance(value[0], UUID):
        return "{" + ",".join(map(str, value)) + "}"
    return bytes(transformer.get_dumper(value, PyFormat.TEXT).dump(value) or b"").decode()


def _type_name(cursor: Any, oid: int) -> str:
    found = cursor.adapters.types.get(oid)
    return f"{found.name}[]" if found.array_oid == oid else str(found.name)


@dataclass(frozen=True)
class Script:
    """A pgbench script: its text, and the values of its constant variables."""

    text: str
    constants: Mapping[str, str]

    @property
    def arguments(self) -> list[str]:
        return [part for name, text in self.constants.items() for part in ("-D", f"{name}={text}")]


def script_of(first: Sequence[Statement], second: Sequence[Statement], known: Mapping[str, str]) -> Script:
    """The script that makes a call like these two: `known` are ids of the first call and what stands for them."""
    if [each.sql for each in first] != [each.sql for each in second]:
        told = "\n".join(f"{mark} {each.sql}" for mark, call in (("1", first), ("2", second)) for each in call)
        raise ValueError(f"two calls of the same command sent different statements:\n{told}")
    differing = [uuid for uuid in _uuids(first) if uuid not in _uuids(second)]
    ids = {uuid: fresh_id(place) for place, uuid in enumerate(differing)} | dict(known)
    constants: dict[str, str] = {}
    lines = []
    for one, other in zip(first, second, strict=True):
        if _VARIABLE.search(one.sql):
            raise ValueError(f"pgbench would take a part of this for a variable: {one.sql}")
        written = [_expression(a, b, ids, constants) for a, b in zip(one.values, other.values, strict=True)]
        lines.append(re.sub(r"\$(\d+)", lambda match: written[int(match[1]) - 1], one.sql) + ";")  # noqa: B023
    return Script("\n".join(lines) + "\n", constants)


def _uuids(statements: Sequence[Statement]) -> dict[str, None]:
    """All ids in their order, each once."""
    texts = [value.text or "" for statement in statements for value in statement.values]
    return dict.fromkeys(uuid for text in texts for uuid in _UUID.findall(text))


def fresh_id(place: int) -> str:
    """A UUID of the call that grows with it, as version 7 does; `place` tells the ids of one call apart."""
    assert place < _MOST_IDS
    return f"('0197d000' || lpad(to_hex(:{CALL}::bigint * {_MOST_IDS} + {place}), 24, '0'))::uuid"


def _expression(one: Value, other: Value, ids: Mapping[str, str], constants: dict[str, str]) -> str:
    cast_ = f"::{one.type}" if one.type else ""
    if one.text is None:
        return f"NULL{cast_}"
    if one.text == other.text or len(one.text) > _LONGEST_MADE:
        return _constant(one.text, constants) + cast_
    if one.text in ids:
        return ids[one.text] if one.type == "uuid" else f"{ids[one.text]}::text"
    if found := [uuid for uuid in dict.fromkeys(_UUID.findall(one.text)) if uuid in ids]:
        made = _constant(one.text, constants) + "::text"
        for uuid in found:
            made = f"replace({made}, '{uuid}', {ids[uuid]}::text)"
        return f"({made}){cast_}"
    return _made(one)


def _constant(text: str, constants: dict[str, str]) -> str:
    known = {value: name for name, value in constants.items()}
    name = known.get(text) or f"c{len(constants)}"
    constants[name] = text
    return f":{name}"


def _made(value: Value) -> str:
    """Something new in the form of a value that has no id in it."""
    text = value.text or ""
    if value.type in {"timestamptz", "timestamp"}:
        return "clock_timestamp()"
    if value.type == "bytea":
        # `\\x` and two digits for each byte.
        return f"substr(sha256(int8send(:{CALL}::bigint)), 1, {(len(text) - 2) // 2})"
    if _HEX.fullmatch(text) and len(text) <= 32:
        return f"substr(md5(:{CALL}::text), 1, {len(text)})"
    raise ValueError(f"nothing is known of how {text!r} comes about")
