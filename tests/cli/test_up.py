"""`ttm up` as a subprocess: startup, restarts and shutdown."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import psutil
import pytest

from tests.cli.conftest import ENVIRONMENT
from tests.support.forked_ttm import run_ttm
from tests.support.tiny import wait_until
from ttm_jobs.broker.embedded import EmbeddedBroker


class Up:
    """A running `ttm up`."""

    def __init__(self, process: subprocess.Popen[str], line: str) -> None:
        self.process = process
        self.line = line
        self.url = re.findall(r"http://\S+?:\d+", line)[0]

    def children(self, pattern: str) -> list[psutil.Process]:
        """The stack's processes with a matching command line."""
        children = psutil.Process(self.process.pid).children()
        return [child for child in children if re.search(pattern, " ".join(words(child)))]

    def checks(self) -> dict[str, str]:
        try:
            checks: dict[str, str] = httpx2.get(f"{self.url}/readyz", timeout=600).json()["checks"]
        except httpx2.TransportError:
            return {}
        return checks


def command(var: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "ttm_client.cli.main", "up", "--port", "0", "--var", str(var), *more]


@contextmanager
def up(var: Path, *more: str) -> Iterator[Up]:
    process = subprocess.Popen(
        command(var, *more), env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield Up(process, process.stdout.readline())
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(60)
        process.stdout.close()
        assert process.stderr is not None
        process.stderr.close()


def refused(var: Path, *more: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A `ttm up` that does not start. A later option replaces an earlier one."""
    return run_ttm("up", "--port", "0", "--var", str(var), *more, environment={**ENVIRONMENT, **environment})


def words(process: psutil.Process) -> list[str]:
    """The command line of a process; empty once it has exited."""
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def family(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def test_without_workers_no_package_of_the_current_directory_runs_and_jobs_stay_queued(tmp_path: Path) -> None:
    for name in ("api", "worker"):
        (tmp_path / "project" / name).mkdir(parents=True)
        (tmp_path / "project" / name / "__init__.py").write_text("raise SystemExit('the package of another project')")
    # The installed command does not search the current directory; `python -m` would.
    ttm = Path(sys.executable).with_name("ttm")
    process = subprocess.Popen(
        [ttm, "up", "--port", "0", "--var", tmp_path / "var", "--workers", "0"],
        env=ENVIRONMENT,
        cwd=tmp_path / "project",
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        stack = Up(process, process.stdout.readline())
        wait_until(lambda: {name for name, status in stack.checks().items() if status != "ok"} == {"worker"})
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        process.stdout.close()


def test_stack_lifecycle(tmp_path: Path) -> None:
    """Start, use, kill and restart of each process, Ctrl-C, and a start on the existing data folder."""
    var, data = tmp_path / "var", tmp_path / "data"
    data.mkdir()
    with up(var, "--data-root", str(data)) as stack:
        assert re.fullmatch(
            r"ready  http://127\.0\.0\.1:\d+  dashboard http://\S+/  API docs http://\S+/docs\n", stack.line
        )
        wait_until(lambda: set(stack.checks().values()) == {"ok"})
        body = {"student": "resnet18", "dataset": data.as_uri(), "method": "ce"}
        job_id = httpx2.post(f"{stack.url}/jobs", json=body).json()["id"]

        for pattern in (r"-m api\b", r"-m worker\.dispatcher$", r"(valkey|redis)-server", r"-m worker$"):
            (child,) = stack.children(pattern)
            child.kill()
            wait_until(lambda: stack.children(pattern) not in ([], [child]))  # noqa: B023
        wait_until(lambda: set(stack.checks().values()) == {"ok"})
        assert httpx2.get(f"{stack.url}/jobs/{job_id}").status_code == 200

        children = family(stack.process.pid)
        stack.process.send_signal(signal.SIGINT)
        assert stack.process.wait(60) == 0
        assert not [child for child in children if words(child)]
    with up(var, "--data-root", str(data), "--workers", "0") as again:
        assert [job["id"] for job in httpx2.get(f"{again.url}/jobs").json()["items"]] == [job_id]
        ended = refused(var)
        assert ended.returncode == 1
        assert f"already runs on {var}" in ended.stderr
        assert str(again.process.pid) in ended.stderr


def test_no_process_survives_a_killed_stack(tmp_path: Path) -> None:
    with up(tmp_path / "var") as stack:
        children = family(stack.process.pid)
        assert len(children) >= 4
        os.kill(stack.process.pid, signal.SIGKILL)
        stack.process.wait()
        psutil.wait_procs(children, timeout=600)
        assert not [child for child in children if words(child)]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--host", "0.0.0.0"), "ttm keys create"),
        (("--host", "192.0.2.1"), "Cannot listen"),
        (("--data-root", "/no/such/folder"), "does not exist"),
    ],
)
def test_invalid_options_are_rejected_with_a_message(tmp_path: Path, more: tuple[str, ...], message: str) -> None:
    ended = refused(tmp_path / "var", *more)
    assert ended.returncode in (1, 2)
    assert message in " ".join(ended.stderr.split())
    assert "Traceback" not in ended.stderr


def test_taken_port_is_rejected_with_a_message(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = refused(tmp_path / "var", "--port", port)
    assert ended.returncode == 1
    assert f"Cannot listen on 127.0.0.1:{port}: Address already in use" in ended.stderr


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("TTM_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none", "The database migration failed"),
        ("TTM_DATABASE_URL", "mysql://x", "the database is sqlite or postgresql"),
        ("TTM_LEASE_SECONDS", "soon", "TTM_LEASE_SECONDS: Input should be a valid number"),
        ("TTM_DATA_ROOTS", "[", "TTM_DATA_ROOTS: "),
        ("TTM_DATABASE_URL_FILE", "/no/such/file", "TTM_DATABASE_URL_FILE"),
    ],
)
def test_invalid_settings_are_rejected_and_leave_no_process(
    tmp_path: Path, name: str, value: str, message: str
) -> None:
    ended = refused(tmp_path / "var", **{name: value})
    assert ended.returncode == 1
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr.partition("The logs end")[0]
    assert str(tmp_path) not in " ".join(" ".join(words(process)) for process in psutil.process_iter())


def test_taken_broker_port_is_rejected_with_a_message(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = refused(tmp_path / "var", "--broker-port", port)
    assert ended.returncode == 1
    assert f"Port {port}" in ended.stderr


def test_external_broker_and_database_are_used(tmp_path: Path, redis: EmbeddedBroker, postgresql_url: str) -> None:
    environment = {**ENVIRONMENT, "TTM_BROKER_URL": redis.url, "TTM_DATABASE_URL": postgresql_url}
    process = subprocess.Popen(command(tmp_path / "var"), env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        stack = Up(process, process.stdout.readline())
        wait_until(lambda: set(stack.checks().values()) == {"ok"})
        assert stack.children(r"(valkey|redis)-server") == []
        assert not (tmp_path / "var" / "ttm.db").exists()
    finally:
        process.terminate()
        assert process.wait(60) == 0
        process.stdout.close()
