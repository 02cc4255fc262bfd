"""The precision of forward passes: autocast, and the choice of `auto`."""

from typing import Literal, cast

import torch
from torch import nn

from ttm_core.errors import BadSpec
from ttm_core.models.preprocess import Preprocess
from ttm_core.spec.training.training import TrainingSpec

Precision = Literal["float32", "bfloat16", "float16"]

_AMPERE = (8, 0)  # the first GPUs with bfloat16 units


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Casts the operations within the context to `precision`; weights and losses stay float32."""
    dtype = torch.float16 if precision == "float16" else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=precision != "float32")


def forward(model: nn.Module, preprocess: Preprocess, pixels: torch.Tensor, precision: Precision) -> torch.Tensor:
    """A model's logits in a precision: uint8 [B, C, H, W] on its device -> float32 [B, classes]."""
    with autocast(pixels.device, precision):
        logits: torch.Tensor = model(preprocess(pixels))
    return logits.float()


def check_precision(training: TrainingSpec, device: torch.device) -> None:
    """Raises BadSpec if the device cannot compute in the requested precision."""
    requested = {"training.precision": training.precision, "training.teacher_precision": training.teacher_precision}
    for field, precision in requested.items():
        if precision == "float16" and device.type != "cuda":
            raise BadSpec(f"{field} float16 needs a GPU, and this run has none: use bfloat16 or float32")
        if precision == "bfloat16" and device.type == "cuda" and not has_bfloat16_units(device):
            name = torch.cuda.get_device_name(device)
            raise BadSpec(f"{field} bfloat16 needs a GPU of the Ampere generation or newer, not {name}: use float16")


def choose_precision(device: torch.device) -> Precision:
    """The fastest precision that keeps accuracy: bfloat16 where the device has units for it, else float32.

    The choice depends on the device alone, not on a timing, so that equal runs on equal machines give equal students.
    """
    return "bfloat16" if has_bfloat16_units(device) else "float32"


def resolved_precision(training: TrainingSpec) -> Precision:
    """The precision of a resolved spec."""
    assert training.precision != "auto", "the engine resolves 'auto'"
    return training.precision


def resolved_teacher_precision(training: TrainingSpec) -> Precision:
    """The teacher's precision of a resolved spec."""
    return training.teacher_precision or resolved_precision(training)


def has_bfloat16_units(device: torch.device) -> bool:
    """Whether the device computes bfloat16 matrix products in hardware."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= _AMPERE
    capabilities = torch.cpu.get_capabilities()
    return any(cast(bool, capabilities.get(name, False)) for name in ("amx_bf16", "avx512_bf16"))
