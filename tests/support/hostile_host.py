"""An HTTP server on loopback that misbehaves."""

import hashlib
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import ClassVar, Self

CONTENT = bytes(range(256)) * 4096  # 1 MiB


class HostileHost:
    """Serves `content` at /file. `requests` lists the path and the Range header of each request."""

    def __init__(self) -> None:
        self.content = CONTENT
        self.requests: list[tuple[str, str | None]] = []
        host = self

        class Handler(_Handler):
            server_of: ClassVar[HostileHost] = host

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.origin = f"http://127.0.0.1:{self.port}"
        self.ended = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of: ClassVar[HostileHost]

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        host = self.server_of
        path, _, query = self.path.partition("?")
        host.requests.append((path, self.headers.get("Range")))
        self.close_connection = True
        with suppress(BrokenPipeError, ConnectionResetError):
            getattr(self, f"_{path.strip('/').replace('-', '_')}")(query)

    def _head(self, status: int = 200, **headers: object) -> None:
        self.send_response(status)
        for name, value in {"Connection": "close", **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def _tag(self) -> str:
        return f'"{hashlib.sha256(self.server_of.content).hexdigest()}"'

    def _file(self, query: str) -> None:
        content = self.server_of.content
        self._head(ETag=self._tag(), Content_Length=len(content))
        self.wfile.write(content)

    def _untagged(self, query: str) -> None:
        self._head(Content_Length=len(self.server_of.content))
        self.wfile.write(self.server_of.content)

    def _cut(self, query: str) -> None:
        """Closes the connection after 300,000 bytes of each response. Supports ranges."""
        content = self.server_of.content
        requested_range = self.headers.get("Range")
        start = int(requested_range.removeprefix("bytes=").rstrip("-")) if requested_range else 0
        if requested_range and self.headers.get("If-Range") == self._tag():
            self._head(
                206, ETag=self._tag(), Content_Length=len(content) - start,
                Content_Range=f"bytes {start}-{len(content) - 1}/{len(content)}",
            )  # fmt: skip
        else:
            start = 0
            self._head(ETag=self._tag(), Content_Length=len(content))
        self.wfile.write(content[start : start + 300_000])

    def _cut_without_ranges(self, query: str) -> None:
        self._head(ETag=self._tag(), Content_Length=len(self.server_of.content))
        self.wfile.write(self.server_of.content[:-1])

    def _changing(self, query: str) -> None:
        self.server_of.content += b"x"
        self._file(query)

    def _endless(self, query: str) -> None:
        self._head(ETag='"x"')
        while not self.server_of.ended.is_set():
            self.wfile.write(b"x" * 65536)

    def _huge(self, query: str) -> None:
        self._head(ETag='"x"', Content_Length=10**15)

    def _drip(self, query: str) -> None:
        self._head(ETag='"x"', Content_Length=10**6)
        while not self.server_of.ended.wait(0.05):
            self.wfile.write(b"x")
            self.wfile.flush()

    def _drip_headers(self, query: str) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not self.server_of.ended.wait(0.05):
            self.wfile.write(b"X: y\r\n")
            self.wfile.flush()

    def _unresponsive(self, query: str) -> None:
        self.server_of.ended.wait(30)

    def _redirect(self, query: str) -> None:
        self._head(302, Location=query, Content_Length=0)

    def _loop(self, query: str) -> None:
        self._head(302, Location="/loop", Content_Length=0)

    def _zipped(self, query: str) -> None:
        self._head(Content_Encoding="gzip", Content_Length=0)

    def _missing(self, query: str) -> None:
        self._head(404, Content_Length=0)

    def _busy_twice(self, query: str) -> None:
        if len(self.server_of.requests) <= 2:
            self._head(503, Content_Length=0)
        else:
            self._file(query)

    def _broken(self, query: str) -> None:
        self._head(500, Content_Length=0)

    def _not_http(self, query: str) -> None:
        self.wfile.write(b"\x00\x01\x02 hello\r\n\r\n")
