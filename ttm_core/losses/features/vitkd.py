import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ttm_core.losses._checks import full_precision, paired_features

LOW_BLOCKS = 2


class VitKd(nn.Module):
    """ViTKD: the student mimics the teacher's first two blocks, and generates the tokens of its last from some of its
    own.

    Source: Yang et al., "ViTKD: Practical Guidelines for ViT feature knowledge distillation", 2022, arXiv 2209.02432.

    Args:
        student_dim: width of the student's tokens.
        teacher_dim: width of the teacher's tokens.
        alpha: weight of the mimicked blocks.
        beta: weight of the generated tokens.
        mask_ratio: share of the tokens that are generated.
    """

    def __init__(
        self, student_dim: int, teacher_dim: int, *, alpha: float = 3e-5, beta: float = 3e-6, mask_ratio: float = 0.5
    ) -> None:
        super().__init__()
        self.widths = student_dim, teacher_dim
        self.alpha = alpha
        self.beta = beta
        self.mask_ratio = mask_ratio
        self.align_low = nn.ModuleList(_align(student_dim, teacher_dim) for _ in range(LOW_BLOCKS))
        self.align_high = _align(student_dim, teacher_dim)
        self.mask_token = nn.Parameter(torch.zeros(teacher_dim))
        self.generation = nn.Sequential(
            nn.Conv2d(teacher_dim, teacher_dim, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(teacher_dim, teacher_dim, 3, padding=1),
        )

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor], masked: Tensor) -> Tensor:
        """The weighted sum of two squared errors, each summed over tokens and channels, the mean over the batch.

        Args:
            student: the patch tokens [B, N, student_dim] behind the first and the second block and behind the last
                block and its final norm. Class and register tokens are left out; N is a square.
            teacher: the same of the teacher, [B, N, teacher_dim]; no gradient flows into them.
            masked: [B, N], true where a token is to be generated, as `random_token_mask` draws it.

        Returns:
            A scalar in float32 or wider.

        Raises:
            ValueError: the shapes do not match or N is not a square.
        """
        pairs = [
            paired_features(own, given, layout="[B, N, D]", widths=self.widths)
            for own, given in zip(student, teacher, strict=True)
        ]
        if len(pairs) != LOW_BLOCKS + 1:
            raise ValueError(f"tokens of {len(pairs)} blocks were given; the first, the second and the last are needed")
        *low, (high, target) = pairs
        batch, tokens, _ = high.shape
        side = math.isqrt(tokens)
        if side * side != tokens or masked.shape != (batch, tokens):
            raise ValueError(f"a mask of {list(masked.shape)} for {tokens} tokens; [B, N] with N a square is needed")
        with full_precision(high):
            mimicked = [align(own) - given for align, (own, given) in zip(self.align_low, low, strict=True)]
            chosen = masked.unsqueeze(-1)
            seen = torch.where(chosen, self.mask_token, self.align_high(high))
            generated = self.generation(seen.mT.unflatten(2, (side, side))).flatten(2).mT
        missed = torch.where(chosen, generated - target, 0)
        low_error, high_error = torch.stack(mimicked).square().sum(), missed.square().sum()
        return (self.alpha * low_error + self.beta / self.mask_ratio * high_error) / batch


def random_token_mask(batch: int, tokens: int, *, ratio: float, generator: torch.Generator) -> Tensor:
    """[batch, tokens] on the CPU, true for the same number of tokens in each row: all but int(tokens * (1 - ratio)).

    The same state of `generator` gives the same mask.
    """
    order = torch.rand(batch, tokens, generator=generator).argsort(dim=1)
    return order >= int(tokens * (1 - ratio))


def _align(student_dim: int, teacher_dim: int) -> nn.Module:
    return nn.Identity() if student_dim == teacher_dim else nn.Linear(student_dim, teacher_dim)
