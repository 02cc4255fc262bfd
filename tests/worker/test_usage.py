"""Metrics of the trainer's resource usage."""

import os
from collections.abc import Sequence

import pytest

from worker.trainer import resources
from worker.trainer.devices import Load
from worker.trainer.resources import Usage


@pytest.mark.parametrize(
    ("gpus", "expected"),
    [
        ([], {}),
        ([Load("GPU-1", 6 << 30, 24 << 30, 0.75)], {"system/gpu_memory_bytes": 6 << 30, "system/gpus": 0.75}),
        # The second device is a MIG slice of a GPU.
        (
            [Load("GPU-1", 1 << 30, 24 << 30, 0.5), Load("MIG-2", 2 << 30, 5 << 30, None)],
            {"system/gpu_memory_bytes": 3 << 30, "system/gpus": 0.5},
        ),
        ([Load("MIG-2", 2 << 30, 5 << 30, None)], {"system/gpu_memory_bytes": 2 << 30}),
        ([Load("GPU-1", 1, 2, 1.0), Load("GPU-2", 1, 2, 0.25)], {"system/gpu_memory_bytes": 2, "system/gpus": 1.25}),
    ],
)
def test_gpu_metrics_are_aggregated_and_omitted_without_gpus(
    monkeypatch: pytest.MonkeyPatch, gpus: Sequence[Load], expected: dict[str, float]
) -> None:
    monkeypatch.setattr(resources, "_MIN_INTERVAL_SECONDS", 0.0)
    sample = Usage(lambda: gpus).sample(os.getpgid(0))
    assert {name: value for name, value in sample.items() if "gpu" in name} == expected
    assert sample["system/memory_bytes"] > 1024**2
    assert sample["system/cpus"] >= 0


def test_worker_without_a_gpu_reports_no_gpu_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "_MIN_INTERVAL_SECONDS", 0.0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert set(Usage().sample(os.getpgid(0))) == {"system/memory_bytes", "system/cpus"}
