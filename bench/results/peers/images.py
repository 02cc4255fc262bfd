"""The images of a run as tensors in memory, which is fastest for other libraries, and their augmentation."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ttm_core.data.dataset import Split
from ttm_core.data.images import in_memory
from ttm_core.models.preprocess import Preprocess
from ttm_core.training.evaluate import evaluate

_PADDING = 4


@dataclass(frozen=True)
class Images:
    """Normalized pixels float32 [N, C, S, S] and labels int64 [N]."""

    pixels: Tensor
    labels: Tensor


class Padded(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """Random crops of padded images, flipped with probability 0.5, as torchvision's RandomCrop and RandomHorizontalFlip
    draw them."""

    def __init__(self, images: Images) -> None:
        self._images = images
        self._padded = functional.pad(images.pixels, (_PADDING,) * 4)
        self._size = images.pixels.shape[-1]

    def __len__(self) -> int:
        return len(self._images.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        top, left, flip = (int(torch.randint(high, ())) for high in (2 * _PADDING + 1, 2 * _PADDING + 1, 2))
        view = self._padded[index, :, top : top + self._size, left : left + self._size]
        return view.flip(-1) if flip else view, self._images.labels[index]


def decode(split: Split, preprocess: Preprocess) -> Images:
    """All images of a split, normalized, in PyTorch's default memory layout."""
    indices = torch.from_numpy(split.indices)
    pixels = in_memory(split.images, preprocess.image_size).pixels[indices]
    return Images(preprocess(pixels).contiguous(), split.labels[indices])


def evaluated(student: nn.Module, split: Split, preprocess: Preprocess) -> float:
    """Top-1 accuracy in [0, 1]."""
    size, device = preprocess.image_size, torch.device("cpu")
    return evaluate(student.eval(), split, preprocess, size=size, device=device).top1
