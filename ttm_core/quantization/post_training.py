"""Chooses an int8 ONNX file by validation: calibration methods first, then layers that stay in float32."""

import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static  # type: ignore[import-untyped]
from onnxruntime.quantization.calibrate import TensorsData, save_tensors_data  # type: ignore[import-untyped]
from onnxruntime.quantization.shape_inference import quant_pre_process  # type: ignore[import-untyped]

from ttm_core.export.onnx import INPUT, OUTPUT
from ttm_core.files.full_disk import full_disk_errors
from ttm_core.quantization.ranges import ActivationStatistics, Calibration, Range
from ttm_core.spec.speed.verdict import ACCEPTED_DROP_POINTS

CALIBRATIONS: tuple[Calibration, ...] = ("min_max", "percentile", "mse", "entropy")
_SENSITIVE_TYPES = ("Conv", "Gemm", "MatMul")
_REMOVED = ("Relu", "Clip")
_MOST_TRIED, _MOST_KEPT = 12, 4
_PROBED_IMAGES = 64

# Of temporary files, in sizes of the float32 file.
_TEMPORARY_FILES = 6

Pixels = NDArray[np.float32]
"""[B, C, H, W] in [0, 1]."""


@dataclass(frozen=True)
class Candidate:
    """A quantized file. `float_layers` are the nodes in float32. `agreement` is the share of images with the float32
    file's class, `error` the mean squared difference of the logits divided by their variance, `change_points` the
    change of top-1 against the float32 file in percentage points.
    """

    calibration: Calibration
    float_layers: tuple[str, ...]
    agreement: float
    error: float
    change_points: float


@dataclass(frozen=True)
class Quantized:
    """The chosen file and all that were tried, the chosen one included."""

    chosen: Candidate
    tried: list[Candidate]


def quantize(
    float_onnx: Path,
    path: Path,
    calibration: Iterable[Pixels],
    validation: Iterable[Pixels],
    *,
    labels: NDArray[np.int64] | None = None,
    accept_drop: float = ACCEPTED_DROP_POINTS,
    calibrations: Sequence[Calibration] = CALIBRATIONS,
    float_layers: bool = True,
    on_candidate: Callable[[Candidate], None] = lambda candidate: None,
) -> Quantized:
    """Writes the int8 file that agrees best with the float32 file on the validation images.

    Weights are int8 per channel, activations uint8, in the QDQ format that ONNX Runtime fuses. If no calibration
    loses at most `accept_drop`, one, two or four convolutions or linear layers and the consumers of their outputs stay
    in float32: those without which the measured error of the logits falls most.

    Args:
        float_onnx: the exported float32 file.
        path: the file to write.
        calibration: batches of training images that set the ranges of activations.
        validation: batches of images to choose by; iterated once for each candidate.
        labels: classes of the validation images, to measure the loss of accuracy by; by default those that the float32
            file predicts.
        accept_drop: largest accepted loss of top-1 in percentage points.
        calibrations: calibration methods to try.
        float_layers: whether layers may stay in float32.
        on_candidate: called for each candidate that was compared on all validation images.

    Raises:
        OSError: the disk is full or not writable.
        Exception: of any type, for operators that the quantizer does not support.
    """
    needed = _TEMPORARY_FILES * float_onnx.stat().st_size
    with (
        full_disk_errors(needed, path.parent, Path(tempfile.gettempdir())),
        tempfile.TemporaryDirectory(dir=path.parent) as temporary,
    ):
        search = _Search(float_onnx, Path(temporary), calibration, validation, labels, on_candidate)
        best = max((search.candidate(method) for method in calibrations), key=_quality)
        if float_layers and -best.change_points > accept_drop:
            ranked = search.sensitive_groups(best.calibration)
            for count in _counts(len(ranked)):
                candidate = search.candidate(best.calibration, _union(ranked[:count]))
                best = max(best, candidate, key=_quality)
                if -candidate.change_points <= accept_drop:
                    best = candidate
                    break
        shutil.copyfile(search.file(best.calibration, best.float_layers), path)
    return Quantized(best, search.tried)


def _quality(candidate: Candidate) -> tuple[float, float, int]:
    return candidate.agreement, -candidate.error, -len(candidate.float_layers)


def _counts(layers: int) -> list[int]:
    """1, 2 and 4 layers, as far as there are so many."""
    return sorted({min(count, layers) for count in (1, 2, _MOST_KEPT) if layers})


