import math

import torch
from torch import Tensor


def widen(tensor: Tensor) -> Tensor:
    """Half precision as float32, the rest unchanged: a sum of exponentials over a wide spread of logits does not fit
    into 8 or 11 bits of mantissa."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def full_precision(tensor: Tensor) -> torch.autocast:
    """Switches autocast off on the tensor's device: it would round a matrix product's operands to half precision."""
    return torch.autocast(tensor.device.type, enabled=False)


def non_target_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """[B, C] logits without those of the [B, 1] labels: [B, C - 1], in the order of the classes.

    Raises:
        ValueError: there is one class only.
    """
    classes = logits.shape[1]
    if classes < 2:
        raise ValueError("logits have one class; a loss over the other classes needs two or more")
    others = torch.arange(classes - 1, device=logits.device)
    return logits.gather(1, others + (others >= labels))


def target_log_probabilities(logits: Tensor, labels: Tensor) -> Tensor:
    """[B, C] logits -> [B, 2]: the log-probability of the target, and that of all the other classes together."""
    target = logits.gather(1, labels)
    others = non_target_logits(logits, labels).logsumexp(dim=1, keepdim=True)
    return torch.cat([target, others], dim=1).log_softmax(dim=1)


def paired_logits(student_logits: Tensor, teacher_logits: Tensor) -> tuple[Tensor, Tensor]:
    """The two [B, C] inputs of a logit loss, in float32 or wider, the teacher's cut off from the gradient.

    Raises:
        ValueError: the shapes differ, are not [B, C], or hold no sample or no class.
    """
    student, teacher = list(student_logits.shape), list(teacher_logits.shape)
    if student != teacher:
        raise ValueError(f"student logits are {student} and teacher logits {teacher}; both must be the same [B, C]")
    if len(student) != 2 or 0 in student:
        raise ValueError(f"logits are {student}; [B, C] with at least one sample and one class is needed")
    return widen(student_logits), widen(teacher_logits.detach())


def paired_features(
    student_features: Tensor, teacher_features: Tensor, *, layout: str, widths: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """The two inputs of a feature loss, in float32 or wider, the teacher's cut off from the gradient.

    Args:
        student_features: laid out as `layout`, which ends with the width.
        teacher_features: the same, but for its width.
        layout: the dimensions by name, for the message: "[B, D]".
        widths: of the student's and of the teacher's.

    Raises:
        ValueError: the shapes are others.
    """
    student, teacher = list(student_features.shape), list(teacher_features.shape)
    dimensions = layout.count(",") + 1
    if len(student) != dimensions or student[:-1] != teacher[:-1] or (student[-1], teacher[-1]) != widths:
        raise ValueError(
            f"student features are {student} and teacher features {teacher}; {layout} of widths {widths[0]} and "
            f"{widths[1]}, else equal, is needed"
        )
    return widen(student_features), widen(teacher_features.detach())


def class_indices(labels: Tensor, logits: Tensor) -> Tensor:
    """`labels` as a column [B, 1] to gather with. Values outside [0, C) are left to the gather, which raises by itself
    on a CPU: looking at them here would make a GPU wait at every step.

    Raises:
        ValueError: the labels are not a class index for each row of `logits`.
    """
    if labels.shape != logits.shape[:1] or labels.is_floating_point():
        raise ValueError(
            f"labels are {labels.dtype} {list(labels.shape)}; a class index for each of {logits.shape[0]} "
            "samples is needed"
        )
    return labels.long().unsqueeze(1)


def positive(name: str, value: float) -> float:
    """`value` itself.

    Raises:
        ValueError: it is not a finite number above zero.
    """
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} is {value}; a finite number above 0 is needed")
    return value
