"""A Hugging Face Hub on 127.0.0.1 that serves the repositories in a folder and accepts commits to models.

Models are in OWNER/REPO, datasets in datasets/OWNER/REPO. A file `.status` in a repository holds the HTTP status of every
response about it.
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants

from tests.support.hub_commits import CommitApi, Refused

COMMIT = hashlib.sha1(b"the only commit").hexdigest()
REVISIONS = ("main", "v1", COMMIT)
_STATUS = ".status"

_FILE = re.compile(r"/((?:datasets/)?[^/]+/[^/]+)/resolve/([^/]+)/(.+)")
_INFO = re.compile(r"/api/(?:models/)?((?:datasets/)?[^/]+/[^/]+)(?:/revision/([^/]+))?")
_TREE = re.compile(r"/api/(datasets/[^/]+/[^/]+)/tree/([^/]+)(?:/(.+))?")


def _repository(root: Path, name: str, revision: str | None) -> Path:
    folder = root / name
    if not folder.is_dir():
        raise Refused(404, "RepoNotFound")
    if (folder / _STATUS).exists():
        raise Refused(int((folder / _STATUS).read_text()))
    if revision not in (None, *REVISIONS):
        raise Refused(404, "RevisionNotFound")
    return folder


def _tree(folder: Path, within: str, *, recursive: bool) -> bytes:
    top = folder / within
    if not top.is_dir():
        raise Refused(404, "EntryNotFound")
    found = []
    for path in sorted(top.rglob("*") if recursive else top.iterdir()):
        entry = {"path": str(path.relative_to(folder)), "oid": COMMIT}
        size = path.stat().st_size if path.is_file() else 0
        found.append({**entry, "type": "file" if path.is_file() else "directory", "size": size})
    return json.dumps(found).encode()


@contextmanager
def hub_of_this_process(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Serves the repositories under `root` to the Hub's library in this process, whose cache is next to them."""
    with hub(root) as endpoint:
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(root.parent / "hf-home"))
        yield


@contextmanager
def hub(root: Path) -> Iterator[str]:
    """Serves the repositories under `root` and yields the endpoint for `HF_ENDPOINT`."""

    commits = CommitApi(root)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self._accept()

        def do_PUT(self) -> None:
            self._accept()

        def _accept(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            try:
                content = commits.answer(f"{self.command} {unquote(urlsplit(self.path).path)}", token, body)
            except Refused as answer:
                self._refuse(answer)
                return
            self._send(200, {}, content)

        def _refuse(self, answer: Refused) -> None:
            self._send(answer.status, {"X-Error-Code": answer.code} if answer.code else {}, answer.content)

        def do_HEAD(self) -> None:
            self._respond(body=False)

        def do_GET(self) -> None:
            self._respond(body=True)

        def _respond(self, *, body: bool) -> None:
            try:
                content = self._content()
            except Refused as answer:
                self._refuse(answer)
                return
            tag = f'"{hashlib.sha256(content).hexdigest()}"'
            self._send(200, {"ETag": tag, "X-Repo-Commit": COMMIT}, content, body=body)

        def _content(self) -> bytes:
            url = urlsplit(self.path)
            path = unquote(url.path)
            if match := _TREE.fullmatch(path):
                folder = _repository(root, match[1], match[2])
                return _tree(folder, match[3] or "", recursive="recursive=true" in url.query.lower())
            if match := _INFO.fullmatch(path):
                _repository(root, match[1], match[2])
                return json.dumps({"id": match[1].removeprefix("datasets/"), "sha": COMMIT}).encode()
            if match := _FILE.fullmatch(path):
                file = _repository(root, match[1], match[2]) / match[3]
                if file.is_file():
                    return file.read_bytes()
            raise Refused(404, "EntryNotFound")

        def _send(self, status: int, headers: dict[str, str], content: bytes = b"", *, body: bool = True) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        commits.endpoint = f"http://127.0.0.1:{server.server_port}"
        yield commits.endpoint
        server.shutdown()
