"""Broker health checks over a plain socket, without a client library."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import unquote, urlsplit

_PORTS = {"redis": 6379, "rediss": 6379, "amqp": 5672, "amqps": 5671}


def ping(url: str, *, timeout: float = 0.5) -> bool:
    """Whether a Redis broker answers PING, or another broker accepts a connection. `timeout` (seconds) is per step."""
    try:
        with _connected(url, timeout) as connection:
            return not urlsplit(url).scheme.startswith("redis") or _ask(connection, "PING").startswith(b"+PONG")
    except (OSError, ValueError):
        return False


def setting(url: str, name: str, *, timeout: float = 2.0) -> str:
    """Returns a setting of a Redis broker. Raises OSError if it is unavailable."""
    with _connected(url, timeout) as connection:
        # RESP array of name and value, each preceded by its length.
        answer = _ask(connection, "CONFIG", "GET", name)
    parts = answer.decode(errors="replace").split("\r\n")
    if not answer.startswith(b"*2") or len(parts) < 5:
        raise OSError(f"the broker does not report {name}")
    return parts[4]


@contextmanager
def _connected(url: str, timeout: float) -> Iterator[socket.socket]:
    """Opens a connection and authenticates. Raises OSError."""
    parts = urlsplit(url)
    address = (parts.hostname or "127.0.0.1", parts.port or _PORTS.get(parts.scheme, 0))
    with ExitStack() as stack:
        connection = stack.enter_context(socket.create_connection(address, timeout=timeout))
        if parts.scheme == "rediss":
            context = ssl.create_default_context()
            connection = stack.enter_context(context.wrap_socket(connection, server_hostname=address[0]))
        if parts.scheme.startswith("redis") and parts.password:
            user = [unquote(parts.username)] if parts.username else []
            if not _ask(connection, "AUTH", *user, unquote(parts.password)).startswith(b"+"):
                raise PermissionError("the broker rejected the password")
        yield connection


def _ask(connection: socket.socket, *words: str) -> bytes:
    parts = [word.encode() for word in words]
    connection.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
    return connection.recv(512)
