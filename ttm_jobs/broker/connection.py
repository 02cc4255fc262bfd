"""Whether the broker is there, asked without a client library."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import unquote, urlsplit

_PORTS = {"redis": 6379, "rediss": 6379, "amqp": 5672, "amqps": 5671}


def ping(url: str, *, timeout: float = 0.5) -> bool:
    """Whether the broker at a redis(s):// address answers a PING within `timeout` seconds a step, or, for any other
    broker, takes a connection.
    """
    try:
        with _connected(url, timeout) as connection:
            return not urlsplit(url).scheme.startswith("redis") or _ask(connection, "PING").startswith(b"+PONG")
    except (OSError, ValueError):
        return False


def setting(url: str, name: str, *, timeout: float = 2.0) -> str:
    """What a Redis is set to. OSError if it does not answer or does not say."""
    with _connected(url, timeout) as connection:
        # An array of two strings, each after its length: the name and the value.
        answer = _ask(connection, "CONFIG", "GET", name)
    parts = answer.decode(errors="replace").split("\r\n")
    if not answer.startswith(b"*2") or len(parts) < 5:
        raise OSError(f"the broker does not tell its {name}")
    return parts[4]


@contextmanager
def _connected(url: str, timeout: float) -> Iterator[socket.socket]:
    """Known to the broker, where it asks for a password; OSError."""
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
                raise PermissionError("the broker does not know the password")
        yield connection


def _ask(connection: socket.socket, *words: str) -> bytes:
    parts = [word.encode() for word in words]
    connection.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
    return connection.recv(512)
