"""The section of the int8 files of four students."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.results.page.sentences import origin
from bench.results.page.text import wrapped

_CALIBRATIONS = {"min_max": "min-max", "percentile": "percentile", "mse": "least squares", "entropy": "entropy"}

_BEFORE = """\
Students at 64 pixels, trained with wttm for {epochs} epochs on {train_images:,} photographs of {data} (AdamW, learning
rate 0.002), one seed each. The teacher is the published ResNet-56, except for the pruned ResNet-50: it is cut out of a
ResNet-50 that was trained in the same way. The EfficientNet starts with ImageNet's weights, the others with random
ones. `quantize: {{mode: aware, epochs: 2}}` exports the better file of post-training quantization and
quantization-aware training. Validation uses 500 photographs, so that one
photograph is 0.2 points."""

_CALIBRATED = """\
Validation top-1 of the int8 files minus that of the float32 file, in points, for each way to set the ranges of
activations. The file of the best one is compared with the file after quantization-aware training, whose agreement with
its simulation had to be 99.5 % in these runs; the limit is 98 % now."""

_TESTED = """\
Test top-1 on {test_images:,} photographs; the interval of the difference is a paired bootstrap over the photographs.
Latency is the median of one image on one thread in ONNX Runtime, measured in turns for the float32 and the int8 file
(95 % intervals within {latency_error:.0f} %). The last column is what the job recommends for this machine: int8 loses
more than the accepted 0.5 points of top-1 or is slower where it is fp32."""


def int8_section(path: Path) -> str:
    """Heading, text and tables; empty without the record."""
    if not path.exists():
        return ""
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    error = 100 * max(run["latency_relative_error"] for run in record["runs"])
    facts = {**record["runs"][0], "data": record["data"], "latency_error": max(error, 1)}
    parts = [
        "## Int8: post-training and quantization-aware\n",
        wrapped(_BEFORE.format_map(facts)),
        wrapped(_CALIBRATED),
        _calibrations(record),
        wrapped(_TESTED.format_map(facts)),
        _files(record),
        origin(record),
    ]
    return "\n".join(parts) + "\n"


def _calibrations(record: Mapping[str, Any]) -> str:
    head = ["student", *_CALIBRATIONS.values(), "chosen", "layers in float32", "quantization-aware"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for run in record["runs"]:
        found = run["quantization"]
        best: dict[str, float] = {}
        for tried in found["tried"]:
            best[tried["calibration"]] = max(tried["change_points"], best.get(tried["calibration"], -100.0))
        aware = found["aware"]
        if aware["top1_after"] is None:
            trained = f"failed: {aware['reason']}"
        else:
            change = 100 * (aware["top1_after"] - aware["top1_before"]) + found["chosen"]["change_points"]
            trained = f"{change:+.1f}, agreement {100 * aware['agreement']:.1f} %"
        cells = [
            f"`{run['variant']}`",
            *(f"{best[name]:+.1f}" if name in best else "-" for name in _CALIBRATIONS),
            _CALIBRATIONS[found["chosen"]["calibration"]],
            str(len(found["chosen"]["float_layers"])),
            trained,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _files(record: Mapping[str, Any]) -> str:
    head = ["student", "float32", "int8 - float32, points", "exported", "MB", "ms", "times faster", "to ship"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for run in record["runs"]:
        change, sizes, ms = run["int8"], run["sizes"], run["latency_ms"]
        advice = next(each for each in run["recommendations"] if each["batch"] == 1 and each["threads"] == 1)
        cells = [
            f"`{run['variant']}`",
            f"{100 * run['test']:.2f}",
            f"{100 * change['mean']:+.2f} [{100 * change['low']:+.2f}, {100 * change['high']:+.2f}]",
            "quantization-aware" if run["quantization"]["aware"]["exported"] else "post-training",
            f"{sizes['fp32'] / 1e6:.2f} → {sizes['int8'] / 1e6:.2f}",
            f"{ms['fp32']:.2f} → {ms['int8']:.2f}",
            f"{ms['fp32'] / ms['int8']:.2f}",
            advice["precision"],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
