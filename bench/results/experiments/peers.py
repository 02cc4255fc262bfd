"""The same distillation by other libraries, and the cost of equal accuracy."""

from collections.abc import Sequence

from bench.results.experiments.experiment import Experiment, Setting, Variant
from bench.results.experiments.methods import base

_LENGTHS = (0.7, 0.5)
"""Shorter runs of ours, as shares of the epochs."""


def peers(setting: Setting) -> Experiment:
    """KD with its default weights by every contender. Ours runs with an empty store, with a full store and shorter."""
    kd = {"method": {"kind": "kd"}}
    wttm = {"method": {"kind": "wttm"}}
    variants = [
        Variant("plain loop", kd, contender="plain"),
        Variant("timm", kd, contender="timm"),
        Variant("torchdistill", kd, contender="torchdistill"),
        Variant("kd, first job", kd, cold=True),
        Variant("kd, later jobs", kd),
        Variant("wttm, first job", wttm, cold=True),
        *(Variant(f"wttm, {epochs} epochs", {**wttm, "training.epochs": epochs}) for epochs in _shorter(setting)),
    ]
    return Experiment("peers", base(setting), variants, setting.seeds, reference="plain loop")


def _shorter(setting: Setting) -> Sequence[int]:
    lengths = (round(setting.training["epochs"] * share) for share in _LENGTHS)
    return [epochs for epochs in dict.fromkeys(lengths) if 0 < epochs < setting.training["epochs"]]
