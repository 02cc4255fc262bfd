"""Random images; the content does not affect the speed."""

import torch
from torch import Tensor

from bench.speed.pairs import Pair


def images(pair: Pair) -> Tensor:
    """uint8 [N, 3, S, S]."""
    return torch.randint(
        0, 256, (pair.images, 3, pair.size, pair.size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def labels(pair: Pair) -> Tensor:
    """int64 [N]."""
    return torch.randint(0, pair.classes, (pair.images,), generator=torch.Generator().manual_seed(1))
