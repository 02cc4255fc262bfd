"""Another domain: few photographs of ten classes, an ImageNet teacher, and every kind of teacher and student."""

from typing import Any

from bench.results.experiments.experiment import Experiment, Setting, Variant

# The ImageNet classes of the folders, in their order.
_CLASS_MAP = [0, 217, 482, 491, 497, 566, 569, 571, 574, 701]
_SIZE = 128


def photographs(setting: Setting) -> Experiment | None:
    """Labels alone and wttm, for a small student with random weights and for the pruned teacher."""
    base = _base(setting)
    if base is None:
        return None
    pruned = _student(prune={"macs": 0.3})
    labels = {"method": {"kind": "ce"}}
    variants = [
        Variant("lcnet_050, labels", {**labels, "teacher": None}),
        Variant("lcnet_050, wttm"),
        Variant("pruned teacher, labels", {**pruned, **labels}),
        Variant("pruned teacher, wttm", pruned),
    ]
    return Experiment("photographs", base, variants, min(setting.seeds, 3), reference="lcnet_050, labels")


def origins(setting: Setting) -> Experiment | None:
    """wttm with a teacher in ONNX, and with students of every origin that the setting names."""
    base = _base(setting)
    if base is None:
        return None
    variants = [
        Variant("lcnet_050"),
        Variant("tinynet_d", _student(architecture="tinynet_d")),
        # The share of the teacher's multiply-accumulates that tinynet_d has.
        Variant("pruned to the MACs of tinynet_d", _student(prune={"macs": 0.2668})),
        Variant("efficientnet_lite0", _student(architecture="tf_efficientnet_lite0")),
    ]
    if setting.onnx_teacher is not None:
        onnx = {"checkpoint": setting.onnx_teacher.as_uri(), "class_map": _CLASS_MAP}
        variants.insert(1, Variant("lcnet_050, ONNX teacher", {"teacher": onnx}))
    if setting.hub_student is not None:
        variants.append(Variant("weights of a hub", _student(checkpoint=setting.hub_student)))
    if setting.package_student is not None:
        variants.append(Variant("architecture of a package", _student(architecture=setting.package_student)))
    return Experiment("origins", base, variants, min(setting.seeds, 3), reference="lcnet_050")


def _student(**fields: Any) -> dict[str, Any]:
    return {"student": {**fields, "image_size": _SIZE}}


def _base(setting: Setting) -> dict[str, Any] | None:
    if setting.photographs is None or setting.photograph_teacher is None:
        return None
    return {
        "teacher": {
            "checkpoint": setting.photograph_teacher.as_uri(),
            "architecture": "tf_efficientnet_lite0",
            "normalization": {"mean": [0.5] * 3, "std": [0.5] * 3},
            "class_map": _CLASS_MAP,
        },
        **_student(architecture="lcnet_050"),
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
