"""Exports a folder that timm loads without ttm_core: `timm.create_model("local-dir:...", pretrained=True)`."""

import tempfile
import zipfile
from pathlib import Path

from timm.models import save_for_hf

from ttm_core.export.student import Student
from ttm_core.files.full_disk import full_disk_errors
from ttm_core.models import timm_name

FOLDER = "student-timm"
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # fixed time stamps keep the file reproducible


class NotInTimm(Exception):
    """timm does not ship the architecture."""


def write_timm_zip(student: Student, path: Path) -> None:
    """Writes a zip of one folder with timm's config.json and model.safetensors. Equal students give equal bytes.

    Raises:
        NotInTimm: timm cannot build the model.
        OSError: the disk is full or not writable.
    """
    if student.structure.pruning:
        raise NotInTimm(
            f"timm cannot express a pruned {student.architecture}; ttm_core.export.load_student loads "
            "student.safetensors, and the ONNX files need neither"
        )
    if timm_name(student.architecture) != student.architecture:
        raise NotInTimm(
            f"timm does not ship {student.architecture}; to load student.safetensors with timm, "
            "import ttm_core.models first"
        )
    preprocess = student.preprocess
    weights = sum(tensor.nbytes for tensor in student.model.state_dict().values())
    with full_disk_errors(2 * weights, path.parent), tempfile.TemporaryDirectory(dir=path.parent) as temporary:
        save_for_hf(
            student.model,
            temporary,
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
            for file in sorted(Path(temporary).iterdir()):
                with (
                    file.open("rb") as source,
                    archive.open(zipfile.ZipInfo(f"{FOLDER}/{file.name}", _ZIP_EPOCH), "w", force_zip64=True) as target,
                ):
                    while chunk := source.read(2**20):
                        target.write(chunk)
