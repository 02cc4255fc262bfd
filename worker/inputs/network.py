"""Connections to hosts that a stranger named: to public addresses only, and within bounds that hold while they last."""

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
    """What a fetch may take.

    Args:
        until: time.monotonic() at which it must be over.
        stall_seconds, stall_bytes: in every so many seconds at least so many bytes must arrive.
        go_on: called about once a second; raises to give the fetch up.
    """

    until: float
    stall_seconds: float
    stall_bytes: int
    go_on: Callable[[], None]

    def check(self) -> None:
        """What `go_on` raises; SourceUnreachable when the time is over."""
        self.go_on()
        if time.monotonic() > self.until:
            raise SourceUnreachable("The fetch took longer than this service allows.")


class GuardedNetwork(httpcore2.NetworkBackend):
    """Looks at every address of a host before it connects to that very address, so that a name cannot mean one thing
    when it is checked and another when it is used.

    Args:
        private_hosts: HOST:PORT pairs that may lie at any address.
        bounds: what every connection is held to.
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
            raise UriNotAllowed(f"{host} lies at an address that is not public.")
        for address in addresses:
            try:
                stream = self._sockets.connect_tcp(address, port, _CONNECT_SECONDS, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
            return _BoundedStream(stream, self._bounds)
        raise SourceUnreachable(f"{host} does not take connections at port {port}.")


class _BoundedStream(httpcore2.NetworkStream):
    """Reads in turns of a second, so that a stop, a deadline or a drip of bytes is noticed within one."""

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
        bounds.check()
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
