"""Checks an ONNX file before ONNX Runtime loads it, and reads its precision."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto

from ttm_measure.schema import MeasureError, Precision

# ONNX Runtime implements these without a library of custom operators.
_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft"}
_QUANTIZED = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "QGemm"}
_QUANTIZED |= {"ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul"}


@dataclass(frozen=True)
class CheckedFile:
    """The content of an ONNX file that passed the checks."""

    content: bytes
    sha256: str
    precision: Precision


def read_checked(path: Path, file_bytes: int) -> CheckedFile:
    """Reads an ONNX file once, so that the checked, hashed and executed bytes are the same.

    Raises:
        MeasureError: the file has more than `file_bytes`, is not an ONNX model, stores tensors in other files or uses
            custom operators.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(file_bytes + 1)
    except OSError as error:
        raise MeasureError("refused", f"{path.name} cannot be read: {error.strerror}") from error
    if len(content) > file_bytes:
        raise MeasureError("refused", f"{path.name} is larger than the limit of {file_bytes:,} bytes")
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's errors have no public base class
        raise MeasureError("refused", f"{path.name} is not an ONNX file") from error
    if not model.graph.node:
        raise MeasureError("refused", f"{path.name} is not an ONNX file with operators")
    functions = {function.domain for function in model.functions}
    nodes = [*_nodes(model.graph.node), *_nodes(node for function in model.functions for node in function.node)]
    if custom := sorted({node.domain for node in nodes} - _DOMAINS - functions):
        raise MeasureError(
            "refused", f"{path.name} uses operators of the domain {custom[0]!r}; custom operators are refused"
        )
    tensors = [*_initializers(model.graph), *(tensor for node in nodes for tensor in _tensors(node))]
    if any(tensor.data_location == TensorProto.EXTERNAL for tensor in tensors):
        raise MeasureError("refused", f"{path.name} stores tensors in other files; external data is refused")
    return CheckedFile(content, hashlib.sha256(content).hexdigest(), _precision(nodes, tensors))


def _precision(nodes: list[NodeProto], tensors: list[TensorProto]) -> Precision:
    if any(node.op_type in _QUANTIZED for node in nodes):
        return "int8"
    return "fp16" if any(tensor.data_type == TensorProto.FLOAT16 for tensor in tensors) else "fp32"


def _nodes(nodes: Iterator[NodeProto]) -> Iterator[NodeProto]:
    """The nodes and those of their subgraphs."""
    for node in nodes:
        yield node
        for graph in _graphs(node):
            yield from _nodes(graph.node)


def _graphs(node: NodeProto) -> Iterator[GraphProto]:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def _initializers(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)


def _tensors(node: NodeProto) -> Iterator[TensorProto]:
    """Tensors in the attributes of a node, and the initializers of its subgraphs."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.TENSOR:
            yield attribute.t
        yield from attribute.tensors
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)
    for graph in _graphs(node):
        yield from _initializers(graph)
