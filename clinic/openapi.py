"""The OpenAPI 3.1 description: what follows from the routes' contracts, with an example of every refusal."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import flask_smorest
import marshmallow as ma
from flask import Flask

from clinic import errors, fields
from clinic.auth import PUBLIC, SIGNED_IN
from clinic.errors import Fault, InvalidInput, Problem


class FaultOut(ma.Schema):
    """One wrong place."""

    pointer = ma.fields.String(required=True, metadata={"example": "/lines/2/doctor_rank"})
    code = ma.fields.String(required=True, metadata={"example": "unknown_rank"})
    message = ma.fields.String(required=True)


class ProblemOut(ma.Schema):
    """RFC 9457 problem details. `code` is stable; further members depend on it."""

    class Meta:
        unknown = ma.INCLUDE

    type = ma.fields.String(required=True)
    title = ma.fields.String(required=True)
    status = ma.fields.Integer(required=True)
    code = ma.fields.String(required=True)
    detail = ma.fields.String(required=True)
    request_id = ma.fields.String(required=True)
    errors = ma.fields.List(ma.fields.Nested(FaultOut))


def implied(scope: str, *, has_body: bool, files: bool, key: str | None, match: bool) -> Iterator[type[Problem]]:
    """The refusals that follow from what a route takes."""
    yield InvalidInput
    yield errors.DatabaseAway
    yield errors.TooManyRequests
    if scope != PUBLIC:
        yield errors.Unauthorized
        if scope != SIGNED_IN:
            yield errors.Forbidden
    if (has_body or key) and not files:
        yield errors.UnreadableJson
        yield errors.DuplicateMember
    if has_body or key:
        yield errors.TooLarge
        yield errors.UnsupportedMediaType
    if key:
        yield errors.InProgress
        yield errors.IdempotencyKeyReused
    if key == "required":
        yield errors.IdempotencyKeyRequired
    if match:
        yield errors.PreconditionRequired
        yield errors.PreconditionFailed


def documentation(scope: str, problems: Sequence[type[Problem]], key: str | None, match: bool) -> dict[str, Any]:
    """What a route's contract adds to its description."""
    headers = []
    if key:
        headers.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": key == "required",
                "description": "8 to 255 characters: new for a new intention, the same for a repeat",
                "schema": {"type": "string", "minLength": 8, "maxLength": 255, "pattern": "^[\\x21-\\x7e]{8,255}$"},
                "example": "5f0c2c1e-issue",
            }
        )
    if match:
        headers.append(
            {
                "name": "If-Match",
                "in": "header",
                "required": True,
                "description": "the ETag that was read",
                "schema": {"type": "string"},
            }
        )
    return {
        "security": [] if scope == PUBLIC else [{"key": []}],
        **({} if scope == PUBLIC else {"x-scope": scope}),
        **({"parameters": headers} if headers else {}),
        "responses": _problem_answers(problems),
    }


def with_headers(doc: dict[str, Any], doc_info: dict[str, Any], **_: Any) -> dict[str, Any]:
    """A route's description with its headers beside the parameters of its query; smorest puts them in their place."""
    headers = doc_info.get("manual_doc", {}).pop("parameters", [])
    return doc | {"parameters": [*doc.get("parameters", []), *headers]} if headers else doc


def other_forms(status: int, forms: Mapping[str, str]) -> dict[int, Any]:
    """What a route's contract adds for an answer of this status that has other forms than JSON, each by an example."""
    content = {media_type: {"schema": {"type": "string"}, "example": example} for media_type, example in forms.items()}
    return {status: {"content": content}} if forms else {}


def _problem_answers(problems: Sequence[type[Problem]]) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    for status in sorted({each.status for each in problems}):
        named = {each.code(): each for each in problems if each.status == status}
        answers[str(status)] = {
            "description": "; ".join(f"`{code}`: {each.words('en')[0]}" for code, each in named.items()),
            "content": {
                "application/problem+json": {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "examples": {code: {"value": _problem_example(each)} for code, each in named.items()},
                }
            },
        }
    return answers


def _problem_example(problem: type[Problem]) -> dict[str, Any]:
    title, explanation = problem.words("en")
    shown: dict[str, Any] = {
        "type": f"/problems/{problem.code()}",
        "title": title,
        "status": problem.status,
        "code": problem.code(),
        "detail": explanation,
        "request_id": "0197d1b0c3",
    }
    if problem is InvalidInput:
        fault = Fault("/lines/3/quantity", "not_positive")
        shown["errors"] = [{"pointer": fault.pointer, "code": fault.code, "message": fault.message("en")}]
    return shown


class Api(flask_smorest.Api):  # type: ignore[misc]
    """The description of the JSON contract, made from the schemas that validate."""

    # Each route lists its own refusals; a default one would point at a response that is not there.
    DEFAULT_ERROR_RESPONSE_NAME = None

    def __init__(self) -> None:
        super().__init__()
        self._undescribed: list[flask_smorest.Blueprint] = []
        self._one_at_a_time = threading.Lock()

    def register_blueprint(self, blueprint: flask_smorest.Blueprint) -> None:
        """Take its routes; they are described when somebody asks, for that takes four times as long as all else."""
        self._app.register_blueprint(blueprint)
        self._undescribed.append(blueprint)

    def description(self) -> dict[str, Any]:
        """The description of all routes, as JSON has it."""
        with self._one_at_a_time:
            for blueprint in self._undescribed:
                blueprint.register_views_in_doc(self, self._app, self.spec, name=blueprint.name, parameters=None)
                self.spec.tag({"name": blueprint.name, "description": blueprint.description})
            self._undescribed.clear()
            described: dict[str, Any] = self.spec.to_dict()
            return described

    def _register_error_handlers(self) -> None:
        """Ours are registered by `set_up`, for pages too."""

    def _register_responses(self) -> None:
        """Each route lists its own refusals; there is no default one."""


def describe(app: Flask) -> Api:
    """The OpenAPI 3.1 description of `app`: of the blueprints registered with it."""
    api = Api()
    for field in (fields.Text, fields.Form, fields.Day, fields.Choice, fields.Quantity):
        api.register_field(field, "string", None)
    api.register_field(fields.File, "string", "binary")
    api.register_field(fields.Whole, "integer", None)
    api.register_field(fields.Flag, "boolean", None)
    api.init_app(app)
    app.extensions["clinic-api"] = api
    api.spec.components.schema("Problem", schema=ProblemOut)
    api.spec.components.security_scheme("key", {"type": "http", "scheme": "bearer", "bearerFormat": "cb_…"})
    return api
