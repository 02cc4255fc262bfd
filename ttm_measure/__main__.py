"""`python -m ttm_measure FILE…`: measures ONNX files and prints a table or JSON."""

import argparse
import json
import sys
from pathlib import Path

from ttm_measure.process import Limits, compare, profile
from ttm_measure.schema import MeasureError, Measurement, Shape


def main() -> None:
    arguments = _parser().parse_args()
    limits = Limits(arguments.memory_bytes, arguments.limit_seconds)
    shape = Shape(arguments.batch, arguments.threads)
    try:
        if arguments.profile:
            profiles = [
                profile(file, batch=shape.batch, threads=shape.threads, limits=limits) for file in arguments.files
            ]
            print(json.dumps([each.model_dump(mode="json") for each in profiles], indent=2))
            return
        results = compare(
            arguments.files,
            [shape],
            relative_error=arguments.relative_error,
            seconds=arguments.seconds,
            limits=limits,
        )
    except MeasureError as error:
        sys.exit(f"{error.code}: {error.message}")
    if arguments.json:
        print(json.dumps([each.model_dump(mode="json") for each in results], indent=2))
    else:
        for file, result in zip(arguments.files, results, strict=True):
            print(f"{file.name}: {_line(result)}")


def _line(result: Measurement) -> str:
    memory = "" if result.peak_memory_bytes is None else f", {result.peak_memory_bytes / 2**20:.1f} MiB"
    return (
        f"{result.precision}, batch {result.batch}, threads {result.threads}: p50 {result.p50_ms:.3f} ms "
        f"(±{result.relative_error:.1%}), p90 {result.p90_ms:.3f} ms, {result.throughput:,.0f} images/s{memory}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ttm_measure", description=__doc__)
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="ONNX files, measured in alternating blocks"
    )
    parser.add_argument("--batch", type=int, default=1, help="images per run (default 1)")
    parser.add_argument("--threads", type=int, default=1, help="threads of ONNX Runtime (default 1)")
    parser.add_argument(
        "--relative-error", type=float, default=0.02, help="repeat until the median is known this well (default 0.02)"
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="timed seconds per file (default 5)")
    parser.add_argument("--memory-bytes", type=int, default=Limits.memory_bytes, help="limit (default 4 GiB)")
    parser.add_argument("--limit-seconds", type=float, default=Limits.seconds, help="limit (default 120 s)")
    parser.add_argument("--profile", action="store_true", help="print per-operator times as JSON instead")
    parser.add_argument("--json", action="store_true", help="print the measurements as JSON")
    return parser


if __name__ == "__main__":
    main()
