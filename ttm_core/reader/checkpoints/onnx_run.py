"""Runs an ONNX classifier once in a reader process."""

from pathlib import Path

from ttm_core.checkpoints.schema import OnnxClassifier
from ttm_core.errors import BadCheckpoint
from ttm_core.reader.limits import ReaderLimits
from ttm_core.reader.process import read_untrusted

# ONNX Runtime keeps the file, its parsed form and the weights, each about once, and the activations.
_COPIES = 6


def describe_onnx(path: Path, image_size: int, *, most_seconds: float | None = None) -> OnnxClassifier:
    """What a file takes and returns, from a run on two black images.

    Args:
        path: the file.
        image_size: side of the images in pixels, for a graph that takes any size.
        most_seconds: time limit, if it is lower than that of a run.

    Raises:
        BadCheckpoint: the file is unsafe, is no image classifier, fails, or exceeds a limit.
    """
    size = path.stat().st_size
    limits = ReaderLimits.from_environment()
    seconds = limits.seconds if most_seconds is None else min(limits.seconds, most_seconds)
    answer = read_untrusted(
        "onnx",
        {"source": str(path.resolve()), "image_size": image_size},
        input_bytes=size,
        file_bytes=0,
        error=BadCheckpoint,
        subject="The ONNX file",
        reads=[path],
        limits=ReaderLimits(limits.memory_bytes + _COPIES * size, seconds),
    )
    return OnnxClassifier.model_validate(answer)
