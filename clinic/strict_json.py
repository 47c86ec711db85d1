"""JSON read strictly: as the text says it, or not at all."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

from clinic import errors

_DEEPEST = 32


def read(raw: bytes) -> Any:
    """One JSON text, read strictly: orjson would keep the last of two equal members without a word.

    Raises:
        UnreadableJson: not UTF-8, not JSON, NaN or Infinity, a number of more than 30 digits or of an exponent
            out of all bounds, nested too deep.
        DuplicateMember: an object has a member twice.
    """
    try:
        return json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_members_once,
            parse_constant=_no_constant,
            parse_int=_number,
            parse_float=_number,
        )
    except (ValueError, RecursionError) as exc:
        raise errors.UnreadableJson() from exc


def _members_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise errors.DuplicateMember()
    for name in found:
        if not name.isascii():
            name.encode()  # half a surrogate pair could not even be named in the answer
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _number(text: str) -> int | float | Decimal:
    if len(text) > 30:
        raise ValueError("a number of too many digits")
    if text.lstrip("-").isdigit():
        return int(text)
    # A whole number written 5.0 stays whole; every other one is a float and no field takes it.
    try:
        exact = Decimal(text)
    except InvalidOperation as exc:  # the exponent has more digits than the library counts with
        raise ValueError("a number out of all bounds") from exc
    # Not `exact % 1`, which calls 1e-999999999999 whole: it is too small for the library's remainder.
    return exact if abs(exact) < 10**18 and exact == exact.to_integral_value() else float(exact)


def _nesting(value: Any, depth: int = 0) -> int:
    if depth > _DEEPEST or not isinstance(value, dict | list):
        return depth
    inner = value.values() if isinstance(value, dict) else value
    return max((_nesting(each, depth + 1) for each in inner), default=depth + 1)


def read_shallow(raw: bytes) -> Any:
    """`read`, for what strangers send.

    Raises:
        UnreadableJson: also nested deeper than 32.
    """
    found = read(raw)
    if _nesting(found) > _DEEPEST:
        raise errors.UnreadableJson()
    return found
