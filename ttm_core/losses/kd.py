from torch import Tensor

from ttm_core.losses._validation import paired_logits, positive
from ttm_core.losses.divergence import kl_divergence


def kd(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float) -> Tensor:
    """Knowledge distillation: T^2 * KL(softmax(v / T) || softmax(z / T)), the mean over the batch.

    Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv 1503.02531.

    Args:
        student_logits: z, [B, C].
        teacher_logits: v, [B, C]; no gradient flows into it.
        temperature: T, above 0.

    Returns:
        A scalar in float32 or wider.

    Raises:
        ValueError: the shapes do not match or `temperature` is not above 0.
    """
    positive("temperature", temperature)
    student_logits, teacher_logits = paired_logits(student_logits, teacher_logits)
    log_p = (teacher_logits / temperature).log_softmax(dim=1)
    log_q = (student_logits / temperature).log_softmax(dim=1)
    return temperature**2 * kl_divergence(log_p, log_q).mean()
