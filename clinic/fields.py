"""The shapes of input: marshmallow fields that refuse what marshmallow lets pass.

Its own Decimal rounds without a word and reads floats, its Integer reads "5", its Boolean reads "yes", its String
takes NUL. Here every message is a code; `errors.FAULTS` has the texts. Patterns match in full and in ASCII.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import marshmallow as ma
from stdnum.ru import inn

from clinic import money
from clinic.errors import Fault

_Messages = dict[str, str | list[Any] | dict[Any, Any]]
_CODES: _Messages = {"required": "required", "null": "null_not_allowed"}
_NO_CONTROLS = r"[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f\ud800-\udfff]*"
# The same for the description, where surrogates cannot be named; at least one character is no space.
_SHOWN = r"[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]"
_SHOWN_SOLID = r"[^\u0000-\u0020\u007f\u0085\s]"


class Shape(ma.Schema):
    """A JSON object of input: members it does not know are refused."""

    class Meta:
        unknown = ma.RAISE

    error_messages: dict[str, str] = {"unknown": "unknown_member", "type": "not_an_object"}

    def beyond(self, raw: Any) -> list[Fault]:
        """Further faults, which only the database knows, of the well-formed parts of the body `raw`.

        Asked for only when something else is wrong already, so that all faults come at once.
        """
        return []


class Nothing(Shape):
    """The body of a command that takes none: an empty object, or no body at all."""


class _Coded(ma.fields.Field[Any]):
    default_error_messages: _Messages = _CODES


class Text(_Coded):
    """Text without control characters, trimmed; at least one character unless `least` is 0."""

    default_error_messages: _Messages = {"invalid": "not_text", "length": "wrong_length"}

    def __init__(self, most: int, *, least: int = 1, metadata: Mapping[str, Any] | None = None, **given: Any) -> None:
        pattern = f"^{_SHOWN}*{_SHOWN_SOLID}{_SHOWN}*$" if least else f"^{_SHOWN}*$"
        shown = {"type": "string", "minLength": least, "maxLength": most, "pattern": pattern, **(metadata or {})}
        super().__init__(metadata=shown, **given)
        self.least, self.most = least, most

    def _deserialize(self, value: Any, attr: str | None, data: Any, **given: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(_NO_CONTROLS, value):
            raise self.make_error("invalid")
        if not self.least <= len(value.strip()) <= self.most or len(value) > self.most:
            raise self.make_error("length")
        return value.strip()


class Form(_Coded):
    """Text of one form, given by a regular expression that matches in full."""

    default_error_messages: _Messages = {"invalid": "wrong_form"}

    def __init__(self, pattern: str, *, metadata: Mapping[str, Any] | None = None, **given: Any) -> None:
        super().__init__(metadata={"type": "string", "pattern": f"^(?:{pattern})$", **(metadata or {})}, **given)
        self.pattern = re.compile(pattern, re.ASCII)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **given: Any) -> str:
        if not isinstance(value, str) or not self.pattern.fullmatch(value):
            raise self.make_error("invalid")
        return value


class Money(Form):
    """Rubles as a string of at most two decimals; floats, exponents, signs and other digits are refused."""

    default_error_messages: _Messages = {"invalid": "not_money"}

    def __init__(self, **given: Any) -> None:
        shown = {"example": "1500.00", "description": "rubles"} | given.pop("metadata", {})
        super().__init__(r"[0-9]{1,13}(\.[0-9]{1,2})?", metadata=shown, **given)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **given: Any) -> Decimal:  # type: ignore[override]
        return money.rounded(Decimal(super()._deserialize(value, attr, data)))


class PositiveMoney(Money):
    """Rubles above zero."""

    default_error_messages: _Messages = {"positive": "not_positive"}

    def __init__(self, **given: Any) -> None:
        shown = {"pattern": r"^(?=.*[1-9])[0-9]{1,13}(\.[0-9]{1,2})?$"} | given.pop("metadata", {})
        super().__init__(metadata=shown, **given)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **given: Any) -> Decimal:  # type: ignore[override]
        amount = super()._deserialize(value, attr, data)
        if not amount:
            raise self.make_error("positive")
        return amount


class Percent(Form):
    """A percentage from 0 to 100 as a string of at most two decimals."""

    default_error_messages: _Messages = {"invalid": "not_percent"}

    def __init__(self, **given: Any) -> None:
        super().__init__(
            r"(100(\.0{1,2})?|[0-9]{1,2}(\.[0-9]{1,2})?)",
            metadata={"example": "10.00", "description": "percent"},
            **given,
        )

    def _deserialize(self, value: Any, attr: str | None, data: Any, **given: Any) -> Decimal:  # type: ignore[override]
        return Decimal(super()._deserialize(value, attr, data))


class Quantity(_Coded):
    """How many: a decimal string of at most three places, or a JSON integer; more than zero, below a million."""

    default_error_messages: _Messages = {"invalid": "not_quantity", "positive": "not_positive"}
    _pattern = re.compile(r"[0-9]{1,6}(\.[0-9]{1,3})?", re.ASCII)

    def __init__(self, **given: Any) -> None:
        # The pattern is asked of a string only, the bounds of a number only.
        shown = {
            "type": ["string", "integer"],
            "pattern": r"^(?=.*[1-9])[0-9]{1,6}(\.[0-9]{1,3})?$",
            "minimum": 1,
            "maximum": 999999,
            "example": "1",
        } | given.pop("metadata", {})
        super().__init__(metadata=shown, **given)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **given: Any) -> Decimal:
        text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if isinstance(text, str) and text.startswith("-"):
            raise self.make_error("positive")
        if not isinstance(text, str) or not self._pattern.fullmatch(text):
            raise self.make_error("invalid")
        if not (quantity := Decimal(text)):
            raise self.make_error("positive")
        return quantity


class Whole(_Coded):
    """A whole number within bounds; from a query string it is text."""

    default_error_messages: _Messages = {"invalid": "not_whole"}

    def __init__(self, low: int, high: int, *, query: bool = False, **given: Any) -> None:
        shown = {"type": "integer", "minimum": low, "maximum": high} | given.pop("metadata", {})
        super().__init__(metadata=shown, **given)
        self.low, self.high, self.query = low, high, query

    def _deserialize(self, value: Any, attr: str | None, data: Any, **given: Any) -> int:
        number = _whole_number(value)
        if self.query and isinstance(value, str) and re.fullmatch(r"[0-9]{1,19}", value, re.ASCII):
            number = int(value)
        if number is None or not self.low <= number <= self.high:
            raise self.make_error("invalid")
        return number


def _whole_number(value: Any) -> int | None:
    # JSON Schema calls 5.0 an integer, and a reader of numbers cannot tell it from 5; true is not a number.
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or value % 1:
        return None
    return int(value)


class Flag(_Coded):
    """true or false; from a query string it is text."""

    default_error_messages: _Messages = {"invalid": "not_flag"}

    def __init__(self, *, query: bool = False, **given: Any) -> None:
        super().__init__(metadata={"type": "boolean"} | given.pop("metadata", {}), **given)
        self.query = query

    def _deserialize(self, value: Any, attr: str | None, data: Any, **given: Any) -> bool:
        if self.query:
            value = {"true": True, "false": False}.get(value)
        if not isinstance(value, bool):
            raise self.make_error("invalid")
        return value


class Day(_Coded):
    """A calendar day of the clinic, 2026-11-23, from 2000 to 2199."""

    default_error_messages: _Messages = {"invalid": "not_day"}

    def __init__(self, **given: Any) -> None:
        shown = {"type": "string", "format": "date", "example": "2026-11-23"} | given.pop("metadata", {})
        super().__init__(metadata=shown, **given)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **given: Any) -> date:
        if not isinstance(value, str) or not re.fullmatch(r"2[01][0-9]{2}-[0-9]{2}-[0-9]{2}", value, re.ASCII):
            raise self.make_error("invalid")
        try:
            return date.fromisoformat(value)
        except ValueError as exc:
            raise self.make_error("invalid") from exc


class Uuid(Form):
    """A UUID in its usual writing."""

    default_error_messages: _Messages = {"invalid": "not_uuid"}

    def __init__(self, **given: Any) -> None:
        shown = {"format": "uuid"} | given.pop("metadata", {})
        super().__init__(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", metadata=shown, **given)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **given: Any) -> UUID:  # type: ignore[override]
        return UUID(super()._deserialize(value, attr, data))


class File(_Coded):
    """A file of a multipart body, as its bytes; its name is the sender's and is not kept."""

    default_error_messages: _Messages = {"invalid": "not_a_file"}

    def __init__(self, **given: Any) -> None:
        shown = {"type": "string", "format": "binary"} | given.pop("metadata", {})
        super().__init__(metadata=shown, **given)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **given: Any) -> bytes:
        if not isinstance(value, bytes):
            raise self.make_error("invalid")
        return value


