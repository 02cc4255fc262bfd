"""KD as other libraries do it: float32, the teacher at every step, SGD or AdamW with a cosine schedule per step.

Each contender is an iterator that trains one epoch per item.
"""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from bench.results.peers.images import Images, Padded
from bench.speed.adapters import (
    CE_WEIGHT,
    KD_WEIGHT,
    MOMENTUM,
    TEMPERATURE,
    WEIGHT_DECAY,
    timm_loss,
    torchdistill_box,
)
from ttm_core.spec.training.training import TrainingSpec
from ttm_core.training.optimizers import resolved_learning_rate

Train = Callable[[nn.Module, nn.Module, Images, TrainingSpec], Iterator[None]]


def plain(student: nn.Module, teacher: nn.Module, images: Images, training: TrainingSpec) -> Iterator[None]:
    """A plain loop with the loss of the paper's code."""

    def loss(x: Tensor, y: Tensor) -> Tensor:
        with torch.no_grad():
            target = functional.softmax(teacher(x) / TEMPERATURE, dim=1)
        logits = student(x)
        divergence = functional.kl_div(
            functional.log_softmax(logits / TEMPERATURE, dim=1), target, reduction="batchmean"
        )
        return CE_WEIGHT * functional.cross_entropy(logits, y) + KD_WEIGHT * TEMPERATURE**2 * divergence

    return _loop(student, loss, images, training)


def timm(student: nn.Module, teacher: nn.Module, images: Images, training: TrainingSpec) -> Iterator[None]:
    """timm's LogitDistillationTask in a plain loop."""
    return _loop(student, timm_loss(student, teacher), images, training)


def torchdistill(student: nn.Module, teacher: nn.Module, images: Images, training: TrainingSpec) -> Iterator[None]:
    """torchdistill's DistillationBox with its KDLoss."""
    rate = resolved_learning_rate(training.optimizer)
    epochs, batch = training.epoch_count, training.images_per_step
    box = torchdistill_box(student, teacher, Padded(images), epochs=epochs, batch=batch, rate=rate)
    steps, step = len(box.train_data_loader) * epochs, 0
    for epoch in range(epochs):
        student.train()
        box.pre_epoch_process(epoch=epoch)
        for x, y, supplement in box.train_data_loader:
            _set_rate(box.optimizer, rate, step / steps)
            box.pre_forward_process()
            box.post_forward_process(loss=box.forward_process(x, y, supplement))
            step += 1
        yield


def _loop(
    student: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], images: Images, training: TrainingSpec
) -> Iterator[None]:
    rate = resolved_learning_rate(training.optimizer)
    optimizer: torch.optim.Optimizer
    if training.optimizer.name == "adamw":
        decay = training.optimizer.weight_decay
        optimizer = torch.optim.AdamW(student.parameters(), lr=rate, weight_decay=decay)
    else:
        optimizer = torch.optim.SGD(student.parameters(), lr=rate, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    loader = DataLoader(Padded(images), training.images_per_step, shuffle=True)
    steps, step = len(loader) * training.epoch_count, 0
    for _ in range(training.epoch_count):
        student.train()
        for x, y in loader:
            _set_rate(optimizer, rate, step / steps)
            optimizer.zero_grad()
            loss(x, y).backward()
            optimizer.step()
            step += 1
        yield


def _set_rate(optimizer: torch.optim.Optimizer, first: float, done: float) -> None:
    """A cosine from `first` to zero; `done` is the finished share of the steps."""
    for group in optimizer.param_groups:
        group["lr"] = first * (1 + math.cos(math.pi * done)) / 2


CONTENDERS: dict[str, Train] = {"plain": plain, "timm": timm, "torchdistill": torchdistill}
