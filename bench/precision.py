"""Measures bfloat16 against float32 on one thread of a CPU: training steps and forward passes of single models.

    OMP_NUM_THREADS=1 python -m bench.precision [--model NAME]... [--repeats 5]

Prints images per CPU-second in float32, and the speed relative to it of bfloat16 as runs use it and of torch's bfloat16
alone. Calls alternate in one process; the least CPU time of each counts.
"""

import argparse
import copy
from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from ttm_core.hardware.adapt import adapt_to_device
from ttm_core.hardware.timing import least_seconds
from ttm_core.models.preprocess import Preprocess
from ttm_core.models.students.start import start_student
from ttm_core.precision import Precision, autocast
from ttm_core.spec.normalization import Normalization
from ttm_core.spec.structure import ModelStructure
from ttm_core.training.devices import keep_freed_memory, set_up
from ttm_measure.machine import cpu_model

CLASSES = 100
MODELS = {
    "cifar/resnet8": (32, 64),
    "cifar/resnet20": (32, 64),
    "cifar/resnet56": (32, 64),
    "cifar/resnet8x4": (32, 64),
    "resnet18": (64, 32),
    "regnety_004": (128, 16),
    "mini/resnet8_050": (28, 64),
    "cifar/MobileNetV2": (32, 64),
    "cifar/ShuffleV2": (32, 64),
    "mobilenetv1_100": (128, 32),
    "mobilenetv3_small_100": (128, 16),
    "mobilenetv4_conv_small": (128, 16),
    "efficientnet_b0": (128, 16),
    "ghostnet_100": (128, 16),
    "repvit_m0_9": (128, 8),
    "convnext_tiny": (128, 8),
    "deit_tiny_patch16_224": (224, 8),
    "mobilevit_xs": (256, 4),
}
"""The side of the images and the size of the batch by model."""
WAYS: dict[str, tuple[Precision, bool]] = {
    "float32": ("float32", False),
    "bfloat16": ("bfloat16", True),
    "alone": ("bfloat16", False),
}
"""The precision, and whether the model is adapted to it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", choices=list(MODELS))
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    device = torch.device("cpu")
    keep_freed_memory()  # as trainers do
    set_up(device, 1)
    print(f"{cpu_model()}, torch {torch.__version__}, one thread\n")
    parts = ("training", "inference")
    heads = [f"{part}: float32, images per CPU-second | bfloat16 | torch's alone" for part in parts]
    print(f"| model, input, batch | {' | '.join(heads)} |\n|{'---|' * 7}")
    for name in options.model or MODELS:
        size, batch = MODELS[name]
        cells = [f"{name}, {size} px, {batch}"]
        for train in (True, False):
            seconds = measure(name, size, batch, device, train=train, repeats=options.repeats)
            cells.append(f"{batch / seconds['float32']:,.0f}")
            cells += [f"x {seconds['float32'] / seconds[way]:.2f}" for way in ("bfloat16", "alone")]
        print(f"| {' | '.join(cells)} |", flush=True)


def measure(name: str, size: int, batch: int, device: torch.device, *, train: bool, repeats: int) -> dict[str, float]:
    """The least seconds of a step or of a forward pass, by way."""
    structure = ModelStructure(architecture=name, num_classes=CLASSES, image_size=size)
    preprocess = Preprocess(3, size, Normalization(mean=[0.5] * 3, std=[0.5] * 3))
    model = start_student(structure, seed=0, device=device).train(train)
    x = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    y = torch.randint(CLASSES, (batch,))
    calls: dict[str, Callable[[], object]] = {}
    for way, (precision, adapted) in WAYS.items():
        copied = copy.deepcopy(model)
        adapt_to_device(copied, preprocess, device, precision if adapted else "float32", train=train)
        calls[way] = partial(_step if train else _forward, copied, x, y, precision)
    return least_seconds(calls, device, repeats=repeats)


def _step(model: nn.Module, x: torch.Tensor, y: torch.Tensor, precision: Precision) -> None:
    with autocast(x.device, precision):
        logits = model(x)
    model.zero_grad(set_to_none=True)
    functional.cross_entropy(logits.float(), y).backward()


@torch.inference_mode()
def _forward(model: nn.Module, x: torch.Tensor, y: torch.Tensor, precision: Precision) -> None:
    with autocast(x.device, precision):
        model(x)


if __name__ == "__main__":
    main()
