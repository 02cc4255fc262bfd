"""A quantized ONNX graph as a trainable module that computes what ONNX Runtime will compute.

The module interprets the QDQ graph itself: activations are fake-quantized where the graph quantizes them, with its
scales; weights and biases are float parameters, fake-quantized with scales that follow the weights. Batch norms are
already folded. `write` stores the trained integers and scales in the same graph, which ONNX Runtime fuses as before.
"""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto, NodeProto, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from ttm_core.export.onnx import INPUT, OUTPUT
from ttm_core.models.workarounds import is_narrow_strided_pointwise, subsample

_WEIGHT_LIMIT, _ACTIVATION_LIMIT = 127, 255
_BIAS_LIMIT = 2**30
_LAYERS = ("Conv", "Gemm", "MatMul")
_TINY = 1e-12


class UnsupportedGraph(Exception):
    """The graph has an operator that cannot be trained."""


class FakeQuantized(nn.Module):
    """The module of a QDQ graph.

    Args:
        quantized: the QDQ file.
        floating: the float32 file that it was made from, with the same names.

    Raises:
        UnsupportedGraph: the graph has other operators than those of convolutional networks.
    """

    def __init__(self, quantized: Path, floating: Path) -> None:
        super().__init__()
        self._model: ModelProto = onnx.load(quantized)
        graph = self._model.graph
        if unknown := sorted({node.op_type for node in graph.node} - {*_OPERATORS, *_LAYERS, *_QDQ}):
            raise UnsupportedGraph(f"no training of the operator {unknown[0]}")
        self._constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self._producers = {name: node for node in graph.node for name in node.output}
        originals = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(floating).graph.initializer}
        self._index: dict[str, int] = {}
        self._parameters_list = nn.ParameterList()
        for node in graph.node:
            if node.op_type in _LAYERS:
                for name in node.input[1:]:
                    self._add_parameter(self._stored_name(name), originals)
        for name, value in self._constants.items():
            if value.dtype == np.float32:
                self.register_buffer(f"constant_{len(self._buffers)}", torch.from_numpy(value.copy()))
                self._index.setdefault(f"constant {name}", len(self._buffers) - 1)

    def forward(self, image: Tensor) -> Tensor:
        """float32 [B, C, H, W] pixels in [0, 1] -> logits [B, classes]."""
        values: dict[str, Any] = {INPUT: image}
        for node in self._model.graph.node:
            values[node.output[0]] = self._compute(node, values)
        logits: Tensor = values[OUTPUT]
        return logits

    def write(self, path: Path) -> None:
        """Writes the graph with the trained weights and biases."""
        model = copy.deepcopy(self._model)
        tensors = {tensor.name: tensor for tensor in model.graph.initializer}

        def store(name: str, value: np.ndarray[Any, Any]) -> None:
            before = numpy_helper.to_array(tensors[name])
            tensors[name].CopyFrom(numpy_helper.from_array(value.astype(before.dtype).reshape(before.shape), name))

        for node in model.graph.node:
            if node.op_type not in _LAYERS:
                continue
            scale = None
            for position, name in enumerate(node.input[1:], start=1):
                stored = self._stored_name(name)
                if stored not in self._index:
                    continue
                parameter = self._parameters_list[self._index[stored]].detach().cpu()
                dequantize = self._producers.get(name)
                if dequantize is None:
                    store(stored, parameter.numpy())
                elif position == 1:
                    scale = self._weight_scale(node, parameter)
                    shape = _along(self._axis(dequantize), parameter.ndim)
                    integers = (parameter / scale.reshape(shape) if scale.ndim else parameter / scale).round()
                    store(stored, integers.clamp(-_WEIGHT_LIMIT, _WEIGHT_LIMIT).numpy())
                    store(dequantize.input[1], scale.numpy())
                elif scale is not None:
                    bias_scale = scale * self._input_scale(node)
                    store(stored, (parameter / bias_scale).round().numpy())
                    store(dequantize.input[1], bias_scale.numpy())
        onnx.save(model, path)

    def _add_parameter(self, stored: str, originals: dict[str, np.ndarray[Any, Any]]) -> None:
        original = originals.get(stored.removesuffix("_quantized"))
        if original is None or stored not in self._constants or stored in self._index:
            return
        self._index[stored] = len(self._parameters_list)
        self._parameters_list.append(nn.Parameter(torch.from_numpy(original.copy())))

    def _stored_name(self, name: str) -> str:
        """The initializer behind an input of a layer: its own, or the integers that are dequantized."""
        producer = self._producers.get(name)
        return str(producer.input[0]) if producer is not None and producer.op_type == "DequantizeLinear" else name

    def _compute(self, node: NodeProto, values: dict[str, Any]) -> Any:
        match node.op_type:
            case "QuantizeLinear":
                scale, zero = self._constants[node.input[1]], self._constants[node.input[2]]
                if zero.dtype != np.uint8 or scale.ndim:
                    raise UnsupportedGraph("activations must be uint8 with one scale")
                value = self._value(node.input[0], values)
                return torch.fake_quantize_per_tensor_affine(value, float(scale), int(zero), 0, _ACTIVATION_LIMIT)
            case "DequantizeLinear":
                # Of an activation, which is already fake-quantized. Weights and biases are read by their layer.
                return values.get(node.input[0])
            case "Conv" | "Gemm" | "MatMul":
                return self._layer(node, values)
            case _:
                inputs = [self._value(name, values) if name else None for name in node.input]
                return _OPERATORS[node.op_type](inputs, _attributes(node))

    def _value(self, name: str, values: dict[str, Any]) -> Any:
        if name in values:
            return values[name]
        if f"constant {name}" in self._index:
            return getattr(self, f"constant_{self._index[f'constant {name}']}")
        return self._constants[name]

    def _layer(self, node: NodeProto, values: dict[str, Any]) -> Tensor:
        value = self._value(node.input[0], values)
        weight, bias = self._weights(node, values)
        attributes = _attributes(node)
        match node.op_type:
            case "Conv":
                pads = attributes.get("pads", [0, 0, 0, 0])
                if any(pads):
                    value = functional.pad(value, (pads[1], pads[3], pads[0], pads[2]))
                rows, columns = stride = tuple(attributes.get("strides", [1, 1]))
                if is_narrow_strided_pointwise(tuple(weight.shape[2:]), stride, value.shape[1]):
                    value, stride = subsample(value, rows, columns), (1, 1)
                options = {"stride": stride, "dilation": attributes.get("dilations", 1)}
                return functional.conv2d(value, weight, bias, groups=attributes.get("group", 1), **options)
            case "Gemm":
                if attributes.get("transA") or attributes.get("alpha", 1.0) != 1 or attributes.get("beta", 1.0) != 1:
                    raise UnsupportedGraph("no training of a scaled Gemm")
                product = value @ (weight.t() if attributes.get("transB") else weight)
                return product if bias is None else product + bias
            case _:
                return torch.matmul(value, weight)

    def _weights(self, node: NodeProto, values: dict[str, Any]) -> tuple[Tensor, Tensor | None]:
        """Fake-quantized weight and bias of a layer; float ones of a layer that stays in float32."""
        stored = self._stored_name(node.input[1])
        if stored not in self._index:
            return self._value(node.input[1], values), None  # a product of two activations
        weight: Tensor = self._parameters_list[self._index[stored]]
        bias = self._bias(node)
        if node.input[1] not in self._producers:
            return weight, bias
        scale = self._weight_scale(node, weight)
        axis = self._axis(self._producers[node.input[1]])
        limits = (-_WEIGHT_LIMIT, _WEIGHT_LIMIT)
        if scale.ndim:
            zeros = torch.zeros(len(scale), dtype=torch.int32, device=scale.device)
            quantized = torch.fake_quantize_per_channel_affine(weight, scale, zeros, axis, *limits)
        else:
            quantized = torch.fake_quantize_per_tensor_affine(weight, float(scale), 0, *limits)
        if bias is not None and node.input[2] in self._producers:
            step = scale * self._input_scale(node)
            bias = bias + ((bias / step).round() * step - bias).detach()
        return quantized, bias

    def _bias(self, node: NodeProto) -> Tensor | None:
        stored = self._stored_name(node.input[2]) if len(node.input) > 2 else None
        return self._parameters_list[self._index[stored]] if stored in self._index else None

    def _weight_scale(self, node: NodeProto, weight: Tensor) -> Tensor:
        """The scale per channel (or of the tensor) at which the largest weight is 127 and the bias fits into int32."""
        dequantize = self._producers[node.input[1]]
        per_channel = self._constants[dequantize.input[1]].ndim > 0
        values = weight.detach().float().abs()
        axis = self._axis(dequantize)
        largest = values.transpose(0, axis).flatten(1).amax(1) if per_channel else values.max()
        scale = (largest / _WEIGHT_LIMIT).clamp_min(_TINY)
        bias = self._bias(node)
        if bias is not None:
            needed = bias.detach().abs() / (self._input_scale(node) * _BIAS_LIMIT)
            scale = torch.maximum(scale, needed if per_channel else needed.max())
        return scale

    def _input_scale(self, node: NodeProto) -> float:
        dequantize = self._producers.get(node.input[0])
        if dequantize is None or dequantize.op_type != "DequantizeLinear":
            raise UnsupportedGraph("a quantized layer has a float input")
        return float(self._constants[dequantize.input[1]])

    @staticmethod
    def _axis(dequantize: NodeProto) -> int:
        return int(_attributes(dequantize).get("axis", 1))


