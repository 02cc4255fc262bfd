"""Bounds on gradients, before the optimiser sees them."""

from typing import Any, assert_never

import torch
from timm.utils.agc import adaptive_clip_grad
from torch import nn

from ttm_core.optim.build import trained
from ttm_core.optim.specs import ClippingSpec


def clip_gradients(spec: ClippingSpec, student: nn.Module, objective: nn.Module) -> None:
    """Bound the gradients of all that trains, in place."""
    match spec.kind:
        case "norm":
            torch.nn.utils.clip_grad_norm_(trained(student, objective), spec.value)
        case "value":
            torch.nn.utils.clip_grad_value_(trained(student, objective), spec.value)
        case "agc":
            # A classifier's rows grow with what is learned: bound like the rest, it would stay where it is.
            timm: Any = student
            found = timm.get_classifier()
            heads = found if isinstance(found, tuple) else (found,)  # DeiT's distilled models have two
            classifier = {id(parameter) for head in heads for parameter in head.parameters()}
            bound = [parameter for parameter in trained(student, objective) if id(parameter) not in classifier]
            adaptive_clip_grad(bound, clip_factor=spec.value)
        case _:
            assert_never(spec.kind)
