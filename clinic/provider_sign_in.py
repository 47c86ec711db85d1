"""Signing in by the clinic's identity provider: OpenID Connect Core 1.0, code flow with PKCE (RFC 7636), state, nonce.

We ask only addresses of the configured issuer's own origin, follow no redirect and wait for seconds at most. An account
belongs to (issuer, subject) and is made at the first sign-in of somebody whom the provider gives a role with us; one
that exists already under the same login is never taken over. What the provider says of the role holds at each sign-in.
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets
import threading
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import orjson
import requests
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from clinic import clock, command, db, sealing, sessions, sign_in, staff
from clinic.auth import EVERYTHING, Actor
from clinic.command import Change
from clinic.identity_provider import Provider, ProviderAway, ProviderRefused

WITHIN = 600
"""Seconds somebody has to sign in over there."""
_TIMEOUT = (3.0, 5.0)
_LARGEST = 256 * 1024
_KEPT = 600.0
_LEEWAY = 60
_ALGORITHMS = ["RS256", "PS256", "ES256", "RS384", "ES384", "RS512", "ES512"]
_PROVIDER = Actor(UUID(int=1), "provider", "identity provider", frozenset({EVERYTHING}))


@dataclass(frozen=True)
class Begun:
    """Where to send the browser, and what it must bring back."""

    address: str
    kept: str


@dataclass(frozen=True)
class _Metadata:
    authorization: str
    token: str
    keys: KeySet
    read_at: float


_known: dict[str, _Metadata] = {}
_reading = threading.Lock()


def begin(provider: Provider, next_: str) -> Begun:
    """Begin a sign-in over there, and come back to the page `next_`.

    Raises:
        ProviderAway: it does not answer, or not as a provider does.
    """
    metadata = _metadata(provider)
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    address, _ = _client(provider).create_authorization_url(
        metadata.authorization, state=state, nonce=nonce, code_verifier=verifier
    )
    kept = {"state": state, "nonce": nonce, "verifier": verifier, "next": next_, "at": int(clock.now().timestamp())}
    return Begun(address, base64.urlsafe_b64encode(sealing.seal("provider_sign_in", orjson.dumps(kept))).decode())


def finish(provider: Provider, kept: str | None, answer: dict[str, str], visitor: sign_in.Visitor) -> tuple[str, str]:
    """The token of a session for who comes back with this answer, and the page he wanted.

    Raises:
        ProviderRefused: this browser has not begun it, it is too old, or the provider says no.
        ProviderAway: the provider does not answer.
    """
    begun = _opened(kept)
    if not hmac.compare_digest(begun["state"].encode(), answer.get("state", "").encode()) or "code" not in answer:
        raise ProviderRefused()
    claims = _claims(provider, answer["code"], begun)
    role = provider.role(claims)
    if role is None:
        raise ProviderRefused()
    with command.change(_PROVIDER, request_id=visitor.request_id) as change:
        staff_id = _account(change, provider, claims, role)
        token = sessions.open_(change.conn, staff_id, None, visitor.device)
        if token is None:
            raise ProviderRefused()
        sign_in.done(change.conn, staff_id, visitor)
    return token, begun["next"]


def _opened(kept: str | None) -> dict[str, Any]:
    try:
        raw = base64.urlsafe_b64decode((kept or "").encode())
        begun: dict[str, Any] = orjson.loads(sealing.opened("provider_sign_in", raw))
    except (sealing.SealBroken, ValueError) as exc:
        raise ProviderRefused() from exc
    if clock.now().timestamp() - begun["at"] > WITHIN:
        raise ProviderRefused()
    return begun


def _claims(provider: Provider, code: str, begun: dict[str, Any]) -> dict[str, Any]:
    """What the provider says of who signed in, once its signature and all that binds it to us are right."""
    metadata = _metadata(provider)
    try:
        token = _client(provider).fetch_token(
            metadata.token, code=code, code_verifier=begun["verifier"], timeout=_TIMEOUT, allow_redirects=False
        )
    except OAuthError as exc:
        raise ProviderRefused() from exc
    except (requests.RequestException, ValueError) as exc:
        raise ProviderAway() from exc
    signed = token.get("id_token") if isinstance(token, dict) else None
    if not isinstance(signed, str):
        raise ProviderRefused()
    try:
        claims = _verified(signed, metadata.keys)
    except JoseError:
        # The provider may have new keys since we read them.
        claims = _verified_anew(provider, signed)
    return _checked(provider, claims, begun["nonce"])


def _verified_anew(provider: Provider, signed: str) -> dict[str, Any]:
    try:
        return _verified(signed, _metadata(provider, fresh=True).keys)
    except JoseError as exc:
        raise ProviderRefused() from exc


def _verified(signed: str, keys: KeySet) -> dict[str, Any]:
    try:
        return jwt.decode(signed, keys, algorithms=_ALGORITHMS).claims
    except ValueError as exc:  # no key of that name, or no JWT at all
        raise JoseError() from exc


def _checked(provider: Provider, claims: dict[str, Any], nonce: str) -> dict[str, Any]:
    """OpenID Connect Core 1.0, section 3.1.3.7."""
    audience = claims.get("aud")
    several = isinstance(audience, list) and len(audience) > 1
    now = int(clock.now().timestamp())
    rules = jwt.JWTClaimsRegistry(
        now=now,
        leeway=_LEEWAY,
        iss={"essential": True, "value": provider.issuer},
        aud={"essential": True, "value": provider.client_id},
        exp={"essential": True},
        iat={"essential": True},
        sub={"essential": True},
        nonce={"essential": True, "value": nonce},
    )
    try:
        rules.validate(claims)
    except JoseError as exc:
        raise ProviderRefused() from exc
    if claims.get("azp", provider.client_id) != provider.client_id or (several and "azp" not in claims):
        raise ProviderRefused()
    if not isinstance(claims["sub"], str) or not 0 < len(claims["sub"]) <= 255:
        raise ProviderRefused()
    return claims


def _account(change: Change, provider: Provider, claims: dict[str, Any], role: str) -> UUID:
    """The account of this subject, with the role given today; a new one at the first time."""
    known: UUID | None = db.value(
        change.conn,
        "SELECT staff_id FROM staff_identity WHERE issuer = %(issuer)s::text AND subject = %(subject)s::text",
        {"issuer": provider.issuer, "subject": claims["sub"]},
    )
    if known is None:
        return _new_account(change, provider, claims, role)
    account = staff.locked(change, known)
    if not account.active:
        raise ProviderRefused()
    if account.role != role:
        staff.edit(change, account, {"role": role})
    return known


def _new_account(change: Change, provider: Provider, claims: dict[str, Any], role: str) -> UUID:
    # Two first sign-ins of one person at once: the second waits here and finds the account made.
    change.conn.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended(%(who)s::text, 0))",
        {"who": f"{provider.issuer} {claims['sub']}"},
    )
    sql = "SELECT staff_id FROM staff_identity WHERE issuer = %(issuer)s::text AND subject = %(subject)s::text"
    named = {"issuer": provider.issuer, "subject": claims["sub"]}
    known: UUID | None = db.value(change.conn, sql, named)
    if known is not None:
        return known
    login = _free_login(change.conn, claims)
    staff_id = staff.open_(change, login, role, None, None)
    change.conn.execute(
        """
        INSERT INTO staff_identity (issuer, subject, staff_id, created_at)
        VALUES (%(issuer)s::text, %(subject)s::text, %(staff)s::uuid, %(now)s::timestamptz)
        """,
        named | {"staff": staff_id, "now": change.at},
    )
    return staff_id


def _free_login(conn: db.Connection, claims: dict[str, Any]) -> str:
    """A login like the name over there; somebody else's is left to him."""
    said = claims.get("preferred_username") or claims.get("email") or ""
    bare = re.sub(r"[^a-z0-9._-]+", "-", str(said).lower().partition("@")[0]).strip("._-")[:48] or "person"
    taken = db.value(conn, "SELECT true FROM staff WHERE login = %(login)s::text", {"login": bare})
    return f"{bare}-{secrets.token_hex(4)}" if taken else bare


