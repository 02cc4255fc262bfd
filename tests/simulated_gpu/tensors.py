"""Tensors of a simulated GPU."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

GPU = torch.device("cuda", 0)

_COPIES = ("aten::_to_copy", "aten::to", "aten::copy_")
_INDEXING = ("aten::index", "aten::index_put_", "aten::_index_put_impl_")
_READ_BY_THE_CPU = ("aten::_local_scalar_dense", "aten::equal", "aten::nonzero", "aten::masked_select")


class SynchronizationMode:
    """Whether operations for which the CPU waits raise an error, as `torch.cuda.set_sync_debug_mode` sets it."""

    is_error = False

    @classmethod
    def set(cls, mode: int | str) -> None:
        cls.is_error = mode in (2, "error")


class GpuTensor(Tensor):
    """A tensor whose device is the GPU. Its values are in a tensor of the CPU."""

    values: Tensor

    @staticmethod
    def __new__(cls, values: Tensor) -> "GpuTensor":
        made: GpuTensor = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            values.size(),
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            layout=values.layout,
            device=GPU,
            requires_grad=values.requires_grad,
        )
        made.values = values.detach()
        return made

    def __repr__(self, **_: Any) -> str:
        return f"GpuTensor({self.values!r})"

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        return _compute(operation, arguments, options or {})

    __torch_function__ = torch._C._disabled_torch_function_impl


class GpuMode(TorchDispatchMode):
    """Within it, tensors are made on the GPU and copied to it."""

    def __torch_dispatch__(self, operation: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        options = {name: value for name, value in (options or {}).items() if name != "pin_memory"}
        if _names_gpu(options) or any(isinstance(leaf, GpuTensor) for leaf in tree_leaves((arguments, options))):
            return _compute(operation, arguments, options)
        return operation(*arguments, **options)


def _names_gpu(options: dict[str, Any]) -> bool:
    device = options.get("device")
    return device is not None and torch.device(device).type == GPU.type


def _compute(operation: Any, arguments: Any, options: dict[str, Any]) -> Any:
    """Computes an operation on the CPU. The results are on the device on which a GPU's would be."""
    name = operation._schema.name
    tensors = [leaf for leaf in tree_leaves((arguments, options)) if isinstance(leaf, Tensor)]
    named = options.get("device")
    to_gpu = _names_gpu(options) if named is not None else isinstance(tensors[0], GpuTensor)
    crosses = name in _COPIES and any(isinstance(tensor, GpuTensor) is not to_gpu for tensor in tensors)
    if name not in _COPIES:
        _require_one_device(name, tensors)
    if SynchronizationMode.is_error and _waits(name, tensors, crosses and not _is_asynchronous(arguments, options)):
        raise RuntimeError(f"called a synchronizing CUDA operation: {name}")
    if named is not None:
        options = {**options, "device": torch.device("cpu")}

    result = operation(*tree_map(_values, arguments), **tree_map(_values, options))
    if name == "aten::copy_":
        return arguments[0]
    if crosses and any(result is _values(tensor) for tensor in tensors):
        result = result.clone()  # each device has memory of its own
    if not to_gpu:
        return result
    known = {id(tensor.values): tensor for tensor in tensors if isinstance(tensor, GpuTensor)}
    wrapped = tree_map(lambda leaf: known.get(id(leaf), _wrapped(leaf)), result)
    if crosses or not known or not isinstance(wrapped, Tensor | tuple | list):
        return wrapped
    return return_and_correct_aliasing(operation, arguments, options, wrapped)


def _require_one_device(name: str, tensors: list[Tensor]) -> None:
    """Raises RuntimeError for tensors of both devices. A CPU's tensor without dimensions counts as a number, and indices
    may be a CPU's.
    """
    if any(isinstance(tensor, GpuTensor) for tensor in tensors):
        for tensor in tensors:
            is_index = name in _INDEXING and not tensor.is_floating_point()
            if not isinstance(tensor, GpuTensor) and tensor.dim() > 0 and not is_index:
                raise RuntimeError(f"Expected all tensors to be on the same device: {name} got one of the CPU")


def _waits(name: str, tensors: list[Tensor], copies: bool) -> bool:
    """Whether the CPU waits for an operation: a copy, or one whose result or the size of it depends on values."""
    is_index = name in _INDEXING and any(
        tensor.dtype == torch.bool or not isinstance(tensor, GpuTensor) for tensor in tensors[1:]
    )
    return copies or is_index or name in _READ_BY_THE_CPU


def _is_asynchronous(arguments: Any, options: dict[str, Any]) -> bool:
    """Whether a copy has `non_blocking`, which is the third argument of `copy_`."""
    return bool(options.get("non_blocking", arguments[2] if len(arguments) > 2 else False))


def _values(leaf: Any) -> Any:
    return leaf.values if isinstance(leaf, GpuTensor) else leaf


def _wrapped(leaf: Any) -> Any:
    return GpuTensor(leaf) if isinstance(leaf, Tensor) and not isinstance(leaf, GpuTensor) else leaf
