"""Trainer isolation, tested by a process in the trainer's place. Skips name the measures this system lacks."""

import ctypes
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.factories import job_of, queued, spec
from tests.support.rig import MakeRig
from ttm_jobs.database.engine import session_scope
from ttm_jobs.models import DEFAULT_PROJECT
from ttm_jobs.repositories.access import projects
from ttm_jobs.settings import Settings
from ttm_jobs.states import JobState
from worker.trainer.sandbox import prefix


def _system_can(*arguments: str) -> bool:
    return subprocess.run(["unshare", *arguments, "true"], capture_output=True, check=False).returncode == 0


NAMESPACES = _system_can("--user", "--net")
LANDLOCK = ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1)
needs_namespaces = pytest.mark.skipif(not NAMESPACES, reason="no user namespaces")
needs_landlock = pytest.mark.skipif(LANDLOCK < 1, reason="no Landlock")


class Confined:
    """Runs Python code with a trainer's confinement."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.work = folder / "work"
        self.workdir, self.temporary = self.work / "attempts" / "one", folder / "temporary"
        self.dataset = folder / "data"
        for path in (self.workdir, self.work / "data", self.temporary, self.dataset):
            path.mkdir(parents=True)
        self.settings = Settings.model_validate({"work_dir": self.work, "data_roots": (self.dataset,), **settings})

    def run(self, code: str, *arguments: object, network: bool = False) -> Any:
        """Runs `code` and returns the JSON that it prints."""
        command = [sys.executable, "-c", code]
        before = prefix(self.settings, command, str(self.temporary), network=network)
        # The process may not read the configuration of coverage, which fails in its forks.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
        ended = subprocess.run(
            [*before, *command, *map(str, arguments)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)


@pytest.fixture
def confined(tmp_path: Path) -> Confined:
    return Confined(tmp_path)


CONNECT = """
import json, socket, sys
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=5)
    print(json.dumps("connected"))
except OSError as error:
    print(json.dumps(type(error).__name__))
"""
OPEN = """
import json, sys
found = {}
for path in sys.argv[2:]:
    try:
        with open(path, sys.argv[1]) as file:
            found[path] = True
    except OSError as error:
        found[path] = False
print(json.dumps(found))
"""


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@needs_namespaces
def test_trainer_cannot_reach_any_host(confined: Confined, listener: int) -> None:
    assert confined.run(CONNECT, listener) == "ConnectionRefusedError"


def test_trainer_with_a_timm_teacher_has_network_access(confined: Confined, listener: int) -> None:
    assert confined.run(CONNECT, listener, network=True) == "connected"


@needs_namespaces
def test_trainer_processes_communicate_over_loopback(confined: Confined) -> None:
    code = """
import json, multiprocessing, socket
def send(port):
    socket.create_connection(("127.0.0.1", port)).sendall(b"hello")
server = socket.create_server(("127.0.0.1", 0))
child = multiprocessing.get_context("fork").Process(target=send, args=[server.getsockname()[1]])
child.start()
print(json.dumps(server.accept()[0].recv(9).decode()))
child.join()
"""
    assert confined.run(code) == "hello"


@needs_landlock
def test_trainer_reads_only_its_inputs(confined: Confined, tmp_path: Path) -> None:
    inside = [confined.dataset / "a.png", confined.workdir / "run.json", confined.temporary / "x"]
    outside = [tmp_path / "secret", Path.home() / ".ttm-test-of-isolation"]
    try:
        for path in (*inside, *outside):
            path.write_text("x")
        found = confined.run(OPEN, "r", *inside, *outside)
    finally:
        outside[-1].unlink(missing_ok=True)
    assert [found[str(path)] for path in inside] == [True] * 3
    assert [found[str(path)] for path in outside] == [False] * 2


@needs_landlock
def test_trainer_writes_only_its_own_folders(confined: Confined) -> None:
    inside = [confined.workdir / "a", confined.temporary / "b", confined.work / "data" / "c", Path("/dev/null")]
    outside = [confined.dataset / "a", Path("/etc/ttm-test"), Path("/usr/ttm-test")]
    found = confined.run(OPEN, "w", *inside, *outside)
    assert [found[str(path)] for path in inside] == [True] * 4
    assert [found[str(path)] for path in outside] == [False] * 3


@needs_landlock
def test_trainer_cannot_read_the_environment_of_its_worker(confined: Confined) -> None:
    assert confined.run(OPEN, "rb", f"/proc/{os.getpid()}/environ") == {f"/proc/{os.getpid()}/environ": False}


@pytest.mark.skipif(LANDLOCK < 6, reason="this Landlock version has no signal scoping")
def test_trainer_cannot_signal_its_worker(confined: Confined) -> None:
    code = f"""
import json, os
try:
    os.kill({os.getpid()}, 0)
    print(json.dumps(True))
