"""Whether the broker is there, asked without a client library."""

import socket
import ssl
from urllib.parse import unquote, urlsplit

_PORTS = {"redis": 6379, "rediss": 6379, "amqp": 5672, "amqps": 5671}


def ping(url: str, *, timeout: float = 0.5) -> bool:
    """Whether the broker at a redis(s):// address answers a PING within `timeout` seconds a step, or, for any other
    broker, takes a connection.
    """
    parts = urlsplit(url)
    try:
        address = (parts.hostname or "127.0.0.1", parts.port or _PORTS.get(parts.scheme, 0))
        with socket.create_connection(address, timeout=timeout) as connection:
            if parts.scheme == "redis":
                return _answers(connection, parts.username, parts.password)
            if parts.scheme == "rediss":
                with ssl.create_default_context().wrap_socket(connection, server_hostname=address[0]) as secured:
                    return _answers(secured, parts.username, parts.password)
            return True
    except (OSError, ValueError):
        return False


def _answers(connection: socket.socket, username: str | None, password: str | None) -> bool:
    if password:
        user = [unquote(username)] if username else []
        _send(connection, "AUTH", *user, unquote(password))
        if not connection.recv(64).startswith(b"+"):
            return False
    _send(connection, "PING")
    return connection.recv(64).startswith(b"+PONG")


def _send(connection: socket.socket, *words: str) -> None:
    parts = [word.encode() for word in words]
    connection.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
