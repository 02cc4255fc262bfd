"""Accuracy of a model on a split."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ttm_core.data.dataset import Split
from ttm_core.events import Accuracy
from ttm_core.preprocess import Preprocess


@torch.inference_mode()
def evaluate(
    model: nn.Module, split: Split, preprocess: Preprocess, *, size: int, device: torch.device, batch_size: int = 256
) -> Accuracy:
    """Top-1 accuracy and mean cross-entropy (nats) over all images of the split, seen whole at `size` pixels."""
    was_training = model.training
    model.eval()
    correct, loss = torch.zeros((), dtype=torch.int64), torch.zeros((), dtype=torch.float64)
    for start in range(0, len(split), batch_size):
        indices = split.indices[start : start + batch_size]
        labels = split.labels[torch.from_numpy(np.ascontiguousarray(indices))].to(device)
        logits = model(preprocess(split.images.whole(indices, size).to(device))).float()
        correct += (logits.argmax(1) == labels).sum().cpu()
        loss += functional.cross_entropy(logits, labels, reduction="sum").double().cpu()
    model.train(was_training)
    return Accuracy(top1=int(correct) / len(split), loss=float(loss) / len(split), images=len(split))
