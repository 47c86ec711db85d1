"""What forms send: read by the shapes of the JSON contract, and done once however often a button is pressed."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast
from uuid import UUID

import marshmallow as ma
from flask import request

from clinic import command, errors, fields, http, idempotency
from clinic.command import Change
from clinic.errors import Fault, InvalidInput, Problem


def loaded(shape: fields.Shape, raw: dict[str, Any]) -> dict[str, Any]:
    """What a form sent, read by the same shape as the body of a JSON request.

    Raises:
        InvalidInput: names every wrong place.
    """
    try:
        return cast(dict[str, Any], shape.load(raw))
    except ma.ValidationError as wrong:
        faults = fields.faults_in(wrong.messages) + shape.beyond(raw)
        raise InvalidInput(sorted(faults, key=lambda fault: fault.pointer)) from wrong


def by_field(faults: Sequence[Fault], said: Mapping[str, tuple[str, str]] | None = None) -> dict[str, list[str]]:
    """What is wrong with each field, in the reader's language; a field is named as its pointer: lines-0-quantity.

    `said` has texts, (ru, en), for codes whose own text speaks to programs.
    """
    lang = http.lang()
    found: dict[str, list[str]] = {}
    for fault in faults:
        ru, en = (said or {}).get(fault.code) or (fault.message("ru"), fault.message("en"))
        found.setdefault(fault.pointer.strip("/").replace("/", "-"), []).append(ru if lang == "ru" else en)
    return found


Tell = Callable[[Mapping[str, Any], str], str]
"""How the members of a refusal are told, in `ru` or `en`."""
_TOLD: dict[type[Problem], Tell] = {}


def tell(how: Mapping[type[Problem], Tell]) -> None:
    """Explain these refusals on pages by what they say of themselves, where their own words speak to programs."""
    if twice := _TOLD.keys() & how.keys():
        raise ValueError(f"refusals told twice: {twice}")
    _TOLD.update(how)


def told(refusal: Problem | None) -> tuple[str, str] | None:
    """A refusal to whoever sees a page: title and explanation, in his language."""
    if refusal is None:
        return None
    lang = http.lang()
    title, explanation = refusal.words(lang)
    say = _TOLD.get(type(refusal))
    return title, say(refusal.members, lang) if say else explanation


def plain(ru: str, en: str) -> Tell:
    """The same words whatever the members."""
    return lambda _, lang: ru if lang == "ru" else en


tell(
    {
        errors.Forbidden: plain("Это делает тот, у кого такое право есть.", "Somebody who has that right does this."),
        errors.IdempotencyKeyReused: plain(
            "Эта форма уже сделала своё дело, а потом изменилась. Если нужно и это, отправьте её ещё раз.",
            "This form has done its work before and was changed since. If this is wanted too, send it once more.",
        ),
        errors.PreconditionFailed: plain(
            "Показано то, что есть теперь: посмотрите, что изменилось, и повторите.",
            "What is shown is how it stands now: look at what is different, and do it once more.",
        ),
    }
)


def members(typed: Mapping[str, str], *names: str) -> dict[str, Any]:
    """Fields as the members of a JSON body: `name-ru` is `ru` of `name`, and a field left empty is null."""
    found: dict[str, Any] = {}
    for name in names:
        outer, _, inner = name.partition("-")
        value = typed.get(name, "").strip() or None
        if inner:
            found.setdefault(outer, {})[inner] = value
        else:
            found[outer] = value
    return found


def given(raw: dict[str, Any]) -> dict[str, Any]:
    """`members` without those left empty, for shapes that take no null."""
    inner = {name: given(value) if isinstance(value, dict) else value for name, value in raw.items()}
    return {name: value for name, value in inner.items() if value is not None}


def must_have_seen(row_version: int) -> None:
    """Check that the form was filled in over the version that is current, under the row's lock.

    Raises:
        PreconditionFailed: somebody has changed it meanwhile.
    """
    if request.form.get("version") != str(row_version):
        raise errors.PreconditionFailed()


def search_words(typed: str | None) -> str:
    """What somebody typed into a search box, without what no keyboard types."""
    return "".join(character for character in typed or "" if character.isprintable()).strip()[:100]


def plain_number(typed: str) -> str:
    """A number as people type it, «67 200,50», as JSON writes it; whatever is no number stays as it is."""
    return re.sub(r"[ \u00a0\u202f\u2009]", "", typed).replace(",", ".")


def new_key() -> str:
    """For a hidden field: the same form sent twice does its work once."""
    return secrets.token_urlsafe(24)


def known_key(sent: str | None) -> str:
    """The form's key, or a new one when the form has none that could be ours."""
    return sent if sent and re.fullmatch(r"[A-Za-z0-9_-]{16,64}", sent) else new_key()


@contextmanager
def change() -> Iterator[Change]:
    """The transaction of a form that may be sent twice without harm."""
    with command.change(http.actor(), request_id=http.request_id()) as made:
        yield made


def once(key: str, wanted: Any, work: Callable[[Change], UUID]) -> UUID:
    """Make a document by `work`, once for each key of a form; the second click gets the first one's document.

    Raises:
        IdempotencyKeyReused: the key made a document of other content.
    """
    mark = idempotency.fingerprint(request.method, request.path, wanted)
    claim = idempotency.Claim(http.actor().id, f"form:{key}", mark)
    try:
        with command.change(http.actor(), claim=claim, request_id=http.request_id()) as made:
            document = work(made)
            made.give(201, {"id": str(document)})
    except idempotency.Replay as again:
        return UUID(again.answer.body["id"])
    return document
