"""The default learning rate of SGD, which depends on the student."""

import torch
from torch import nn

from ttm_core.models.build import build
from ttm_core.spec.optimizer.optimizers import OptimizerSpec, Sgd
from ttm_core.spec.structure import ModelStructure

USUAL_LEARNING_RATE = 0.05

DEPTHWISE_LEARNING_RATE = 0.01
"""As in the recipes of CRD (Tian et al., ICLR 2020) and WTTM for MobileNet and ShuffleNet on CIFAR-100. With 0.05, such
networks hardly train in short runs (docs/results.md).
"""


def with_learning_rate(optimizer: OptimizerSpec, student: ModelStructure) -> OptimizerSpec:
    """The optimizer with its learning rate resolved.

    Args:
        optimizer: of the spec.
        student: its structure; that of its teacher for a student that is cut out of it.
    """
    if not isinstance(optimizer, Sgd) or optimizer.learning_rate is not None:
        return optimizer
    rate = DEPTHWISE_LEARNING_RATE if has_depthwise_convolutions(student) else USUAL_LEARNING_RATE
    return optimizer.model_copy(update={"learning_rate": rate})


def has_depthwise_convolutions(structure: ModelStructure) -> bool:
    """Whether a network has convolutions with one filter per channel, as MobileNet, EfficientNet and ConvNeXt have."""
    with torch.device("meta"):
        model = build(structure.model_copy(update={"pruning": []}))
    return any(isinstance(each, nn.Conv2d) and 1 < each.groups == each.in_channels for each in model.modules())
