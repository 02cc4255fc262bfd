"""Peak memory of a run by the number of images that it streams.

    python -m bench.memory [--images 200 1000 5000]

The images are JPEGs of 512 x 512 in a WebDataset shard, decoded again at every view (`resized_crop`), with a teacher
store. Decoded, each takes 0.75 MiB. Memory is the private memory of the process; pages of mapped files are not
counted, since the system can reclaim them.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped]
from numpy.typing import NDArray
from PIL import Image

from bench.teacher import write_teacher
from worker.trainer.resources import held_by

_CLASSES = 10
_PICTURE, _VIEW = 512, 32  # pixels a side


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[200, 1000, 5000])
    print("| images streamed | peak memory, MiB |\n|---|---|")
    for images in parser.parse_args().images:
        print(f"| {images:,} | {peak_memory(images) / 2**20:.0f} |", flush=True)


def peak_memory(images: int) -> int:
    """Peak bytes of a run of one epoch over this number of images."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_teacher(folder / "teacher.safetensors", "mini/resnet8_025", _CLASSES)
        spec = {
            "teacher": {"checkpoint": (folder / "teacher.safetensors").as_uri(), "allow_chance": True},
            "student": {"architecture": "mini/resnet8_025", "image_size": _VIEW},
            "dataset": _shards(folder / "images", images).as_uri(),
            "method": "wttm",
            "exports": [],
            "training": {"epochs": 1, "threads": 1, "augmentation": "resized_crop", "teacher_logits": "stored"},
        }
        (folder / "spec.json").write_text(json.dumps(spec))
        command = [sys.executable, "-m", "ttm_core", "distill", str(folder / "spec.json"), "--out", str(folder / "out")]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
        ) as process:
            peak = 0
            while process.poll() is None:
                peak = max(peak, _held(process.pid))
                time.sleep(0.02)
        assert process.returncode == 0, "the run failed"
        return peak


def _held(pid: int) -> int:
    try:
        return held_by(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return 0


def _shards(folder: Path, images: int) -> Path:
    """One image per class, under as many names as there are images."""
    chance = np.random.default_rng(0)
    encoded = [_jpeg(chance.integers(0, 256, (8, 8, 3), dtype=np.uint8)) for _ in range(_CLASSES)]
    folder.mkdir()
    for split, count in (("train", images), ("val", 100)):
        with tarfile.open(folder / f"{split}-0.tar", "w") as shard:
            for number in range(count):
                label = number % _CLASSES
                for kind, content in (("jpg", encoded[label]), ("cls", str(label).encode())):
                    member = tarfile.TarInfo(f"{number:08}.{kind}")
                    member.size = len(content)
                    shard.addfile(member, io.BytesIO(content))
    return folder


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).resize((_PICTURE, _PICTURE)).save(stream, "jpeg")
    return stream.getvalue()


if __name__ == "__main__":
    main()
