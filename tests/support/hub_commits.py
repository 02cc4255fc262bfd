"""The part of the Hub on 127.0.0.1 that accepts commits: repositories, branches, large files.

The token `hf_OWNER` may write to the repositories of OWNER. `.commits` in a repository lists its commits. Files above 100
bytes are large: they are stored by their hash before the commit names them, as at the real Hub. The file `.create-status` of the root holds the HTTP status
of every response to the creation of a repository.
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

COMMITS = ".commits"
CREATE_STATUS = ".create-status"
_PRIVATE, _BRANCHES, _LARGE = ".private", ".branches", ".large-files"
_LARGE_BYTES = 100


class Refused(Exception):
    """A response with an error status."""

    def __init__(self, status: int, code: str | None = None, content: bytes = b"") -> None:
        self.status = status
        self.code = code
        self.content = content


@dataclass(frozen=True)
class Commit:
    branch: str
    message: str
    private: bool
    files: list[str]


def commits_of(repository: Path) -> list[Commit]:
    """The commits of a repository, oldest first."""
    lines = (repository / COMMITS).read_text().splitlines() if (repository / COMMITS).exists() else []
    return [Commit(**json.loads(line)) for line in lines]


class CommitApi:
    """Answers POST and PUT requests. `endpoint` is the address of the Hub."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.endpoint = ""
        self._routes: list[tuple[re.Pattern[str], Callable[..., Any]]] = [
            (re.compile(r"POST /api/repos/create"), self._create),
            (re.compile(r"POST /api/validate-yaml"), lambda token, body: {"errors": [], "warnings": []}),
            (re.compile(r"POST /api/models/([^/]+/[^/]+)/branch/([^/]+)"), self._branch),
            (re.compile(r"POST /api/models/([^/]+/[^/]+)/preupload/([^/]+)"), self._preupload),
            (re.compile(r"POST /([^/]+/[^/]+)\.git/info/lfs/objects/batch"), self._batch),
            (re.compile(r"PUT /large-files/([0-9a-f]{64})"), self._large),
            (re.compile(r"POST /api/models/([^/]+/[^/]+)/commit/([^/]+)"), self._commit),
        ]

    def answer(self, request: str, token: str, body: bytes) -> bytes:
        """The body of the response to a request such as `POST /api/repos/create`. Raises Refused."""
        for pattern, handle in self._routes:
            if match := pattern.fullmatch(request):
                return json.dumps(handle(token, body, *match.groups())).encode()
        raise Refused(404)

    def _writable(self, token: str, name: str, branch: str | None = None) -> Path:
        folder = self._root / name
        if not folder.is_dir():
            raise Refused(404, "RepoNotFound")
        if (folder / ".status").exists():
            raise Refused(int((folder / ".status").read_text()))
        if token != f"hf_{name.partition('/')[0]}":
            raise Refused(403)
        if branch not in (None, "main", *_lines(folder / _BRANCHES)):
            raise Refused(404, "RevisionNotFound")
        return folder

    def _create(self, token: str, body: bytes) -> Any:
        if (self._root / CREATE_STATUS).exists():
            raise Refused(int((self._root / CREATE_STATUS).read_text()))
        asked = json.loads(body)
        owner, name = asked["organization"], asked["name"]
        if not token.startswith("hf_"):
            raise Refused(401)
        if token != f"hf_{owner}":
            raise Refused(403)
        folder = self._root / owner / name
        created = {"url": f"{self.endpoint}/{owner}/{name}"}
        if folder.exists():
            raise Refused(409, content=json.dumps(created).encode())
        folder.mkdir(parents=True)
        if asked["visibility"] == "private":
            (folder / _PRIVATE).touch()
        return created

    def _branch(self, token: str, _: bytes, name: str, branch: str) -> Any:
        folder = self._writable(token, name)
        if branch in _lines(folder / _BRANCHES):
            raise Refused(409)
        _append(folder / _BRANCHES, branch)
        return {}

    def _preupload(self, token: str, body: bytes, name: str, branch: str) -> Any:
        self._writable(token, name, branch)
        return {
            "files": [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["size"] > _LARGE_BYTES else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
        }

    def _batch(self, token: str, body: bytes, name: str) -> Any:
        self._writable(token, name)
        objects = json.loads(body)["objects"]
        upload = {"actions": {"upload": {"href": f"{self.endpoint}/large-files/{{oid}}"}}}
        for each in objects:
            if not (self._root / _LARGE / each["oid"]).exists():
                each |= json.loads(json.dumps(upload).replace("{oid}", each["oid"]))
        return {"objects": objects, "transfer": "basic"}

    def _large(self, _: str, body: bytes, digest: str) -> Any:
        assert hashlib.sha256(body).hexdigest() == digest
        (self._root / _LARGE).mkdir(exist_ok=True)
        (self._root / _LARGE / digest).write_bytes(body)
        return {}

    def _commit(self, token: str, body: bytes, name: str, branch: str) -> Any:
        folder = self._writable(token, name, branch)
        header, *operations = map(json.loads, body.splitlines())
        for operation in operations:
            value = operation["value"]
            large = operation["key"] == "lfsFile"
            content = (self._root / _LARGE / value["oid"]).read_bytes() if large else base64.b64decode(value["content"])
            (folder / value["path"]).write_bytes(content)
        files = sorted(operation["value"]["path"] for operation in operations)
        commit = Commit(branch, header["value"]["summary"], (folder / _PRIVATE).exists(), files)
        _append(folder / COMMITS, json.dumps(asdict(commit)))
        oid = hashlib.sha1(body).hexdigest()
        return {"commitUrl": f"{self.endpoint}/{name}/commit/{oid}", "commitOid": oid}


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _append(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(line + "\n")
