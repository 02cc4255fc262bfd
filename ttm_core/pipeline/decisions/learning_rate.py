"""The default learning rate of SGD, which depends on the student."""

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from ttm_core.hardware.convolutions import is_depthwise
from ttm_core.models.build import build
from ttm_core.spec.optimizer.optimizers import OptimizerSpec, Sgd
from ttm_core.spec.structure import ModelStructure

USUAL_LEARNING_RATE = 0.05

LOW_LEARNING_RATE = 0.01
"""As in the recipes of CRD (Tian et al., ICLR 2020) and WTTM for MobileNet and ShuffleNet on CIFAR-100. With 0.05, such
networks hardly train in short runs, and the loss of a vision transformer becomes NaN (docs/results.md).
"""


def with_learning_rate(optimizer: OptimizerSpec, student: ModelStructure) -> OptimizerSpec:
    """The optimizer with its learning rate resolved.

    Args:
        optimizer: of the spec.
        student: its structure; that of its teacher for a student that is cut out of it.
    """
    if not isinstance(optimizer, Sgd) or optimizer.learning_rate is not None:
        return optimizer
    rate = LOW_LEARNING_RATE if _needs_low_rate(student) else USUAL_LEARNING_RATE
    return optimizer.model_copy(update={"learning_rate": rate})


def _needs_low_rate(structure: ModelStructure) -> bool:
    """Whether a network has depthwise convolutions, or no batch norms, as vision transformers."""
    with torch.device("meta"):
        modules = list(build(structure.model_copy(update={"pruning": []})).modules())
    return any(map(is_depthwise, modules)) or not any(isinstance(each, _BatchNorm) for each in modules)
