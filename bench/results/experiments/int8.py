"""Int8 files of four students on photographs, by post-training quantization and by quantization-aware training."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bench.results.experiments.experiment import Setting

_SIZE = 64
_RESNET50 = "resnet50"
_EFFICIENTNET = "tf_efficientnet_lite0"


@dataclass(frozen=True)
class Int8Run:
    """A job. With `teacher`, its teacher is the student of the run of that name."""

    name: str
    spec: dict[str, Any]
    teacher: str | None = None
    shown: bool = True


def int8(setting: Setting) -> Iterator[Int8Run]:
    """A ResNet-18 and a MobileNetV3 with random weights, a fine-tuned EfficientNet-Lite0, and a pruned ResNet-50.

    Each in the modes `aware` and `post_training`, except for the pruned ResNet-50: its mode `aware` exports the file of
    post-training quantization. The ResNet-50 that is pruned is trained first.
    """
    base: dict[str, Any] = {
        "teacher": {**setting.teacher, "image_size": 32},
        "dataset": setting.data.as_uri(),
        "method": {"kind": "wttm"},
        "quantize": {"mode": "aware", "epochs": 2},
        "exports": ["onnx", "onnx_int8"],
        "training": {
            "epochs": setting.int8_epochs,
            "batch_size": 64,
            "optimizer": {"name": "adamw", "learning_rate": 0.002},
            "threads": 1,
        },
    }

    def student(name: str, **fields: Any) -> Int8Run:
        return Int8Run(name, {**base, "student": {"image_size": _SIZE, **fields}})

    students = [
        student("resnet18", architecture="resnet18"),
        student("mobilenetv3_small_100", architecture="mobilenetv3_small_100"),
    ]
    if setting.photograph_teacher is not None:
        checkpoint = setting.photograph_teacher.as_uri()
        efficientnet = student(_EFFICIENTNET, architecture=_EFFICIENTNET, checkpoint=checkpoint)
        students.insert(0, efficientnet)
    for run in students:
        yield run
        yield Int8Run(run.name, {**run.spec, "quantize": {"mode": "post_training"}})
    resnet50 = student(_RESNET50, architecture=_RESNET50)
    yield Int8Run(_RESNET50, {**resnet50.spec, "exports": []}, shown=False)
    pruned = {**base, "student": {"prune": {"macs": 0.25}, "image_size": _SIZE}}
    del pruned["teacher"]
    yield Int8Run(f"{_RESNET50} pruned to 25 % of its MACs", pruned, teacher=_RESNET50)
