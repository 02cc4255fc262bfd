"""Reports with invented numbers."""

from typing import Any

from ttm_core.report.schema import ClassScores, Device, ExportedFile, Latency, Model, Report, Run, Scores, SplitScores


def model(architecture: str = "resnet18", **fields: Any) -> Model:
    defaults = {"image_size": 32, "channels": 3, "parameters": 1000, "macs": 2000, "file_bytes": 4000}
    return Model(architecture=architecture, latency=Latency(batch_1=0.001, batch_32=0.02), **{**defaults, **fields})


def split(names: list[str], *, with_teacher: bool = True) -> SplitScores:
    scores = Scores(top1=0.5, top5=0.9, loss=1.0, calibration_error=0.1)
    classes = [ClassScores(name=name, images=5, student=0.2, teacher=0.6 if with_teacher else None) for name in names]
    return SplitScores(
        images=10,
        student=scores,
        teacher=scores if with_teacher else None,
        change_points=-3.0 if with_teacher else None,
        retention_percent=94.0 if with_teacher else None,
        agreement=0.75 if with_teacher else None,
        divergence=0.25 if with_teacher else None,
        classes=classes,
        lost_most=names[:10] if with_teacher else [],
    )


def report(names: list[str], *, with_teacher: bool = True, **fields: Any) -> Report:
    defaults: dict[str, Any] = {
        "name": "a job",
        "student": model(),
        "teacher": model("resnet50") if with_teacher else None,
        "device": Device(name="a CPU", threads=1, torch="2"),
        "validation": split(names, with_teacher=with_teacher),
        "test": split(names, with_teacher=with_teacher),
        "exports": [
            ExportedFile(format="onnx", file="student.onnx", size=4000, difference=1e-6),
            ExportedFile(
                format="onnx_int8",
                file="student-int8.onnx",
                size=1000,
                top1=0.4567,
                split="test",
                calibration_images=256,
            ),
            ExportedFile(format="timm", file="student-timm.zip", reason="an <i>operator</i> is not known"),
        ],
        "run": Run(
            method="wttm",
            epochs=2,
            best_epoch=1,
            steps=20,
            train_images=100,
            seconds=3.5,
            teacher_forwards=50,
            teacher_cache_hits=150,
        ),
    }
    return Report(**{**defaults, **fields})
