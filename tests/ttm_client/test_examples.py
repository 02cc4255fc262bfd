"""Runs the example of every public name of the client against a real service."""

import ast
import contextlib
import doctest
import inspect
import shutil
import sqlite3
import threading
import types
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import Engine, update

import ttm_client
from tests.api.conftest import make_settings
from tests.support.api_server import served
from tests.support.asynchronous import run_async
from tests.support.damaged import Damaged
from tests.support.factories import create_job
from tests.support.models import save_untrained
from tests.support.runs import claim, fail, succeed, train
from tests.support.studies import create_study
from tests.support.study_jobs import end_study
from ttm_client import AsyncClient, Client
from ttm_client.codegen.reference import public_names
from ttm_jobs.database.clock import now
from ttm_jobs.database.engine import create_engine, session_scope
from ttm_jobs.models import Job, Worker
from ttm_jobs.repositories import workers
from ttm_jobs.repositories.run_data import teacher_stores
from ttm_jobs.repositories.run_data.teacher_stores import LocalStore
from ttm_jobs.storage import Storage, build_storage

REPORT = b'{"student": {"parameters": 11689512}}'
CHECKER = doctest.OutputChecker()
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


NAMES = dict(public_names())


@pytest.fixture(scope="module")
def busy() -> Iterator[Client]:
    """A client of an overloaded service."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with Client(f"http://127.0.0.1:{server.server_port}") as client:
            yield client
        server.shutdown()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of a student."""
    path = tmp_path_factory.mktemp("student") / "student.safetensors"
    save_untrained(path, "mini/resnet8_025")
    return path


@dataclass
class Service:
    """One service for all examples. `snapshots` are its database with the rows that examples use, without and with a
    study.
    """

    url: str
    dataset: str
    engine: Engine
    database: Path
    snapshots: tuple[Path, Path]
    job_ids: dict[str, str]
    study_id: str
    restored: int = 0

    def restore(self, *, with_study: bool) -> None:
        """Undoes what earlier examples changed."""
        _copy(self.snapshots[with_study], self.database)
        self.restored += 1
        with session_scope(self.engine) as session:
            # Versions do not return, because the service caches jobs by them.
            session.execute(update(Job).values(version=Job.version + 1000 * self.restored))
            session.execute(update(Worker).values(last_seen_at=now(session)))


def _copy(source: Path, target: Path) -> None:
    """Copies an SQLite database into one that is in use."""
    with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target, timeout=60)) as other:
        one.backup(other)


@pytest.fixture(scope="module")
def service(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    database, snapshots = folder / "ttm.db", (folder / "jobs.db", folder / "study.db")
    shutil.copy(sqlite_template, database)
    settings = make_settings(f"sqlite:///{database}", folder)
    dataset = settings.data_roots[0].as_uri()
    engine, storage = create_engine(settings.database_url), build_storage(settings.storage_url)
    job_ids = _create_jobs(engine, storage, dataset)
    _copy(database, snapshots[False])
    study_id = create_study(engine, dataset, name="kiosk")
    end_study(engine, study_id, storage)
    _copy(database, snapshots[True])
    with served(settings) as url:
        yield Service(url, dataset, engine, database, snapshots, job_ids, study_id)
    engine.dispose()


def _create_jobs(engine: Engine, storage: Storage, dataset: str) -> dict[str, str]:
    """Four jobs, a worker and a teacher store."""
    with session_scope(engine) as session:
        queued, failed, running, done = (create_job(session, dataset=dataset).id for _ in range(4))
    lease = claim(engine, done)
    train(engine, lease, range(1, 3), total=2)
    succeed(engine, storage, lease, report=REPORT)
    train(engine, claim(engine, running), range(50, 51))
    fail(engine, claim(engine, failed))
    with session_scope(engine) as session:
        device = {"kind": "cuda", "count": 1, "name": "a GPU", "memory_bytes": 24 << 30}
        workers.register(session, "worker-1", kind="worker", hostname="gpu-7", pid=42, devices=[device], job_id=None)
        found = LocalStore("1f" * 32, "float16", 96_000_000, 48_000, now(session))
        teacher_stores.report(session, "gpu-7", "/work", [found])
        teacher_stores.used(session, session.get_one(Job, done), [found.digest], cache_hits=24_000, forwards=1_000)
    return {"done": done, "running": running, "failed": failed, "queued": queued}


@pytest.fixture(scope="module")
def damaged_client(damaged: Damaged) -> Iterator[Client]:
    with Client(damaged.url) as client:
        yield client


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[Client]:
    with Client(service.url) as client:
        yield client


_OF_STUDIES = ("tud", "Difference")
_OF_DAMAGE = ("amage", "jobs.predict", "jobs.push", "Prediction", "Confusion", "Calibration", "Guess")


@pytest.fixture
def namespace(
    service: Service,
    client: Client,
    busy: Client,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> dict[str, Any]:
    """The names that examples use: four jobs, a worker, a teacher store, local files, and the service at TTM_URL."""
    name: str = request.node.callspec.params["name"]
    of_studies = any(word in name for word in _OF_STUDIES)
    monkeypatch.setenv("TTM_URL", service.url)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "teacher.safetensors").write_bytes(b"weights")
    service.restore(with_study=of_studies)
    jobs = {title: client.jobs.get(job_id) for title, job_id in service.job_ids.items()}
    study = client.studies.get(service.study_id) if of_studies else None
    distilled = {}
    if any(word in name for word in _OF_DAMAGE):
        # A job of the real trainer, on a service of its own.
        damaged: Damaged = request.getfixturevalue("damaged")
        photo = next((damaged.data / "digits/val/digit-1").iterdir())
        distilled = {"distilled": damaged.student, "photo": photo}
        monkeypatch.setenv("TTM_URL", damaged.url)
        client = request.getfixturevalue("damaged_client")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    if "jobs.push" in name:
        request.getfixturevalue("writable_hub")
    return {
        **{public: getattr(ttm_client, public) for public in ttm_client.__all__},
        **jobs,
        **distilled,
        "study": study,
        "client": client,
        "busy": busy,
        "dataset": service.dataset,
        "trained": trained,
        "image": Image.new("RGB", (32, 32)),
    }


@pytest.mark.parametrize("name", NAMES)
def test_example_of_public_name(name: str, namespace: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    examples = doctest.DocTestParser().get_examples(inspect.getdoc(NAMES[name]) or "")
    assert examples, f"{name} has no example"
    output: list[str] = []
    # Not standard output, because the service's thread prints there too.
    namespace["print"] = lambda *words: output.append(" ".join(map(str, words)))
    monkeypatch.setattr("sys.displayhook", lambda value: value is None or output.append(repr(value)))

    async def run() -> None:
        """Executes the example as `python -m asyncio` would, with top-level await."""
        async with contextlib.AsyncExitStack() as stack:
            if name.startswith("Async"):
                namespace["client"] = await stack.enter_async_context(AsyncClient())
            for example in examples:
                output.clear()
                code = compile(example.source, "<example>", "single", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
                result = types.FunctionType(code, namespace)()
                if inspect.iscoroutine(result):
                    await result
                got = "".join(f"{line}\n" for line in output)
                assert CHECKER.check_output(example.want, got, FLAGS), CHECKER.output_difference(example, got, FLAGS)

    run_async(run())