def _client(provider: Provider) -> OAuth2Session:
    client = OAuth2Session(
        provider.client_id,
        provider.client_secret,
        scope="openid profile email",
        redirect_uri=provider.back,
        code_challenge_method="S256",
        token_endpoint_auth_method="client_secret_basic" if provider.client_secret else "none",
    )
    client.trust_env = False
    return client


def _metadata(provider: Provider, *, fresh: bool = False) -> _Metadata:
    """What the provider says of itself, read at most once in ten minutes.

    Raises:
        ProviderAway: it does not answer, or not as a provider does.
    """
    with _reading:
        known = _known.get(provider.issuer)
        if known is not None and not fresh and time.monotonic() - known.read_at < _KEPT:
            return known
    found = _read_metadata(provider)
    with _reading:
        _known[provider.issuer] = found
    return found


def _read_metadata(provider: Provider) -> _Metadata:
    told = _read(f"{provider.issuer.rstrip('/')}/.well-known/openid-configuration", provider)
    if told.get("issuer") != provider.issuer:
        raise ProviderAway()
    try:
        keys = KeySet.import_key_set(_read(told["jwks_uri"], provider))  # type: ignore[arg-type]
        metadata = _Metadata(told["authorization_endpoint"], told["token_endpoint"], keys, time.monotonic())
    except (KeyError, TypeError, ValueError, JoseError) as exc:
        raise ProviderAway() from exc
    for address in (metadata.authorization, metadata.token):
        _must_be_its_own(address, provider)
    return metadata


def _read(address: Any, provider: Provider) -> dict[str, Any]:
    _must_be_its_own(address, provider)
    try:
        with requests.Session() as session:
            session.trust_env = False
            with session.get(address, timeout=_TIMEOUT, allow_redirects=False, stream=True) as answer:
                content = answer.raw.read(_LARGEST + 1, decode_content=True)
                found = orjson.loads(content) if answer.status_code == 200 and len(content) <= _LARGEST else None
    except (requests.RequestException, OSError, ValueError) as exc:
        raise ProviderAway() from exc
    if not isinstance(found, dict):
        raise ProviderAway()
    return found


def _must_be_its_own(address: Any, provider: Provider) -> None:
    """Only the issuer's own origin is asked: its word must not send us to an address inside the clinic."""
    if not isinstance(address, str) or _origin(address) != _origin(provider.issuer):
        raise ProviderAway()


def _origin(address: str) -> tuple[str, str | None, int | None]:
    try:
        parts = urlsplit(address)
        return parts.scheme, parts.hostname, parts.port
    except ValueError:
        return "", None, None
