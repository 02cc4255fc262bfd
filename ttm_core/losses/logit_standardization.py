import torch
from torch import Tensor

from ttm_core.losses._checks import widen

EPSILON = 1e-7


def standardize_logits(logits: Tensor) -> Tensor:
    """Each sample's logits with mean 0 and standard deviation 1, to be put before a logit loss on both sides.

    The student then matches the order and the relative distances of the teacher's logits, not their range. The
    deviation is the unbiased one (over C - 1), as in the published code.

    Source: Sun et al., "Logit Standardization in Knowledge Distillation", CVPR 2024, arXiv 2403.01427.

    Args:
        logits: [B, C] with C of at least 2.

    Returns:
        [B, C] in float32 or wider.

    Raises:
        ValueError: there is one class only.
    """
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(f"logits are {list(logits.shape)}; [B, C] with two or more classes is needed")
    logits = widen(logits)
    variance = logits.var(dim=1, keepdim=True)
    # The root has no finite slope at 0, which equal logits would reach.
    deviation = variance.clamp_min(torch.finfo(logits.dtype).tiny).sqrt()
    return (logits - logits.mean(dim=1, keepdim=True)) / (deviation + EPSILON)
