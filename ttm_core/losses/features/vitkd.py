"""Feature distillation for vision transformers (ViTKD)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ttm_core.losses._checks import full_precision, paired_features

LOW_BLOCKS = 2


class VitKd(nn.Module):
    """ViTKD: the student mimics the teacher's first two blocks and generates masked tokens of its last block.

    Source: Yang et al., "ViTKD: Practical Guidelines for ViT feature knowledge distillation", 2022, arXiv 2209.02432.

    Args:
        student_dim: width of the student's tokens.
        teacher_dim: width of the teacher's tokens.
        alpha: weight of the mimicked blocks.
        beta: weight of the generated tokens.
        mask_ratio: share of masked tokens.
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
        """The weighted sum of two squared errors, summed over tokens and channels and averaged over the batch.

        Args:
            student: patch tokens [B, N, student_dim] of the first block, the second block, and the last block after its
                final norm, without class and register tokens. N is a square.
            teacher: the same for the teacher, [B, N, teacher_dim]; no gradient flows into them.
            masked: [B, N], True for masked tokens, from `random_token_mask`.

        Returns:
            A scalar in float32 or wider.

        Raises:
            ValueError: the shapes do not match or N is not a square.
        """
        pairs = [
            paired_features(student_tokens, teacher_tokens, layout="[B, N, D]", widths=self.widths)
            for student_tokens, teacher_tokens in zip(student, teacher, strict=True)
        ]
        if len(pairs) != LOW_BLOCKS + 1:
            raise ValueError(f"got tokens of {len(pairs)} blocks; the first, second and last block are required")
        *low, (high, target) = pairs
        batch, tokens, _ = high.shape
        side = math.isqrt(tokens)
        if side * side != tokens or masked.shape != (batch, tokens):
            raise ValueError(f"mask is {list(masked.shape)} for {tokens} tokens; it must be [B, N] with N a square")
        with full_precision(high):
            mimicked = [align(s) - t for align, (s, t) in zip(self.align_low, low, strict=True)]
            chosen = masked.unsqueeze(-1)
            tokens_in = torch.where(chosen, self.mask_token, self.align_high(high))
            generated = self.generation(tokens_in.mT.unflatten(2, (side, side))).flatten(2).mT
        error = torch.where(chosen, generated - target, 0)
        low_error, high_error = torch.stack(mimicked).square().sum(), error.square().sum()
        return (self.alpha * low_error + self.beta / self.mask_ratio * high_error) / batch


def random_token_mask(batch: int, tokens: int, *, ratio: float, generator: torch.Generator) -> Tensor:
    """Draws a mask [batch, tokens] on the CPU that is True for all but int(tokens * (1 - ratio)) tokens of each row.

    Equal states of `generator` give equal masks.
    """
    order = torch.rand(batch, tokens, generator=generator).argsort(dim=1)
    return order >= int(tokens * (1 - ratio))


def _align(student_dim: int, teacher_dim: int) -> nn.Module:
    return nn.Identity() if student_dim == teacher_dim else nn.Linear(student_dim, teacher_dim)
