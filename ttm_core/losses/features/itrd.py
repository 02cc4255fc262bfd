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
        alpha: order of the entropy in L_corr; the paper has 1.01 within an architecture, 1.5 across.
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
            ValueError: the shapes do not match, or the batch has one sample, which has no correlation.
        """
        loss = self.beta_correlation * self.correlation(student_features, teacher_features)
        # Pairs with a weight of 0 are spared the Gram matrices.
        return loss + self.beta_mutual * self.mutual(student_features, teacher_features) if self.beta_mutual else loss

    def correlation(self, student_features: Tensor, teacher_features: Tensor) -> Tensor:
        """L_corr = log2 sum_d |c_d - 1|^(2 alpha), c_d the correlation over the batch of the d-th embedded student
        feature with the d-th of the teacher."""
        student, teacher = self._paired(student_features, teacher_features)
        batch = len(student)
        if batch < 2:
            raise ValueError("the batch has one sample; a correlation over it needs two or more")
        with full_precision(student):
            # The published code divides unbiased deviations by B, so that equal features correlate to (B - 1) / B.
            correlation = (_standardized(self.embed(student)) * _standardized(teacher)).sum(dim=0) / batch
        return (correlation - 1).abs().pow(2 * self.alpha).sum().log2()

    def mutual(self, student_features: Tensor, teacher_features: Tensor) -> Tensor:
        """L_mi = |G_s|^2 - |G_st|^2 of Gram matrices of trace 1: G_s of the student's unit features, embedded where the
        widths differ, and G_st of its element-wise product with the teacher's."""
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
    """[B, D] with mean 0 and deviation 1 over the batch; a feature that is constant there becomes 0."""
    # The root has no finite slope at 0, which a dead unit reaches.
    deviation = features.var(dim=0).clamp_min(torch.finfo(features.dtype).tiny).sqrt()
    return (features - features.mean(dim=0)) / deviation


def _gram(features: Tensor) -> Tensor:
    unit = F.normalize(features)
    return unit @ unit.mT
