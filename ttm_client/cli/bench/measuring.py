"""Runs ttm_measure for `ttm bench`, and the table that it prints."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ttm_client.cli.output import FAILED, fail, print_rows, size

if TYPE_CHECKING:
    from ttm_measure import Measurement, Shape

_BATCHES = (1, 32)
_COLUMNS = ("FILE", "PRECISION", "BATCH", "THREADS", "P50", "P90", "IMAGES/S", "MEMORY")


def require_ttm_measure() -> None:
    """Ends the command with a message where ttm-measure or ONNX Runtime is not installed."""
    try:
        import onnxruntime  # type: ignore[import-untyped]  # noqa: F401

        import ttm_measure  # noqa: F401
    except ImportError as error:
        fail(f"`ttm bench` needs ONNX Runtime: pip install 'ttm-client[bench]' ({error})", FAILED)


def shapes() -> "list[Shape]":
    """Batch 1 and 32, each with one thread and with all cores."""
    from ttm_measure import Shape
    from ttm_measure.machine import usable_cores

    return list(dict.fromkeys(Shape(batch, threads) for batch in _BATCHES for threads in (1, len(usable_cores()))))


def measure_files(
    paths: Mapping[str, Path], *, seconds: float, warn: Callable[[str], None]
) -> "list[tuple[str, Measurement]]":
    """Measures files at all shapes, in alternating blocks. Warns of a shape that fails, and goes on."""
    from ttm_measure import MeasureError, compare

    found: list[tuple[str, Measurement]] = []
    for shape in shapes():
        try:
            results = compare(list(paths.values()), [shape], seconds=seconds)
        except MeasureError as error:
            warn(f"batch {shape.batch}, threads {shape.threads}: {error.message}")
            continue
        found += zip(paths, results, strict=True)
    return found


def print_measurements(found: "Sequence[tuple[str, Measurement]]") -> None:
    """Prints a row per file and shape."""
    print_rows(_COLUMNS, [_row(name, measured) for name, measured in found], optional=("MEMORY", "P90", "PRECISION"))


def _row(name: str, measured: "Measurement") -> tuple[str, ...]:
    return (
        name,
        measured.precision,
        str(measured.batch),
        str(measured.threads),
        f"{measured.p50_ms:.3g} ms",
        f"{measured.p90_ms:.3g} ms",
        f"{measured.throughput:.4g}",
        "-" if measured.peak_memory_bytes is None else size(measured.peak_memory_bytes),
    )
