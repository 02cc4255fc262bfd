"""Connections to untrusted hosts: public addresses only, with time and rate limits."""

import socket
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import httpcore2

from ttm_jobs.errors import SourceUnreachable, UriNotAllowed
from ttm_jobs.uris import is_public

_POLL_SECONDS = 1.0
_CONNECT_SECONDS = 10.0


@dataclass
class Bounds:
    """Limits of a download.

    Args:
        until: time.monotonic() of the deadline.
        stall_seconds, stall_bytes: at least this many bytes must arrive in every interval.
        check: called about once a second; raises to stop the download.
    """

    until: float
    stall_seconds: float
    stall_bytes: int
    check: Callable[[], None]

    def enforce(self) -> None:
        """Raise what `check` raises, or SourceUnreachable after the deadline."""
        self.check()
        if time.monotonic() > self.until:
            raise SourceUnreachable("The request exceeded the time limit.")


class GuardedNetwork(httpcore2.NetworkBackend):
    """Checks the resolved address of a host and connects to exactly that address, which prevents DNS rebinding.

    Args:
        private_hosts: HOST:PORT pairs that may have any address.
        bounds: limits of every connection.
    """

    def __init__(self, private_hosts: Sequence[str], bounds: Bounds) -> None:
        self._private_hosts = frozenset(private_hosts)
        self._bounds = bounds
        self._sockets = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise SourceUnreachable(f"{host} has no address: {error.strerror}.") from error
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if f"{host}:{port}" not in self._private_hosts and not all(map(is_public, addresses)):
            raise UriNotAllowed(f"{host} resolves to an address that is not public.")
        for address in addresses:
            try:
                stream = self._sockets.connect_tcp(address, port, _CONNECT_SECONDS, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
            return _BoundedStream(stream, self._bounds)
        raise SourceUnreachable(f"{host} refuses connections on port {port}.")


class _BoundedStream(httpcore2.NetworkStream):
    """Reads with a timeout of one second, so that a stop, the deadline or a stalled download is noticed in time."""

    def __init__(self, stream: httpcore2.NetworkStream, bounds: Bounds) -> None:
        self._stream = stream
        self._bounds = bounds
        self._window_start = time.monotonic()
        self._window_bytes = 0

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        while True:
            self._check()
            try:
                data = self._stream.read(max_bytes, _POLL_SECONDS)
            except httpcore2.ReadTimeout:
                continue
            self._window_bytes += len(data)
            return data

    def _check(self) -> None:
        bounds, now = self._bounds, time.monotonic()
        bounds.enforce()
        if now - self._window_start > bounds.stall_seconds:
            if self._window_bytes < bounds.stall_bytes:
                raise SourceUnreachable(f"The host sent {self._window_bytes} bytes in {bounds.stall_seconds:.0f} s.")
            self._window_start, self._window_bytes = now, 0

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _CONNECT_SECONDS)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        encrypted = self._stream.start_tls(ssl_context, server_hostname, _CONNECT_SECONDS)
        return _BoundedStream(encrypted, self._bounds)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
