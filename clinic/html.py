"""The HTML edge: who may see a page, forms that only our own pages can send, languages, what templates are given.

What `http` is to JSON this is to pages. Nothing needs JavaScript; the views stand in `pages` of each package.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import urlencode, urlsplit

from flask import Flask, Response, current_app, g, redirect, request, url_for
from jinja2 import StrictUndefined
from markupsafe import Markup, escape
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.wrappers import Response as AnyResponse

from clinic import budgets, clock, dates, db, http, money, sessions, sign_in
from clinic.auth import Actor
from clinic.errors import DatabaseAway, Fault, InvalidInput, Problem, Refused, Unauthorized
from clinic.sessions import Session, Step
from clinic.settings import Settings

View = TypeVar("View", bound=Callable[..., Any])
_READING = ("GET", "HEAD")
_LANGUAGE_KEPT = 365 * 24 * 3600
_MARK_KEPT = 180 * 24 * 3600
_STEPS: dict[Step, str] = {
    "code": "/sign-in/code",
    "password": "/account/password",
    "enrolment": "/account/second-factor",
}
"""Where somebody takes the step that must be taken before all else."""
_LOCAL = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*")


class SignInNeeded(Unauthorized):
    """You are signed out.

    Nothing was changed. Sign in, go back to the form and send it again."""

    ru = "Вы не вошли в систему\n\nНичего не изменено. Войдите, вернитесь к форме и отправьте её снова."


class ForeignForm(Refused):
    """This form does not come from a page of ours, or it is from before you signed in.

    Nothing was changed. Open the page again and send the form once more."""

    ru = (
        "Эта форма не с нашей страницы или открыта до вашего входа\n\n"
        "Ничего не изменено. Откройте страницу снова и отправьте форму ещё раз."
    )


@dataclass(frozen=True)
class Door:
    """A place the start page and the menu lead to; `needs` are the scopes without which it stays closed."""

    place: int
    path: str
    name: tuple[str, str]
    about: tuple[str, str]
    needs: tuple[str, ...]
    is_there: Callable[[Settings], bool]

    def is_open_to(self, actor: Actor | None) -> bool:
        return not self.needs or (actor is not None and all(actor.may(scope) for scope in self.needs))


doors: list[Door] = []
"""What the menu offers; packages above add theirs by `door`."""


def door(
    place: int,
    path: str,
    name: tuple[str, str],
    about: tuple[str, str],
    *needs: str,
    is_there: Callable[[Settings], bool] = lambda _: True,
) -> None:
    """Put a page into the menu, at its place there; texts are (ru, en). Settings may say that it is not there."""
    doors.append(Door(place, path, name, about, needs, is_there))
    doors.sort(key=lambda each: each.place)


def page(
    *,
    may: str,
    during: Collection[str] = (),
    files: int | None = None,
    too_large: Callable[[], AnyResponse] | None = None,
    a_minute: int | None = budgets.USUAL,
) -> Callable[[View], View]:
    """A page for signed-in people who have the scope `may`, for all of them with `http.SIGNED_IN`, or for everybody
    with `http.PUBLIC`.

    Strangers who ask to read are sent to sign in, and who must take a step before all else to that step, unless the
    page is one `during` which it is taken. An address that says a parameter twice is refused: no form of ours has two
    fields of a name that go into an address. What changes anything comes from a form of ours. A form that brings a file
    may have `files` bytes; one that has more is not read, and `too_large` answers it. What is costly may be had
    `a_minute` times; None is for what everybody may see and is made of the program alone: requests are not counted,
    and with the database away it is shown as strangers see it.
    """

    def decorate(view: View) -> View:
        @functools.wraps(view)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            changes = request.method not in _READING
            if changes:
                _must_come_from_here()
            known = _caller(may, changes, view.__name__, a_minute)
            if may != http.PUBLIC:
                waits = known is not None and known.step is not None and known.step not in during
                if changes and (known is None or waits):
                    raise SignInNeeded()
                if known is None or waits:
                    return redirect(sign_in_address(known.step if known else None), 303)
                if may != http.SIGNED_IN:
                    known.actor.must(may)
                if changes:
                    if files is not None:
                        request.max_content_length = files
                    try:
                        must_be_of_this_session()
                        _must_be_text()
                    except RequestEntityTooLarge:
                        if too_large is None:
                            raise
                        return too_large()
            http.refuse_repeated_parameters()
            return view(*args, **kwargs)

        wrapper.scope = may  # type: ignore[attr-defined]
        return cast(View, wrapper)

    return decorate


def _caller(may: str, changes: bool, what: str, a_minute: int | None) -> Session | None:
    """Who asks for a page, his request counted; None is a stranger."""
    if a_minute is None:
        return _recognise_at_best()
    known = _recognise() if may != http.PUBLIC or not (changes or http.for_programs()) else None
    budgets.count(known.actor if known else None, what, a_minute)
    return known


def sign_in_address(step: Step | None = None) -> str:
    """Where to sign in, or to take this step of it, and come back to the page asked for."""
    wanted = request.full_path.rstrip("?")
    address = _STEPS[step] if step else url_for("pages.sign_in")
    return f"{address}?{urlencode({'next': wanted})}" if wanted != "/" else address


def local(path: str | None) -> str:
    """`path` if it leads to a page of ours, else the start page: nobody is sent away through us."""
    return path if path and _LOCAL.fullmatch(path) else "/"


def _recognise() -> Session | None:
    """Who looks at this page, if it is somebody signed in; also for `http.actor` and the templates."""
    if (token := session()) is None:
        return None
    try:
        found = sessions.find(token)
        db.see(found.actor.branch_id)
    except Unauthorized:
        return None
    g.session, g.actor = found, found.actor
    return found


def _recognise_at_best() -> Session | None:
    """As `_recognise`; nobody while the database is away."""
    try:
        return None if http.for_programs() else db.retrying(_recognise, repeatable=True)
    except DatabaseAway:
        return None


def own_session() -> Session:
    """The session of whoever looks at this page, which is for people who are signed in."""
    return cast(Session, g.session)


def visitor() -> sign_in.Visitor:
    """Where this request comes from, for signing in."""
    return sign_in.Visitor(
        request.remote_addr,
        request.cookies.get(_mark_cookie()),
        sessions.device(request.headers.get("User-Agent", "")),
        http.request_id(),
    )


def _must_come_from_here() -> None:
    # Browsers send Origin with every form; what sends none is no browser and has no cookie to misuse.
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc not in _our_hosts():
        raise ForeignForm()
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        raise ForeignForm()


def _our_hosts() -> set[str]:
    # A proxy may not pass on the Host people see, so the public address counts too.
    return {request.host, urlsplit(settings().public_url or "").netloc} - {""}


def must_be_of_this_session() -> None:
    """Raises:
    ForeignForm: the form was not given to this session.
    """
    sent = request.form.get("form_token", "")
    if not hmac.compare_digest(sent.encode(), form_token().encode()):
        raise ForeignForm()


def _must_be_text() -> None:
    """Raises:
    InvalidInput: a field has what nobody types and the database does not take.
    """
    if wrong := sorted({name for name, text in request.form.items(multi=True) if "\0" in text}):
        raise InvalidInput([Fault(f"/{name}", "not_text") for name in wrong])


def session() -> str | None:
    """The token of this visitor's session cookie."""
    return request.cookies.get(_session_cookie()) or None


