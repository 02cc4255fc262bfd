"""Checks an ONNX file before ONNX Runtime loads it, and reads its precision."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

from ttm_measure.schema import MeasureError, Precision

# ONNX Runtime inlines the functions of a file. Thirty functions that each call the next one twice have 2^30 nodes.
_MOST_NODES, _MOST_LEVELS = 200_000, 50
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
    """Reads an ONNX file as `parse_checked` does, and keeps its bytes only."""
    return parse_checked(path, file_bytes)[0]


def parse_checked(path: Path, file_bytes: int, *, name: str | None = None) -> tuple[CheckedFile, ModelProto]:
    """Reads an ONNX file once, so that the checked, hashed and executed bytes are the same, and parses it once.

    Messages call the file `name`; by default, by its own name.

    Raises:
        MeasureError: the file has more than `file_bytes`, is not an ONNX model, stores tensors in other files, uses
            custom operators, or has functions that call themselves or expand to more than 200,000 nodes.
    """
    name = name or path.name
    try:
        with path.open("rb") as stream:
            content = stream.read(file_bytes + 1)
    except OSError as error:
        raise MeasureError("refused", f"{name} cannot be read: {error.strerror}") from error
    if len(content) > file_bytes:
        raise MeasureError("refused", f"{name} is larger than the limit of {file_bytes:,} bytes")
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's errors have no public base class
        raise MeasureError("refused", f"{name} is not an ONNX file") from error
    if not model.graph.node:
        raise MeasureError("refused", f"{name} is not an ONNX file with operators")
    functions = {function.domain for function in model.functions}
    nodes = [*all_nodes(model)]
    if custom := sorted({node.domain for node in nodes} - _DOMAINS - functions):
        raise MeasureError(
            "refused", f"{name} uses operators of the domain {custom[0]!r}; custom operators are refused"
        )
    defaults = (attribute for function in model.functions for attribute in function.attribute_proto)
    attributes = chain(defaults, *(node.attribute for node in nodes))
    tensors = [*_initializers(model.graph), *(tensor for each in attributes for tensor in _tensors(each))]
    if any(tensor.data_location == TensorProto.EXTERNAL for tensor in tensors):
        raise MeasureError(
            "refused",
            f"{name} stores tensors in other files; external data is refused. Save the model in one file, such as "
            "with external_data=False in torch.onnx.export",
        )
    if problem := _expansion_problem(model):
        raise MeasureError("refused", f"{name} {problem}")
    return CheckedFile(content, hashlib.sha256(content).hexdigest(), _precision(nodes, tensors)), model


def _precision(nodes: list[NodeProto], tensors: list[TensorProto]) -> Precision:
    if any(node.op_type in _QUANTIZED for node in nodes):
        return "int8"
    return "fp16" if any(tensor.data_type == TensorProto.FLOAT16 for tensor in tensors) else "fp32"


def all_nodes(model: ModelProto) -> Iterator[NodeProto]:
    """The nodes of the graph and of the functions of a model, and those of their subgraphs."""
    yield from _nodes(model.graph.node)
    for function in model.functions:
        yield from _nodes(function.node)
        for graph in _graphs(function.attribute_proto):
            yield from _nodes(graph.node)


def _expansion_problem(model: ModelProto) -> str | None:
    """Why the functions of a model cannot be inlined within bounds; None if they can."""
    functions = {_name(function.domain, function.name, function.overload): function for function in model.functions}
    sizes: dict[_Name, int] = {}

    def size(nodes: Iterable[NodeProto], callers: tuple[_Name, ...]) -> int:
        total = 0
        for node in _nodes(nodes):
            name = _name(node.domain, node.op_type, node.overload)
            total += expanded(name, callers) if name in functions else 1
        return total

    def expanded(name: _Name, callers: tuple[_Name, ...]) -> int:
        if name in callers:
            raise _Unbounded(f"has the function {name[1]!r}, which calls itself")
        if len(callers) == _MOST_LEVELS:
            raise _Unbounded(f"has functions that call each other over more than {_MOST_LEVELS} levels")
        if name not in sizes:
            sizes[name] = size(functions[name].node, (*callers, name))
        return sizes[name]

    try:
        total = size(model.graph.node, ())
    except _Unbounded as error:
        return str(error)
    return (
        f"has functions that expand to {total:,} nodes; at most {_MOST_NODES:,} are run"
        if total > _MOST_NODES
        else None
    )


_Name = tuple[str, str, str]


class _Unbounded(Exception):
    """Functions of a file call each other without a bound."""


def _name(domain: str, name: str, overload: str) -> _Name:
    return ("" if domain == "ai.onnx" else domain, name, overload)


def _nodes(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """The nodes and those of their subgraphs."""
    for node in nodes:
        yield node
        for graph in _graphs(node.attribute):
            yield from _nodes(graph.node)


def _graphs(attributes: Iterable[AttributeProto]) -> Iterator[GraphProto]:
    for attribute in attributes:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def _initializers(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)


def _tensors(attribute: AttributeProto) -> Iterator[TensorProto]:
    """Tensors in an attribute, and the initializers of its subgraphs."""
    if attribute.type == AttributeProto.TENSOR:
        yield attribute.t
    yield from attribute.tensors
    for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
        yield from (sparse.values, sparse.indices)
    for graph in _graphs([attribute]):
        yield from _initializers(graph)
