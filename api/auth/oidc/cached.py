"""A document of the identity provider, cached in this process."""

import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import anyio

from api.auth.oidc.errors import ProviderUnavailable

T = TypeVar("T")

_MAX_AGE_SECONDS = 3600.0
# Requests that wait for the same failed answer fail with it.
_FAILURE_SECONDS = 1.0
# Tokens with unknown key ids cannot cause more requests than this.
_RENEWAL_SECONDS = 10.0


class Cached(Generic[T]):
    """Loads a value at its first use and again after an hour. `load` raises ProviderUnavailable."""

    def __init__(self, load: Callable[[], Awaitable[T]]) -> None:
        self._load = load
        self._lock = anyio.Lock()
        self._value: T | None = None
        self._loaded_at = float("-inf")
        self._failed_at = float("-inf")
        self._failure = ""

    async def get(self, *, renew: bool = False) -> T:
        """The value. `renew` loads it again unless it is less than ten seconds old. Raises ProviderUnavailable."""
        async with self._lock:
            age = time.monotonic() - self._loaded_at
            if self._value is not None and age < (_RENEWAL_SECONDS if renew else _MAX_AGE_SECONDS):
                return self._value
            if time.monotonic() - self._failed_at < _FAILURE_SECONDS:
                raise ProviderUnavailable(self._failure)
            try:
                self._value = await self._load()
            except ProviderUnavailable as error:
                self._failed_at, self._failure = time.monotonic(), error.message
                raise
            self._loaded_at = time.monotonic()
            return self._value