def form_token() -> str:
    """What our forms carry in this session; empty for strangers."""
    token = session()
    return sessions.form_token(token) if token else ""


def remember(response: AnyResponse, token: str) -> None:
    """Give the visitor the session cookie; it ends with the browser, or when the session does."""
    response.set_cookie(_session_cookie(), token, path="/", secure=_secure(), httponly=True, samesite="Lax")


def keep_for_return(response: AnyResponse, kept: str, path: str, seconds: int) -> None:
    """Let the browser keep something for its way back to `path`; an empty text takes it away."""
    response.set_cookie(
        "provider", kept, max_age=seconds if kept else 0, path=path, secure=_secure(), httponly=True, samesite="Lax"
    )


def mark(response: AnyResponse, mark: str) -> None:
    """Let the browser be known as one that somebody has signed in from, where there is a mark."""
    if mark:
        response.set_cookie(
            _mark_cookie(), mark, max_age=_MARK_KEPT, path="/", secure=_secure(), httponly=True, samesite="Lax"
        )


def forget(response: AnyResponse) -> None:
    """Take the session cookie away."""
    response.delete_cookie(_session_cookie(), path="/", secure=_secure(), httponly=True, samesite="Lax")


def _session_cookie() -> str:
    # The prefix is refused by browsers without Secure, and Secure is refused without https.
    return "__Host-session" if _secure() else "session"


