"""Reports with invented numbers."""

from typing import Any

from ttm_core.report.schema import (
    ClassScores,
    Device,
    ExportedFile,
    Model,
    Quantization,
    QuantizationCandidate,
    Report,
    Run,
    Scores,
    SplitScores,
)
from ttm_core.spec.speed.measurement import FileMeasurement, FileProfile, PartTime
from ttm_core.spec.speed.verdict import files_of, recommend


def model(architecture: str = "resnet18", **fields: Any) -> Model:
    defaults = {"image_size": 32, "channels": 3, "parameters": 1000, "macs": 2000, "file_bytes": 4000}
    return Model(architecture=architecture, **{**defaults, **fields})


def measurement(file: str, precision: str, p50_ms: float, **fields: Any) -> FileMeasurement:
    defaults = {
        "sha256": "0" * 64,
        "runtime_version": "1.32.0",
        "provider": "CPUExecutionProvider",
        "cpu": "a CPU",
        "device": "a-worker",
        "batch": 1,
        "threads": 1,
        "pinned": True,
        "p90_ms": 1.1 * p50_ms,
        "throughput": 1000 / p50_ms,
        "repeats": 100,
        "relative_error": 0.01,
        "load_ms": 5.0,
        "peak_memory_bytes": 2_000_000,
    }
    return FileMeasurement(file=file, precision=precision, p50_ms=p50_ms, **{**defaults, **fields})


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
    candidate = QuantizationCandidate(
        calibration="mse", float_layers=["fc/Gemm"], agreement=0.99, error=0.01, change_points=-0.2
    )
    defaults: dict[str, Any] = {
        "name": "a job",
        "student": model(),
        "teacher": model("resnet50") if with_teacher else None,
        "device": Device(name="a CPU", threads=1, torch="2"),
        "validation": split(names, with_teacher=with_teacher),
        "test": split(names, with_teacher=with_teacher),
        "exports": [
            ExportedFile(
                format="onnx",
                file="student.onnx",
                size=4000,
                difference=1e-6,
                precision="fp32",
                top1=0.46,
                split="test",
            ),
            ExportedFile(
                format="onnx_int8",
                file="student-int8.onnx",
                size=1000,
                precision="int8",
                top1=0.4567,
                split="test",
                quantization=Quantization(
                    calibration_images=256, validation_images=512, chosen=candidate, tried=[candidate]
                ),
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
    measured = [measurement("student.onnx", "fp32", 1.0), measurement("student-int8.onnx", "int8", 0.5)]
    files = files_of({"exports": [each.model_dump() for each in defaults["exports"]]})
    layers = [PartTime(name=name, ms=ms) for name, ms in (("layer1", 0.75), ("fc", 0.25))]
    defaults |= {
        "measurements": measured,
        "teacher_measurements": [measurement("teacher.onnx", "fp32", 4.0)] if with_teacher else [],
        "profiles": [
            FileProfile(file="student.onnx", precision="fp32", batch=1, threads=1, layers=layers, operators=layers[:1])
        ],
        "recommendations": recommend(files, [each.timing for each in measured]),
    }
    return Report(**{**defaults, **fields})
