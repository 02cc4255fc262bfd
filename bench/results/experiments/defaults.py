"""Optimizer, learning rate and batch size of the default job, on data sets that differ in size and classes."""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.results.experiments.experiment import Experiment, Setting, Variant
from bench.results.experiments.methods import base
from bench.results.experiments.photographs import photographs

_REFERENCE = "SGD 0.05, batch 64"


def defaults_small(setting: Setting) -> Experiment:
    """The setting's own data, with the default method."""
    return _experiment("defaults_small", base(setting), setting)


def defaults_long(setting: Setting) -> Experiment:
    """The same in runs of the default number of epochs, and with ten views instead of one for each epoch."""
    spec = base(setting)
    training = {name: value for name, value in spec["training"].items() if name != "epochs"}
    variants = [_variant("sgd", 0.05, 64), _variant("adamw", 0.004, 64), _variant("adamw", 0.004, 32)]
    views = Variant(f"{_REFERENCE}, 10 views", {**variants[0].changes, "training.views": 10})
    long = {**spec, "training": training}
    return Experiment("defaults_long", long, [*variants, views], min(setting.seeds, 3), reference=_REFERENCE)


def defaults_depthwise(setting: Setting) -> Experiment:
    """Learning rate and precision for a student with depthwise convolutions."""
    high, low = _variant("sgd", 0.05, 64), _variant("sgd", 0.01, 64)
    float32 = Variant(f"{low.name}, float32", {**low.changes, "training.precision": "float32"})
    spec = {**base(setting), "student": setting.depthwise_student}
    return Experiment("defaults_depthwise", spec, [high, low, float32], setting.seeds, reference=low.name)


def defaults_classes(setting: Setting) -> Experiment | None:
    """Twice the images and ten times the classes, with labels alone: there is no teacher for them."""
    if setting.more_classes is None:
        return None
    spec = {**base(setting), "dataset": setting.more_classes.as_uri(), "method": {"kind": "ce"}, "teacher": None}
    training = {**spec["training"], "epochs": max(setting.training["epochs"] // 2, 1)}
    return _experiment("defaults_classes", {**spec, "training": training}, setting)


def defaults_photographs(setting: Setting) -> Experiment | None:
    """A fifth of the images at four times the side, for the pruned teacher: others stay near chance in a short run.

    It has depthwise convolutions, so that its default learning rate is tried as well.
    """
    found = photographs(setting)
    if found is None:
        return None
    pruned = next(variant for variant in found.variants if "student" in variant.changes)
    spec = {**found.base, "student": pruned.changes["student"]}
    return _experiment("defaults_photographs", spec, setting, further=[("sgd", 0.01, 32)])


def _experiment(
    name: str, spec: Mapping[str, Any], setting: Setting, further: Sequence[tuple[str, float, int]] = ()
) -> Experiment:
    tried = (("sgd", 0.05, 64), ("sgd", 0.05, 32), *further, ("adamw", 0.002, 32), ("adamw", 0.004, 32))
    variants = [_variant(*each) for each in tried]
    return Experiment(name, spec, variants, min(setting.seeds, 3), reference=_REFERENCE)


def _variant(optimizer: str, rate: float, batch: int) -> Variant:
    label = {"sgd": "SGD", "adamw": "AdamW"}[optimizer]
    changes = {"training.optimizer": {"name": optimizer, "learning_rate": rate}, "training.batch_size": batch}
    return Variant(f"{label} {rate:g}, batch {batch}", changes)