def _along(axis: int, dimensions: int) -> list[int]:
    return [-1 if each == axis else 1 for each in range(dimensions)]


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


def _mean(inputs: Sequence[Any], attributes: dict[str, Any]) -> Tensor:
    axes = attributes.get("axes") or [int(axis) for axis in np.atleast_1d(np.asarray(inputs[1]))]
    return torch.mean(inputs[0], dim=axes, keepdim=bool(attributes.get("keepdims", 1)))


def _clip(inputs: Sequence[Any], attributes: dict[str, Any]) -> Tensor:
    low, high = (float(each) if each is not None else None for each in (*inputs[1:], None, None)[:2])
    return inputs[0].clamp(low, high)


def _max_pool(inputs: Sequence[Any], attributes: dict[str, Any]) -> Tensor:
    pads = attributes.get("pads", [0, 0, 0, 0])
    value = functional.pad(inputs[0], (pads[1], pads[3], pads[0], pads[2]), value=float("-inf"))
    return functional.max_pool2d(
        value, attributes["kernel_shape"], attributes.get("strides", 1), ceil_mode=bool(attributes.get("ceil_mode", 0))
    )


def _average_pool(inputs: Sequence[Any], attributes: dict[str, Any]) -> Tensor:
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    if (top, left) != (bottom, right):
        raise UnsupportedGraph("no training of an average pool with asymmetric padding")
    return functional.avg_pool2d(
        inputs[0],
        attributes["kernel_shape"],
        attributes.get("strides", 1),
        (top, left),
        ceil_mode=bool(attributes.get("ceil_mode", 0)),
        count_include_pad=bool(attributes.get("count_include_pad", 0)),
    )


