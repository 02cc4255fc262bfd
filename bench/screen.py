"""Time to screen 30 timm architectures, by one process and by two.

    python -m bench.screen [--students 30] [--processes 1 2]

Each is exported for ten classes at 64 pixels and measured in ONNX Runtime, as in the first stage of a study.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped]
from PIL import Image

from ttm_core.spec import events
from ttm_core.spec.job import DistillSpec, StudentSpec
from ttm_core.spec.study.run_options import RunOptions, ScreenedStudent
from ttm_core.study.run import run

_STUDENTS = (
    *("resnet10t", "resnet14t", "resnet18", "resnet26t", "resnet34", "lcnet_050", "lcnet_075", "lcnet_100"),
    *("mobilenetv2_050", "mobilenetv2_100", "mobilenetv3_small_050", "mobilenetv3_small_075", "mobilenetv3_small_100"),
    *("mobilenetv4_conv_small", "mnasnet_small", "efficientnet_lite0", "tinynet_d", "tinynet_e", "regnetx_002"),
    *("regnetx_004", "regnety_002", "ghostnet_100", "hardcorenas_a", "fbnetc_100", "semnasnet_075", "convnext_atto"),
    *("convnextv2_atto", "edgenext_xx_small", "mobilevit_xxs", "deit_tiny_patch16_224"),
)
_SIZE = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--students", type=int, default=len(_STUDENTS))
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    print("| processes | students | seconds | CPU seconds |\n|---|---|---|---|")
    for processes in options.processes:
        with tempfile.TemporaryDirectory() as folder:
            seconds, cpu, screened = _screen(Path(folder), _STUDENTS[: options.students], processes)
        print(f"| {processes} | {screened} | {seconds:.0f} | {cpu:.0f} |", flush=True)


def _screen(folder: Path, students: tuple[str, ...], processes: int) -> tuple[float, float, int]:
    """Seconds, CPU seconds and the number of students that were measured."""
    training = {"epochs": 1, "batch_size": 16, "threads": max(processes, 1), "memory_format": "contiguous"}
    spec = DistillSpec.model_validate(
        {"student": students[0], "dataset": _images(folder / "images").as_uri(), "method": "ce", "training": training}
    )
    asked = [
        ScreenedStudent(numbers=[number], student=StudentSpec(architecture=name, image_size=_SIZE))
        for number, name in enumerate(students)
    ]
    emitted: list[events.Event] = []
    started, cpu = time.perf_counter(), _cpu_seconds()
    run(
        spec,
        folder,
        inputs=None,
        stores=None,
        on_event=emitted.append,
        should_stop=lambda: False,
        options=RunOptions(kind="screen", students=asked, processes=processes),
    )
    measured = [event for event in emitted if isinstance(event, events.CandidateScreened) and event.error is None]
    return time.perf_counter() - started, _cpu_seconds() - cpu, len(measured)


def _images(folder: Path) -> Path:
    generator = np.random.default_rng(0)
    for split in ("train", "val"):
        for label in range(10):
            where = folder / split / f"class-{label}"
            where.mkdir(parents=True)
            for number in range(8):
                pixels = generator.integers(0, 256, (_SIZE, _SIZE, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(where / f"{number}.png")
    return folder


def _cpu_seconds() -> float:
    """Of this process and its ended children."""
    times = psutil.Process().cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


if __name__ == "__main__":
    main()
