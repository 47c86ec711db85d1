"""What the URL of a database says of the way there: over which hosts, and whether nobody in between can pose as them.

Read here by hand, since libpq, which could do it, takes longer to load than the supervisor of `serve` to start.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from urllib.parse import parse_qsl, unquote

_CERTAIN = "verify-full"
"""The one `sslmode` that asks for TLS, a certificate of a known authority and the host's own name in it, and that goes
on by no other way where one of them is missing."""
_BY_ENVIRONMENT = {"host": "PGHOST", "hostaddr": "PGHOSTADDR", "service": "PGSERVICE", "sslmode": "PGSSLMODE"}


def unguarded(url: str, env: Mapping[str, str]) -> list[str]:
    """The hosts that are not this machine, where it is not made sure of TLS to each of them; else none.

    What the URL leaves out stands in libpq's variables in `env`.
    """
    given = dict(_said(url))
    said = {name: env[variable] for name, variable in _BY_ENVIRONMENT.items() if env.get(variable)} | given
    # A service is looked up in a file, which may name any host, and says its way there before the environment does.
    mode = (given if "service" in said else said).get("sslmode")
    if mode == _CERTAIN:
        return []
    reached = [*said.get("host", "").split(","), *said.get("hostaddr", "").split(","), said.get("service", "")]
    return sorted({each for each in reached if each and not _is_this_machine(each)})


def _said(url: str) -> Iterator[tuple[str, str]]:
    """Parameters of the connection; of what is said twice the last one counts."""
    before, _, query = url.partition("://")[2].partition("?")
    if hosts := before.partition("/")[0].rpartition("@")[2]:
        yield "host", ",".join(unquote(_without_port(each)) for each in hosts.split(","))
    for name, value in parse_qsl(query, keep_blank_values=True):
        yield ("sslmode", "require") if (name, value) == ("ssl", "true") else (name, value)


def _without_port(host: str) -> str:
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def _is_this_machine(host: str) -> bool:
    if host.startswith(("/", "@")):  # the folder of a socket, or a socket without one
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
