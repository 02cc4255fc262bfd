"""`ttm bench` and its agent as processes against a real API."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.api.conftest import make_settings
from tests.api.test_access import make_key
from tests.cli.conftest import ENVIRONMENT
from tests.support.api_server import api_process, served
from tests.support.factories import queued
from tests.support.forked_ttm import run_ttm
from tests.support.measuring import artifact_of, succeed_with_onnx
from tests.support.tiny import wait_until
from tests.ttm_measure.factories import conv_classifier
from ttm_client import Client
from ttm_jobs.broker.embedded import free_port
from ttm_jobs.models import Scope
from ttm_jobs.settings import Settings
from ttm_jobs.storage import build_storage

TTM = [sys.executable, "-m", "ttm_client.cli.main"]
REPORT = {
    "exports": [
        {"file": "student.onnx", "precision": "fp32", "size": 4000, "top1": 0.9},
        {"file": "student-int8.onnx", "precision": "int8", "size": 1000, "top1": 0.1},
    ]
}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def settings(sqlite_url: str, tmp_path: Path) -> Settings:
    return make_settings(sqlite_url, tmp_path)


@pytest.fixture
def job_id(engine: Engine, settings: Settings, tmp_path: Path) -> str:
    """A finished job with two ONNX artifacts."""
    job_id = queued(engine)
    files = {
        name: conv_classifier(tmp_path / name, channels=channels).read_bytes()
        for name, channels in (("student.onnx", 8), ("student-int8.onnx", 4))
    }
    storage = build_storage(settings.storage_url)
    succeed_with_onnx(engine, storage, job_id, files, report=json.dumps(REPORT).encode())
    return job_id


def environment(url: str, key: str) -> dict[str, str]:
    return {**ENVIRONMENT, "TTM_URL": url, "TTM_API_KEY": key}


def ttm(url: str, key: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_ttm(*arguments, environment=environment(url, key))


def test_job_is_measured_printed_and_posted(engine: Engine, settings: Settings, job_id: str) -> None:
    key = make_key(engine, scope=Scope.MEASURE)
    with served(settings) as url:
        done = ttm(url, key, "bench", job_id, "--device-name", "pi5", "--seconds", "0.2")
        assert done.returncode == 0, done.stderr
        rows = [line.split("\t") for line in done.stdout.splitlines()]
        assert {row[0] for row in rows[:-1]} == {"student.onnx", "student-int8.onnx"}
        assert {row[2] for row in rows[:-1]} == {"1", "32"}
        assert "loses 80.00 points of top-1" in done.stdout
        with Client(url, key) as client:
            measured = client.measurements.list(job_id)
            assert {each.device for each in measured.items} == {"pi5"}
            assert len(measured.items) == len(rows) - 1
            assert [device.name for device in client.devices.list()] == ["pi5"]
        as_json = ttm(url, key, "bench", job_id, "--no-post", "--seconds", "0.1", "--json")
        assert {each["precision"] for each in json.loads(as_json.stdout)["items"]} == {"fp32"}
        admin = make_key(engine)
        listed = ttm(url, admin, "devices").stdout.split("\t")
        assert (listed[0], int(listed[3])) == ("pi5", len(measured.items))
        shown = ttm(url, admin, "show", job_id).stdout
        assert "ship on pi5\tShip student.onnx." in shown
        assert "latency on pi5\tstudent-int8.onnx (fp32, 1 thread): " in shown


def test_wrong_use(engine: Engine, settings: Settings) -> None:
    key = make_key(engine)
    with served(settings) as url:
        assert ttm(url, key, "bench").returncode == 2
        assert ttm(url, key, "bench", "--agent").returncode == 2
        assert ttm(url, key, "bench", "x", "--agent", "--device-name", "pi5").returncode == 2
        assert ttm(url, key, "bench", queued(engine), "--device-name", "../pi5").returncode == 2
        without_files = ttm(url, key, "bench", queued(engine), "--device-name", "pi5")
        assert (without_files.returncode, "no ONNX artifacts" in without_files.stderr) == (4, True)


def test_changed_file_is_not_measured(engine: Engine, settings: Settings, job_id: str) -> None:
    key = make_key(engine)
    with served(settings) as url:
        artifact = artifact_of(engine, job_id, "student.onnx")
        build_storage(settings.storage_url).put(artifact.key, [b"x" * artifact.size])
        done = ttm(url, key, "bench", job_id, "--device-name", "pi5", "--seconds", "0.1")
        assert done.returncode == 1
        assert artifact.sha256 in done.stderr
        with Client(url, key) as client:
            assert client.measurements.list(job_id).items == ()


def test_agent_serves_requests_and_survives_a_restart_of_the_api(
    engine: Engine, settings: Settings, job_id: str, tmp_path: Path
) -> None:
    port, key, admin = free_port(), make_key(engine, scope=Scope.MEASURE), make_key(engine)
    url = f"http://127.0.0.1:{port}"
    command = [*TTM, "bench", "--agent", "--device-name", "pi5", "--seconds", "0.1", "--poll-seconds", "0.1"]
    with (tmp_path / "agent.log").open("w+") as log:
        # The API is not up yet.
        agent = subprocess.Popen(command, env=environment(url, key), stdout=log, stderr=log)
        try:
            with api_process(settings, port=port), Client(url, admin) as client:
                wait_until(lambda: [each.name for each in client.devices.list()] == ["pi5"])
                first = client.devices.request("pi5", job_id, batches=[1])
                wait_until(lambda: len(client.measurements.list(job_id).items) == len(first))
            with api_process(settings, port=port), Client(url, admin) as client:
                second = client.devices.request("pi5", job_id, batches=[2])
                wait_until(lambda: len(client.measurements.list(job_id).items) == len(first + second))
                assert {each.created_by for each in client.measurements.list(job_id).items} == {"test"}
            assert agent.poll() is None
        finally:
            agent.terminate()
            agent.wait(60)


def test_agent_reports_files_that_it_does_not_run(engine: Engine, settings: Settings, tmp_path: Path) -> None:
    job_id = queued(engine)
    storage = build_storage(settings.storage_url)
    succeed_with_onnx(engine, storage, job_id, {"student.onnx": b"#!/bin/sh\ntouch owned\n"})
    key, admin = make_key(engine, scope=Scope.MEASURE), make_key(engine)
    with served(settings) as url, Client(url, admin) as client:
        (one, *_) = client.devices.request("pi5", job_id, batches=[1])
        command = [*TTM, "bench", "--agent", "--device-name", "pi5", "--seconds", "0.1", "--poll-seconds", "0.1"]
        agent = subprocess.Popen(command, env=environment(url, key), stderr=subprocess.PIPE, text=True, cwd=tmp_path)
        try:
            assert agent.stderr is not None
            lines = (line for line in agent.stderr)
            assert any(f"{one.id}: refused: model.onnx is not an ONNX file" in line for line in lines)
        finally:
            agent.terminate()
            agent.wait(60)
        assert client.measurements.list(job_id).items == ()
        assert not (tmp_path / "owned").exists()


def test_agent_ends_if_its_key_is_refused(settings: Settings, engine: Engine) -> None:
    reader = make_key(engine, scope=Scope.READ)
    with served(settings) as url:
        done = ttm(url, reader, "bench", "--agent", "--device-name", "pi5")
        assert done.returncode == 1
        assert "scope" in done.stderr
