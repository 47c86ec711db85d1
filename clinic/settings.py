"""Every setting of the service in one frozen object, read from the environment once, at start.

A wrong value stops the start and is named; all wrong values are named together.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from clinic import addresses, database_hosts, proxies
from clinic.auth import ROLES

PASSING = "passing-"
"""How a secret key begins that is good for one start only, and so must not seal what is kept."""
_DIFFERENT = 10
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


class WrongSettings(Exception):
    """One or more settings cannot be used; the message names each of them on a line of its own."""


def _text(raw: str) -> str:
    return raw


def _path(raw: str) -> Path:
    return Path(raw).expanduser()


def _flag(raw: str) -> bool:
    if raw.lower() in {"1", "true", "yes", "on"}:
        return True
    if raw.lower() in {"0", "false", "no", "off"}:
        return False
    raise ValueError("say 1 or 0")


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(raw: str) -> int:
        if not raw.isascii() or not raw.isdigit() or not low <= int(raw) <= high:
            raise ValueError(f"a whole number from {low} to {high} is needed")
        return int(raw)

    return read


def _choice(*allowed: str) -> Callable[[str], str]:
    def read(raw: str) -> str:
        if raw not in allowed:
            raise ValueError(f"one of {', '.join(allowed)} is needed")
        return raw

    return read


def _zone(raw: str) -> str:
    try:
        ZoneInfo(raw)
    except (KeyError, ValueError, OSError) as exc:
        raise ValueError("no such time zone; an IANA name such as Europe/Moscow is needed") from exc
    return raw


def _database(raw: str) -> str:
    if not raw.startswith(("postgresql://", "postgres://")):
        raise ValueError("a postgresql:// URL is needed")
    return raw


def _url(raw: str) -> str:
    if not raw.startswith(("http://", "https://")):
        raise ValueError("an http:// or https:// URL is needed")
    return raw


def _issuer(raw: str) -> str:
    url = urlsplit(_url(raw))
    if url.scheme == "http" and url.hostname not in _THIS_MACHINE:
        raise ValueError("https:// is needed: what it says decides who comes in")
    if url.query or url.fragment:
        raise ValueError("an address without query and fragment is needed")
    return raw


def _public_url(raw: str) -> str:
    if _url(raw).endswith("/"):
        raise ValueError("an http:// or https:// URL without a slash at its end is needed")
    return raw


def _secret(raw: str) -> str:
    if len(raw) < 32:
        raise ValueError("at least 32 characters are needed")
    return raw


def _allowed(raw: str) -> str:
    addresses.allowed(raw)
    return raw


def _proxies(raw: str) -> str:
    proxies.trusted(raw)
    return raw


def _hosts(raw: str) -> frozenset[str]:
    return frozenset(each.strip() for each in raw.split(",")) - {""}


def _names_of(known: Callable[[], Iterable[str]]) -> Callable[[str], frozenset[str]]:
    def read(raw: str) -> frozenset[str]:
        wanted = {each.strip() for each in raw.split(",")} - {""}
        if unknown := sorted(wanted - set(known())):
            raise ValueError(f"{', '.join(unknown)} is none of {', '.join(known())}")
        return frozenset(wanted)

    return read


def _setting(name: str, default: Any, read: Callable[[str], Any], meaning: str, *, secret: bool = False) -> Any:
    """`secret` ones may also stand in a file that NAME_FILE names."""
    return field(default=default, metadata={"name": name, "read": read, "meaning": meaning, "secret": secret})


def _roles_by_claim(raw: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """`groups:clinic-admins=administrator,front-desk=reception`: the claim, and the role for each of its values."""
    claim, colon, pairs = raw.partition(":")
    found = [tuple(part.strip() for part in pair.split("=")) for pair in pairs.split(",") if pair.strip()]
    if not colon or not claim.strip() or not found or any(len(pair) != 2 for pair in found):
        raise ValueError("claim:value=role,value=role is needed")
    if unknown := sorted({role for _, role in found} - ROLES.keys()):
        raise ValueError(f"{', '.join(unknown)} is none of {', '.join(ROLES)}")
    return claim.strip(), tuple((value, role) for value, role in found)


def read_secret(path: Path) -> str:
    """The text of a secret's file.

    Raises:
        ValueError: it cannot be read, or others may read it too.
    """
    try:
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ValueError(f"others may read {path}: chmod 600 it")
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise ValueError(f"{path} cannot be read: {getattr(exc, 'strerror', None) or 'not text'}") from exc


@dataclass(frozen=True)
class Settings:
    """Where the service listens, where its data lies, and the clinic's own rules. Units stand in the meanings."""

    env: str = _setting(
        "CLINIC_ENV", "development", _choice("development", "production"),
        "`production` loads no sample data and issues no invoice without the branch's requisites",
    )  # fmt: skip
    host: str = _setting("CLINIC_HOST", "127.0.0.1", _text, "address the server listens on")
    port: int = _setting("CLINIC_PORT", 8000, _whole(1, 65535), "port the server listens on")
    data: Path | None = _setting(
        "CLINIC_DATA", None, _path, "folder of the embedded database; by default `var` beside the program"
    )
    database_url: str | None = _setting(
        "DATABASE_URL", None, _database, "PostgreSQL 15 or newer to use in place of the embedded one", secret=True
    )
    database_owner_url: str | None = _setting(
        "DATABASE_OWNER_URL",
        None,
        _database,
        "the same database as the owner who migrates; by default DATABASE_URL",
        secret=True,
    )
    database_without_tls: frozenset[str] = _setting(
        "CLINIC_DATABASE_WITHOUT_TLS", frozenset(), _hosts,
        "hosts, with commas between, to which production may go without TLS: containers of this very machine",
    )  # fmt: skip
    timezone: str = _setting("CLINIC_TIMEZONE", "Europe/Moscow", _zone, "time zone of business dates")
    quote_days: int = _setting(
        "CLINIC_QUOTE_DAYS", 30, _whole(1, 3650), "days a quote is valid for after its own, the last one included"
    )
    due_days: int | None = _setting(
        "CLINIC_DUE_DAYS",
        None,
        _whole(0, 3650),
        "days from its making in which an invoice is to be paid; by default none",
    )
    quote_purge_days: int = _setting(
        "CLINIC_QUOTE_PURGE_DAYS", 90, _whole(30, 3650),
        "days after its last one at which a quote that came to nothing is purged with the persons it names",
    )  # fmt: skip
    retention_years: int = _setting(
        "CLINIC_RETENTION_YEARS", 5, _whole(5, 100), "years for which documents keep names after the year they are of"
    )
    cancel_grace_minutes: int = _setting(
        "CLINIC_CANCEL_GRACE_MINUTES", 30, _whole(0, 1440),
        "minutes in which whoever issued an invoice may cancel it without the right to cancel others'",
    )  # fmt: skip
    public_url: str | None = _setting(
        "CLINIC_PUBLIC_URL", None, _public_url, "address people open; with https, cookies are sent over https only"
    )
    trusted_proxies: str | None = _setting(
        "CLINIC_TRUSTED_PROXIES", None, _proxies,
        "addresses and networks, with commas between, of the proxies that may say by X-Forwarded-For who called",
    )  # fmt: skip
    secret_key: str | None = _setting(
        "CLINIC_SECRET_KEY", None, _secret,
        "signs cursors and encrypts stored secrets; by default made at the first start and kept in the data folder",
        secret=True,
    )  # fmt: skip
    secret_key_before: str | None = _setting(
        "CLINIC_SECRET_KEY_BEFORE", None, _secret,
        "the secret key before this one, while what it sealed is sealed anew",
        secret=True,
    )  # fmt: skip
    session_idle_minutes: int = _setting(
        "CLINIC_SESSION_IDLE_MINUTES", 30, _whole(5, 720), "minutes without use after which people must sign in again"
    )
    session_hours: int = _setting(
        "CLINIC_SESSION_HOURS", 12, _whole(1, 168), "hours after which people must sign in again in any case"
    )
    require_second_factor: frozenset[str] = _setting(
        "CLINIC_REQUIRE_SECOND_FACTOR", frozenset(), _names_of(lambda: ROLES),
        "roles, with commas between, that must have a second factor",
    )  # fmt: skip
    oidc_issuer: str | None = _setting(
        "CLINIC_OIDC_ISSUER", None, _issuer, "address of the clinic's identity provider, as it names itself"
    )
    oidc_client_id: str | None = _setting("CLINIC_OIDC_CLIENT_ID", None, _text, "what the provider calls this service")
    oidc_client_secret: str | None = _setting(
        "CLINIC_OIDC_CLIENT_SECRET", None, _text, "the secret shared with the provider; none for a public client",
        secret=True,
    )  # fmt: skip
    oidc_roles: tuple[str, tuple[tuple[str, str], ...]] = _setting(
        "CLINIC_OIDC_ROLES", ("", ()), _roles_by_claim,
        "a claim, and the role each of its values gives: groups:clinic-admins=administrator,front-desk=reception",
    )  # fmt: skip
    password_sign_in: bool = _setting("CLINIC_PASSWORD_SIGN_IN", True, _flag, "whether people may sign in by password")
    workers: int = _setting("CLINIC_WORKERS", 2, _whole(1, 64), "server processes")
    threads: int = _setting("CLINIC_THREADS", 4, _whole(1, 64), "threads, and database connections, of each process")
    requests_per_minute: int = _setting(
        "CLINIC_REQUESTS_PER_MINUTE", 1200, _whole(0, 1_000_000),
        "requests a minute of each key, person and stranger's address, over all processes; 0: no limit at all",
    )  # fmt: skip
    pin_workers: bool = _setting(
        "CLINIC_PIN_WORKERS", False, _flag, "keep each server process on a processor core of its own (Linux)"
    )
    jobs: bool = _setting(
        "CLINIC_JOBS", True, _flag, "run the worker, which does long work and the chores, beside the server"
    )
    audit_file: Path | None = _setting(
        "CLINIC_AUDIT_FILE", None, _path, "file to which the journal's signed head is added every day; best elsewhere"
    )
    docs: bool | None = _setting(
        "CLINIC_DOCS", None, _flag,
        "whether strangers may read the contract's description; by default they may, but in production not",
    )  # fmt: skip
    metrics_token: str | None = _setting(
        "CLINIC_METRICS_TOKEN",
        None,
        _secret,
        "what a collector shows to read /metrics; without it there is none",
        secret=True,
    )
    otlp_url: str | None = _setting(
        "CLINIC_OTLP_URL", None, _url, "where spans are sent, OTLP over HTTP: http://collector:4318/v1/traces"
    )
    log_requests: bool = _setting("CLINIC_LOG_REQUESTS", True, _flag, "write a line of the log for each request")
    webhooks: bool = _setting("CLINIC_WEBHOOKS", True, _flag, "run the deliverer of webhooks beside the server")
    webhooks_allow: str | None = _setting(
        "CLINIC_WEBHOOKS_ALLOW", None, _allowed,
        "hosts and networks, separated by commas, that webhooks may be sent to though they are not public, by http too",
    )  # fmt: skip
    webhooks_keep_days: int = _setting(
        "CLINIC_WEBHOOKS_KEEP_DAYS", 30, _whole(4, 3650), "days for which deliveries of webhooks are kept"
    )
    pg_bindir: Path | None = _setting(
        "PG_BINDIR", None, _path, "folder of PostgreSQL programs to use for the embedded database"
    )

    @property
    def production(self) -> bool:
        return self.env == "production"

    @property
    def shows_docs(self) -> bool:
        """Whether the page /docs is there, and strangers may have the description that programs read."""
        return not self.production if self.docs is None else self.docs

    @property
    def over_https(self) -> bool:
        """Whether people reach the service by https."""
        return (self.public_url or "").startswith("https://")


