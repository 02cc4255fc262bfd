"""Latency from a job's wake-up message to its first step, with a forked trainer and with one started on demand.

    python -m bench.start [--repeats 5]

The job is small (a ResNet of 8 layers, digits of 8 x 8), so that start-up dominates. For comparison, it also times
a cold `python -c "import torch, timm"`.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from ttm_core.spec.events import PhaseChanged, Progress, Stopped
from ttm_jobs.settings import Settings
from worker.trainer import stale
from worker.trainer.log import LogFile
from worker.trainer.process import Exited, Trainer
from worker.trainer.starter import Starter

COMMAND = (sys.executable, "-m", "ttm_core", "run")
_BATCH = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    found: dict[str, list[float]] = {"import": [], "cold": [], "waiting": []}
    with tempfile.TemporaryDirectory() as folder:
        dataset = _images(Path(folder) / "images")
        for number in range(options.repeats):
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", "import torch, timm"], check=True)
            found["import"].append(time.perf_counter() - started)
            for how in ("cold", "waiting"):
                found[how].append(_first_step(Path(folder) / f"{how}-{number}", dataset, wait=how == "waiting"))
    print("| | median, s | range |\n|---|---|---|")
    titles = {
        "import": '`python -c "import torch, timm"`',
        "cold": "wake-up message to first step, trainer started on demand",
        "waiting": "wake-up message to first step, trainer forked by the standby process",
    }
    for name, seconds in found.items():
        print(f"| {titles[name]} | {statistics.median(seconds):.2f} | {min(seconds):.2f} to {max(seconds):.2f} |")


def _first_step(workdir: Path, dataset: Path, *, wait: bool) -> float:
    """Seconds from handing over the job to the end of its first step."""
    settings = Settings(work_dir=workdir.parent, data_roots=(workdir.parent,))
    starter = Starter(COMMAND, marks=stale.marks(), standby=wait, settings=settings)
    starter.prepare()
    if wait:
        _until_idle(starter)
    workdir.mkdir()
    spec = {
        "student": "mini/resnet8_025",
        "dataset": dataset.as_uri(),
        "method": "ce",
        "exports": [],
        "training": {"epochs": 100_000, "batch_size": _BATCH, "threads": 1},
    }
    (workdir / "run.json").write_text(json.dumps({"spec": spec, "inputs": {"dataset": str(dataset), "teachers": []}}))
    trainer = Trainer(starter, workdir, log=LogFile(workdir / "trainer.log", 100_000))
    started = time.perf_counter()
    trainer.start()
    ready = 0.0
    while not isinstance(item := trainer.next(60), Progress):
        assert item is not None, "the trainer fell silent"
        assert not isinstance(item, Exited | Stopped), "the run did not begin"
        if isinstance(item, PhaseChanged) and item.phase == "training":
            ready = time.perf_counter() - started
    seconds = ready + _BATCH / item.images_per_second  # the first word of a step comes after several
    trainer.end()
    starter.end()
    return seconds


def _until_idle(starter: Starter) -> None:
    """Waits until the fork server has used no CPU for a second."""
    stat = Path(f"/proc/{starter.server_pid}/stat")
    used, since = "", time.monotonic()
    while time.monotonic() - since < 1:
        now = " ".join(stat.read_text().rpartition(")")[2].split()[11:13])
        if now != used:
            used, since = now, time.monotonic()
        time.sleep(0.05)


def _images(folder: Path) -> Path:
    chance = np.random.default_rng(0)
    for label in range(4):
        (folder / "train" / str(label)).mkdir(parents=True)
        for number in range(20):
            pixels = chance.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "train" / str(label) / f"{number}.png")
    return folder


if __name__ == "__main__":
    main()
