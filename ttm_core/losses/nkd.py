"""Normalized knowledge distillation (NKD)."""

from torch import Tensor

from ttm_core.losses._checks import class_indices, non_target_logits, paired_logits, positive


def nkd(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, *, gamma: float = 1.5, temperature: float = 1.0
) -> Tensor:
    """Normalized knowledge distillation: the target's cross-entropy weighted by the teacher's confidence in it, plus
    gamma * T^2 times the cross-entropy between the two distributions over the other classes. Averaged over the batch.

    Source: Yang et al., "From Knowledge Distillation to Self-Knowledge Distillation: A Unified Approach with
    Normalized Loss and Customized Soft Labels", ICCV 2023, arXiv 2303.13005.

    Args:
        student_logits: [B, C] with C of at least 2.
        teacher_logits: [B, C]; no gradient flows into it.
        labels: [B] class indices.
        gamma: weight of the other classes.
        temperature: T of the other classes, above 0. It does not apply to the target.

    Returns:
        A scalar in float32 or wider. Its minimum is the entropy of the matched distributions, not 0.

    Raises:
        ValueError: the shapes do not match, there is only one class, or `temperature` is not greater than 0.
    """
    positive("temperature", temperature)
    student_logits, teacher_logits = paired_logits(student_logits, teacher_logits)
    labels = class_indices(labels, student_logits)
    target = teacher_logits.softmax(dim=1).gather(1, labels) * student_logits.log_softmax(dim=1).gather(1, labels)
    others_teacher = (non_target_logits(teacher_logits, labels) / temperature).softmax(dim=1)
    others_student = (non_target_logits(student_logits, labels) / temperature).log_softmax(dim=1)
    others = (others_teacher * others_student).sum(dim=1, keepdim=True)
    return -(target + gamma * temperature**2 * others).mean()