def from_environment(env: Mapping[str, str] | None = None) -> Settings:
    """The settings of this process.

    Raises:
        WrongSettings: names every setting that cannot be read and says what it needs.
    """
    env = os.environ if env is None else env
    values: dict[str, Any] = {}
    wrong: list[str] = []
    for each in fields(Settings):
        name = each.metadata["name"]
        try:
            if raw := _given(env, name, secret=each.metadata["secret"]):
                values[each.name] = each.metadata["read"](raw)
        except ValueError as exc:
            wrong.append(f"{name}: {exc}")
    wrong += [f"{name}: no such setting" for name in env if name.startswith("CLINIC_") and name not in known_names()]
    settings = Settings(**values)
    if wrong := wrong or [*_weak(settings, env), *_incomplete(settings)]:
        raise WrongSettings("\n".join(wrong))
    return settings


def _given(env: Mapping[str, str], name: str, *, secret: bool) -> str:
    raw, file = env.get(name, "").strip(), env.get(f"{name}_FILE", "").strip() if secret else ""
    if raw and file:
        raise ValueError(f"given twice, also by {name}_FILE")
    return read_secret(Path(file).expanduser()) if file else raw


def _incomplete(settings: Settings) -> Iterator[str]:
    if settings.oidc_issuer is None:
        if not settings.password_sign_in:
            yield "CLINIC_PASSWORD_SIGN_IN: without CLINIC_OIDC_ISSUER nobody could sign in"
        return
    if settings.secret_key is None and settings.database_url:
        yield "CLINIC_SECRET_KEY: needed with CLINIC_OIDC_ISSUER and DATABASE_URL"
    for name, value in (
        ("CLINIC_OIDC_CLIENT_ID", settings.oidc_client_id),
        ("CLINIC_OIDC_ROLES", settings.oidc_roles[1]),
        ("CLINIC_PUBLIC_URL", settings.public_url),
    ):
        if not value:
            yield f"{name}: needed with CLINIC_OIDC_ISSUER"


