"""Decisions that later attempts of a run keep, and measurements that equal runs on a machine share."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from ttm_core.data.cache import DataCache
from ttm_core.files.durable import write_durably
from ttm_measure.machine import cpu_model

_FILE = "measured.json"


def decide_once(workdir: Path, name: str, decide: Callable[[], Any]) -> Any:
    """The decision of the first attempt in this work directory."""
    path = workdir / "decisions" / f"{name}.json"
    if not path.exists():
        write_durably(path, json.dumps(decide()).encode())
    return json.loads(path.read_text())


def measure_once(
    cache: DataCache, device: torch.device, name: str, key: Mapping[str, Any], measure: Callable[[], Any]
) -> Any:
    """The result of an equal earlier measurement on this machine, else a new one, which the cache keeps.

    Timings vary, so equal runs that measured anew could choose differently and give different students.

    Args:
        cache: shared by the runs on this machine.
        device: that is measured.
        name: of the measurement.
        key: what it depends on, besides the device, its threads and the version of torch.
        measure: returns a JSON value.
    """
    content = {
        **key,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_model(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def make(folder: Path) -> None:
        (folder / _FILE).write_text(json.dumps(measure()))

    folder = cache.folder(f"measured-{name}-{digest}", make)
    return json.loads((folder / _FILE).read_text())
