"""What this worker trains on: the first GPU that its trainers will see, else the CPU. torch is not loaded for it."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil  # type: ignore[import-untyped]
import pynvml


@dataclass(frozen=True)
class Device:
    """`count` is of GPUs or of CPU threads; `memory_bytes` is that of the first GPU, or of the machine."""

    kind: str
    count: int
    name: str | None
    memory_bytes: int | None


def find() -> Device:
    """The device, by the driver's own word."""
    if gpus := visible_gpus(os.environ.get("CUDA_VISIBLE_DEVICES")):
        name = str(pynvml.nvmlDeviceGetName(gpus[0]))
        return Device("cuda", len(gpus), name, int(pynvml.nvmlDeviceGetMemoryInfo(gpus[0]).total))
    return Device("cpu", os.cpu_count() or 1, None, int(psutil.virtual_memory().total))


@dataclass(frozen=True)
class Load:
    """What a GPU says of this moment, of all processes on it. `busy`, the share of the last moments in which it
    computed, is None for a part of a GPU, which has no such number of its own.
    """

    uuid: str
    used_bytes: int
    total_bytes: int
    busy: float | None


def loads() -> list[Load]:
    """Of the GPUs that this worker's trainers see; one that says nothing is left out."""
    found = []
    for gpu in visible_gpus(os.environ.get("CUDA_VISIBLE_DEVICES")):
        with suppress(pynvml.NVMLError):
            memory = pynvml.nvmlDeviceGetMemoryInfo(gpu)
            found.append(Load(str(pynvml.nvmlDeviceGetUUID(gpu)), int(memory.used), int(memory.total), _busy(gpu)))
    return found


def _busy(gpu: Any) -> float | None:
    try:
        return float(pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu) / 100
    except pynvml.NVMLError:
        return None


def visible_gpus(visible: str | None) -> list[Any]:
    """NVML's handles of the GPUs that CUDA shows a process with this CUDA_VISIBLE_DEVICES; none without a driver."""
    try:
        pynvml.nvmlInit()
        there = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        chosen = seen([str(pynvml.nvmlDeviceGetUUID(handle)) for handle in there], visible)
        return [pynvml.nvmlDeviceGetHandleByUUID(uuid) for uuid in chosen]
    except pynvml.NVMLError:
        return []


def seen(uuids: Sequence[str], visible: str | None) -> list[str]:
    """Of a machine's GPUs, in the order of the bus, those that CUDA_VISIBLE_DEVICES leaves.

    As CUDA reads it: numbers, beginnings of UUIDs, or parts of a GPU (MIG-...); what follows a wrong one is not seen.
    CUDA's numbers count in the order of the bus where CUDA_DEVICE_ORDER=PCI_BUS_ID.
    """
    if visible is None:
        return list(uuids)
    chosen: list[str] = []
    for part in map(str.strip, visible.split(",")):
        if part.startswith("MIG-"):
            chosen.append(part)
            continue
        named = part.startswith("GPU-")
        alike = [uuid for index, uuid in enumerate(uuids) if (uuid.startswith(part) if named else part == str(index))]
        if len(alike) != 1:
            break
        chosen += alike
    return chosen
