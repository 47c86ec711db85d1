"""Pages that belong to no package above: the start, signing in, what refusals mean, the JSON contract's description."""

from __future__ import annotations

import functools
import hashlib
import logging
import re
import secrets
from dataclasses import dataclass
from typing import Any, cast

import orjson
from flask import Blueprint, Flask, Response, current_app, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from clinic import budgets, errors, forms, html, http, sessions
from clinic.errors import InvalidInput, NotFound, Problem, TooManyRequests
from clinic.second_factor import WrongCode
from clinic.security_headers import CONTENT_POLICY
from clinic.sign_in import PasswordSignInOff, WrongPassword, by_code, by_password

bp = Blueprint("pages", __name__)
bp.record_once(lambda state: html.set_up(cast(Flask, state.app)))
html.door(
    9,
    "/docs",
    ("JSON API", "JSON API"),
    ("Описание интерфейса для других систем клиники", "The interface for the clinic's other systems, described"),
    is_there=lambda settings: settings.shows_docs,
)

# Swagger UI draws its arrows from data: addresses.
_DOCS_POLICY = f"{CONTENT_POLICY}; img-src 'self' data:"
_log = logging.getLogger("clinic.pages")


@functools.cache
def passing_secret() -> str:
    """A secret for this process only, where the settings name none: what it signs is void after a restart."""
    return secrets.token_hex(32)


def problem_page(problem: Problem, lang: str) -> Response:
    """A refusal as a page for people."""
    title, explanation = problem.words(lang)
    faults = problem.faults if isinstance(problem, InvalidInput) else []
    shown = render_template(
        "problem.html",
        problem=problem,
        title=title,
        explanation=explanation,
        messages=[each.message(lang) for each in faults],
        request_id=http.request_id(),
        sign_in=html.sign_in_address() if request.method == "GET" else "/sign-in",
    )
    return Response(shown, problem.status)


@bp.get("/")
@html.page(may=http.PUBLIC, a_minute=None)
def start() -> str:
    return render_template("start.html")


@bp.get("/sign-in")
@html.page(may=http.PUBLIC, a_minute=None)
def sign_in() -> str:
    return _sign_in_page(request.args.get("next"))


@bp.post("/sign-in")
@html.page(may=http.PUBLIC)
def enter() -> AnyResponse:
    login = request.form.get("login", "").strip().lower()
    if not html.settings().password_sign_in:
        raise PasswordSignInOff()
    try:
        opened = by_password(login, request.form.get("password", ""), html.visitor())
    except (WrongPassword, TooManyRequests) as refusal:
        # Without the login: a password typed into the wrong field must not end up in a log.
        _log.warning("sign-in refused: %s", refusal.code())
        return _sign_in_again(login, refusal)
    if old := html.session():
        sessions.end(old)
    response = redirect(html.local(request.form.get("next")), 303)
    html.remember(response, opened.token)
    html.mark(response, opened.mark)
    return response


def _sign_in_again(login: str, refusal: Problem) -> Response:
    return html.refused(_sign_in_page(request.form.get("next"), login, refusal), refusal)


def _sign_in_page(next_: str | None, login: str = "", refusal: Problem | None = None) -> str:
    settings = html.settings()
    return render_template(
        "sign_in.html",
        next=html.local(next_),
        refusal=forms.told(refusal),
        login=login[:64],
        provider=settings.oidc_issuer is not None,
        by_password=settings.password_sign_in,
    )


@bp.get("/sign-in/code")
@html.page(may=http.SIGNED_IN, during=("code",))
def ask_code() -> AnyResponse:
    if html.own_session().step != "code":
        return redirect(html.local(request.args.get("next")), 303)
    return _code_page(request.args.get("next"))


@bp.post("/sign-in/code")
@html.page(may=http.SIGNED_IN, during=("code",))
def enter_code() -> AnyResponse:
    next_ = html.local(request.form.get("next"))
    if html.own_session().step != "code":
        return redirect(next_, 303)
    try:
        token = by_code(html.own_session(), request.form.get("code", "")[:64], html.visitor())
    except (WrongCode, TooManyRequests) as refusal:
        _log.warning("second factor refused: %s", refusal.code())
        return _code_page(next_, refusal)
    response = redirect(next_, 303)
    html.remember(response, token)
    return response


def _code_page(next_: str | None, refusal: Problem | None = None) -> Response:
    words = forms.told(refusal)
    return html.refused(render_template("sign_in_code.html", next=html.local(next_), refusal=words), refusal)


@bp.post("/sign-out")
@html.page(may=http.PUBLIC)
def leave() -> AnyResponse:
    if token := html.session():
        html.must_be_of_this_session()
        sessions.end(token)
    response = redirect("/", 303)
    html.forget(response)
    return response


@bp.get("/problems")
@html.page(may=http.PUBLIC, a_minute=None)
def problems() -> str:
    by_status = sorted(Problem.every().items(), key=lambda item: (item[1].status, item[0]))
    faults = {code: _readable(texts) for code, texts in sorted(errors.FAULTS.items())}
    return render_template("problems.html", problems=by_status, faults=faults)


@bp.get("/problems/<code>")
@html.page(may=http.PUBLIC, a_minute=None)
def problem(code: str) -> str:
    named = Problem.every().get(code)
    texts = errors.FAULTS.get(code)
    if named is None and texts is None:
        raise NotFound()
    return render_template("problem_code.html", code=code, named=named, fault=texts and _readable(texts))


def _readable(texts: tuple[str, str]) -> tuple[str, str]:
    """A fault's texts in general: what only a certain request fills in is left open."""
    ru, en = (re.sub(r"\{\w+\}", "…", text) for text in texts)
    return ru, en


@bp.get("/docs")
@html.page(may=http.PUBLIC, a_minute=None)
def docs() -> Response:
    if not html.settings().shows_docs:
        raise NotFound()
    response = Response(render_template("docs.html", operations=_description().operations))
    response.headers["Content-Security-Policy"] = _DOCS_POLICY
    return response


@bp.get("/v1/openapi.json")
@html.page(may=http.PUBLIC, a_minute=None)
def openapi() -> AnyResponse:
    if not html.settings().shows_docs:
        # Whoever writes a program for the clinic has a key for it.
        http.recognise()
        budgets.count(http.actor())
    made = _description()
    response = Response(made.content, mimetype="application/json")
    response.set_etag(made.etag)
    response.headers["Cache-Control"] = "no-cache"
    return response.make_conditional(request)


@dataclass(frozen=True)
class _Description:
    """The OpenAPI description as it goes out, and its operations for readers without scripts."""

    content: bytes
    etag: str
    operations: list[tuple[str, str, str]]


def _description() -> _Description:
    """Made once per application: the contract does not change while it runs."""
    app: Flask = current_app
    if "clinic-description" not in app.extensions:
        spec = app.extensions["clinic-api"].description()
        # Defaults of money and quantities are Decimals here and text in JSON.
        content = orjson.dumps(spec, default=str)
        etag = hashlib.sha256(content).hexdigest()[:32]
        app.extensions["clinic-description"] = _Description(content, etag, _operations(spec))
    made: _Description = app.extensions["clinic-description"]
    return made


def _operations(spec: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [
        (method.upper(), path, str(operation.get("summary", "")))
        for path, operations in sorted(spec["paths"].items())
        for method, operation in operations.items()
        if method in {"get", "post", "put", "patch", "delete"}
    ]
