"""Reads what an ONNX classifier takes and returns. Optionally runs it once, within the limits of the reader process."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, ValueInfoProto, numpy_helper
from onnx.defs import onnx_opset_version

from ttm_core.checkpoints.schema import OnnxClassifier
from ttm_core.errors import BadCheckpoint, one_output
from ttm_core.spec.names import check_class_names
from ttm_core.spec.structure import METADATA_KEY
from ttm_measure.graph import all_nodes, parse_checked
from ttm_measure.schema import MeasureError

_LARGEST_FILE = 2 * 2**30
_LOOPS = ("Loop", "Scan", "SequenceMap", "BeamSearch", "GreedySearch", "Sampling", "WhisperBeamSearch")
_FLOATS: dict[int, Literal["float32", "float16", "float64"]] = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.FLOAT16: "float16",
    onnx.TensorProto.DOUBLE: "float64",
}
_SOFTMAX = ("Softmax", "Sigmoid")
# Operators that keep probabilities between a softmax and the output. skl2onnx normalizes those of linear classifiers.
_TRANSPARENT = ("Identity", "Reshape", "Squeeze", "Flatten", "Cast", "Normalizer")
_SUM_TOLERANCE = 1e-3  # of probabilities in float16
_DEFAULT_SIDE = 32
_LARGEST_SIDE = 4096
# Of the mean that a graph subtracts from pixels in [0, 1], and of the factor that it multiplies them by.
_LARGEST_UNIT_MEAN, _LEAST_UNIT_FACTOR = 4.0, 0.25


def describe(source: Path, *, run: bool, image_size: int | None = None) -> OnnxClassifier:
    """What the classifier in an ONNX file takes and returns.

    Args:
        source: the file.
        run: run it on two black images. Needs ONNX Runtime and as much memory and time as the graph wants.
        image_size: side of the images in pixels for a graph that takes any.

    Raises:
        BadCheckpoint: the file is unsafe or no image classifier.
    """
    content, found = _checked(source)
    return _run(content, found, image_size) if run else found


def _checked(source: Path) -> tuple[bytes, OnnxClassifier]:
    size = source.stat().st_size
    if size > _LARGEST_FILE:
        raise BadCheckpoint("The ONNX file has more than 2 GiB.")
    try:
        checked, model = parse_checked(source, size, name="it")
    except MeasureError as error:
        raise BadCheckpoint(f"The ONNX file cannot be used: {error}.") from error
    if looping := next((node.op_type for node in all_nodes(model) if node.op_type in _LOOPS), None):
        raise BadCheckpoint(f"The ONNX file contains the operator {looping}: its running time has no bound.")
    version = max((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), default=0)
    if version > onnx_opset_version():
        raise BadCheckpoint(
            f"The ONNX file has opset {version}; at most {onnx_opset_version()} is supported. Export it with this "
            "opset_version."
        )
    return checked.content, _describe(model)


def _describe(model: onnx.ModelProto) -> OnnxClassifier:
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if len(inputs) != 1:
        raise BadCheckpoint(f"The ONNX file has {len(inputs)} inputs; a classifier has one, of images.")
    image = inputs[0]
    kind = _FLOATS.get(image.type.tensor_type.elem_type)
    if kind is None:
        raise BadCheckpoint(
            f"The input of the ONNX file has the type {_type_name(image)}. Supported are float32, float16 and "
            "float64: add a Cast before the first operator."
        )
    batch, layout, channels, size = _image(_dimensions(image))
    output = _scores(graph)
    shape = _dimensions(output)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    return OnnxClassifier(
        input=image.name,
        dtype=kind,
        layout=layout,
        batch=batch,
        channels=channels,
        image_size=size,
        output=output.name,
        num_classes=shape[-1] if shape and isinstance(shape[-1], int) else None,
        probabilities=_ends_with_softmax(graph, output.name),
        pixels=_pixels(graph, image.name),
        class_names=_class_names(metadata),
        parameters=sum(math.prod(tensor.dims) for tensor in graph.initializer),
    )


def _type_name(value: ValueInfoProto) -> str:
    return str(onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type)).lower()


def _dimensions(value: ValueInfoProto) -> list[int | None]:
    """The dimensions; None for one that is not fixed."""
    shape = value.type.tensor_type.shape.dim
    return [side.dim_value if side.HasField("dim_value") and side.dim_value > 0 else None for side in shape]


def _image(shape: list[int | None]) -> tuple[int | None, Literal["NCHW", "NHWC", "flat"], int, int | None]:
    """Batch, layout, channels and side of the input."""
    match shape:
        case [batch, channels, height, width] if channels in (1, 3) and height == width:
            return batch, "NCHW", channels, _side(height)
        case [batch, height, width, channels] if channels in (1, 3) and height == width:
            return batch, "NHWC", channels, _side(height)
        case [batch, int() as values]:
            for channels in (1, 3):
                side = math.isqrt(values // channels)
                if side * side * channels == values and side > 1:
                    return batch, "flat", channels, _side(side)
    raise BadCheckpoint(
        f"The input of the ONNX file has the shape {shape}. Supported are [batch, C, H, W], [batch, H, W, C] and "
        "[batch, C * H * W], with 1 or 3 channels and square images."
    )


def _side(side: int | None) -> int | None:
    if side is not None and side > _LARGEST_SIDE:
        raise BadCheckpoint(
            f"The input of the ONNX file has images of {side} pixels; at most {_LARGEST_SIDE} are read."
        )
    return side


def _scores(graph: GraphProto) -> ValueInfoProto:
    """The first output with a row of numbers for each image, or the first of them that is called logits.

    scikit-learn's classifiers return the label before them, other models features: outputs that another one is computed
    of do not count. Auxiliary classifiers do not count either.
    """
    rows = [
        output
        for output in graph.output
        if output.type.tensor_type.elem_type in _FLOATS and len(_dimensions(output)) in (0, 2)
    ]
    if rows:
        used = set().union(*(_ancestors(graph, output.name) for output in rows))
        rows = [output for output in rows if output.name not in used or "logits" in output.name.lower()]
        named = [output for output in rows if "logits" in output.name.lower() and "aux" not in output.name.lower()]
        return named[0] if named else next((output for output in rows if "aux" not in output.name.lower()), rows[0])
    raise BadCheckpoint(
        "The ONNX file has no output of the shape [batch, classes]. Convert scikit-learn models with zipmap=False."
    )


def _ancestors(graph: GraphProto, name: str) -> set[str]:
    """The values that a value is computed of."""
    producers = {output: node for node in graph.node for output in node.output}
    found: set[str] = set()
    waiting = [name]
    while waiting:
        node = producers.get(waiting.pop())
        new = set(node.input) - found if node is not None else set()
        found |= new
        waiting += new
    return found


def _ends_with_softmax(graph: GraphProto, name: str) -> bool:
    """Whether an output holds probabilities, as far as the last operators show."""
    producers = {output: node for node in graph.node for output in node.output}
    for _ in range(len(graph.node)):
        node = producers.get(name)
        if node is None:
            return False
        if node.op_type not in _TRANSPARENT:
            # ai.onnx.ml's classifiers of trees and linear models return probabilities as their second output.
            return node.op_type in _SOFTMAX or (node.op_type.endswith("Classifier") and name == node.output[1])
        name = node.input[0]
    return False


def _pixels(graph: GraphProto, name: str) -> Literal["unit", "bytes"] | None:
    """The scale of the pixels that a graph normalizes by itself; None if it does not, as far as the first operators
    show."""
    constants = _small_constants(graph)
    # What the operators compute of a pixel x so far: factor * x + offset.
    factor, offset, normalizes = 1.0, 0.0, False
    for _ in range(8):
        # An operator that reads the batch size does not change the pixels.
        users = [node for node in graph.node if name in node.input and node.op_type != "Shape"]
        if len(users) != 1:
            break
        (node,) = users
        others = [constants[other] for other in node.input if other in constants]
        if node.op_type in ("Sub", "Div", "Mul", "Add") and others:
            number = float(others[0].flat[np.abs(others[0]).argmax()])
            match node.op_type, node.input[0] == name:
                case "Mul", _:
                    factor, offset = factor * number, offset * number
                case "Div", True if number:
                    factor, offset = factor / number, offset / number
                case "Add", _:
                    offset += number
                case "Sub", True:
                    offset -= number
                case "Sub", False:
                    factor, offset = -factor, number - offset
                case _:
                    break
            normalizes = True
        elif node.op_type not in ("Cast", "Transpose", "Identity", "Reshape"):
            break
        name = node.output[0]
    if not normalizes or not factor:
        return None
    # A graph of pixels in [0, 255] subtracts a mean of some of them, or makes them small.
    return "bytes" if abs(offset / factor) > _LARGEST_UNIT_MEAN or abs(factor) < _LEAST_UNIT_FACTOR else "unit"


def _small_constants(graph: GraphProto) -> dict[str, NDArray[Any]]:
    """The constants of a graph that may be a number for each channel, by name."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer if _is_small(tensor.dims)}
    for node in graph.node:
        if node.op_type != "Constant":
            continue
        for attribute in node.attribute:
            match attribute.name:
                case "value" if _is_small(attribute.t.dims):
                    constants[node.output[0]] = numpy_helper.to_array(attribute.t)
                case "value_float":
                    constants[node.output[0]] = np.array(attribute.f)
                case "value_floats" if _is_small([len(attribute.floats)]):
                    constants[node.output[0]] = np.array(attribute.floats)
    return {name: values for name, values in constants.items() if values.dtype.kind in "fiu"}


