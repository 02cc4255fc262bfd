"""The worker's devices: the GPUs that its trainers see, else the CPU. Does not import torch."""

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil  # type: ignore[import-untyped]
import pynvml

from ttm_core.errors import DeviceUnavailable
from ttm_jobs.settings import Settings
from worker.trainer.sandbox import run_confined

_CHECK = (sys.executable, "-m", "ttm_core", "gpus")
_AMPERE = (8, 0)
"""The compute capability of the first GPUs with bfloat16 units."""


@dataclass(frozen=True)
class Device:
    """`count` is the number of GPUs or CPU threads; `memory_bytes` is of the first GPU, or of the machine.

    `bfloat16` is whether it computes in this precision. Every CPU does, some without units of its own.
    """

    kind: str
    count: int
    name: str | None
    memory_bytes: int | None
    bfloat16: bool = True


def find() -> Device:
    """Returns the device as the driver reports it."""
    if gpus := visible_gpus(os.environ.get("CUDA_VISIBLE_DEVICES")):
        name = str(pynvml.nvmlDeviceGetName(gpus[0]))
        memory = int(pynvml.nvmlDeviceGetMemoryInfo(gpus[0]).total)
        return Device("cuda", len(gpus), name, memory, bfloat16=all(map(_has_bfloat16_units, gpus)))
    return Device("cpu", os.cpu_count() or 1, None, int(psutil.virtual_memory().total))


def check_gpus(settings: Settings) -> None:
    """Computes on each GPU in the sandbox of a trainer.

    Raises:
        DeviceUnavailable: the driver reports GPUs that torch cannot compute on, or the sandbox prevents it.
    """
    done = run_confined(settings, _CHECK, stderr=subprocess.PIPE)
    if done.returncode:
        lines = done.stderr.decode(errors="replace").split("\n")
        reason = next((line for line in reversed(lines) if line.strip()), f"exit status {done.returncode}")
        raise DeviceUnavailable(reason)


def _has_bfloat16_units(gpu: Any) -> bool:
    try:
        return tuple(pynvml.nvmlDeviceGetCudaComputeCapability(gpu)) >= _AMPERE
    except pynvml.NVMLError:
        return True  # a partition, which only newer GPUs have


@dataclass(frozen=True)
class Load:
    """Current use of a GPU by all processes. `busy` is its utilization in [0, 1]; None for a MIG partition."""

    uuid: str
    used_bytes: int
    total_bytes: int
    busy: float | None


def loads() -> list[Load]:
    """The use of the GPUs that this worker's trainers see. Omits GPUs that do not report it."""
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
    """NVML handles of the GPUs that CUDA shows for this CUDA_VISIBLE_DEVICES; empty without a driver."""
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        chosen = select_visible([str(pynvml.nvmlDeviceGetUUID(handle)) for handle in handles], visible)
        return [pynvml.nvmlDeviceGetHandleByUUID(uuid) for uuid in chosen]
    except pynvml.NVMLError:
        return []


def select_visible(uuids: Sequence[str], visible: str | None) -> list[str]:
    """The GPUs selected by CUDA_VISIBLE_DEVICES, from all GPUs in PCI bus order.

    Follows CUDA: indices, UUID prefixes or MIG partitions; entries after an invalid one are ignored. CUDA's indices
    are in bus order with CUDA_DEVICE_ORDER=PCI_BUS_ID.
    """
    if visible is None:
        return list(uuids)
    chosen: list[str] = []
    for part in map(str.strip, visible.split(",")):
        if part.startswith("MIG-"):
            chosen.append(part)
            continue
        is_uuid = part.startswith("GPU-")
        matches = [
            uuid for index, uuid in enumerate(uuids) if (uuid.startswith(part) if is_uuid else part == str(index))
        ]
        if len(matches) != 1:
            break
        chosen += matches
    return chosen
