"""Copies of tensors from the CPU to the device of a run."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Generic, TypeVar, cast

import torch
from torch import Tensor

_T = TypeVar("_T")

_ALIGNMENT = 16  # bytes; a multiple of the size of every element type


def copied_to(device: torch.device, tensor: Tensor) -> Tensor:
    """A CPU tensor on the device. The copy to a GPU is asynchronous: the CPU does not wait for the GPU's queue."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def stage(value: _T, device: torch.device) -> Callable[[], _T]:
    """Prepares the copy of all CPU tensors in a tree of dataclasses and tuples to a device.

    Any thread may call this function. The function it returns issues the copy, which is asynchronous, on the stream of
    its caller and returns the same tree with tensors on the device. On a CPU nothing is copied.
    """
    if device.type != "cuda":
        return lambda: value
    packed = pack(value, pin_memory=True)
    return lambda: packed.on(device)


@dataclass(frozen=True)
class Packed(Generic[_T]):
    """The tensors of a tree in one buffer, so that a single copy moves them."""

    buffer: Tensor  # uint8 [bytes]
    tree: _T  # with a `_Slot` in the place of each tensor

    def on(self, device: torch.device) -> _T:
        """The tree with tensors on the device. They share the memory of one copy of the buffer."""
        buffer = self.buffer.to(device, non_blocking=True)

        def unpack(slot: _Slot) -> Tensor:
            return buffer[slot.start : slot.stop].view(slot.dtype).view(slot.shape)

        return cast(_T, _replaced(self.tree, _Slot, unpack))


@dataclass(frozen=True)
class _Slot:
    """The place of a tensor in the buffer, in bytes."""

    start: int
    stop: int
    dtype: torch.dtype
    shape: torch.Size


def pack(value: _T, *, pin_memory: bool = False) -> Packed[_T]:
    """Copies the CPU tensors of a tree of dataclasses and tuples into one buffer."""
    size = 0

    def place(tensor: Tensor) -> _Slot:
        nonlocal size
        start = -(-size // _ALIGNMENT) * _ALIGNMENT
        size = start + tensor.numel() * tensor.element_size()
        return _Slot(start, size, tensor.dtype, tensor.shape)

    tree = _replaced(value, Tensor, place)
    buffer = torch.empty(size, dtype=torch.uint8, pin_memory=pin_memory)
    for slot, tensor in zip(_leaves(tree, _Slot), _leaves(value, Tensor), strict=True):
        buffer[slot.start : slot.stop].view(slot.dtype).view(slot.shape).copy_(tensor)
    return Packed(buffer, cast(_T, tree))


def _replaced(value: Any, leaf: type[Any], function: Callable[[Any], Any]) -> Any:
    """The tree with `function(x)` for each x of the type `leaf`."""
    if isinstance(value, leaf):
        return function(value)
    if isinstance(value, tuple):
        return tuple(_replaced(part, leaf, function) for part in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{name: _replaced(part, leaf, function) for name, part in _parts(value)})
    return value


def _leaves(value: Any, leaf: type[Any]) -> Iterator[Any]:
    """All parts of a tree of the type `leaf`, in the order of `_replaced`."""
    if isinstance(value, leaf):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from _leaves(part, leaf)
    elif is_dataclass(value):
        for _, part in _parts(value):
            yield from _leaves(part, leaf)


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    return ((field.name, getattr(value, field.name)) for field in fields(value))
