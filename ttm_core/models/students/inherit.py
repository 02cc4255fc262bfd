"""Initial weights selected from a larger teacher of the same family.

Source: Xu et al., "Initializing Models with Larger Ones", 2024, arXiv 2311.18823 (weight selection). Blocks and
channels are chosen at even distances.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from ttm_core.errors import BadSpec
from ttm_core.models.build import build
from ttm_core.models.pruning.graph import classifier_names
from ttm_core.models.students.from_teacher import teacher_weights
from ttm_core.models.teachers.load import Teacher


class _NoCounterpart(Exception):
    """A layer of the student or the teacher has no counterpart."""


def inherit(model: nn.Module, teacher: Teacher, architecture: str) -> None:
    """Replaces the student's weights and statistics by a selection of the teacher's.

    Where a sequence of blocks of one kind is longer in the teacher, block i of n takes the weights of the teacher's
    block floor(i * N / n). Where a dimension is larger, index i of n takes index floor(i * N / n), so that layers that
    share channels keep the same ones. A student equal to the teacher becomes a copy.

    Args:
        model: the student, with the dataset's classes.
        teacher: loaded with `keep_weights`.
        architecture: name of the student for messages.

    Raises:
        BadSpec: a layer of either model has no counterpart in the other, or is larger in the student.
    """
    weights = teacher_weights(teacher, classifier_names(model))
    assert teacher.structure is not None, "it has weights"
    try:
        names = dict(_counterparts(model, build(teacher.structure), "", ""))
        selected = {name: _select(weights[names[name]], target, name) for name, target in model.state_dict().items()}
    except _NoCounterpart as error:
        raise BadSpec(
            f"student.initialize: {architecture} cannot take weights of the teacher's {teacher.architecture}: {error}. "
            "Choose a smaller model of the teacher's family, or omit the field."
        ) from None
    model.load_state_dict(selected)


def even_indices(count: int, total: int) -> list[int]:
    """`count` indices below `total` at even distances, the first is 0."""
    return [index * total // count for index in range(count)]


def _counterparts(student: nn.Module, teacher: nn.Module, name: str, teacher_name: str) -> Iterator[tuple[str, str]]:
    """Yields the name of each tensor of the student with that of the teacher."""
    if type(student) is not type(teacher):
        kinds = [type(student).__name__, type(teacher).__name__]
        if kinds[0] == kinds[1]:  # of different packages
            kinds = [f"{type(each).__module__}.{type(each).__name__}" for each in (student, teacher)]
        raise _NoCounterpart(f"{name or 'it'} is a {kinds[0]}, not a {kinds[1]}")
    own = {tensor for tensor in student.state_dict() if "." not in tensor}
    if own != {tensor for tensor in teacher.state_dict() if "." not in tensor}:
        raise _NoCounterpart(f"{name or 'it'} has other parameters")
    for tensor in own:
        yield _join(name, tensor), _join(teacher_name, tensor)
    for child, other in _paired_children(student, teacher, name):
        yield from _counterparts(
            student.get_submodule(child), teacher.get_submodule(other), _join(name, child), _join(teacher_name, other)
        )


def _paired_children(student: nn.Module, teacher: nn.Module, name: str) -> list[tuple[str, str]]:
    """The names of the modules with tensors in the student and in the teacher."""
    children, others = _with_tensors(student), _with_tensors(teacher)
    # A shortcut that is a projection in the teacher may be an identity in the student.
    others = {other: module for other, module in others.items() if not _is_identity(student, other)}
    if list(children) == list(others):
        return [(child, child) for child in children]
    kinds = {type(module).__name__ for module in children.values()}
    other_kinds = {type(module).__name__ for module in others.values()}
    if kinds != other_kinds:
        listed = " and ".join(", ".join(sorted(each)) or "nothing" for each in (kinds, other_kinds))
        raise _NoCounterpart(f"{name or 'it'} consists of other layers ({listed})")
    if not isinstance(student, nn.Sequential | nn.ModuleList) or len(kinds) > 1:
        raise _NoCounterpart(f"only one of them has the layer {_join(name, min(set(children) ^ set(others)))}")
    if len(children) > len(others):
        raise _NoCounterpart(f"{name} has {len(children)} blocks, more than the teacher's {len(others)}")
    chosen = [list(others)[index] for index in even_indices(len(children), len(others))]
    return list(zip(children, chosen, strict=True))


def _is_identity(module: nn.Module, child: str) -> bool:
    return isinstance(getattr(module, child, None), nn.Identity)


def _with_tensors(module: nn.Module) -> Mapping[str, nn.Module]:
    return {name: child for name, child in module.named_children() if child.state_dict()}


def _select(source: Tensor, target: Tensor, name: str) -> Tensor:
    """Evenly spaced entries of a tensor, in the shape of `target`."""
    if source.ndim != target.ndim:
        raise _NoCounterpart(f"{name} has {target.ndim} dimensions instead of {source.ndim}")
    for dimension, (size, available) in enumerate(zip(target.shape, source.shape, strict=True)):
        # The first dimensions of position embeddings and the last ones of convolution kernels are positions.
        is_position = (source.ndim == 3 and dimension < 2) or (dimension >= 2 and source.ndim > 3)
        if size > available or (is_position and size != available):
            raise _NoCounterpart(f"{name} has the shape {list(target.shape)}, the teacher's has {list(source.shape)}")
        if size < available:
            source = source.index_select(dimension, torch.tensor(even_indices(size, available)))
    return source


def _join(module: str, name: str) -> str:
    return f"{module}.{name}" if module else name
