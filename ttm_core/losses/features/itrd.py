"""Information-theoretic representation distillation (ITRD)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ttm_core.losses._checks import full_precision, paired_features


class Itrd(nn.Module):
    """Information-theoretic representation distillation: beta_correlation * L_corr + beta_mutual * L_mi.

    Source: Miles, Rodriguez and Mikolajczyk, "Information Theoretic Representation Distillation", BMVC 2022,
    arXiv 2112.00459.

    Args:
        student_dim: width of the student's features.
        teacher_dim: width of the teacher's features.
        alpha: order of the entropy in L_corr; 1.01 for equal architectures and 1.5 otherwise in the paper.
        beta_correlation: weight of L_corr.
        beta_mutual: weight of L_mi.
    """

    def __init__(
        self,
        student_dim: int,
        teacher_dim: int,
        *,
        alpha: float,
        beta_correlation: float = 2.0,
        beta_mutual: float = 1.0,
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.beta_correlation = beta_correlation
        self.beta_mutual = beta_mutual
        self.embed = nn.Linear(student_dim, teacher_dim)

    def forward(self, student_features: Tensor, teacher_features: Tensor) -> Tensor:
        """[B, student_dim] and [B, teacher_dim] features -> a scalar in float32 or wider.

        No gradient flows into the teacher's features.

        Raises:
            ValueError: the shapes do not match, or the batch has only one sample.
        """
        loss = self.beta_correlation * self.correlation(student_features, teacher_features)
        # Skips the Gram matrices if their weight is 0.
        return loss + self.beta_mutual * self.mutual(student_features, teacher_features) if self.beta_mutual else loss

    def correlation(self, student_features: Tensor, teacher_features: Tensor) -> Tensor:
        """L_corr = log2 sum_d |c_d - 1|^(2 alpha), where c_d is the correlation over the batch of the d-th embedded
        student feature with the d-th teacher feature."""
        student, teacher = self._paired(student_features, teacher_features)
        batch = len(student)
        if batch < 2:
            raise ValueError("the batch has one sample; a correlation requires two or more")
        with full_precision(student):
            # As in the published code, which gives equal features a correlation of (B - 1) / B.
            correlation = (_standardized(self.embed(student)) * _standardized(teacher)).sum(dim=0) / batch
        return (correlation - 1).abs().pow(2 * self.alpha).sum().log2()

    def mutual(self, student_features: Tensor, teacher_features: Tensor) -> Tensor:
        """L_mi = |G_s|^2 - |G_st|^2 of Gram matrices with trace 1: G_s of the student's unit features (embedded if the
        widths differ), and G_st, the element-wise product of G_s and the teacher's."""
        student, teacher = self._paired(student_features, teacher_features)
        with full_precision(student):
            student_gram = _gram(student if student.shape == teacher.shape else self.embed(student))
            joint_gram = student_gram * _gram(teacher)
        student_gram = student_gram / student_gram.trace()
        joint_gram = joint_gram / joint_gram.trace()
        return (student_gram.square() - joint_gram.square()).sum()

    def _paired(self, student_features: Tensor, teacher_features: Tensor) -> tuple[Tensor, Tensor]:
        widths = self.embed.in_features, self.embed.out_features
        return paired_features(student_features, teacher_features, layout="[B, D]", widths=widths)


def _standardized(features: Tensor) -> Tensor:
    """Standardizes [B, D] to mean 0 and standard deviation 1 over the batch. Constant features become 0."""
    # The gradient of the square root is infinite at 0, the variance of a dead unit.
    deviation = features.var(dim=0).clamp_min(torch.finfo(features.dtype).tiny).sqrt()
    return (features - features.mean(dim=0)) / deviation


def _gram(features: Tensor) -> Tensor:
    unit = F.normalize(features)
    return unit @ unit.mT
