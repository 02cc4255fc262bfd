"""A board in a network namespace runs the agent of `ttm bench`; the network between it and the service is cut."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.api.conftest import make_settings
from tests.api.test_access import make_key
from tests.cli.conftest import ENVIRONMENT
from tests.support.api_server import served
from tests.support.factories import queued
from tests.support.flaky_proxy import FlakyProxy
from tests.support.measuring import succeed_with_onnx
from tests.support.tiny import wait_until
from tests.support.two_hosts import NoNamespaces, SecondHost
from tests.ttm_measure.factories import conv_classifier
from ttm_client import Client
from ttm_jobs.models import Scope
from ttm_jobs.storage import build_storage


@pytest.fixture
def board() -> Iterator[SecondHost]:
    try:
        with SecondHost() as host:
            yield host
    except NoNamespaces as reason:
        pytest.skip(f"NOT RUN: a board needs network namespaces, and {reason}")


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


def test_board_measures_after_the_network_was_cut(
    board: SecondHost, engine: Engine, database_url: str, tmp_path: Path
) -> None:
    settings = make_settings(database_url, tmp_path)
    settings = settings.model_copy(update={"allowed_hosts": (*settings.allowed_hosts, board.near)})
    job_id = queued(engine)
    content = conv_classifier(tmp_path / "student.onnx").read_bytes()
    succeed_with_onnx(engine, build_storage(settings.storage_url), job_id, {"student.onnx": content})
    key, admin = make_key(engine, scope=Scope.MEASURE), make_key(engine)
    with served(settings) as url, FlakyProxy(url, host=board.near) as cable, Client(url, admin) as client:
        options = ["--device-name", "board", "--seconds", "0.1", "--poll-seconds", "0.1"]
        agent = subprocess.Popen(
            [*board.prefix, sys.executable, "-m", "ttm_client.cli.main", "bench", "--agent", *options],
            env={**ENVIRONMENT, "TTM_URL": cable.url, "TTM_API_KEY": key},
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until(lambda: [each.name for each in client.devices.list()] == ["board"])
            board.cut()
            made = client.devices.request("board", job_id, batches=[1])
            board.join()
            wait_until(lambda: len(client.measurements.list(job_id).items) == len(made))
            assert b"GET /devices/board/requests/" in cable.heard
            assert job_id.encode() not in cable.heard, "the board learns nothing but the ONNX file"
        finally:
            agent.terminate()
            agent.wait(60)
