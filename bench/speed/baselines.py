"""Training steps of other libraries on the same images, as tensors in memory, which is fastest for them."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from bench.speed import data
from bench.speed.adapters import CPU, timm_loss, torchdistill_box
from bench.speed.clock import Clock
from bench.speed.pairs import EPOCHS, Pair
from ttm_core.models import build
from ttm_core.precision import Precision, autocast
from ttm_core.spec.structure import ModelStructure

Step = Callable[[Tensor, Tensor], None]


def run(contender: str, pair: Pair, threads: int, precision: Precision, device: torch.device = CPU) -> dict[str, float]:
    """Number of images trained on, with CPU-seconds and seconds."""
    with autocast(device, precision):
        return _run(contender, pair, threads, device)


def _run(contender: str, pair: Pair, threads: int, device: torch.device) -> dict[str, float]:
    torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = True  # as the engine does
    torch.manual_seed(0)
    student = build(ModelStructure(architecture=pair.student, num_classes=pair.classes, image_size=pair.size))
    teacher = build(ModelStructure(architecture=pair.teacher, num_classes=pair.classes, image_size=pair.size))
    student.to(device)
    teacher.to(device).eval().requires_grad_(False)
    channels_last = contender in ("timm-channels-last", "plain-ce")
    if channels_last:
        student, teacher = (model.to(memory_format=torch.channels_last) for model in (student, teacher))
    pixels = (data.images(pair).float() / 255 - 0.5) / 0.25
    if channels_last:
        pixels = pixels.contiguous(memory_format=torch.channels_last)
    labels = data.labels(pair)
    if contender == "torchdistill":
        return _torchdistill(student, teacher, pair, pixels, labels, device)
    # The whole data set is on the device, which is fastest.
    pixels, labels = pixels.to(device), labels.to(device)
    match contender:
        case "plain-ce":
            step = _step_of(student, lambda x, y: functional.cross_entropy(student(x), y))
        case _:
            step = _step_of(student, timm_loss(student, teacher, device))
    student.train()
    step(pixels[: pair.batch], labels[: pair.batch])
    with Clock(device) as clock:
        for x, y in _batches(pixels, labels, pair.batch):
            step(x, y)
    return clock.summary(pair.images * EPOCHS)


def _batches(pixels: Tensor, labels: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    for _ in range(EPOCHS):
        for order in torch.randperm(len(labels), device=labels.device).split(size):
            yield pixels[order], labels[order]


def _step_of(student: nn.Module, loss: Callable[[Tensor, Tensor], Tensor]) -> Step:
    optimizer = torch.optim.SGD(student.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)

    def step(x: Tensor, y: Tensor) -> None:
        optimizer.zero_grad()
        loss(x, y).backward()
        optimizer.step()

    return step


def _torchdistill(
    student: nn.Module, teacher: nn.Module, pair: Pair, pixels: Tensor, labels: Tensor, device: torch.device
) -> dict[str, float]:
    box = torchdistill_box(
        student, teacher, TensorDataset(pixels, labels), epochs=EPOCHS, batch=pair.batch, rate=0.01, device=device
    )

    def epoch(number: int) -> None:
        box.pre_epoch_process(epoch=number)
        for sample, target, supplement in box.train_data_loader:
            box.pre_forward_process()
            loss = box.forward_process(sample.to(device), target.to(device), supplement)
            box.post_forward_process(loss=loss)

    sample, target, supplement = next(iter(box.train_data_loader))
    box.pre_epoch_process(epoch=0)
    box.post_forward_process(loss=box.forward_process(sample.to(device), target.to(device), supplement))
    with Clock(device) as clock:
        for number in range(EPOCHS):
            epoch(number)
    return clock.summary(pair.images * EPOCHS)
