import pytest

from worker.trainer import devices

UUIDS = ["GPU-1a", "GPU-1b", "GPU-2c"]


@pytest.mark.parametrize(
    ("visible", "left"),
    [
        (None, UUIDS),
        ("", []),
        ("-1", []),
        ("2,0", ["GPU-2c", "GPU-1a"]),
        ("0,7,1", ["GPU-1a"]),
        ("GPU-2", ["GPU-2c"]),
        ("GPU-1", []),
        ("GPU-1b, GPU-1a", ["GPU-1b", "GPU-1a"]),
        ("MIG-3d", ["MIG-3d"]),
        ("nonsense,0", []),
    ],
)
def test_visible_gpus_follow_cuda_visible_devices(visible: str | None, left: list[str]) -> None:
    assert devices.select_visible(UUIDS, visible) == left


def test_machine_without_a_gpu_reports_the_cpu_and_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    device = devices.find()
    assert (device.kind, device.name) == ("cpu", None)
    assert device.count >= 1
    assert (device.memory_bytes or 0) > 2**28
