"""Another domain: few photographs of ten classes, an ImageNet teacher, and students from random weights or cut out."""

from typing import Any

from bench.results.experiments.experiment import Experiment, Setting, Variant

# The ImageNet classes of the folders, in their order.
_CLASS_MAP = [0, 217, 482, 491, 497, 566, 569, 571, 574, 701]
_SIZE = 128


def photographs(setting: Setting) -> Experiment | None:
    """Labels alone and wttm, for a small student with random weights and for the pruned teacher."""
    if setting.photographs is None or setting.photograph_teacher is None:
        return None
    base: dict[str, Any] = {
        "teacher": {
            "checkpoint": setting.photograph_teacher.as_uri(),
            "architecture": "tf_efficientnet_lite0",
            "normalization": {"mean": [0.5] * 3, "std": [0.5] * 3},
            "class_map": _CLASS_MAP,
        },
        "student": {"architecture": "lcnet_050", "image_size": _SIZE},
        "dataset": setting.photographs.as_uri(),
        "method": {"kind": "wttm"},
        "exports": [],
        "training": {
            "epochs": 8,
            "batch_size": 32,
            "optimizer": {"name": "adamw", "learning_rate": 0.002},
            "threads": 1,
        },
    }
    pruned = {"student": {"prune": {"macs": 0.3}, "image_size": _SIZE}}
    labels = {"method": {"kind": "ce"}}
    variants = [
        Variant("lcnet_050, labels", {**labels, "teacher": None}),
        Variant("lcnet_050, wttm"),
        Variant("pruned teacher, labels", {**pruned, **labels}),
        Variant("pruned teacher, wttm", pruned),
    ]
    return Experiment("photographs", base, variants, min(setting.seeds, 3), reference="lcnet_050, labels")
