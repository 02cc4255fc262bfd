"""Control groups of trainers, in a real group of version 2 that only root may create."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ttm_jobs.settings import Settings
from worker.trainer.log import LogFile
from worker.trainer.memory import cgroups
from worker.trainer.memory.cgroups import Group, Unavailable
from worker.trainer.memory.trainer_groups import TrainerGroups
from worker.trainer.process import Exited, Trainer
from worker.trainer.starter import Starter

MIB = 1024**2
HYBRID = cgroups.ROOT / "unified"
ROOT = HYBRID if (HYBRID / "cgroup.controllers").exists() else cgroups.ROOT
SLEEP = (sys.executable, "-c", "import time; time.sleep(600)")
# Creates the group of a process and removes it.
WORKER = """
import subprocess, sys
from pathlib import Path
from worker.trainer.memory import cgroups
parent = cgroups.delegated(sys.argv[1])
group = cgroups.create(parent, 0, {"cgroup.max.depth": "3"})
process = subprocess.Popen(sys.argv[2:])
group.add(process.pid)
print(parent, Path(f"/proc/{process.pid}/cgroup").read_text().split("0::")[1], group.path.exists(), group.oom_killed())
group.remove()
print(process.wait(), group.path.exists())
"""


def _controller() -> str | None:
    """A controller that groups of version 2 can have here, memory if possible; None without the right to create any."""
    if not (ROOT / "cgroup.controllers").exists() or not os.access(ROOT / "cgroup.subtree_control", os.W_OK):
        return None
    available = (ROOT / "cgroup.controllers").read_text().split()
    return "memory" if "memory" in available else next(iter(available), None)


CONTROLLER = _controller()
needs_groups = pytest.mark.skipif(CONTROLLER is None, reason="no control groups (version 2) that this user may create")
needs_memory = pytest.mark.skipif(CONTROLLER != "memory", reason="no memory controller of version 2 for this user")


@pytest.fixture
def group() -> Iterator[Path]:
    """A group that is delegated as systemd does it, removed with its children."""
    enabled = (ROOT / "cgroup.subtree_control").read_text().split()
    (ROOT / "cgroup.subtree_control").write_text(f"+{CONTROLLER}")
    path = ROOT / f"ttm-test-{os.getpid()}"
    path.mkdir()
    os.setxattr(path, "trusted.delegate", b"1")
    yield path
    for each in sorted(path.rglob("*/cgroup.procs"), reverse=True):
        Group(each.parent).remove()
    Group(path).remove()
    if CONTROLLER not in enabled:
        (ROOT / "cgroup.subtree_control").write_text(f"-{CONTROLLER}")


def _inside(group: Path) -> list[str]:
    """A command prefix that runs the rest in the group."""
    return ["sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh"]


@needs_groups
def test_worker_in_a_delegated_group_makes_room_for_groups_of_trainers(group: Path) -> None:
    neighbor = subprocess.Popen([*_inside(group), *SLEEP])
    try:
        # The first worker is in the delegated group, the second one where the first one moved the processes.
        for start in (group, group / "ttm-processes"):
            command = [*_inside(start), sys.executable, "-c", WORKER, str(CONTROLLER), *SLEEP]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            parent, path, exists, killed, returncode, remains = done.stdout.split()
            assert parent == str(group)
            assert path.startswith(f"/{group.name}/ttm-trainer-")
            assert (exists, killed) == ("True", "False")
            assert (int(returncode), remains) == (-signal.SIGKILL, "False")
            assert str(neighbor.pid) in (group / "ttm-processes" / "cgroup.procs").read_text().split()
    finally:
        neighbor.kill()
        neighbor.wait()


@needs_groups
def test_groups_of_ended_workers_are_removed(group: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    stale, other = group / f"ttm-trainer-{ended.pid}-0", group / f"ttm-trainer-{os.getppid()}-0"
    for path in (stale, other):
        path.mkdir()
    cgroups.remove_stale(group)
    assert (stale.exists(), other.exists()) == (False, True)


@needs_groups
def test_trainer_without_its_group_starts_with_a_warning(group: Path, caplog: pytest.LogCaptureFixture) -> None:
    group.rmdir()
    starter = Starter(("true",), marks={}, groups=TrainerGroups(100 * MIB, group))
    started = starter.start(Path("unused"))
    assert started.group is None
    assert started.process.reap() == 0
    os.close(started.events)
    assert "starts without a control group" in caplog.text


@needs_memory
def test_kernel_kills_a_trainer_over_the_limit_of_its_group(group: Path, tmp_path: Path) -> None:
    (group / "cgroup.subtree_control").write_text("+memory")
    code = "import os, time; time.sleep(1); os.fork(); bytearray(400 << 20)"
    starter = Starter((sys.executable, "-c", code), marks={}, groups=TrainerGroups(100 * MIB, group))
    trainer = Trainer(starter, tmp_path, log=LogFile(tmp_path / "log", 10_000), memory_bytes=100 * MIB)
    trainer.start()
    while not isinstance(item := trainer.next(timeout=600), Exited):
        assert item is None
    assert item.returncode == -signal.SIGKILL
    assert trainer.exceeded is not None
    assert trainer.exceeded >= 100 * MIB
    assert list(group.glob("ttm-trainer-*")) == []


@pytest.mark.parametrize(
    ("membership", "path"),
    [
        ("0::/system.slice/ttm-worker@0.service", "/system.slice/ttm-worker@0.service"),
        ("4:memory:/docker/1\n1:name=systemd:/docker/1\n0::/", "/"),
        ("0::/a:b/c", "/a:b/c"),
        ("4:memory:/docker/1", None),
        ("", None),
    ],
)
def test_path_of_the_own_group(membership: str, path: str | None) -> None:
    assert cgroups.path_of(membership) == path


def test_without_a_group_the_worker_says_why_it_samples(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level("INFO")
    off = TrainerGroups.of_worker(Settings(trainer_cgroups="off", trainer_memory_bytes=300 * MIB))
    assert off.create() is None
    assert "300 MiB, enforced by the worker, which samples it (TTM_TRAINER_CGROUPS=off)" in caplog.text
    with pytest.raises(Unavailable, match=r"no control groups of version 2"):
        cgroups.delegated("memory", tmp_path)
    with pytest.raises(Unavailable, match=r"absent: No such file"):
        cgroups.delegated("memory", membership=tmp_path / "absent")


@needs_groups
def test_group_that_is_not_delegated_is_left_alone(group: Path) -> None:
    os.removexattr(group, "trusted.delegate")
    script = "import sys; from worker.trainer.memory import cgroups; cgroups.delegated(sys.argv[1])"
    command = [*_inside(group), sys.executable, "-c", script, str(CONTROLLER)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "no control group is delegated to the worker" in done.stderr
    assert [path.name for path in group.iterdir() if path.is_dir()] == []
