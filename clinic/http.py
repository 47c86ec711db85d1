"""The JSON edge: contracts of routes, strict reading, problem details, headers.

flask-smorest reads and documents; what it does otherwise than our contract is put right here (unknown query
parameters, one body parser, RFC 9457 problems, no default answer).
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar, cast
from urllib.parse import urlencode
from uuid import UUID

import flask_smorest
import marshmallow as ma
import orjson
from flask import Flask, Response, g, request
from flask.json.provider import JSONProvider
from webargs.flaskparser import FlaskParser
from werkzeug.exceptions import HTTPException

from clinic import (
    api_keys,
    auth,
    budgets,
    command,
    db,
    errors,
    fields,
    idempotency,
    logs,
    observing,
    openapi,
    proxies,
    strict_json,
    uploads,
)
from clinic.auth import Actor
from clinic.command import Change
from clinic.errors import Fault, InvalidInput, Problem

View = TypeVar("View", bound=Callable[..., Any])
PUBLIC, SIGNED_IN = auth.PUBLIC, auth.SIGNED_IN
LANGUAGES = ("ru", "en")
LARGEST_BODY = 256 * 1024
_JSON = orjson.OPT_UTC_Z | orjson.OPT_OMIT_MICROSECONDS
_KEY = re.compile(r"[\x21-\x7e]{8,255}")
_log = logging.getLogger("clinic.http")


def dumped(body: Any) -> bytes:
    """`body` as JSON. A Decimal is refused: money is turned into text where its shape is known."""
    return orjson.dumps(body, option=_JSON)


class _Json(JSONProvider):
    def dumps(self, obj: Any, **_: Any) -> str:
        return dumped(obj).decode()

    def loads(self, s: str | bytes, **_: Any) -> Any:
        return strict_json.read(s if isinstance(s, bytes) else s.encode())


class _Parser(FlaskParser):
    """Reads bodies strictly, refuses unknown query parameters, and turns faults into one `invalid_input`."""

    DEFAULT_UNKNOWN_BY_LOCATION = {
        **FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION,
        "query": None,
        "files": None,
    }

    def load_json(self, req: Any, schema: Any) -> Any:
        return body()

    def load_files(self, req: Any, schema: Any) -> Any:
        return uploads.parts()

    def handle_error(self, error: ma.ValidationError, req: Any, schema: ma.Schema, **_: Any) -> NoReturn:
        faults: list[Fault] = []
        for location, messages in cast(dict[str, Any], error.messages).items():
            faults += fields.faults_in(messages, "?" if location == "query" else "")
        # «?/limit» is no pointer; a query parameter is named as it stands in the address.
        faults = [Fault(each.pointer.replace("?/", "?", 1), each.code, each.values) for each in faults]
        if isinstance(schema, fields.Shape) and "json" in error.messages:
            faults += schema.beyond(body())
        raise InvalidInput(sorted(faults, key=lambda fault: fault.pointer))


def body() -> Any:
    """The JSON body of this request, read once; an empty one is an empty object.

    Raises:
        UnsupportedMediaType: there is a body of another type.
        TooLarge, UnreadableJson, DuplicateMember: see `strict_json.read`.
    """
    if "body" not in g:
        g.body = _read_body()
    return g.body


def _read_body() -> Any:
    raw = request.get_data(cache=True)
    if not raw:
        return {}
    if request.mimetype != "application/json":
        raise errors.UnsupportedMediaType()
    return strict_json.read_shallow(raw)


class Query(fields.Shape):
    """What every address takes: the language of messages and names."""

    lang = fields.Choice("ru", "en", metadata={"description": "language; before Accept-Language"})


class Blueprint(flask_smorest.Blueprint):  # type: ignore[misc]
    """A blueprint whose routes state their contract in one decorator."""

    ARGUMENTS_PARSER = _Parser()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._prepare_doc_cbks.append(openapi.with_headers)

    def get(self, rule: str) -> Callable[[View], View]:
        return cast(Callable[[View], View], self.route(rule, methods=["GET"]))

    def post(self, rule: str) -> Callable[[View], View]:
        return cast(Callable[[View], View], self.route(rule, methods=["POST"]))

    def put(self, rule: str) -> Callable[[View], View]:
        return cast(Callable[[View], View], self.route(rule, methods=["PUT"]))

    def patch(self, rule: str) -> Callable[[View], View]:
        return cast(Callable[[View], View], self.route(rule, methods=["PATCH"]))

    def contract(
        self,
        *,
        may: str,
        or_may: str | None = None,
        gives: dict[int, Any],
        takes: type[fields.Shape] | None = None,
        files: int | None = None,
        query: type[Query] = Query,
        refuses: Sequence[type[Problem]] = (),
        key: str | None = None,
        match: bool = False,
        example: Any = None,
        answers: Any = None,
        gives_file: Sequence[str] = (),
        other_forms: Mapping[str, str] | None = None,
        a_minute: int | None = budgets.USUAL,
    ) -> Callable[[View], View]:
        """Who may call, what comes in, what goes out and what is refused; also what the description says.

        Args:
            may: the scope needed, or `PUBLIC`, or `SIGNED_IN`.
            or_may: a scope that lets a caller in too; what he does is then judged by the command itself.
            gives: status -> schema of the answer.
            takes: schema of the JSON body; the view gets it as its first argument. A command that takes none says
                `fields.Nothing`, which a key says for it.
            files: the body is multipart/form-data of at most so many bytes, in place of JSON; `fields.File` is a file.
            query: schema of the query; a view of one that has filters gets it as its next argument.
            refuses: problems beyond those that follow from the rest of the contract.
            key: `required` or `optional` where the call takes an Idempotency-Key.
            match: the change needs If-Match.
            example, answers: examples of the body and of the first answer.
            gives_file: media types of an answer that is a file; its status is 200.
            other_forms: media type -> example of the first answer in a form other than JSON.
            a_minute: how often a caller may have something costly; None where requests are not counted at all.
        """
        if takes is None and key is not None:
            takes = fields.Nothing
        empty = takes is fields.Nothing

        def decorate(view: View) -> View:
            wrapped: Callable[..., Any] = _without_query(view) if query is Query else view
            for number, (status, schema) in enumerate(gives.items()):
                shown = {"example": answers} if answers is not None and number == 0 else {}
                wrapped = self.response(status, schema, **shown)(wrapped)
            # Instances: a schema class would be instantiated anew for each request.
            wrapped = self.arguments(query(), location="query")(wrapped)
            if takes is not None and not empty:
                # No body is read as an empty object, so it may be left out where every member may.
                needed = any(field.required for field in takes().fields.values())
                location = "json" if files is None else "files"
                wrapped = self.arguments(takes(), location=location, example=example, required=needed)(wrapped)
            implied = openapi.implied(may, has_body=takes is not None, files=bool(files), key=key, match=match)
            documented = openapi.documentation(may, [*refuses, *implied], key, match)
            documented["responses"] |= openapi.other_forms(next(iter(gives)), other_forms or {})
            wrapped = self.doc(**documented)(wrapped)
            if gives_file:
                contents: dict[str, Any] = {each: {"schema": {}} for each in gives_file}
                wrapped = self.doc(responses={"200": {"description": "the file", "content": contents}})(wrapped)
            if empty:
                wrapped = _without_body(wrapped)
            return cast(View, _guarded(wrapped, may, or_may, key, files, a_minute))

        return decorate


def _without_query(view: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(view)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return view(*args[:-1], **kwargs)

    return wrapper


def _without_body(view: Callable[..., Any]) -> Callable[..., Any]:
    # Not by flask-smorest's `arguments`: what is taken by nobody need not be described.
    @functools.wraps(view)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            fields.Nothing().load(body())
        except ma.ValidationError as exc:
            raise InvalidInput(fields.faults_in(exc.messages)) from exc
        return view(*args, **kwargs)

    return wrapper


def _guarded(
    view: Callable[..., Any], may: str, or_may: str | None, key: str | None, files: int | None, a_minute: int | None
) -> Callable[..., Any]:
    @functools.wraps(view)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if may != PUBLIC:
            recognise()
        if a_minute is not None:
            budgets.count(g.get("actor"), view.__name__, a_minute)
        if may not in {PUBLIC, SIGNED_IN} and not (or_may and g.actor.may(or_may)):
            g.actor.must(may)
        if files is not None:
            request.max_content_length = files
        refuse_repeated_parameters()
        g.claims = key is not None
        if key == "required" and "Idempotency-Key" not in request.headers:
            raise errors.IdempotencyKeyRequired()
        return view(*args, **kwargs)

    wrapper.scope = may  # type: ignore[attr-defined]
    wrapper.or_scope = or_may  # type: ignore[attr-defined]
    return wrapper


def recognise() -> None:
    """From here on it is known who calls, by the key that he shows.

    Raises:
        Unauthorized: he shows none that is good.
    """
    try:
        g.actor = api_keys.authenticate(request.headers.get("Authorization"))
    except errors.Unauthorized:
        budgets.count(None)  # whoever guesses keys is a stranger
        raise
    db.see(g.actor.branch_id)


def refuse_repeated_parameters() -> None:
    """Raises:
    InvalidInput: the address says one parameter twice; which of the values is meant cannot be known.
    """
    if request.query_string:
        twice = [name for name, values in request.args.lists() if len(values) > 1]
        if twice:
            raise InvalidInput([Fault(f"?{name}", "repeated_parameter") for name in sorted(twice)])


class App(Flask):
    """Flask whose views run again, whole, when the database allows it."""

    json_provider_class = _Json
    request_class = uploads.Request

    def dispatch_request(self) -> Any:
        repeatable = request.method in {"GET", "HEAD"} or "Idempotency-Key" in request.headers
        return db.retrying(super().dispatch_request, repeatable=repeatable)


def set_up(app: Flask, show_page: Callable[[Problem, str], Response]) -> None:
    """Request ids, and every failure as a problem: JSON under /v1 and /health, else a page."""

    def page_of(problem: Problem) -> Response:
        try:
            return show_page(problem, lang())
        except Exception as error:
            # What every page has is broken, and so is this one.
            _log.error("a defect of the page of refusal", extra={"told": logs.failure(error)})
            return problem_response(problem)

    def failed(problem: Problem) -> Response:
        answer = problem_response(problem) if for_programs() else page_of(problem)
        answer.status_code = problem.status
        answer.headers.update(problem.headers)
        return answer

    @app.before_request
    def begin() -> None:
        g.walls = db.see_nothing()
        # Given by whoever calls, or by the layer that sees every request first.
        g.request_id = request.headers["X-Request-Id"]
        proxies.must_be_called_right(request.environ, app.config["CLINIC"].public_url)
        if "\0" in request.path:
            raise errors.NotFound()  # nothing has such a name, and the database takes no such text

    @app.teardown_request
    def end(_error: BaseException | None) -> None:
        if "walls" in g:
            db.see_as_before(g.pop("walls"))

    @app.after_request
    def headers(response: Response) -> Response:
        if request.url_rule is not None:
            request.environ[observing.ROUTE] = request.url_rule.rule
        if "actor" in g:
            request.environ[observing.ACTOR] = actor().label
        response.headers["X-Request-Id"] = request_id()
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    @app.errorhandler(Problem)
    def named(problem: Problem) -> Response:
        return failed(problem)

    @app.errorhandler(idempotency.Replay)
    def replayed(replay: idempotency.Replay) -> Response:
        response = shown(replay.answer)
        response.headers["Idempotency-Replayed"] = "true"
        return response

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> Response | HTTPException:
        if error.code is None or error.code < 400:
            return error
        problem = _BY_STATUS.get(error.code, errors.InternalError if error.code >= 500 else errors.UnreadableJson)()
        answer = failed(problem)
        for name, text in error.get_headers():
            if name.lower() in {"allow", "retry-after"}:
                answer.headers[name] = text
        return answer

    @app.errorhandler(Exception)
    def broken(error: Exception) -> Response:
        # Neither the exception's text nor the request: both may hold a person's name.
        _log.error("a defect", extra={"told": logs.failure(error)})
        return failed(errors.InternalError())


_BY_STATUS: dict[int, type[Problem]] = {
    400: errors.UnreadableJson,
    404: errors.NotFound,
    405: errors.MethodNotAllowed,
    406: errors.NotAcceptable,
    413: errors.TooLarge,
    415: errors.UnsupportedMediaType,
}


def problem_response(problem: Problem) -> Response:
    """The problem as RFC 9457 JSON in the caller's language."""
    return Response(dumped(problem.as_json(lang(), request_id())), mimetype="application/problem+json")


