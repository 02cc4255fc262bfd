"""The fork server: a process for each job, replaced if it ends, and stopped with the worker."""

import json
import os
import resource
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.support.factories import spec
from tests.support.processes import group_of
from tests.support.tiny import TINY_TRAINER, wait_until
from tests.worker.test_isolation import needs_landlock
from tests.worker.test_supervisor import all_events
from ttm_core.spec.events import Event, Failed, Finished, Progress, Stopped
from ttm_jobs.settings import Settings
from worker.trainer import fork_server, stale
from worker.trainer.log import LogFile
from worker.trainer.process import Exited, Trainer
from worker.trainer.starter import Starter

REAL_TRAINER = (sys.executable, "-m", "ttm_core", "run")


@pytest.fixture
def starter():
    made = Starter(TINY_TRAINER, marks=stale.marks(), standby=True)
    yield made
    made.end()


def start(starter: Starter, workdir: Path, name: str, data_roots: Sequence[Path] | None = None) -> Trainer:
    workdir.mkdir(parents=True)
    (workdir / "run.json").write_text(
        json.dumps({"spec": spec(name=name), "inputs": {"dataset": "/nowhere", "teachers": [None]}})
    )
    trainer = Trainer(starter, workdir, log=LogFile(workdir / "trainer.log", 10_000))
    trainer.start(data_roots=data_roots)
    return trainer


@contextmanager
def started(starter: Starter, workdir: Path, name: str, data_roots: Sequence[Path] | None = None) -> Iterator[Trainer]:
    """A trainer that has made its first step."""
    trainer = start(starter, workdir, name, data_roots)
    try:
        while not isinstance(trainer.next(timeout=600), Progress):
            pass
        yield trainer
    finally:
        trainer.end()


def run(starter: Starter, workdir: Path, name: str = "steps=3") -> tuple[int, list[Event | Exited]]:
    trainer = start(starter, workdir, name)
    return trainer.pid, all_events(trainer)


def parent_of(pid: int) -> int:
    return psutil.Process(pid).ppid()


def test_each_job_has_a_process_of_its_own(starter: Starter, tmp_path: Path) -> None:
    starter.prepare()
    server = starter.server_pid
    starter.prepare()
    assert starter.server_pid == server, "there is one server at most"
    pids = set()
    for number in range(3):
        pid, items = run(starter, tmp_path / str(number))
        assert isinstance(items[-2], Finished)
        assert items[-1] == Exited(0)
        pids.add(pid)
    assert len(pids) == 3
    assert starter.server_pid == server
    assert server is not None
    wait_until(lambda: not psutil.Process(server).children())


def test_work_directory_can_have_any_name(starter: Starter, tmp_path: Path) -> None:
    starter.prepare()
    _, items = run(starter, tmp_path / "Wörk \ndir -")
    assert isinstance(items[-2], Finished)


def test_a_job_of_a_restricted_project_has_a_new_process(starter: Starter, tmp_path: Path) -> None:
    starter.prepare()
    with started(starter, tmp_path / "1", "steps=9999 step_seconds=0.02", data_roots=[tmp_path]) as trainer:
        assert parent_of(trainer.pid) == os.getpid()
    with started(starter, tmp_path / "2", "steps=9999 step_seconds=0.02") as trainer:
        assert parent_of(trainer.pid) == starter.server_pid


def test_a_trainer_and_its_children_end_with_the_server(starter: Starter, tmp_path: Path) -> None:
    starter.prepare()
    with started(starter, tmp_path / "1", "steps=9999 step_seconds=0.02 child=1") as trainer:
        assert len(group_of(trainer.pid)) == 2
        assert starter.server_pid is not None
        os.kill(starter.server_pid, signal.SIGKILL)
        assert all_events(trainer)[-1] == Exited(-signal.SIGKILL)
        wait_until(lambda: group_of(trainer.pid) == [])
    starter.prepare()
    _, items = run(starter, tmp_path / "2")
    assert isinstance(items[-2], Finished), "another server has been started"


