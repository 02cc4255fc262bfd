"""Input checks and numerics shared by the losses."""

import math

import torch
from torch import Tensor


def widen(tensor: Tensor) -> Tensor:
    """Converts half precision to float32, because sums of exponentials need more than 8 or 11 bits of mantissa."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def full_precision(tensor: Tensor) -> torch.autocast:
    """Disables autocast on the tensor's device, which would round operands of matrix products to half precision."""
    return torch.autocast(tensor.device.type, enabled=False)


def non_target_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """The logits [B, C] without those of the labels [B, 1]: [B, C - 1], in the order of classes.

    Raises:
        ValueError: there is only one class.
    """
    classes = logits.shape[1]
    if classes < 2:
        raise ValueError("logits have one class, but a loss over the other classes requires two or more")
    others = torch.arange(classes - 1, device=logits.device)
    return logits.gather(1, others + (others >= labels))


def target_log_probabilities(logits: Tensor, labels: Tensor) -> Tensor:
    """[B, C] logits -> [B, 2]: the log-probability of the target, and that of all other classes combined."""
    target = logits.gather(1, labels)
    others = non_target_logits(logits, labels).logsumexp(dim=1, keepdim=True)
    return torch.cat([target, others], dim=1).log_softmax(dim=1)


def paired_logits(student_logits: Tensor, teacher_logits: Tensor) -> tuple[Tensor, Tensor]:
    """Checks the two inputs [B, C] of a logit loss. Returns them in float32 or wider, the teacher's detached.

    Raises:
        ValueError: the shapes differ, are not [B, C], or are empty.
    """
    student, teacher = list(student_logits.shape), list(teacher_logits.shape)
    if student != teacher:
        raise ValueError(
            f"student logits are {student} and teacher logits {teacher}; they must have the same shape [B, C]"
        )
    if len(student) != 2 or 0 in student:
        raise ValueError(f"logits are {student}; they must be [B, C] with at least one sample and one class")
    return widen(student_logits), widen(teacher_logits.detach())


def paired_features(
    student_features: Tensor, teacher_features: Tensor, *, layout: str, widths: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Checks the two inputs of a feature loss. Returns them in float32 or wider, the teacher's detached.

    Args:
        student_features: with the dimensions of `layout`, which ends with the width.
        teacher_features: the same except for the width.
        layout: names of the dimensions, such as "[B, D]".
        widths: of the student's and the teacher's features.

    Raises:
        ValueError: the shapes do not match.
    """
    student, teacher = list(student_features.shape), list(teacher_features.shape)
    dimensions = layout.count(",") + 1
    if len(student) != dimensions or student[:-1] != teacher[:-1] or (student[-1], teacher[-1]) != widths:
        raise ValueError(
            f"student features are {student} and teacher features {teacher}; they must be {layout} with widths "
            f"{widths[0]} and {widths[1]}, and equal otherwise"
        )
    return widen(student_features), widen(teacher_features.detach())


def class_indices(labels: Tensor, logits: Tensor) -> Tensor:
    """Returns labels as a column [B, 1] for `gather`.

    Does not check that values are in [0, C), which would synchronize the GPU at every step; `gather` checks on a CPU.

    Raises:
        ValueError: the labels are not one class index per row of `logits`.
    """
    if labels.shape != logits.shape[:1] or labels.is_floating_point():
        raise ValueError(
            f"labels are {labels.dtype} {list(labels.shape)}; they must be class indices, one for each of "
            f"{logits.shape[0]} samples"
        )
    return labels.long().unsqueeze(1)


def positive(name: str, value: float) -> float:
    """Returns `value`.

    Raises:
        ValueError: it is not a finite number greater than 0.
    """
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} is {value}; it must be a finite number greater than 0")
    return value
