"""Compares the training time of a job through the service with the same run of the engine, alternating.

    python -m bench.service [--repeats 5]

The service is the embedded stack (SQLite, Valkey, one worker). Both train the same student from a full teacher store,
so that the worker's heartbeats, events and checkpoint uploads make the largest difference.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cli.stack.stack import Stack, StackOptions
from ttm_client import Client
from ttm_core.models import build
from ttm_core.models.weights import write_safetensors
from ttm_core.spec.structure import ModelStructure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=6)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        spec = _spec(root, options.epochs)
        found: dict[str, list[float]] = {"alone": [], "service": []}
        with Stack(StackOptions(var=root / "var", port=0, data_roots=(root,))) as stack, Client(stack.url) as client:
            _alone(spec, root, "warm-up")
            _served(client, spec)
            for number in range(options.repeats):
                found["alone"].append(_alone(spec, root, str(number)))
                found["service"].append(_served(client, spec))
    print("| | training, s: median | range |\n|---|---|---|")
    for name, title in (("alone", "the engine alone"), ("service", "through the service")):
        seconds = found[name]
        print(f"| {title} | {statistics.median(seconds):.2f} | {min(seconds):.2f} to {max(seconds):.2f} |")
    ratios = [alone / served for alone, served in zip(found["alone"], found["service"], strict=True)]
    print(
        f"\nSpeed through the service over speed alone, median of {len(ratios)} pairs: {statistics.median(ratios):.3f}"
    )


def _spec(root: Path, epochs: int) -> dict[str, Any]:
    chance = np.random.default_rng(0)
    for label in range(10):
        (root / "images" / "train" / str(label)).mkdir(parents=True)
        for number in range(128):
            pixels = chance.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "images" / "train" / str(label) / f"{number}.png")
    model = build(ModelStructure(architecture="cifar/resnet20", num_classes=10))
    write_safetensors(root / "teacher.safetensors", model.state_dict(), {"architecture": "cifar/resnet20"})
    return {
        "teacher": {"checkpoint": (root / "teacher.safetensors").as_uri(), "allow_chance": True},
        "student": "cifar/resnet8",
        "dataset": (root / "images").as_uri(),
        "method": "wttm",
        "exports": [],
        "training": {"epochs": epochs, "batch_size": 64, "threads": 1},
    }


def _alone(spec: dict[str, Any], root: Path, name: str) -> float:
    spec_file, out = root / "spec.json", root / f"alone-{name}"
    spec_file.write_text(json.dumps(spec))
    command = [
        sys.executable,
        "-m",
        "ttm_core",
        "distill",
        str(spec_file),
        "--out",
        str(out),
        "--stores",
        str(root / "stores"),
    ]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return float(json.loads((out / "out" / "report.json").read_text())["run"]["training_seconds"])


def _served(client: Client, spec: dict[str, Any]) -> float:
    job = client.jobs.wait(client.jobs.create(**spec).id)
    assert job.state == "succeeded", job.failure
    return float(client.jobs.report(job.id)["run"]["training_seconds"])


if __name__ == "__main__":
    main()
