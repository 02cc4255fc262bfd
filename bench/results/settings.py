"""The settings of the experiments: CIFAR-10 with a published teacher, and digits for a quick run."""

from pathlib import Path
from typing import Any

from bench.results.experiments.experiment import Setting, StudySetting
from bench.results.experiments.methods import MAIN_WEIGHTS

_IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def cifar10(data: Path, teacher: Path, **further: Any) -> Setting:
    """A folder of CIFAR-10 photographs (`train/`, `test/`) and a ResNet-56 for CIFAR-10, such as a published `.th`.

    All paths are absolute. `further` are optional fields of `Setting`.
    """
    return Setting(
        data_name="CIFAR-10",
        data=data,
        teacher={
            "checkpoint": teacher.as_uri(),
            "architecture": "cifar/resnet56",
            "normalization": _IMAGENET,
        },
        student="cifar/resnet8",
        depthwise_student="cifar/MobileNetV2",
        # In multiples of 8 channels, a ResNet-56 cannot be smaller than 11.3 %.
        share=0.12,
        training={"epochs": 10, "batch_size": 64, "optimizer": {"name": "sgd", "learning_rate": 0.1}},
        seeds=5,
        factors=(0.1, 0.3, 1.0),
        methods=tuple(MAIN_WEIGHTS),
        study=StudySetting(
            students=[f"cifar/resnet{depth}" for depth in (8, 14, 20, 32)],
            limits={"retention": 0.75, "bytes": 1_200_000},
            epochs=6,
            seeds=2,
        ),
        fast={"epochs": 7, "batch_size": 32, "views": 2, "optimizer": {"name": "adamw", "learning_rate": 0.004}},
        fastest={"epochs": 4, "batch_size": 32, "views": 1, "optimizer": {"name": "adamw", "learning_rate": 0.002}},
        **further,
    )


def digits(data: Path, teacher: Path) -> Setting:
    """scikit-learn's digits, one epoch and two seeds: the same code in under a minute."""
    return Setting(
        data_name="digits",
        data=data.resolve(),
        teacher={"checkpoint": teacher.resolve().as_uri(), "architecture": "mini/resnet8_100", "allow_chance": True},
        student="mini/resnet8_025",
        depthwise_student="cifar/MobileNetV2",
        share=0.3,
        training={"epochs": 1, "batch_size": 64, "optimizer": {"name": "sgd", "learning_rate": 0.1}},
        seeds=2,
        factors=(1.0,),
        methods=("kd",),
        study=StudySetting(
            students=["mini/resnet8_025", "mini/resnet8_050"],
            limits={"retention": 0.01, "bytes": 50_000},
            epochs=3,
            seeds=1,
        ),
        fast={"epochs": 1, "batch_size": 32, "optimizer": {"name": "adamw", "learning_rate": 0.004}},
        fastest={"epochs": 1, "batch_size": 32},
    )
