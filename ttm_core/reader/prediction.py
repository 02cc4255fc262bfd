"""Runs ONNX files on one untrusted image, within the limits of a reader process."""

import json
import statistics
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
from numpy.typing import NDArray
from PIL import Image

from ttm_core.data.encoded.decoding import center_square, decode
from ttm_core.data.encoded.headers import read_header
from ttm_core.errors import BadImage
from ttm_core.spec.damage.schema import Guess
from ttm_core.spec.damage.single_prediction import FILES, MAX_PIXELS, THREADS, ModelPrediction, Prediction
from ttm_core.spec.structure import METADATA_KEY
from ttm_measure.graph import read_checked

_TOP = 5
_RUNS, _SECONDS = 20, 0.5
_FILE_BYTES = 2 * 2**30
_ERRORS_ONLY = 3


def predict(source: Path, files: Mapping[str, str]) -> Prediction:
    """The answers of the models to an image. They get what the engine evaluates students with: the center square,
    resized to the size of their input.

    Args:
        source: the encoded image.
        files: paths of ONNX files by the name of the artifact. One of them is a student's: its metadata has the
            names of the classes.

    Raises:
        BadImage: the image cannot be decoded, or has more than 25 megapixels.
    """
    try:
        header = read_header(source)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise BadImage(f"The image cannot be decoded: {type(error).__name__}.") from error
    if header.width * header.height > MAX_PIXELS:
        raise BadImage(f"The image has {header.width} x {header.height} pixels; the limit is {MAX_PIXELS:,} pixels.")
    sessions = {name: _session(Path(path)) for name, path in files.items()}
    names = _class_names(sessions)
    models = [_answer(name, sessions[name], source, names) for name in FILES if name in sessions]
    return Prediction(width=header.width, height=header.height, models=models)


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = THREADS
    options.log_severity_level = _ERRORS_ONLY
    content = read_checked(path, _FILE_BYTES).content
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _class_names(sessions: Mapping[str, onnxruntime.InferenceSession]) -> list[str]:
    for session in sessions.values():
        metadata = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        if metadata is not None:
            return [str(name) for name in json.loads(metadata)["class_names"]]
    raise ValueError("no file has the metadata of a student")


def _answer(name: str, session: onnxruntime.InferenceSession, source: Path, classes: list[str]) -> ModelPrediction:
    (entry,) = session.get_inputs()
    _, channels, size, _ = entry.shape
    inputs = {entry.name: _pixels(source, channels, size)}
    logits = session.run(None, inputs)[0][0]  # also the warm-up
    seconds: list[float] = []
    while len(seconds) < _RUNS and sum(seconds) < _SECONDS:
        started = time.perf_counter()
        session.run(None, inputs)
        seconds.append(time.perf_counter() - started)
    probabilities = np.exp(logits.astype(np.float64) - logits.max())
    probabilities /= probabilities.sum()
    order = np.argsort(-logits, kind="stable")[:_TOP]
    return ModelPrediction(
        model=FILES[name],
        file=name,
        top=[Guess(name=classes[index], probability=round(float(probabilities[index]), 6)) for index in order],
        latency_ms=round(1000 * statistics.median(seconds), 4),
        runs=len(seconds),
    )


def _pixels(source: Path, channels: int, size: int) -> NDArray[np.float32]:
    """float32 [1, C, size, size] in [0, 1]."""
    try:
        image = center_square(decode(source, channels), size)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BadImage(f"The image cannot be decoded: {type(error).__name__}.") from error
    array = np.asarray(image, dtype=np.float32) / np.float32(255)
    return np.ascontiguousarray(array[None] if array.ndim == 2 else array.transpose(2, 0, 1))[None]