def _is_small(dims: Any) -> bool:
    return 0 < math.prod(dims) <= 16


def _class_names(metadata: dict[str, str]) -> list[str] | None:
    """The names in the metadata of an exported student."""
    try:
        names = json.loads(metadata.get(METADATA_KEY, "{}"))["class_names"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(names, list) or not 2 <= len(names) <= 100_000:
        return None
    found = [str(name) for name in names]
    check_class_names(found, BadCheckpoint)
    return found


def arrange(found: OnnxClassifier, images: NDArray[np.float32]) -> NDArray[np.floating]:
    """float32 [B, C, H, W] in the layout and type of the input."""
    if found.layout == "NHWC":
        images = images.transpose(0, 2, 3, 1)
    if found.layout == "flat":
        images = images.reshape(len(images), -1)
    return np.ascontiguousarray(images, found.dtype)


def _run(content: bytes, found: OnnxClassifier, image_size: int | None) -> OnnxClassifier:
    import onnxruntime  # type: ignore[import-untyped]

    size = found.image_size or image_size or _DEFAULT_SIDE
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    images = np.zeros((found.batch or 2, found.channels, size, size), np.float32)
    with _as_errors_of_the_file(size):
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    scores = run_session(session, found, images)
    classes = _classes(scores, len(images))
    probabilities = found.probabilities or _are_probabilities(scores)
    return found.model_copy(update={"num_classes": classes, "probabilities": probabilities, "run_size": size})


def run_session(session: Any, found: OnnxClassifier, images: NDArray[np.float32]) -> NDArray[np.floating]:
    """Runs an InferenceSession on float32 images [B, C, H, W] and returns its output.

    Raises:
        BadCheckpoint: the file fails on these images, which may depend on their pixels.
        MemoryError: it needs too much memory.
    """
    with _as_errors_of_the_file(images.shape[-1]):
        (scores,) = session.run([found.output], {found.input: arrange(found, images)})
    return np.asarray(scores)


@contextmanager
def _as_errors_of_the_file(size: int) -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # ONNX Runtime's errors have no other common base
        message = str(error).partition("\n")[0][:300]
        if "bad_alloc" in message or "allocate" in message:
            raise MemoryError(message) from error
        raise BadCheckpoint(f"ONNX Runtime cannot run the file on images of {size} pixels: {message}") from error


def _are_probabilities(scores: NDArray[np.floating]) -> bool:
    """Whether all rows are distributions, such as the mean of several softmaxes."""
    return bool((scores >= 0).all() and (np.abs(scores.sum(1, dtype=np.float64) - 1) < _SUM_TOLERANCE).all())


def _classes(scores: NDArray[np.floating], images: int) -> int:
    if scores.shape == (images, 1):
        raise BadCheckpoint(one_output("ONNX file"))
    if scores.ndim != 2 or len(scores) != images or scores.shape[1] < 2:
        raise BadCheckpoint(f"The output of the ONNX file has the shape {list(scores.shape)}, not [batch, classes].")
    if not np.isfinite(scores).all():
        raise BadCheckpoint("The ONNX file returns NaN or infinite values for black images.")
    return int(scores.shape[1])
