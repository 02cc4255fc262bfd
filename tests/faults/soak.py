"""`python -m tests.faults.soak`: runs many short jobs on a few workers while killing processes at random.

Submits jobs over HTTP. Meanwhile, kills and restarts workers, trainers, the broker (and, half of the time, deletes its
file), the API and the dispatcher at random, from a fixed seed. Then verifies the database and the storage. Prints the
figures as JSON. Exits with status 1 if a job was lost, ended twice, or has unexpected bytes.
"""

import argparse
import io
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Any

import httpx2

from tests.faults.count import Count, count
from tests.support.processes import servers_of, trainers_of
from tests.support.servers import PostgresServer, start_redis
from tests.support.stack import ServiceProcess, Stack
from tests.support.tiny import wait_until
from ttm_jobs.broker.embedded import EmbeddedBroker
from ttm_jobs.database.migrate import upgrade
from ttm_jobs.processes import die_with_parent

STEPS = 40
_WORK = f"steps={STEPS} step_seconds=0.05 checkpoint_every=5"
# Higher than the number of kills that one job can meet: the soak tests for lost jobs, not for exhausted attempts.
_MAX_ATTEMPTS = 100


@dataclass
class Soak:
    """The processes of the service, and the faults injected into them."""

    stack: Stack
    broker: EmbeddedBroker
    chance: random.Random
    workers: list[ServiceProcess] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    # Job id, lease epoch and time of death for each job of a killed worker.
    deaths: list[tuple[str, int, datetime]] = field(default_factory=list)

    def start(self, workers: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._start_api()
        self.dispatcher = self.stack.start_dispatcher()
        for _ in range(workers):
            self._start_worker()

    def close(self) -> None:
        self._listener.close()

    def submit(self, number: int) -> str:
        """Submits a job and returns its id. Posts the job again if the response is lost."""
        body = {
            "name": f"{_WORK} number={number}",
            "student": "cifar/resnet20",
            "dataset": f"file://{self.stack.data}",
            "method": "ce",
            "training": {"seed": number},
            "max_attempts": _MAX_ATTEMPTS,
        }
        while True:
            try:
                answer = httpx2.post(f"{self.url}/jobs", json=body, timeout=60)
            except httpx2.TransportError:
                continue
            if answer.status_code == 201:
                return str(answer.json()["id"])
            time.sleep(0.1)

    def disturb(self, enough: Callable[[], bool]) -> None:
        """Injects random faults until `enough()`.

        Must run in the main thread, because child processes exit with the thread that started them.
        """
        faults: list[Callable[[], None]] = [
            *[self.kill_worker] * 3,
            *[self.kill_trainer] * 3,
            self.drain_worker,
            self.kill_broker,
            self.kill_api,
            self.kill_dispatcher,
        ]
        while not enough():
            time.sleep(self.chance.uniform(1, 4))
            self.chance.choice(faults)()

    def kill_worker(self) -> None:
        victim = self._end_worker(signal.SIGKILL)
        if victim is None:
            return
        at = datetime.now(UTC)
        self.deaths += [(job.id, job.lease_epoch, at) for job in self.stack.held_by(victim)]
        self.kills["worker killed"] += 1
        self._start_worker()

    def drain_worker(self) -> None:
        if self._end_worker(signal.SIGTERM) is not None:
            self.kills["worker drained"] += 1
            self._start_worker()

    def kill_trainer(self) -> None:
        trainers = [pid for worker in self.workers for pid in _processes_of(worker.pid)]
        if trainers:
            os.kill(self.chance.choice(trainers), signal.SIGKILL)
            self.kills["trainer killed"] += 1

    def kill_broker(self) -> None:
        os.kill(self.broker.pid, signal.SIGKILL)
        self.broker.stop()
        wiped = self.chance.random() < 0.5
        if wiped:
            shutil.rmtree(self.broker.directory)
        time.sleep(self.chance.uniform(0, 2))
        self.broker.start()
        self.kills["broker killed and wiped" if wiped else "broker killed"] += 1

    def kill_api(self) -> None:
        self.api.kill()
        self.api.wait()
        self._start_api()
        self.kills["API killed"] += 1

    def kill_dispatcher(self) -> None:
        self.dispatcher.kill()
        self.dispatcher.wait()
        self.dispatcher = self.stack.start_dispatcher()
        self.kills["dispatcher killed"] += 1

    def _end_worker(self, how: signal.Signals) -> int | None:
        """Signals a registered worker and returns its process id. Skips workers that are still starting."""
        ready = {row.pid for row in self.stack.workers()}
        candidates = [worker for worker in self.workers if worker.pid in ready]
        if not candidates:
            return None
        worker = self.chance.choice(candidates)
        self.workers.remove(worker)
        worker.send_signal(how)
        worker.wait(60)
        return worker.pid

    def _start_worker(self) -> None:
        name = f"worker-{len(self.stack.processes)}"
        self.workers.append(self.stack.start(name, "tests.support.tiny_worker", self.stack.directory / name))

    def _start_api(self) -> None:
        # The listening socket outlives the process, as it does behind a reverse proxy.
        descriptor = self._listener.fileno()
        self.api = subprocess.Popen(
            [sys.executable, "-m", "api", "--fd", str(descriptor)],
            env=self.stack.environment(self.stack.directory),
            pass_fds=(descriptor,),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=die_with_parent(),
        )
        self.stack.processes.append(self.api)


def _processes_of(worker: int) -> list[int]:
    """The worker's trainers and the process that they are forked from."""
    try:
        return [*trainers_of(worker), *servers_of(worker)]
    except OSError:
        # The trainer or its worker has exited.
        return []


@contextmanager
def database(kind: str, directory: Path) -> Iterator[str]:
    """Yields the URL of a new migrated database."""
    if kind == "sqlite":
        url = f"sqlite:///{directory}/ttm.db"
        upgrade(url)
        yield url
        return
    with PostgresServer() as server:
        url = server.create_database("soak")
        upgrade(url)
        yield url


def soak(
    *, jobs: int, workers: int, seed: int, kind: str, directory: Path, minutes: float
) -> tuple[Count, dict[str, Any]]:
    """Runs the soak. Returns the counts and the figures to print."""
    started = time.monotonic()
    with ExitStack() as exits:
        url = exits.enter_context(database(kind, directory))
        broker = start_redis(directory / "broker")
        exits.callback(broker.stop)
        stack = exits.enter_context(Stack(directory, url, broker))
        run = Soak(stack, broker, random.Random(seed))
        exits.callback(run.close)
        run.start(workers)
        accepted: list[str] = []
        client = Thread(target=lambda: accepted.extend(map(run.submit, range(jobs))), daemon=True)
        client.start()
        until = started + minutes * 60
        run.disturb(
            lambda: time.monotonic() > until or (not client.is_alive() and stack.count_unfinished() <= jobs // 10)
        )
        # No more faults: the remaining jobs must finish without intervention.
        client.join(60)
        wait_until(lambda: stack.count_unfinished() == 0, seconds=minutes * 60)
        seconds = time.monotonic() - started
        counted = count(stack, accepted, steps=STEPS, deaths=run.deaths)
    figures = {
        "database": kind,
        "jobs": jobs,
        "workers": workers,
        "seed": seed,
        "seconds": round(seconds),
        "kills": dict(sorted(run.kills.items())),
        **counted.figures(),
    }
    return counted, figures


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--database", choices=["postgresql", "sqlite"], default="postgresql")
    parser.add_argument(
        "--minutes", type=float, default=30.0, help="limit of the time with faults and of the time after them"
    )
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    words = io.StringIO()
    with tempfile.TemporaryDirectory(prefix="ttm-soak-") as directory, redirect_stdout(words):
        counted, figures = soak(
            jobs=options.jobs,
            workers=options.workers,
            seed=options.seed,
            kind=options.database,
            directory=Path(directory),
            minutes=options.minutes,
        )
    if not counted.sound:
        print(words.getvalue())
    text = json.dumps(figures, indent=2)
    print(text)
    if options.json is not None:
        options.json.write_text(text + "\n")
    return 0 if counted.sound else 1


if __name__ == "__main__":
    sys.exit(main())