def lang() -> str:
    """The language of this answer: ?lang=, on pages the one chosen there before, else Accept-Language, else ru."""
    if (asked := request.args.get("lang")) in LANGUAGES:
        return asked
    if not for_programs() and (chosen := request.cookies.get("lang")) in LANGUAGES:
        return chosen
    return request.accept_languages.best_match(LANGUAGES, "ru")


def for_programs() -> bool:
    """Whether programs, not people, read the answer."""
    return request.path.startswith(("/v1/", "/health/", "/metrics"))


def request_id() -> str:
    return str(g.get("request_id", ""))


def actor() -> Actor:
    """Who makes this request; a route's contract has seen to it that somebody does."""
    return cast(Actor, g.actor)


@contextmanager
def change() -> Iterator[Change]:
    """The transaction of this request's command, under its Idempotency-Key when it has one.

    Raises:
        Replay: answered before; the same answer goes out again.
    """
    with command.change(actor(), claim=_claim(), request_id=request_id()) as made:
        yield made


def _claim() -> idempotency.Claim | None:
    key = request.headers.get("Idempotency-Key")
    if key is None or not g.get("claims"):
        return None
    if not _KEY.fullmatch(key):
        raise InvalidInput([Fault("Idempotency-Key", "wrong_idempotency_key")])
    content = uploads.digests() if "parts" in g else body()
    return idempotency.Claim(actor().id, key, idempotency.fingerprint(request.method, _address(), content))


def _address() -> str:
    """The path with the parameters that change what is done; the language of the answer does not."""
    asked = sorted((name, value) for name, value in request.args.items() if name != "lang")
    return f"{request.path}?{urlencode(asked)}" if asked else request.path


def shown(answer: idempotency.Answer) -> Response:
    """A command's answer as a response."""
    return reply(answer.body, answer.status, answer.headers)


def reply(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """`content` as JSON."""
    response = Response(dumped(content), status, mimetype="application/json")
    if headers:
        response.headers.update(headers)
    return response


def etag(object_id: UUID, version: int) -> str:
    """The strong ETag of an object's version."""
    return f'"{object_id.hex}-{version}"'


def must_match(current: str) -> None:
    """Check If-Match against the ETag that is current, under the row's lock.

    Raises:
        PreconditionRequired: there is no If-Match.
        PreconditionFailed: it names another version; the answer tells the current one.
    """
    if "If-Match" not in request.headers:
        raise errors.PreconditionRequired()
    if not request.if_match.contains_raw(current) and not request.if_match.contains(current.strip('"')):
        raise errors.PreconditionFailed(current=current)