class Choice(_Coded):
    """One of a few words."""

    default_error_messages: _Messages = {"invalid": "not_a_choice"}

    def __init__(self, *words: str, **given: Any) -> None:
        nullable = given.get("allow_none", False)
        shown = {"type": "string", "enum": [*words, None] if nullable else list(words)} | given.pop("metadata", {})
        super().__init__(metadata=shown, **given)
        self.words = words

    def _deserialize(self, value: Any, attr: str | None, data: Any, **given: Any) -> str:
        if not isinstance(value, str) or value not in self.words:
            raise self.make_error("invalid")
        return value


class Inn(Form):
    """A taxpayer number: ten digits of an organisation, twelve of a person, with right check digits."""

    default_error_messages: _Messages = {"invalid": "wrong_inn"}

    def __init__(self, **given: Any) -> None:
        super().__init__(r"[0-9]{10}([0-9]{2})?", metadata={"example": "1234567894"}, **given)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **given: Any) -> str:
        number = super()._deserialize(value, attr, data)
        # The library takes ten zeros for a valid number.
        if not inn.is_valid(number) or not int(number):
            raise self.make_error("invalid")
        return number


class Kpp(Form):
    """The registration reason code of an organisation; it has no check digit."""

    default_error_messages: _Messages = {"invalid": "wrong_kpp"}

    def __init__(self, **given: Any) -> None:
        super().__init__(r"[0-9]{4}[0-9A-Z]{2}[0-9]{3}", metadata={"example": "770101001"}, **given)


class Nested(ma.fields.Nested):
    """An object inside another one."""

    default_error_messages: _Messages = {**_CODES, "type": "not_an_object"}


class Many(ma.fields.List[Any]):
    """A list of `least` to `most` items."""

    default_error_messages: _Messages = {**_CODES, "invalid": "not_a_list"}

    def __init__(self, item: Any, *, least: int = 0, most: int, **given: Any) -> None:
        super().__init__(item, validate=ma.validate.Length(least, most, error="wrong_count"), **given)


class Words(Shape):
    """A text in both languages."""

    ru = Text(500, required=True)
    en = Text(500, required=True)


def faults_in(messages: Any, pointer: str = "") -> list[Fault]:
    """marshmallow's nested messages as a flat list with RFC 6901 pointers."""
    if isinstance(messages, Mapping):
        found: list[Fault] = []
        for member, inner in messages.items():
            escaped = str(member).replace("~", "~0").replace("/", "~1")
            found += faults_in(inner, pointer if member == "_schema" else f"{pointer}/{escaped}")
        return found
    if isinstance(messages, list | tuple):
        return [Fault(pointer, str(code)) for code in messages]
    return [Fault(pointer, str(messages))]
