"""Wasserstein knowledge distillation on logits (WKD-L)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ttm_core.losses._checks import class_indices, full_precision, paired_logits, positive


def wkd_l(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    costs: Tensor,
    weight: float,
    temperature: float,
    regularization: float = 0.05,
    iterations: int = 10,
) -> Tensor:
    """WKD-L: -p_target * log q_target + weight * W, averaged over the batch.

    W is the transport cost between the tempered distributions of student and teacher over the classes other than the
    target, with the entropy-regularized plan of Sinkhorn's algorithm. Moving probability between classes that are
    similar to the teacher is cheap.

    Source: Lv, Yang and Li, "Wasserstein Distance Rivals Kullback-Leibler Divergence for Knowledge Distillation",
    NeurIPS 2024, arXiv 2412.08139.

    Args:
        student_logits: [B, C] with C of at least 2.
        teacher_logits: [B, C]; no gradient flows into it.
        labels: [B] class indices.
        costs: [C, C] costs of moving probability from the row's class to the column's class, from `transport_costs`.
        weight: of W; 200 or 600 on CIFAR-100, 30 on ImageNet in the paper.
        temperature: T of W, above 0; 6 to 8 on CIFAR-100, 2 on ImageNet.
        regularization: weight of the plan's entropy, in units of cost; in float32 at least 1/40 of the largest cost.
        iterations: of Sinkhorn's algorithm; each scales columns and rows once.

    Returns:
        A scalar in float32 or wider.

    Raises:
        ValueError: the shapes do not match, there is only one class, or a parameter is not greater than 0.
    """
    positive("temperature", temperature)
    positive("regularization", regularization)
    positive("iterations", iterations)
    student_logits, teacher_logits = paired_logits(student_logits, teacher_logits)
    labels = class_indices(labels, student_logits)
    classes = student_logits.shape[1]
    if classes < 2 or costs.shape != (classes, classes):
        raise ValueError(
            f"costs are {list(costs.shape)} for {classes} classes; they must be [C, C] with two or more classes"
        )
    target = teacher_logits.softmax(dim=1).gather(1, labels) * student_logits.log_softmax(dim=1).gather(1, labels)
    with full_precision(student_logits):
        transport = _sinkhorn_cost(
            _without_target(student_logits / temperature, labels),
            _without_target(teacher_logits / temperature, labels),
            torch.ones_like(student_logits).scatter(1, labels, 0) / (classes - 1),
            costs.detach().to(student_logits),
            regularization,
            iterations,
        )
    return -target.mean() + weight * transport.mean()


def transport_costs(interrelations: Tensor, *, sharpness: float = 1.0) -> Tensor:
    """[C, C] interrelations in [0, 1] -> [C, C] costs 1 - exp(-sharpness * (1 - interrelation))."""
    return 1 - torch.exp(-sharpness * (1 - interrelations))


def cka_interrelations(class_features: Tensor) -> Tensor:
    """The similarity of classes to the teacher: their centered kernel alignment with a linear kernel.

    Source: Kornblith et al., "Similarity of Neural Network Representations Revisited", 2019, arXiv 1905.00414.

    Args:
        class_features: [C, N, D], the teacher's features of N samples of each class.

    Returns:
        [C, C] in [0, 1], symmetric, with a diagonal of 1.
    """
    centered = class_features - class_features.mean(dim=1, keepdim=True)
    # |X^T Y|^2 is the inner product of the N x N Gram matrices, so the alignment is their cosine.
    return cosine_interrelations((centered @ centered.mT).flatten(1))


def cosine_interrelations(prototypes: Tensor) -> Tensor:
    """The cosine similarity of one vector per class, such as the rows of the teacher's classifier.

    Args:
        prototypes: [C, D].

    Returns:
        [C, C] in [-1, 1], symmetric, with a diagonal of 1.
    """
    unit = F.normalize(prototypes, dim=1)
    return unit @ unit.mT


def _without_target(logits: Tensor, labels: Tensor) -> Tensor:
    """The distributions [B, C] over all classes except the target, which has probability 0."""
    return logits.scatter(1, labels, -torch.inf).softmax(dim=1)


def _sinkhorn_cost(
    rows: Tensor, columns: Tensor, row_scale: Tensor, costs: Tensor, regularization: float, iterations: int
) -> Tensor:
    """[B, C] marginals and initial scales, [C, C] costs -> [B] transport costs.

    The batch shares one kernel: classes without probability have the scale 0.
    """
    kernel = torch.exp(-costs / regularization)
    # Not reached for costs below 80 times the regularization; the published code adds 1e-8, which loses costly plans.
    smallest = torch.finfo(kernel.dtype).tiny
    for _ in range(iterations):
        column_scale = columns / (row_scale @ kernel).clamp_min(smallest)
        row_scale = rows / (column_scale @ kernel.mT).clamp_min(smallest)
    return (row_scale * (column_scale @ (kernel * costs).mT)).sum(dim=1)
