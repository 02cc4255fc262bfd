"""The student as a folder that timm opens with no other code: `timm.create_model("local-dir:...", pretrained=True)`."""

import tempfile
import zipfile
from pathlib import Path

from timm.models import save_for_hf

from ttm_core.export.student import Student
from ttm_core.models import timm_name

FOLDER = "student-timm"
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # zip's first day: no time of the run enters the file


class NotInTimm(Exception):
    """The architecture is not one of timm's own."""


def write_timm_zip(student: Student, path: Path) -> None:
    """Write a zip of one folder with timm's config.json and model.safetensors. Equal students give equal bytes.

    Raises:
        NotInTimm: timm alone could not make the model.
    """
    if timm_name(student.architecture) != student.architecture:
        raise NotInTimm(
            f"{student.architecture} is not one of timm's own models: timm opens student.safetensors itself once "
            "ttm_core.models is imported"
        )
    preprocess = student.preprocess
    with tempfile.TemporaryDirectory(dir=path.parent) as made:
        save_for_hf(
            student.model,
            made,
            model_config={"label_names": student.class_names},
            safe_serialization=True,
            data_config={
                "input_size": (preprocess.channels, preprocess.image_size, preprocess.image_size),
                "mean": tuple(preprocess.normalization.mean),
                "std": tuple(preprocess.normalization.std),
                "interpolation": "bicubic",
                "crop_pct": 1.0,
            },
        )
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for file in sorted(Path(made).iterdir()):
                with (
                    file.open("rb") as source,
                    archive.open(zipfile.ZipInfo(f"{FOLDER}/{file.name}", _LONG_AGO), "w", force_zip64=True) as target,
                ):
                    while chunk := source.read(2**20):
                        target.write(chunk)
