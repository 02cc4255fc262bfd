"""A Hugging Face Hub on 127.0.0.1 that serves the files of a folder: OWNER/REPO/FILE."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = hashlib.sha1(b"the only commit").hexdigest()
REVISIONS = ("main", "v1", COMMIT)


@contextmanager
def hub(root: Path) -> Iterator[str]:
    """Serves the repositories under `root` and yields the endpoint for `HF_ENDPOINT`."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            owner, repository, _, revision, *name = unquote(urlsplit(self.path).path).strip("/").split("/")
            folder = root / owner / repository
            path = folder.joinpath(*name)
            missing = (
                "RepoNotFound"
                if not folder.is_dir()
                else "RevisionNotFound"
                if revision not in REVISIONS
                else None
                if path.is_file()
                else "EntryNotFound"
            )
            content = b"" if missing else path.read_bytes()
            self.send_response(404 if missing else 200)
            if missing:
                self.send_header("X-Error-Code", missing)
            else:
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
                self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
