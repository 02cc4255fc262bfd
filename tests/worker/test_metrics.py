"""Prometheus metrics of real worker and dispatcher processes."""

import time
from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.stack import Stack
from tests.support.tiny import wait_until
from ttm_jobs.broker.embedded import EmbeddedBroker, free_port
from ttm_jobs.states import JobState


def scrape(port: int) -> dict[tuple[str, ...], float]:
    text = httpx2.get(f"http://127.0.0.1:{port}/metrics", timeout=60).text
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_of_a_running_worker_and_dispatcher(tmp_path: Path, postgresql_url: str, redis: EmbeddedBroker) -> None:
    started, ports = time.time(), (free_port(), free_port())
    with Stack(tmp_path, postgresql_url, redis) as stack:
        for port, start in zip(ports, (stack.start_dispatcher, stack.start_worker), strict=True):
            stack.settings["metrics_port"] = port
            start()
        job_id = stack.submit("steps=200 step_seconds=0.02")
        stack.wait_for(job_id, JobState.RUNNING)
        wait_until(lambda: scrape(ports[1])["ttm_trainer_images_per_second",] == 100)
        worker = scrape(ports[1])
        assert worker["ttm_worker_busy",] == 1
        assert worker["ttm_trainer_memory_bytes",] > 2**20
        assert worker["ttm_worker_wake_ups_total", "claimed"] == 1
        assert worker["process_resident_memory_bytes",] > 0
        stack.wait_for(job_id, JobState.SUCCEEDED)
        wait_until(lambda: scrape(ports[1])["ttm_worker_busy",] == 0)
        worker = scrape(ports[1])
        assert (worker["ttm_worker_attempts_total", "succeeded"], worker["ttm_worker_attempts_total", "error"]) == (
            1,
            0,
        )
        assert worker["ttm_worker_heartbeats_total", "extended"] >= 1
        assert worker["ttm_trainer_images_per_second",] == worker["ttm_trainer_memory_bytes",] == 0
        dispatcher = scrape(ports[0])
        assert dispatcher["ttm_dispatcher_wake_ups_total", "taken"] >= 1
        assert started <= dispatcher["ttm_dispatcher_round_timestamp_seconds",] <= time.time()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_worker_does_not_start_if_its_metrics_port_is_in_use(stack: Stack) -> None:
    stack.settings["metrics_port"] = stack.broker.port
    worker = stack.start("taken", "tests.support.tiny_worker", stack.directory / "work")
    assert worker.wait(60) == 1