except PermissionError:
    print(json.dumps(False))
"""
    assert confined.run(code) is False


@needs_landlock
def test_trainer_lists_the_working_directory_but_reads_only_the_engine_there(
    confined: Confined, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python -m` makes the working directory a folder of packages; `ttm up` keeps its database and keys there."""
    (tmp_path / "ttm.db").write_text("x")
    monkeypatch.chdir(tmp_path)
    code = "import json, os, ttm_core; print(json.dumps('ttm.db' in os.listdir('.')))"
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    assert confined.run(code) is True
    assert confined.run(OPEN, "r", tmp_path / "ttm.db") == {str(tmp_path / "ttm.db"): False}


def test_trainer_has_no_privileges_and_writes_no_core_dump(confined: Confined) -> None:
    code = """
import json, resource
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps([status["NoNewPrivs"].strip(), int(status["CapEff"], 16), resource.getrlimit(resource.RLIMIT_CORE),
                  resource.getrlimit(resource.RLIMIT_FSIZE)[0]]))
"""
    no_new, capabilities, core, size = confined.run(code)
    assert (no_new, core) == ("1", [0, 0])
    assert size == max(confined.settings.teacher_store_max_bytes, confined.settings.data_cache_max_bytes)
    assert capabilities == 0


def test_isolation_can_be_disabled(tmp_path: Path, listener: int) -> None:
    assert Confined(tmp_path, trainer_isolation="off").run(CONNECT, listener) == "connected"


# Isolation does not depend on the database.
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_trainer_of_a_job_is_confined(make_rig: MakeRig, dataset: str, tmp_path: Path, listener: int) -> None:
    marks = tmp_path / "secret"
    marks.write_text("x")
    trainer = tmp_path / "data" / "trainer.py"
    trainer.write_text(
        "import socket\n"
        f"for attempt in (lambda: open({str(marks)!r}), lambda: socket.create_connection(('127.0.0.1', {listener}))):\n"
        "    try:\n        attempt(); print('IT CAN')\n"
        "    except OSError as error:\n        print(type(error).__name__)\n"
    )
    rig = make_rig((sys.executable, str(trainer)), max_attempts=1)
    job_id = queued(rig.engine, spec=spec(dataset=dataset), max_attempts=1)
    rig.run(job_id)
    assert job_of(rig.engine, job_id).state is JobState.FAILED
    [log] = [key for key in rig.storage.list() if key.endswith("trainer.log")]
    output = rig.read(log).decode()
    assert ("PermissionError" in output) == (LANDLOCK >= 1), output
    assert ("ConnectionRefusedError" in output) == NAMESPACES, output


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_certificates_named_by_the_environment_can_be_read(
    confined: Confined, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = tmp_path / "authorities"
    folder.mkdir()
    (folder / "own.pem").write_text("a certificate")
    monkeypatch.setenv(name, str(folder / "own.pem" if name == "SSL_CERT_FILE" else folder))
    read = "import json, sys; print(json.dumps(open(sys.argv[1]).read()))"
    assert confined.run(read, folder / "own.pem") == "a certificate"


@needs_landlock
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_trainer_of_a_restricted_project_reads_only_its_folders(make_rig: MakeRig, tmp_path: Path) -> None:
    own, other = tmp_path / "data" / "own", tmp_path / "data" / "other"
    for folder in (own, other):
        folder.mkdir()
        (folder / "image.png").write_text("x")
    trainer = own / "trainer.py"
    trainer.write_text(
        f"for folder in ({str(own)!r}, {str(other)!r}):\n"
        "    try:\n        open(folder + '/image.png'); print('reads', folder)\n"
        "    except PermissionError:\n        print('is refused', folder)\n"
    )
    rig = make_rig((sys.executable, str(trainer)), max_attempts=1)
    with session_scope(rig.engine) as session:
        sources = {"data_roots": [str(own)], "origins": [], "buckets": []}
        projects.ensure(session, DEFAULT_PROJECT).sources = sources
    rig.run(queued(rig.engine, spec=spec(dataset=own.as_uri()), max_attempts=1))
    [log] = [key for key in rig.storage.list() if key.endswith("trainer.log")]
    assert f"reads {own}" in rig.read(log).decode()
    assert f"is refused {other}" in rig.read(log).decode()


def test_a_command_whose_parent_has_ended_does_not_run(confined: Confined) -> None:
    command = [sys.executable, "-c", "print('runs')"]
    *launcher, rules = prefix(confined.settings, command, str(confined.temporary), network=False)
    ended = subprocess.Popen(["true"])
    ended.wait()
    for parent, status, output in ((os.getpid(), 0, "runs\n"), (ended.pid, 1, "")):
        of_parent = json.dumps(json.loads(rules) | {"parent": parent})
        done = subprocess.run([*launcher, of_parent, *command], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (status, output), done.stderr
