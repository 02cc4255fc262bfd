"""`ttm doctor` with available and unavailable components."""

import json
from pathlib import Path

import pytest

from cli.doctor.checks import Check
from cli.doctor.production import production_checks
from cli.stack.stack import Stack
from tests.cli.conftest import ENVIRONMENT
from tests.support.forked_ttm import run_ttm
from tests.worker.test_isolation import LANDLOCK, NAMESPACES
from ttm_jobs.broker.embedded import EmbeddedBroker, free_port
from ttm_jobs.database.engine import create_engine, session_scope
from ttm_jobs.database.sealing import add_key
from ttm_jobs.models import Scope
from ttm_jobs.repositories import workers
from ttm_jobs.repositories.access import keys


def doctor(environment: dict[str, str], *arguments: str) -> tuple[int, dict[str, dict[str, str]]]:
    done = run_ttm("doctor", "--json", *arguments, environment={**ENVIRONMENT, **environment})
    assert not done.stderr
    return done.returncode, {check["check"]: check for check in json.loads(done.stdout)}


def test_available_components_are_ok(stack: Stack, tmp_path: Path) -> None:
    var = stack.options.var
    broker = stack._broker.url if stack._broker else ""
    code, found = doctor(
        {
            "TTM_URL": stack.url,
            "TTM_DATABASE_URL": f"sqlite:///{var / 'ttm.db'}",
            "TTM_BROKER_URL": broker,
            "TTM_STORAGE_URL": f"file:{tmp_path}",
        },
        "--production",
    )
    assert code == 0, found
    for name in ("python", "versions", "database", "broker", "storage", "service"):
        assert found[name]["status"] == "ok", found[name]
    assert found["devices"]["found"]
    isolated = NAMESPACES and LANDLOCK >= 1
    assert found["isolation"]["status"] == ("ok" if isolated else "warning"), found["isolation"]
    assert found["production database"] == {
        "check": "production database",
        "status": "warning",
        "found": "SQLite",
        "advice": "SQLite supports one machine. Set TTM_DATABASE_URL to PostgreSQL.",
    }
    assert not any(tmp_path.rglob("probes/*"))


def test_unset_components_are_warnings(stack: Stack, tmp_path: Path) -> None:
    code, found = doctor({"TTM_URL": stack.url, "TTM_STORAGE_URL": f"file:{tmp_path}"})
    assert code == 0, found
    # Another broker may listen on the default address.
    assert found["broker"]["status"] in ("ok", "warning")
    assert found["service"]["status"] == "ok"


def production(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Check]:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return {check.name.removeprefix("production "): check for check in production_checks()}


def test_production_checks_on_postgresql_and_redis(
    postgresql_url: str, redis: EmbeddedBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = create_engine(postgresql_url)
    with session_scope(engine) as session:
        workers.register(session, "w", kind="worker", hostname="h", pid=1, devices=[], job_id=None, queues=["gpu"])
        keys.create(session, project_id="default", name="a key", scope=Scope.ADMIN)
    environment = {
        "TTM_DATABASE_URL": postgresql_url,
        "TTM_BROKER_URL": redis.url,
        "TTM_STORAGE_URL": f"file:{tmp_path}",
        "TTM_QUEUES": "gpu,cpu",
        "TTM_WORK_DIR": str(tmp_path / "not" / "yet"),
    }
    checks = production(environment, monkeypatch)
    assert {name for name, check in checks.items() if check.status == "ok"} >= {"database", "connections", "keys"}
    assert checks["broker memory"].found == "maxmemory-policy noeviction, appendonly yes"
    # The test server runs with fsync off.
    assert (checks["durability"].status, checks["durability"].found[:9]) == ("warning", "fsync off")
    assert checks["processes"].found == "dispatchers: 0; queue cpu: 0 workers, queue gpu: 1 workers"
    for name in ("durability", "storage", "broker", "broker password", "address", "secrets", "processes", "metrics"):
        assert checks[name].status == "warning", checks[name]
        assert checks[name].advice
    with session_scope(engine) as session:
        workers.register(session, "d", kind="dispatcher", hostname="h", pid=1, devices=[], job_id=None)
    engine.dispose()
    add_key(tmp_path / "secret.key")
    more = {"TTM_QUEUES": "gpu", "TTM_METRICS_TOKEN": "x" * 20, "TTM_SECRET_KEY_FILE": str(tmp_path / "secret.key")}
    checks = production(more, monkeypatch)
    assert checks["processes"].status == checks["metrics"].status == checks["secrets"].status == "ok"


def test_unavailable_components_fail_with_advice(tmp_path: Path) -> None:
    port = free_port()
    code, found = doctor(
        {
            "TTM_URL": f"http://127.0.0.1:{port}",
            "TTM_DATABASE_URL": f"sqlite:///{tmp_path / 'none.db'}",
            "TTM_BROKER_URL": f"redis://:secret@127.0.0.1:{port}/0",
            "TTM_STORAGE_URL": "file:/proc/nowhere",
        }
    )
    assert code == 1
    for name in ("database", "broker", "storage"):
        assert found[name]["status"] == "failed"
        assert found[name]["advice"]
    assert found["service"]["advice"].startswith("Start it")
    assert "secret" not in json.dumps(found)
    assert not (tmp_path / "none.db").exists()
