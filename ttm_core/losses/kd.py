"""Knowledge distillation (KD) and the KL divergence."""

import torch.nn.functional as F
from torch import Tensor

from ttm_core.losses._checks import paired_logits, positive


def kl_divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) of each row, in nats.

    Args:
        log_p: [B, C] log-probabilities of the target distribution.
        log_q: [B, C] log-probabilities of the approximation.

    Returns:
        [B].
    """
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=1)


def kd(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float) -> Tensor:
    """Knowledge distillation: T^2 * KL(softmax(v / T) || softmax(z / T)), averaged over the batch.

    Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv 1503.02531.

    Args:
        student_logits: z, [B, C].
        teacher_logits: v, [B, C]; no gradient flows into it.
        temperature: T, above 0.

    Returns:
        A scalar in float32 or wider.

    Raises:
        ValueError: the shapes do not match or `temperature` is not greater than 0.
    """
    positive("temperature", temperature)
    student_logits, teacher_logits = paired_logits(student_logits, teacher_logits)
    log_p = (teacher_logits / temperature).log_softmax(dim=1)
    log_q = (student_logits / temperature).log_softmax(dim=1)
    return temperature**2 * kl_divergence(log_p, log_q).mean()
