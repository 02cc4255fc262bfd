"""Encryption of secrets in the database with the keys of `TTM_SECRET_KEY_FILE`.

The file contains one Fernet key per line (AES-128-CBC with HMAC-SHA-256, base64). The first key encrypts, every key
decrypts. The file is read at each use, so that a rotation reaches running processes.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Dialect, Text
from sqlalchemy.types import TypeDecorator

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

# In the data folder of `ttm up`.
KEY_FILE_NAME = "secret.key"
_PREFIX = "fernet:"


class SecretKeyUnusable(RuntimeError):
    """The key file is missing or invalid, or it lacks the key of a stored secret."""


class SecretBox:
    """Encrypts and decrypts with a key file. Without a file, secrets are stored in plain text."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def seal(self, secret: str) -> str:
        """Encrypts a secret. Raises SecretKeyUnusable."""
        if self._path is None:
            return secret
        return _PREFIX + read_keys(self._path).encrypt(secret.encode()).decode()

    def open(self, stored: str) -> str:
        """Decrypts a stored secret. Raises SecretKeyUnusable."""
        if not stored.startswith(_PREFIX):
            return stored
        if self._path is None:
            raise SecretKeyUnusable("The database contains encrypted secrets: set TTM_SECRET_KEY_FILE.")
        from cryptography.fernet import InvalidToken

        try:
            return read_keys(self._path).decrypt(stored.removeprefix(_PREFIX).encode()).decode()
        except InvalidToken:
            raise SecretKeyUnusable(f"No key of {self._path} decrypts a secret of the database.") from None


class Sealed(TypeDecorator[str]):
    """A text column whose values are encrypted with the SecretBox of the engine."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Encrypts a value on its way to the database."""
        return None if value is None else _box(dialect).seal(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        """Decrypts a value from the database."""
        return None if value is None else _box(dialect).open(value)


def _box(dialect: Dialect) -> SecretBox:
    box = getattr(dialect, "secret_box", None)
    return box if isinstance(box, SecretBox) else SecretBox(None)


def read_keys(path: Path) -> "MultiFernet":
    """The keys of a file. Raises SecretKeyUnusable."""
    # Imported here because most commands and requests need no encryption.
    from cryptography.fernet import Fernet, MultiFernet

    try:
        return MultiFernet([Fernet(line) for line in _lines(path)])
    except OSError as error:
        raise SecretKeyUnusable(f"The key file {path} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise SecretKeyUnusable(f"The key file {path} must contain Fernet keys, one per line.") from None


def add_key(path: Path) -> None:
    """Makes a new key the first one of a file. Creates the file with mode 0600 if it does not exist."""
    from cryptography.fernet import Fernet

    _write(path, [Fernet.generate_key().decode(), *(_lines(path) if path.exists() else [])])


def drop_old_keys(path: Path) -> None:
    """Keeps the newest key and the one before, which another process may just have used."""
    _write(path, _lines(path)[:2])


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="ascii").split()


def _write(path: Path, keys: list[str]) -> None:
    partial = path.with_name(f".{path.name}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write("\n".join(keys) + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
