"""Certificates of our own making, and a server that speaks TLS before a database that may not."""

from __future__ import annotations

import ipaddress
import select
import socket
import ssl
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_SSL_REQUEST = struct.pack("!ii", 8, 80877103)
_GSS_REQUEST = struct.pack("!ii", 8, 80877104)


@dataclass(frozen=True)
class Issued:
    """Files of a certificate and its key."""

    certificate: Path
    key: Path


class Authority:
    """Who signs certificates; `root` is the file that those who trust it have."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Authority {folder.name}")])
        builder = _certificate(self._name, self._name, self._key.public_key(), datetime.now(UTC))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self.root = folder / "root.crt"
        self.root.write_bytes(_pem(builder.sign(self._key, hashes.SHA256())))

    def issue(self, host: str, *, began: datetime | None = None) -> Issued:
        """A certificate of this host, good for ten days from `began`."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        builder = _certificate(name, self._name, key.public_key(), began or datetime.now(UTC))
        builder = builder.add_extension(x509.SubjectAlternativeName([_alternative(host)]), critical=False)
        issued = Issued(self._folder / f"{host}.crt", self._folder / f"{host}.key")
        issued.certificate.write_bytes(_pem(builder.sign(self._key, hashes.SHA256())))
        issued.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        issued.key.chmod(0o600)
        return issued


def _certificate(
    of: x509.Name, by: x509.Name, key: ec.EllipticCurvePublicKey, began: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(of)
        .issuer_name(by)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(began - timedelta(days=1))
        .not_valid_after(began + timedelta(days=10))
    )


def _alternative(host: str) -> x509.GeneralName:
    with suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(host))
    return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


class Door:
    """Listens for callers of a database: those who ask for TLS get it, or are told that there is none.

    `heard` are the first words of each caller who went on without it, `safe` counts those who went on with it.
    """

    def __init__(self, target: str, issued: Issued | None) -> None:
        self._target = target
        self._context: ssl.SSLContext | None = None
        if issued is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(issued.certificate, issued.key)
        self.heard: list[bytes] = []
        self.safe = 0
        self._over, self._stop = socket.socketpair()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._stop.close()
        for each in self._threads:
            each.join()
        self._listener.close()
        self._over.close()

    def _accept(self) -> None:
        while self._over not in select.select([self._listener, self._over], [], [])[0]:
            caller = self._listener.accept()[0]
            self._threads.append(threading.Thread(target=self._receive, args=(caller,)))
            self._threads[-1].start()

    def _receive(self, caller: socket.socket) -> None:
        caller.settimeout(10)
        with caller, suppress(OSError):
            while (words := caller.recv(65536)) in (_SSL_REQUEST, _GSS_REQUEST):
                if words == _SSL_REQUEST and self._context is not None:
                    caller.sendall(b"S")
                    with self._context.wrap_socket(caller, server_side=True) as safe:
                        first = safe.recv(65536)
                        self.safe += bool(first)
                        self._pass_on(safe, first)
                    return
                caller.sendall(b"N")
            if words:
                self.heard.append(words)
                self._pass_on(caller, words)

    def _pass_on(self, caller: socket.socket, first: bytes) -> None:
        with socket.socket(socket.AF_UNIX) as server:
            server.connect(self._target)
            server.sendall(first)
            while first:
                waiting = isinstance(caller, ssl.SSLSocket) and caller.pending()
                ready = [caller] if waiting else select.select([caller, server, self._over], [], [])[0]
                if self._over in ready:
                    return
                for source in ready:
                    first = source.recv(65536)
                    if not first:
                        return
                    (server if source is caller else caller).sendall(first)
