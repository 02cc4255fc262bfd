"""A TCP proxy that breaks connections."""

import socket
import threading
from typing import Self
from urllib.parse import urlsplit


class FlakyProxy:
    """Forwards to `target`. Breaks every connection, or only the first ones, after `allow` bytes of the response or
    `taken` bytes of the request. None sets no limit. `heard` holds the first 64 KiB that clients sent.
    """

    def __init__(
        self,
        target: str,
        allow: int | None = None,
        *,
        broken: int | None = None,
        taken: int | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "", parts.port or 0)
        self.allow = allow
        self._taken = taken
        self._broken = broken
        self.connections = 0
        self.heard = bytearray()
        self._listener = socket.create_server((host, 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://{host}:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(client, self.connections), daemon=True).start()

    def _serve(self, client: socket.socket, number: int) -> None:
        allow = self.allow if self._broken is None or number <= self._broken else None
        taken = self._taken if self._broken is None or number <= self._broken else None
        with client, socket.create_connection(self._target) as server:

            def send() -> None:
                self._pump(client, server, taken, self.heard)
                if taken is not None:
                    self._break(client, server)

            threading.Thread(target=send, daemon=True).start()
            self._pump(server, client, allow)
            self._break(client, server)

    @staticmethod
    def _break(*ends: socket.socket) -> None:
        for end in ends:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket, allow: int | None, heard: bytearray | None = None) -> None:
        left = allow
        try:
            while left is None or left > 0:
                data = source.recv(65536 if left is None else min(65536, left))
                if not data:
                    return
                if heard is not None and len(heard) < 65536:
                    heard += data
                sink.sendall(data)
                if left is not None:
                    left -= len(data)
        except OSError:
            return