def test_a_killed_trainer_is_reported_and_the_server_goes_on(starter: Starter, tmp_path: Path) -> None:
    starter.prepare()
    server = starter.server_pid
    with started(starter, tmp_path / "1", "steps=9999 step_seconds=0.02 child=1") as trainer:
        os.kill(trainer.pid, signal.SIGKILL)
        assert all_events(trainer)[-1] == Exited(-signal.SIGKILL)
        wait_until(lambda: group_of(trainer.pid) == [])
    with started(starter, tmp_path / "2", "steps=9999 step_seconds=0.02 ignore_sigterm=1") as trainer:
        trainer.stop()
        trainer.kill()
        assert all_events(trainer)[-1] == Exited(-signal.SIGKILL)
    with started(starter, tmp_path / "3", "steps=9999 step_seconds=0.02 checkpoint_every=9999") as trainer:
        trainer.stop()
        *_, stopped, exited = all_events(trainer)
        assert (type(stopped), exited) == (Stopped, Exited(3))
    assert starter.server_pid == server


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_server_that_does_not_answer_is_replaced_by_a_new_process(
    starter: Starter, tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fork_server, "_FORK_SECONDS", 0.5)
    starter.prepare()
    run(starter, tmp_path / "1")
    assert starter.server_pid is not None
    os.kill(starter.server_pid, number)
    pid, items = run(starter, tmp_path / "2")
    assert isinstance(items[-2], Finished)
    assert starter.server_pid is None
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize("name", ["steps=3", "steps=9999 step_seconds=0.02"])
def test_a_server_that_does_not_report_the_end_of_a_trainer_is_ended(
    starter: Starter, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fork_server, "_EXIT_SECONDS", 0.5)
    starter.prepare()
    server = starter.server_pid
    assert server is not None
    with started(starter, tmp_path / "1", name) as trainer:
        os.kill(server, signal.SIGSTOP)
        trainer.kill()
        assert all_events(trainer)[-1] == Exited(-signal.SIGKILL)
    wait_until(lambda: group_of(trainer.pid) == [])
    starter.prepare()
    assert starter.server_pid not in (None, server)
    _, items = run(starter, tmp_path / "2")
    assert isinstance(items[-2], Finished)


def test_the_server_ends_with_the_worker(starter: Starter, tmp_path: Path) -> None:
    starter.prepare()
    pid = starter.server_pid
    starter.end()
    assert not Path(f"/proc/{pid}").exists()


TRACER = """
import ctypes, os, sys
from pathlib import Path
from ttm_core.fork_server import next_job

job = next_job(int(sys.argv[-1]))
if job is not None:
    server = os.getppid()
    ptrace = ctypes.CDLL(None).ptrace
    if attached := ptrace(16, server, 0, 0) == 0:  # PTRACE_ATTACH
        os.waitpid(server, 0x40000000)  # __WALL
        ptrace(17, server, 0, 0)  # PTRACE_DETACH
    try:
        open(f"/proc/{server}/mem", "r+b").close()
        opened = True
    except OSError:
        opened = False
    (job.workdir / "moved").mkdir()
    (job.workdir / "run.json").rename(job.workdir / "moved/run.json")
    (job.workdir / "found").write_text(f"{attached} {opened}")
"""


@needs_landlock
def test_a_trainer_cannot_reach_the_server(tmp_path: Path) -> None:
    program = tmp_path / "tracer.py"
    program.write_text(TRACER)
    work_dir = tmp_path / "work"
    settings = Settings(work_dir=work_dir, data_roots=(tmp_path,))
    starter = Starter((sys.executable, str(program)), marks=stale.marks(), standby=True, settings=settings)
    starter.prepare()
    try:
        _, items = run(starter, work_dir / "1")
    finally:
        starter.end()
    assert items == [Exited(0)], (work_dir / "1/trainer.log").read_text()
    assert (work_dir / "1/found").read_text() == "False False"