def _mark_cookie() -> str:
    return "__Host-known" if _secure() else "known"


def _secure() -> bool:
    return settings().over_https


def settings() -> Settings:
    """The settings of this application."""
    return cast(Settings, current_app.config["CLINIC"])


def refused(shown: str, refusal: Problem | None, status: int = 200) -> Response:
    """A page that stands in place of the one hoped for, with the refusal's status and headers, or with none."""
    response = Response(shown, refusal.status if refusal else status)
    if refusal and "Retry-After" in refusal.headers:
        response.headers["Retry-After"] = refusal.headers["Retry-After"]
    return response


def set_up(app: Flask) -> None:
    """What every template is given, and the headers of pages and static files."""
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters.update(
        ticked=_ticked,
        given=lambda named: {name: value for name, value in named.items() if value},
        rubles=lambda amount: money.display(Decimal(amount)),
        whole_rubles=whole_rubles,
        amount=amount,
        decimal=Decimal,
        quantity=lambda quantity: str(quantity).replace(".", ","),
        day=lambda day: dates.short(_date(day), http.lang()),
        moment=lambda at: dates.moment(clock.local(at), http.lang()),
        long_day=lambda day: dates.long(_date(day), http.lang()),
    )
    app.context_processor(_given_to_templates)
    app.after_request(_headers)


def whole_rubles(amount: Decimal | str) -> str:
    """«67 200 ₽»: kopecks only where there are some."""
    return money.display(Decimal(amount)).replace(",00", "")


def amount(sum_: Decimal | str) -> str:
    """«67 200,00», for columns whose heading names the currency."""
    return money.display(Decimal(sum_)).removesuffix(f"{money.NBSP}₽")


def _ticked(text: str) -> Markup:
    """Text whose `names for programs` are shown as such."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))  # escaped just before  # nosec B704


def _date(day: date | str) -> date:
    return date.fromisoformat(day) if isinstance(day, str) else day


def _given_to_templates() -> dict[str, Any]:
    lang = http.lang()
    actor = g.get("actor")
    return {
        "lang": lang,
        "t": lambda ru, en: ru if lang == "ru" else en,
        "actor": actor,
        "form_token": form_token(),
        "doors": [each for each in doors if each.is_there(settings()) and each.is_open_to(actor)],
        "behind": _door_behind(request.path),
        "here": request.path,
        "other_language": _same_page_in("en" if lang == "ru" else "ru"),
        "static_url": static_url,
    }


def _door_behind(path: str) -> Door | None:
    """The door that leads to the page at `path`: of several the one whose path says most."""
    inside = [each for each in doors if path == each.path or path.startswith(f"{each.path}/")]
    return max(inside, key=lambda each: len(each.path), default=None)


def _same_page_in(lang: str) -> str:
    asked = request.args.to_dict() | {"lang": lang}
    return f"{request.path}?{urlencode(asked)}"


def static_url(name: str) -> str:
    """The address of a static file, with its content's hash: a new version is a new address."""
    return url_for("static", filename=name, v=_fingerprint(Path(current_app.static_folder or "") / name))


@functools.cache
def _fingerprint(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def _headers(response: Response) -> Response:
    if request.endpoint == "static":
        if response.status_code in (200, 304) and "v" in request.args:
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    elif not http.for_programs():
        response.headers["Content-Language"] = http.lang()
        _remember_language(response)
    return response


def _remember_language(response: Response) -> None:
    asked = request.args.get("lang")
    if asked in http.LANGUAGES and asked != request.cookies.get("lang"):
        response.set_cookie(
            "lang", asked, max_age=_LANGUAGE_KEPT, path="/", secure=_secure(), httponly=True, samesite="Lax"
        )
