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
    """WKD-L: -p_target * log q_target + weight * W, the mean over the batch.

    W is the transport cost between the student's and the teacher's tempered distributions over the classes other than
    the target, by the plan that Sinkhorn's algorithm reaches under entropic regularization. Moving probability
    between classes that the teacher holds for related is cheap.

    Source: Lv, Yang and Li, "Wasserstein Distance Rivals Kullback-Leibler Divergence for Knowledge Distillation",
    NeurIPS 2024, arXiv 2412.08139.

    Args:
        student_logits: [B, C] with C of at least 2.
        teacher_logits: [B, C]; no gradient flows into it.
        labels: [B] class indices.
        costs: [C, C] cost of moving probability from a row's class to a column's, as `transport_costs` gives it.
        weight: of W; the paper's pairs have 200 and 600 on CIFAR-100, 30 on ImageNet.
        temperature: T of W, above 0; 6 to 8 on CIFAR-100, 2 on ImageNet.
        regularization: weight of the plan's entropy, in units of cost; in float32 not below a 40th of the largest cost.
        iterations: of Sinkhorn's algorithm, each one scaling of the columns and one of the rows.

    Returns:
        A scalar in float32 or wider.

    Raises:
        ValueError: the shapes do not match, there is one class only, or a parameter is not above 0.
    """
    positive("temperature", temperature)
    positive("regularization", regularization)
    positive("iterations", iterations)
    student_logits, teacher_logits = paired_logits(student_logits, teacher_logits)
    labels = class_indices(labels, student_logits)
    classes = student_logits.shape[1]
    if classes < 2 or costs.shape != (classes, classes):
        raise ValueError(f"costs are {list(costs.shape)} for {classes} classes; [C, C] with two or more is needed")
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
    """How alike the teacher sees two classes: their centerd kernel alignment with a linear kernel.

    Source: Kornblith et al., "Similarity of Neural Network Representations Revisited", 2019, arXiv 1905.00414.

    Args:
        class_features: [C, N, D], the teacher's features of N samples of each class.

    Returns:
        [C, C] in [0, 1], symmetric, with a diagonal of 1.
    """
    centerd = class_features - class_features.mean(dim=1, keepdim=True)
    # |X^T Y|^2 is the inner product of the two N x N Gram matrices: alignment is the cosine between those.
    return cosine_interrelations((centerd @ centerd.mT).flatten(1))


def cosine_interrelations(prototypes: Tensor) -> Tensor:
    """How alike two classes are by the cosine of a vector for each, such as the rows of the teacher's classifier.

    Args:
        prototypes: [C, D].

    Returns:
        [C, C] in [-1, 1], symmetric, with a diagonal of 1.
    """
    unit = F.normalize(prototypes, dim=1)
    return unit @ unit.mT


def _without_target(logits: Tensor, labels: Tensor) -> Tensor:
    """[B, C] distributions over all classes but the target's, which has probability 0 and so moves nothing."""
    return logits.scatter(1, labels, -torch.inf).softmax(dim=1)


def _sinkhorn_cost(
    rows: Tensor, columns: Tensor, row_scale: Tensor, costs: Tensor, regularization: float, iterations: int
) -> Tensor:
    """[B, C] marginals and first scales, [C, C] costs -> [B] transport costs.

    One kernel serves the whole batch: a class without mass is left out by its scale of 0.
    """
    kernel = torch.exp(-costs / regularization)
    # Out of reach for costs below 80 times the regularization; the published code adds 1e-8, which drops dear plans.
    least = torch.finfo(kernel.dtype).tiny
    for _ in range(iterations):
        column_scale = columns / (row_scale @ kernel).clamp_min(least)
        row_scale = rows / (column_scale @ kernel.mT).clamp_min(least)
    return (row_scale * (column_scale @ (kernel * costs).mT)).sum(dim=1)
