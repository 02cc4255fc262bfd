"""Size and cost of a model: parameters and multiply-accumulates."""

import platform
from collections.abc import Sequence

import torch

from ttm_core.models.macs import macs
from ttm_core.models.preprocess import Preprocess
from ttm_core.report.schema import Device, Model
from ttm_core.spec.structure import ModelStructure


def describe_device(device: torch.device) -> Device:
    """The device's name and the number of CPU threads of this process."""
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"CPU, {platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"
    )
    return Device(name=name, threads=torch.get_num_threads(), torch=torch.__version__)


def describe_model(
    structure: ModelStructure | str, preprocess: Preprocess, *, parameters: int, file_bytes: int
) -> Model:
    """Size and cost of a model at its own input size.

    Args:
        structure: the model's structure, from which a copy is built and counted on the meta device; or the name of a
            model without one, such as an ONNX file.
        preprocess: the model's input.
        parameters: number of parameters of the model as trained.
        file_bytes: size of the model's file.
    """
    known = structure if isinstance(structure, ModelStructure) else None
    return Model(
        architecture=known.architecture if known is not None else str(structure),
        structure=known,
        image_size=preprocess.image_size,
        channels=preprocess.channels,
        parameters=parameters,
        macs=macs(known, preprocess.image_size) if known is not None else None,
        file_bytes=file_bytes,
    )


def sum_costs(models: Sequence[Model]) -> Model:
    """Total size and cost of several models that process the same images; the input size is the first model's."""
    macs = [model.macs for model in models]
    return models[0].model_copy(
        update={
            "architecture": " + ".join(model.architecture for model in models),
            "structure": models[0].structure if len(models) == 1 else None,
            "parameters": sum(model.parameters for model in models),
            "macs": None if None in macs else sum(filter(None, macs)),
            "file_bytes": sum(model.file_bytes for model in models),
        }
    )