def _weak(settings: Settings, env: Mapping[str, str]) -> Iterator[str]:
    """What is not good enough for a clinic at work, though it is for a trial."""
    if not settings.production:
        return
    key = settings.secret_key
    if key is None and settings.database_url:
        yield "CLINIC_SECRET_KEY: needed in production with DATABASE_URL: stored secrets are lost without it"
    if key is not None and len(set(key)) < _DIFFERENT:
        yield f"CLINIC_SECRET_KEY: too simple for production: at least {_DIFFERENT} different characters are needed"
    yield from _open_to_others(settings, env)
    url = urlsplit(settings.public_url or "")
    if url.scheme == "http" and url.hostname not in _THIS_MACHINE:
        yield "CLINIC_PUBLIC_URL: https:// is needed in production: passwords would go over the network in the open"


def _open_to_others(settings: Settings, env: Mapping[str, str]) -> Iterator[str]:
    for name, url in (("DATABASE_URL", settings.database_url), ("DATABASE_OWNER_URL", settings.database_owner_url)):
        hosts = database_hosts.unguarded(url, env) if url else []
        if open_ := [each for each in hosts if each not in settings.database_without_tls]:
            yield (
                f"{name}: production goes to {', '.join(open_)} over TLS alone: add sslmode=verify-full and "
                "sslrootcert=FILE (or sslrootcert=system) to it, or name what is a container of this very machine in "
                "CLINIC_DATABASE_WITHOUT_TLS"
            )


def written(value: Any) -> str:
    """A setting as the environment has it."""
    match value:
        case bool():
            return str(int(value))
        case frozenset():
            return ",".join(sorted(value))
        case (str(claim), tuple(roles)):
            return f"{claim}:{','.join(f'{each}={role}' for each, role in roles)}" if roles else ""
        case _:
            return str(value)


def _names() -> frozenset[str]:
    return frozenset(each.metadata["name"] for each in fields(Settings))


def known_names() -> frozenset[str]:
    """All names in the environment that mean something to us."""
    return _names() | {f"{each.metadata['name']}_FILE" for each in fields(Settings) if each.metadata["secret"]}