def _reshape(inputs: Sequence[Any], attributes: dict[str, Any]) -> Tensor:
    shape = [int(size) for size in np.asarray(inputs[1])]
    return inputs[0].reshape([inputs[0].shape[axis] if size == 0 else size for axis, size in enumerate(shape)])


_QDQ = ("QuantizeLinear", "DequantizeLinear")
_OPERATORS: dict[str, Callable[[Sequence[Any], dict[str, Any]], Tensor]] = {
    "Add": lambda x, a: x[0] + x[1],
    "Sub": lambda x, a: x[0] - x[1],
    "Mul": lambda x, a: x[0] * x[1],
    "Div": lambda x, a: x[0] / x[1],
    "Relu": lambda x, a: functional.relu(x[0]),
    "Sigmoid": lambda x, a: torch.sigmoid(x[0]),
    "HardSigmoid": lambda x, a: (x[0] * a.get("alpha", 0.2) + a.get("beta", 0.5)).clamp(0, 1),
    "HardSwish": lambda x, a: functional.hardswish(x[0]),
    "Clip": _clip,
    "ReduceMean": _mean,
    "GlobalAveragePool": lambda x, a: x[0].mean((2, 3), keepdim=True),
    "AveragePool": _average_pool,
    "MaxPool": _max_pool,
    "Concat": lambda x, a: torch.cat(list(x), dim=a["axis"]),
    "Flatten": lambda x, a: x[0].flatten(a.get("axis", 1)),
    "Reshape": _reshape,
    "Transpose": lambda x, a: x[0].permute(a["perm"]),
    "Identity": lambda x, a: x[0],
}
