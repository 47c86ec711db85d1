"""Secrets we must be able to read again, sealed before they are stored: AES-256-GCM under keys from the secret key.

What only has to be recognised (keys of programs, passwords, sessions) is hashed and never comes here. A dump of the
database without the secret key opens nothing. The secret is one for all processes; `use` gives it to this one.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import ClassVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from clinic.errors import Problem
from clinic.settings import PASSING

_FORM = b"\x01"
"""First byte of what is sealed: which way of sealing, should there be another one."""
_NONCE = 12
_secrets: tuple[str, ...] = ()


class SealBroken(Problem):
    """A stored secret cannot be read or kept.

    The secret key (`CLINIC_SECRET_KEY`) is another one than it was sealed under, or is not set. Give the service the
    key it had, or set the stored secret anew."""

    status: ClassVar[int] = 503
    ru = (
        "Сохранённый секрет нельзя прочитать или сохранить\n\n"
        "Ключ сервиса (`CLINIC_SECRET_KEY`) не тот, с которым секрет зашифрован, или не задан. "
        "Верните сервису прежний ключ или задайте секрет заново."
    )


def use(secret: str | None, before: str | None = None) -> None:
    """Seal and open under keys made from this secret from now on, in this process; without one nothing can be.

    What was sealed under the secret `before` it is opened too. A secret for one start only seals nothing.
    """
    global _secrets
    lasting = secret is not None and not secret.startswith(PASSING)
    _secrets = tuple(each for each in (secret, before) if each) if lasting else ()


def seal(purpose: str, content: bytes) -> bytes:
    """`content` so that only `opened` with the same purpose reads it; twice the same gives two different texts.

    `purpose` says what it is and whose, such as `second_factor:<id>`: moved to another row, it opens nothing.

    Raises:
        SealBroken: there is no secret key.
    """
    nonce = os.urandom(_NONCE)
    if not _secrets:
        raise SealBroken()
    return _FORM + nonce + AESGCM(_key(_secrets[0], purpose)).encrypt(nonce, content, _FORM)


def opened(purpose: str, sealed: bytes) -> bytes:
    """What was sealed for this purpose.

    Raises:
        SealBroken: it was sealed for another purpose or under another secret, or has been changed.
    """
    form, nonce, rest = sealed[:1], sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :]
    if form != _FORM or len(nonce) < _NONCE:
        raise SealBroken()
    for secret in _secrets:
        with suppress(InvalidTag):
            return AESGCM(_key(secret, purpose)).decrypt(nonce, rest, form)
    raise SealBroken()


def _key(secret: str, purpose: str) -> bytes:
    made = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"clinic billing seal:" + purpose.encode())
    return made.derive(secret.encode())
