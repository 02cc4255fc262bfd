"""Logit standardization."""

import torch
from torch import Tensor

from ttm_core.losses._checks import widen

EPSILON = 1e-7


def standardize_logits(logits: Tensor) -> Tensor:
    """Standardizes the logits of each sample to mean 0 and standard deviation 1. Apply it to student and teacher.

    The student then matches the order and relative distances of the teacher's logits, not their range. The
    standard deviation is unbiased (over C - 1), as in the published code.

    Source: Sun et al., "Logit Standardization in Knowledge Distillation", CVPR 2024, arXiv 2403.01427.

    Args:
        logits: [B, C] with C of at least 2.

    Returns:
        [B, C] in float32 or wider.

    Raises:
        ValueError: there is only one class.
    """
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(f"logits are {list(logits.shape)}; they must be [B, C] with two or more classes")
    logits = widen(logits)
    variance = logits.var(dim=1, keepdim=True)
    # The gradient of the square root is infinite at 0, the variance of equal logits.
    deviation = variance.clamp_min(torch.finfo(logits.dtype).tiny).sqrt()
    return (logits - logits.mean(dim=1, keepdim=True)) / (deviation + EPSILON)
