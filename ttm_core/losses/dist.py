"""DIST: the correlation of student and teacher over classes and over the batch."""

import torch
from torch import Tensor

from ttm_core.losses._checks import paired_logits, positive

# Added to the product of the norms, as in the published code, so that the correlation of constants is defined.
EPSILON = 1e-8


def dist(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    inter_weight: float = 1.0,
    intra_weight: float = 1.0,
    temperature: float = 1.0,
) -> Tensor:
    """DIST: T^2 * (inter_weight * (1 - r_inter) + intra_weight * (1 - r_intra)) on the tempered probabilities.

    r_inter is the Pearson correlation of student and teacher over classes, averaged over the batch; r_intra is the
    correlation over samples, averaged over classes.

    Source: Huang et al., "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022, arXiv 2205.10536.

    Args:
        student_logits: [B, C].
        teacher_logits: [B, C]; no gradient flows into it.
        inter_weight: the paper's beta; 2 on CIFAR-100, 1 on ImageNet.
        intra_weight: the paper's gamma; 2 on CIFAR-100, 1 on ImageNet.
        temperature: T, above 0; 4 on CIFAR-100, 1 on ImageNet.

    Returns:
        A scalar in float32 or wider.

    Raises:
        ValueError: the shapes do not match or `temperature` is not greater than 0.
    """
    positive("temperature", temperature)
    student_logits, teacher_logits = paired_logits(student_logits, teacher_logits)
    q = (student_logits / temperature).softmax(dim=1)
    p = (teacher_logits / temperature).softmax(dim=1)
    inter = 1 - _correlation(q, p, dim=1).mean()
    intra = 1 - _correlation(q, p, dim=0).mean()
    return temperature**2 * (inter_weight * inter + intra_weight * intra)


def _correlation(a: Tensor, b: Tensor, dim: int) -> Tensor:
    a = a - a.mean(dim=dim, keepdim=True)
    b = b - b.mean(dim=dim, keepdim=True)
    norms = torch.linalg.vector_norm(a, dim=dim) * torch.linalg.vector_norm(b, dim=dim)
    return (a * b).sum(dim=dim) / (norms + EPSILON)