class _Search:
    def __init__(
        self,
        float_onnx: Path,
        folder: Path,
        calibration: Iterable[Pixels],
        validation: Iterable[Pixels],
        labels: NDArray[np.int64] | None,
        on_candidate: Callable[[Candidate], None],
    ) -> None:
        self._folder = folder
        self._prepared = folder / "prepared.onnx"
        quant_pre_process(float_onnx, self._prepared)
        self._nodes = _name_all_nodes(self._prepared)
        self._statistics = ActivationStatistics(self._prepared, calibration)
        self._validation = validation
        self._expected = _logits(float_onnx, validation)
        self._labels = self._expected.argmax(1) if labels is None else labels
        self._on_candidate = on_candidate
        self._ranges: dict[Calibration, dict[str, Range]] = {}
        self._files: dict[tuple[Calibration, tuple[str, ...]], Path] = {}
        self.tried: list[Candidate] = []

    def candidate(self, method: Calibration, float_layers: Sequence[str] = ()) -> Candidate:
        """Quantizes and compares on all validation images."""
        found = _logits(self.file(method, float_layers), self._validation)
        agreement = float((found.argmax(1) == self._expected.argmax(1)).mean())
        change = self._top1(found) - self._top1(self._expected)
        error = _relative_error(found, self._expected)
        candidate = Candidate(method, tuple(float_layers), agreement, error, round(100 * change, 4))
        self.tried.append(candidate)
        self._on_candidate(candidate)
        return candidate

    def _top1(self, logits: NDArray[np.float32]) -> float:
        return float((logits.argmax(1) == self._labels).mean())

    def sensitive_groups(self, method: Calibration) -> list[tuple[str, ...]]:
        """Layers, with their consumers, that reduce the error of the logits if they stay in float32, the best first.

        ONNX Runtime quantizes a float layer itself when it loads a file in which the layer is between quantized ones.
        Therefore the consumers of its output stay in float32 too. Measured on up to 64 images for 12 layers: the first,
        the last, and those with the fewest weights per output, such as depthwise convolutions: their errors do not
        average out.
        """
        probes = _first_images(self._validation, _PROBED_IMAGES)
        expected = self._expected[: sum(len(batch) for batch in probes)]
        baseline = _relative_error(_logits(self.file(method), probes), expected)
        groups = dict.fromkeys(self._with_consumers(name) for name in self._suspects())
        gains = {
            group: baseline - _relative_error(_logits(self.file(method, group), probes), expected) for group in groups
        }
        return sorted((group for group, gain in gains.items() if gain > 0), key=lambda group: -gains[group])[
            :_MOST_KEPT
        ]

    def file(self, method: Calibration, float_layers: Sequence[str] = ()) -> Path:
        """The quantized file with these layers in float32."""
        key = method, tuple(float_layers)
        if key not in self._files:
            self._files[key] = self._quantize(method, float_layers, self._folder / f"{len(self._files)}.onnx")
        return self._files[key]

    def _quantize(self, method: Calibration, float_layers: Sequence[str], path: Path) -> Path:
        cache = self._folder / f"{method}.json"
        if method not in self._ranges:
            self._ranges[method] = self._statistics.without_ties(self._statistics.ranges(method))
            save_tensors_data(_tensors_data(self._ranges[method]), cache)
        quantize_static(
            self._prepared,
            path,
            None,
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt8,
            # The ranges come from the file, whatever the method.
            calibrate_method=CalibrationMethod.MinMax,
            calibration_cache_path=cache,
            nodes_to_exclude=list(float_layers),
        )
        _store_raw(path)
        return path

    def _with_consumers(self, name: str) -> tuple[str, ...]:
        """A layer and the nodes that read its output, also through an activation that quantization removes."""
        group, outputs = [name], {output for node in self._nodes if node.name == name for output in node.output}
        for node in self._nodes:  # in topological order
            if outputs & set(node.input):
                group.append(node.name)
                if node.op_type in _REMOVED:
                    outputs |= set(node.output)
        return tuple(group)

    def _suspects(self) -> list[str]:
        graph = onnx.load(self._prepared).graph
        weights = {tensor.name: tensor for tensor in graph.initializer}
        layers = [node for node in graph.node if node.op_type in _SENSITIVE_TYPES and node.input[1] in weights]

        def weights_per_output(node: onnx.NodeProto) -> float:
            shape = weights[node.input[1]].dims
            return float(np.prod(shape[1:])) if node.op_type == "Conv" else float(shape[0])

        ends = [layer.name for layer in (layers[:1] + layers[-1:])]
        return list(dict.fromkeys([*ends, *(node.name for node in sorted(layers, key=weights_per_output))]))[
            :_MOST_TRIED
        ]


def _name_all_nodes(path: Path) -> list[onnx.NodeProto]:
    """Names unnamed nodes of a file, because nodes are excluded from quantization by name. Returns the nodes."""
    model = onnx.load(path)
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{number}"
    onnx.save(model, path)
    return list(model.graph.node)


def _store_raw(path: Path) -> None:
    """Stores the tensors of a file as bytes. The quantizer stores zero points as integers of variable length, so the
    size of a file would depend on the weights, and differ from that of the untrained student by a few bytes.
    """
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor), tensor.name))
    onnx.save(model, path)


def _union(groups: Sequence[tuple[str, ...]]) -> list[str]:
    return list(dict.fromkeys(name for group in groups for name in group))


def _logits(path: Path, batches: Iterable[Pixels]) -> NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run([OUTPUT], {INPUT: batch})[0] for batch in batches])


def _relative_error(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    return float(((found - expected) ** 2).mean() / max(float(expected.var()), 1e-12))


def _first_images(batches: Iterable[Pixels], count: int) -> list[Pixels]:
    taken: list[Pixels] = []
    for batch in batches:
        left = count - sum(len(each) for each in taken)
        if left <= 0:
            break
        taken.append(batch[:left])
    return taken


def _tensors_data(ranges: dict[str, Range]) -> TensorsData:
    return TensorsData(
        CalibrationMethod.MinMax,
        {name: (np.array(low, np.float32), np.array(high, np.float32)) for name, (low, high) in ranges.items()},
    )