WRITER = """
import os, sys, tempfile
from pathlib import Path
from ttm_core.fork_server import next_job
forked = sys.argv[1] == "-"
workdir = next_job(int(sys.argv[-1])).workdir if forked else Path(sys.argv[1])
tempfile.TemporaryFile(dir=os.environ["TMPDIR"]).close()
names = os.listdir(Path(sys.argv[0]).with_name("data"))
(workdir / "found").write_text(f"{'forked' if forked else 'new'} {names}")
"""


@pytest.mark.parametrize("deleted", ["temporary", "work_dir", "data_root"])
def test_folders_that_are_deleted_while_the_worker_runs_are_used_again(tmp_path: Path, deleted: str) -> None:
    program = tmp_path / "writer.py"
    program.write_text(WRITER)
    work_dir, data = tmp_path / "work", tmp_path / "data"
    data.mkdir()
    (data / "image.png").touch()
    settings = Settings(work_dir=work_dir, data_roots=(data,))
    starter = Starter((sys.executable, str(program)), marks=stale.marks(), standby=True, settings=settings)
    starter.prepare()

    def found(name: str) -> str:
        _, items = run(starter, work_dir / name)
        assert items == [Exited(0)], (work_dir / name / "trainer.log").read_text()
        return (work_dir / name / "found").read_text()

    try:
        assert found("1") == "forked ['image.png']"
        server = starter.server_pid
        if deleted == "temporary":
            shutil.rmtree(starter.temporary_folder)
        elif deleted == "work_dir":
            work_dir.rename(tmp_path / "old")
        else:
            data.rename(tmp_path / "old")
            shutil.copytree(tmp_path / "old", data)
        assert found("2") == "new ['image.png']"
        starter.prepare()
        assert starter.server_pid not in (None, server)
        assert found("3") == "forked ['image.png']"
    finally:
        starter.end()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads the loaded libraries from /proc")
def test_the_real_server_imports_torch_in_advance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # torch creates this folder at import; it cannot where the worker's environment names one that is forbidden.
    (tmp_path / "file").touch()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "file" / "forbidden"))
    starter = Starter(REAL_TRAINER, marks=stale.marks(), standby=True)
    starter.prepare()
    server = starter.server_pid
    try:
        wait_until(lambda: "libtorch" in Path(f"/proc/{server}/maps").read_text())
        for number in range(2):
            _, items = run(starter, tmp_path / str(number), "x")
            assert isinstance(items[-2], Failed), "the inputs do not exist"
            assert items[-1] == Exited(1)
            assert b"does not exist" in b"".join(LogFile(tmp_path / str(number) / "trainer.log", 10_000).read())
        assert starter.server_pid == server
    finally:
        starter.end()


def test_a_trainer_that_cannot_start_leaves_no_open_files(starter: Starter, tmp_path: Path) -> None:
    starter.prepare()
    run(starter, tmp_path / "first")
    before = psutil.Process().num_fds()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    trainer = Trainer(starter, tmp_path / "second", log=LogFile(tmp_path / "log", 10_000))
    resource.setrlimit(resource.RLIMIT_NOFILE, (before + 50, limits[1]))
    fillers = [os.dup(0) for _ in range(_free_descriptors() - 3)]  # one pipe fits
    try:
        with pytest.raises(OSError, match="Too many open files"):
            trainer.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for filler in fillers:
            os.close(filler)
    assert psutil.Process().num_fds() == before
    assert run(starter, tmp_path / "third")[0] > 0


def _free_descriptors() -> int:
    """The number of files that this process can still open."""
    opened = []
    try:
        while True:
            opened.append(os.dup(0))
    except OSError:
        return len(opened)
    finally:
        for descriptor in opened:
            os.close(descriptor)
