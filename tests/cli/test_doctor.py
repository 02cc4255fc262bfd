"""`ttm doctor` against what is there, and against what is not."""

import json
import subprocess
import sys
from pathlib import Path

from cli.stack import Stack
from tests.cli.conftest import ENVIRONMENT
from ttm_jobs.embedded import free_port


def doctor(environment: dict[str, str], *arguments: str) -> tuple[int, dict[str, dict[str, str]]]:
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "doctor", "--json", *arguments],
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert not done.stderr
    return done.returncode, {check["check"]: check for check in json.loads(done.stdout)}


def test_what_is_there_is_found(stack: Stack, tmp_path: Path) -> None:
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
    assert found["production database"] == {
        "check": "production database",
        "status": "warning",
        "found": "SQLite",
        "advice": "SQLite serves one machine. Set TTM_DATABASE_URL to PostgreSQL, which several share.",
    }
    assert not any(tmp_path.rglob("probes/*"))


def test_what_nobody_named_is_not_missed(stack: Stack, tmp_path: Path) -> None:
    code, found = doctor({"TTM_URL": stack.url, "TTM_STORAGE_URL": f"file:{tmp_path}"})
    assert code == 0, found
    # A broker of someone else may answer at the default address.
    assert found["broker"]["status"] in ("ok", "warning")
    assert found["service"]["status"] == "ok"


def test_what_is_not_there_is_said_with_the_way_out(tmp_path: Path) -> None:
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
