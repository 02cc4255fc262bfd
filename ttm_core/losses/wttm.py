"""Transformed teacher matching (TTM) and its weighted variant (WTTM)."""

from torch import Tensor

from ttm_core.losses._checks import paired_logits, positive, widen
from ttm_core.losses.kd import kl_divergence


def ttm(student_logits: Tensor, teacher_logits: Tensor, *, gamma: float) -> Tensor:
    """Transformed teacher matching: KL(softmax(gamma * v) || softmax(z)), averaged over the batch.

    The power transform p^gamma / sum p^gamma of the teacher's distribution equals its softmax at temperature
    1 / gamma. The temperature of the student is 1.

    Source: Zheng and Yang, "Knowledge Distillation Based on Transformed Teacher Matching", ICLR 2024,
    arXiv 2402.11148.

    Args:
        student_logits: z, [B, C].
        teacher_logits: v, [B, C]; no gradient flows into it.
        gamma: the power, above 0; in (0, 1] in the paper.

    Returns:
        A scalar in float32 or wider.

    Raises:
        ValueError: the shapes do not match or `gamma` is not greater than 0.
    """
    divergence, _ = _divergence(student_logits, teacher_logits, gamma)
    return divergence.mean()


def power_sum(logits: Tensor, *, gamma: float) -> Tensor:
    """U_gamma(p) = sum_j p_j^gamma with p = softmax(logits): the weight of a sample in `wttm`.

    Between 1 (a one-hot p) and C^(1 - gamma) (a uniform p) for gamma <= 1, so that samples
    with an uncertain teacher have a larger weight.

    Args:
        logits: [B, C].
        gamma: the power, above 0.

    Returns:
        [B] in float32 or wider.

    Raises:
        ValueError: `gamma` is not greater than 0.
    """
    positive("gamma", gamma)
    return (gamma * widen(logits).log_softmax(dim=1)).logsumexp(dim=1).exp()


def wttm(student_logits: Tensor, teacher_logits: Tensor, *, gamma: float) -> Tensor:
    """Weighted transformed teacher matching: U_gamma(p) * KL(softmax(gamma * v) || softmax(z)), averaged over the
    batch.

    Each sample of `ttm` is weighted by the `power_sum` of the teacher's untempered distribution p = softmax(v). The
    weights are not normalized over the batch.

    Source: Zheng and Yang, "Knowledge Distillation Based on Transformed Teacher Matching", ICLR 2024,
    arXiv 2402.11148.

    Args:
        student_logits: z, [B, C].
        teacher_logits: v, [B, C]; no gradient flows into it.
        gamma: the power, above 0; in (0, 1] in the paper.

    Returns:
        A scalar in float32 or wider.

    Raises:
        ValueError: the shapes do not match or `gamma` is not greater than 0.
    """
    divergence, teacher_logits = _divergence(student_logits, teacher_logits, gamma)
    return (power_sum(teacher_logits, gamma=gamma) * divergence).mean()


def _divergence(student_logits: Tensor, teacher_logits: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """KL(softmax(gamma * v) || softmax(z)) per sample, [B], and the checked teacher logits."""
    positive("gamma", gamma)
    student_logits, teacher_logits = paired_logits(student_logits, teacher_logits)
    log_p = (gamma * teacher_logits).log_softmax(dim=1)
    return kl_divergence(log_p, student_logits.log_softmax(dim=1)), teacher_logits
