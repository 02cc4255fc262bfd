"""Replays a pruning history: removes the recorded channels from a model."""

from collections.abc import Sequence

import torch
from torch import nn
from torch_pruning import DependencyGraph

from ttm_core.errors import BadCheckpoint
from ttm_core.models.pruning.graph import example_input, fit_attention, tracing
from ttm_core.spec.structure import ModelStructure, PruningStep


def prune_by_history(model: nn.Module, structure: ModelStructure) -> None:
    """Applies the pruning history of a structure to its unpruned model in place. Kept channels keep their weights.

    A history may come from an untrusted file. The number of its steps is bounded, and each is checked before it runs.

    Raises:
        BadCheckpoint: the history does not fit the model.
    """
    x = example_input(model, structure.in_chans, structure.image_size)
    try:
        with tracing(model):
            graph = DependencyGraph().build_dependency(model, x, verbose=False)
            # The library creates index tensors, which must have values even for a model on the meta device.
            with torch.device("cpu"):
                _replay(graph, model, structure)
        fit_attention(model)
        shape = _output_shape(model, x)
    except BadCheckpoint:
        raise
    except Exception as error:  # the library and the layers raise exceptions of any type for shapes that do not fit
        raise BadCheckpoint(f"The pruning history does not fit {structure.architecture}: {str(error)[:200]}") from error
    if structure.num_classes and shape != (1, structure.num_classes):
        raise BadCheckpoint(f"The pruning history changes the classes of {structure.architecture}.")


def _replay(graph: DependencyGraph, model: nn.Module, structure: ModelStructure) -> None:
    modules = dict(model.named_modules())
    for number, step in enumerate(structure.pruning, start=1):
        place = f"The pruning history does not fit {structure.architecture}: step {number}"
        module = modules.get(step.module)
        if module is None or module not in graph.module2node:
            raise BadCheckpoint(f"{place} names a layer {step.module[:100]!r} that the model does not have.")
        pruner = graph.get_pruner_of_module(module)
        channels = pruner.get_out_channels(module) if step.output else pruner.get_in_channels(module)
        if channels is None or step.channels[-1] >= channels:
            raise BadCheckpoint(f"{place} removes channels of {step.module[:100]} beyond its {channels or 0}.")
        function = pruner.prune_out_channels if step.output else pruner.prune_in_channels
        group = graph.get_pruning_group(module, function, step.channels)
        if not graph.check_pruning_group(group):
            raise BadCheckpoint(f"{place} removes all channels of a layer.")
        group.prune(record_history=False)


def to_steps(history: Sequence[tuple[str, bool, Sequence[int]]]) -> list[PruningStep]:
    """Converts the history of a Torch-Pruning graph. Rounding may leave a layer without removed channels."""
    return [
        PruningStep(module=name, output=output, channels=sorted(map(int, indices)))
        for name, output, indices in history
        if len(indices)
    ]


@torch.no_grad()
def _output_shape(model: nn.Module, x: torch.Tensor) -> tuple[int, ...]:
    training = model.training
    shape = tuple(model.eval()(x).shape)
    model.train(training)
    return shape
