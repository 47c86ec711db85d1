"""Where webhooks may be sent: public addresses over https, and what the clinic's own setting names.

A URL is a stranger's request to our network, so the name is resolved once, every address it has is looked at, and the
connection is made to one of those: a name that answers otherwise a moment later changes nothing. The special ranges
are those of the IANA registries (RFC 6890) with the addresses that carry another one inside.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

URL = (
    r"https?://(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_-][A-Za-z0-9._-]{0,252})(?::[0-9]{1,5})?"
    r"(?:[/?][\x21\x22\x24-\x5b\x5d-\x7e]{0,1500})?"
)
"""ASCII, without user, password and fragment; a name in other letters is written as browsers send it, `xn--…`."""
_PARTS = re.compile(r"(https?)://(\[[^\]]+\]|[^:/?]+)(?::([0-9]+))?(.*)", re.ASCII)
_NAME = re.compile(r"[a-z0-9_-][a-z0-9._-]{0,252}", re.ASCII)

# Beyond what the library calls not global: relays of 6to4, an address that leads into the machines of one provider.
_NEVER_4 = [IPv4Network(each) for each in ("0.0.0.0/8", "192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32")]
# All else of IPv6 is not assigned, local, or carries an address of IPv4: mapped, compatible, NAT64.
_GLOBAL_6 = IPv6Network("2000::/3")
# Teredo with its neighbours, 6to4, documentation.
_NEVER_6 = [IPv6Network(each) for each in ("2001::/23", "2002::/16", "2001:db8::/32", "3fff::/20")]

Address = IPv4Address | IPv6Address


class NotAllowed(Exception):
    """Nothing is sent there; `code` says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Allowed:
    """Hosts and networks that are ours: any address, any port, and http."""

    names: frozenset[str] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    def has(self, address: Address) -> bool:
        return any(address in network for network in self.networks)


@dataclass(frozen=True)
class Target:
    """A URL taken apart, and the addresses its host was found to have, each of them allowed."""

    secure: bool
    host: str
    """As it goes into the header Host, without the port."""
    port: int
    path: str
    addresses: tuple[str, ...]

    @property
    def name(self) -> str:
        """What the certificate must be for."""
        return self.host.strip("[]").rstrip(".")

    @property
    def authority(self) -> str:
        return self.host if self.port == (443 if self.secure else 80) else f"{self.host}:{self.port}"


def allowed(text: str | None) -> Allowed:
    """Read `receiver.lan, 10.1.0.0/16`; nothing allows nothing.

    Raises:
        ValueError: one of them is neither a host nor a network.
    """
    names, networks = set(), []
    for each in (part.strip().lower() for part in text.split(",")) if text else ():
        try:
            networks.append(ip_network(each))
        except ValueError:
            if not _NAME.fullmatch(each) or "/" in each:
                raise ValueError(f"{each!r} is neither a host nor a network") from None
            names.add(each.rstrip("."))
    return Allowed(frozenset(names), tuple(networks))


def target(url: str, ours: Allowed, *, within: float) -> Target:
    """Where `url` leads just now; resolving its host may take so many seconds.

    Raises:
        NotAllowed: `address_not_allowed`, `https_needed` or `port_not_allowed`.
    """
    parts = _PARTS.fullmatch(url)
    if parts is None or not re.fullmatch(URL, url, re.ASCII):
        raise NotAllowed("address_not_allowed")
    secure, host, rest = parts[1] == "https", parts[2].lower(), parts[4]
    port = int(parts[3] or (443 if secure else 80))
    if not 0 < port < 65536:
        raise NotAllowed("port_not_allowed")
    found = _resolved(host.strip("[]"), port, within)
    if not found:
        raise NotAllowed("address_not_allowed")
    if host.strip("[]").rstrip(".") not in ours.names:
        _must_be_allowed(found, ours, secure, port)
    path = rest if rest.startswith("/") else f"/{rest}"
    return Target(secure, host, port, path, tuple(str(each) for each in found))


def _must_be_allowed(found: list[Address], ours: Allowed, secure: bool, port: int) -> None:
    strange = [each for each in found if not ours.has(each)]
    # One address that is not public is enough: a name has no reason to have both.
    if not all(is_public(each) for each in strange):
        raise NotAllowed("address_not_allowed")
    if strange and not secure:
        raise NotAllowed("https_needed")
    # Below 1024 are the doors of mail, files and machines' own administration.
    if strange and port != 443 and port < 1024:
        raise NotAllowed("port_not_allowed")


def is_public(address: Address) -> bool:
    """Whether anybody on the internet could be reached there."""
    if isinstance(address, IPv6Address):
        return address in _GLOBAL_6 and address.is_global and not any(address in each for each in _NEVER_6)
    return address.is_global and not address.is_multicast and not any(address in each for each in _NEVER_4)


def _resolved(host: str, port: int, within: float) -> list[Address]:
    """The addresses of a host; none when there are none, or not in time."""
    found: list[str] = []

    def ask() -> None:
        try:
            found.extend(look_up(host, port))
        except (OSError, UnicodeError):
            found.clear()

    # The library's resolver knows no time limit; a thread that it holds up ends by itself.
    asking = threading.Thread(target=ask, name="resolver", daemon=True)
    asking.start()
    asking.join(within)
    return [] if asking.is_alive() else [ip_address(each) for each in dict.fromkeys(found)]


def _look_up(host: str, port: int) -> list[str]:
    return [str(each[4][0]) for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


look_up: Callable[[str, int], list[str]] = _look_up
"""Asks the system for a host's addresses, numeric ones of any writing too. Tests put another one in its place."""
