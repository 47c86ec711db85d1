"""Who called, when a proxy stands in front: only proxies that are named may say it, and all other words are taken off.

Anybody can write a header. So X-Forwarded-For is read from its end, hop by hop, as long as the hop that wrote it is a
proxy of ours; the first that is none has called. What the service is called and whether it is reached over https stands
in the settings alone.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from clinic import addresses
from clinic.addresses import Address, Allowed
from clinic.errors import WrongHost

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_HOPS = "HTTP_X_FORWARDED_FOR"
_SAID_BY_PROXIES = (
    _HOPS,
    "HTTP_FORWARDED",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PORT",
    "HTTP_X_FORWARDED_PREFIX",
    "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_REAL_IP",
    "HTTP_X_ORIGINAL_URL",
    "HTTP_X_REWRITE_URL",
)


def trusted(text: str | None) -> Allowed:
    """Read `127.0.0.1, 10.1.0.0/16`; nothing trusts nobody.

    Raises:
        ValueError: one of them is no address and no network.
    """
    found = addresses.allowed(text)
    if found.names:
        raise ValueError(f"{', '.join(sorted(found.names))}: addresses and networks are needed")
    return found


class Front:
    """WSGI middleware that puts the caller's address in place of the proxy's."""

    def __init__(self, app: WSGIApplication, proxies: Allowed) -> None:
        self.app = app
        self.proxies = proxies

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        hops = str(environ.get(_HOPS, "")).split(",")
        for name in _SAID_BY_PROXIES:
            environ.pop(name, None)
        environ["REMOTE_ADDR"] = self._caller(environ.get("REMOTE_ADDR", ""), hops)
        return self.app(environ, start_response)

    def _caller(self, peer: str, hops: list[str]) -> str:
        found = peer
        while hops and self._is_ours(_address(found)) and (hop := _address(hops.pop())) is not None:
            found = str(hop)
        return found

    def _is_ours(self, address: Address | None) -> bool:
        return address is not None and self.proxies.has(address)


def _address(text: str) -> Address | None:
    try:
        found = ipaddress.ip_address(text.strip())
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def must_be_called_right(environ: WSGIEnvironment, public_url: str | None) -> None:
    """Links and redirections name the host of the settings, and nobody may ask for another one.

    Machines of ours that ask for health and figures know the server by its address alone.

    Raises:
        WrongHost: the request is for another host.
    """
    if public_url is None or environ["PATH_INFO"].startswith(("/health/", "/metrics")):
        return
    url = urlsplit(public_url.lower())
    port = ":443" if url.scheme == "https" else ":80"
    if environ.get("HTTP_HOST", "").lower().removesuffix(port) != url.netloc.removesuffix(port):
        raise WrongHost()
