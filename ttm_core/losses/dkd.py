"""Decoupled knowledge distillation (DKD)."""

from torch import Tensor

from ttm_core.losses._checks import class_indices, non_target_logits, paired_logits, positive, target_log_probabilities
from ttm_core.losses.kd import kl_divergence


def dkd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    beta: float,
    alpha: float = 1.0,
    temperature: float = 4.0,
) -> Tensor:
    """Decoupled knowledge distillation: T^2 * (alpha * TCKD + beta * NCKD), averaged over the batch.

    TCKD is the divergence between the binary distributions target / not target, NCKD the divergence between the
    distributions over the other classes. `kd` is their sum with NCKD weighted by the teacher's 1 - p_target.

    Source: Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022, arXiv 2203.08679.

    Args:
        student_logits: [B, C] with C of at least 2.
        teacher_logits: [B, C]; no gradient flows into it.
        labels: [B] class indices.
        beta: weight of NCKD; 1 to 8 in the paper.
        alpha: weight of TCKD.
        temperature: T, above 0.

    Returns:
        A scalar in float32 or wider.

    Raises:
        ValueError: the shapes do not match, there is only one class, or `temperature` is not greater than 0.
    """
    positive("temperature", temperature)
    student_logits, teacher_logits = paired_logits(student_logits, teacher_logits)
    labels = class_indices(labels, student_logits)
    student_logits, teacher_logits = student_logits / temperature, teacher_logits / temperature
    target = kl_divergence(
        target_log_probabilities(teacher_logits, labels), target_log_probabilities(student_logits, labels)
    )
    others = kl_divergence(
        non_target_logits(teacher_logits, labels).log_softmax(dim=1),
        non_target_logits(student_logits, labels).log_softmax(dim=1),
    )
    return temperature**2 * (alpha * target + beta * others).mean()
