"""The secret key of the service: the one set, else the one made at the first start and kept in the data folder."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from clinic.embedded import data_folder
from clinic.settings import Settings, WrongSettings, read_secret


def lasting(settings: Settings) -> str | None:
    """The secret that is the same at every start; None beside an external database when none is set.

    Raises:
        WrongSettings: others may read the file it is kept in.
    """
    if settings.secret_key or settings.database_url:
        return settings.secret_key
    path = data_folder(settings) / "secret.key"
    if not path.exists():
        _keep(path, secrets.token_hex(32))
    try:
        return read_secret(path)
    except ValueError as exc:
        raise WrongSettings(str(exc)) from exc


def _keep(path: Path, secret: str) -> None:
    """Write a file that only we may read, whole or not at all."""
    unfinished = path.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(secret + "\n")
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
