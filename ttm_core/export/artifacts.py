"""The files that a finished run leaves."""

import hashlib
from pathlib import Path

from torch import Tensor

from ttm_core.events import Artifact, Result
from ttm_core.export.student import save_student
from ttm_core.preprocess import Preprocess
from ttm_core.spec import DistillSpec
from ttm_core.weights import write_durably


def export(
    workdir: Path,
    weights: dict[str, Tensor],
    spec: DistillSpec,
    preprocess: Preprocess,
    class_names: list[str],
    result: Result,
) -> list[Artifact]:
    """Write the student and the run's report under `workdir`/out."""
    out = workdir / "out"
    metrics = result.model_dump(
        mode="json", exclude={"train_seconds", "teacher_images", "teacher_images_spared", "artifacts"}
    )
    save_student(
        out / "student.safetensors",
        weights,
        spec=spec,
        preprocess=preprocess,
        class_names=class_names,
        metrics=metrics,
    )
    write_durably(out / "report.json", result.model_dump_json(indent=2, exclude={"artifacts"}).encode())
    return [
        _describe(workdir, out / "student.safetensors", "application/octet-stream"),
        _describe(workdir, out / "report.json", "application/json"),
    ]


def _describe(workdir: Path, path: Path, media_type: str) -> Artifact:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Artifact(
        name=path.name,
        path=str(path.relative_to(workdir)),
        media_type=media_type,
        size=path.stat().st_size,
        sha256=digest,
    )
