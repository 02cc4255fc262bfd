"""Logits of models over a split, and accuracy."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ttm_core.data.dataset import Split
from ttm_core.models.preprocess import Preprocess
from ttm_core.spec.events import Accuracy, Reference

Classifier = tuple[nn.Module, Preprocess]
_BATCH = 256


@dataclass(frozen=True)
class Evaluation:
    """What each of some models says of the same images."""

    logits: list[Tensor]  # float32 [B, C] of each model
    labels: Tensor  # int64 [B]


def evaluate(model: nn.Module, split: Split, preprocess: Preprocess, *, size: int, device: torch.device) -> Accuracy:
    """Top-1 accuracy and mean cross-entropy (nats) over all images of the split, seen whole at `size` pixels."""
    return accuracy(predictions([(model, preprocess)], split, size=size, device=device), split.against)


@torch.inference_mode()
def predictions(
    classifiers: Sequence[Classifier], split: Split, *, size: int, device: torch.device
) -> Iterator[Evaluation]:
    """Batches of neighboring images, seen whole at `size` pixels; each image is read once for all models.

    The models are in evaluation mode meanwhile.
    """
    were_training = [model.training for model, _ in classifiers]
    for model, _ in classifiers:
        model.eval()
    try:
        for start in range(0, len(split), _BATCH):
            indices = split.indices[start : start + _BATCH]
            pixels = split.images.whole(indices, size).to(device)
            logits = [model(preprocess(pixels)).float() for model, preprocess in classifiers]
            yield Evaluation(logits, split.labels[torch.from_numpy(indices)].to(device))
    finally:
        for (model, _), was_training in zip(classifiers, were_training, strict=True):
            model.train(was_training)


def accuracy(batches: Iterable[Evaluation], against: Reference = "labels") -> Accuracy:
    """Of the first model, over all batches."""
    images, correct, loss = 0, 0, 0.0
    for seen in batches:
        logits = seen.logits[0]
        images += len(logits)
        correct += int((logits.argmax(1) == seen.labels).sum())
        loss += float(functional.cross_entropy(logits, seen.labels, reduction="sum"))
    return Accuracy(top1=correct / images, loss=loss / images, images=images, against=against)
