"""Size and cost of a model: parameters, multiply-accumulates, and latency on this device."""

import platform
import statistics
import time
from collections.abc import Sequence

import torch
from torch import nn

from ttm_core.models.macs import macs
from ttm_core.models.preprocess import Preprocess
from ttm_core.models.teachers.fold import fold_batch_norms
from ttm_core.report.schema import Device, Latency, Model
from ttm_core.spec.structure import ModelStructure

_RUNS = 20
_ENOUGH_SECONDS = 0.2
_FEWEST_RUNS = 3
_LONGEST_SECONDS = 1.0


def describe_device(device: torch.device) -> Device:
    """The device's name and the number of CPU threads of this process."""
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"CPU, {platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"
    )
    return Device(name=name, threads=torch.get_num_threads(), torch=torch.__version__)


def describe_model(
    model: nn.Module,
    structure: ModelStructure,
    preprocess: Preprocess,
    *,
    parameters: int,
    file_bytes: int,
    device: torch.device,
) -> Model:
    """Size and cost of a model at its own input size. Latency is measured with batch norms folded, as for serving.

    Args:
        model: [B, C, H, W] -> logits, on `device`.
        preprocess: the model's input.
        structure: the model's structure, from which a copy is built and counted on the meta device.
        parameters: number of parameters of the model as trained.
        file_bytes: size of the model's file.
        device: the device to measure on.
    """
    model = fold_batch_norms(model.eval(), preprocess.channels, preprocess.image_size)
    return Model(
        architecture=structure.architecture,
        structure=structure,
        image_size=preprocess.image_size,
        channels=preprocess.channels,
        parameters=parameters,
        macs=macs(structure, preprocess.image_size),
        file_bytes=file_bytes,
        latency=Latency(
            batch_1=_median_seconds(model, preprocess, 1, device),
            batch_32=_median_seconds(model, preprocess, 32, device),
        ),
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
            "latency": Latency(
                batch_1=sum(model.latency.batch_1 for model in models),
                batch_32=sum(model.latency.batch_32 for model in models),
            ),
        }
    )


@torch.inference_mode()
def _median_seconds(model: nn.Module, preprocess: Preprocess, batch: int, device: torch.device) -> float:
    shape = (batch, preprocess.channels, preprocess.image_size, preprocess.image_size)
    images = torch.zeros(shape, device=device).contiguous(memory_format=torch.channels_last)
    times: list[float] = []
    model(images)  # warm-up
    while sum(times) < _LONGEST_SECONDS and (
        len(times) < _FEWEST_RUNS or (len(times) < _RUNS and sum(times) < _ENOUGH_SECONDS)
    ):
        _finish(device)
        started = time.perf_counter()
        model(images)
        _finish(device)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
