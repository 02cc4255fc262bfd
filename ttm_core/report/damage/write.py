"""Writes the files of the damage report: damage.json, damage-images.zip and predictions.safetensors."""

import hashlib
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from ttm_core.data.dataset import Split
from ttm_core.files.durable import write_durably
from ttm_core.report.damage import gallery
from ttm_core.report.damage.record import Recorded, TopClasses
from ttm_core.spec.damage import predictions
from ttm_core.spec.damage.files import DAMAGE_FILE, IMAGES_FILE, PREDICTIONS_FILE
from ttm_core.spec.damage.predictions import ModelPredictions, PredictionsInfo
from ttm_core.spec.damage.schema import Damage, GalleryImage, Guess
from ttm_core.spec.damage.tables import outcomes_of, tabulate


@dataclass(frozen=True)
class EvaluatedSplit:
    """A split, its name and the predictions of its images."""

    name: Literal["validation", "test"]
    split: Split
    recorded: Recorded


def write_damage(
    folder: Path, evaluated: EvaluatedSplit, class_names: list[str], *, thumbnail_side: int, with_gallery: bool
) -> list[str]:
    """Writes the report of one split.

    Args:
        evaluated: the split and its predictions.
        thumbnail_side: width and height of thumbnails in pixels; at most 96.
        with_gallery: whether to keep thumbnails.

    Returns:
        The names of the written files: predictions only for a student without a teacher.
    """
    split, recorded = evaluated.split, evaluated.recorded
    info = PredictionsInfo(
        split=evaluated.name, against=split.against, data=_fingerprint(split, class_names), class_names=class_names
    )
    _write_predictions(folder / PREDICTIONS_FILE, recorded, info)
    if recorded.teacher is None:
        return [PREDICTIONS_FILE]
    tables = tabulate(
        recorded.labels.tolist(),
        _top1(recorded.student),
        _top1(recorded.teacher),
        class_names,
        labelled=split.against == "labels",
    )
    images = _write_gallery(folder / IMAGES_FILE, evaluated, class_names, thumbnail_side) if with_gallery else []
    damage = Damage(**dict(tables), split=evaluated.name, against=split.against, data=info.data, gallery=images)
    write_durably(folder / DAMAGE_FILE, damage.model_dump_json().encode())
    return [DAMAGE_FILE, *([IMAGES_FILE] if with_gallery else []), PREDICTIONS_FILE]


def _fingerprint(split: Split, class_names: list[str]) -> str:
    """Equal for jobs that are evaluated on the same images in the same order, with the same labels and classes."""
    digest = hashlib.sha256(split.images.fingerprint().encode())
    digest.update(split.indices.astype(np.int64).tobytes())
    if split.against == "labels":
        digest.update(split.labels.numpy()[split.indices].astype(np.int64).tobytes())
    digest.update(repr(class_names).encode())
    return digest.hexdigest()


def _top1(top: TopClasses) -> ModelPredictions:
    return ModelPredictions(array("I", top.classes[:, 0].tolist()), array("f", top.probabilities[:, 0].tolist()))


def _write_predictions(path: Path, recorded: Recorded, info: PredictionsInfo) -> None:
    integer = np.uint16 if len(info.class_names) <= 2**16 else np.uint32
    columns: dict[str, NDArray[np.generic]] = {"label": recorded.labels.astype(integer)}
    for name, top in (("student", recorded.student), ("teacher", recorded.teacher)):
        if top is not None:
            columns[name] = top.classes[:, 0].astype(integer)
            columns[f"{name}_probability"] = np.ascontiguousarray(top.probabilities[:, 0])
    write_durably(path, save(columns, {predictions.METADATA_KEY: info.model_dump_json()}))


def _write_gallery(path: Path, evaluated: EvaluatedSplit, names: list[str], side: int) -> list[GalleryImage]:
    split, recorded = evaluated.split, evaluated.recorded
    student, teacher = recorded.student, recorded.teacher
    assert teacher is not None, "without a teacher there is no reference"
    labels, labelled = recorded.labels.tolist(), split.against == "labels"
    outcomes = outcomes_of(labels, student.classes[:, 0].tolist(), teacher.classes[:, 0].tolist(), labelled=labelled)
    chosen = gallery.choose(outcomes, labels, student.probabilities[:, 0].tolist())
    indices = [int(split.indices[image]) for image, _ in chosen]
    thumbnails = gallery.write_thumbnails(path, split.images, indices, min(side, gallery.MAX_SIDE))
    return [
        GalleryImage(
            number=number,
            image=image,
            outcome=outcome,
            label=names[labels[image]] if labelled else None,
            student=_guesses(student, image, names),
            reference=_guesses(teacher, image, names),
            media_type=thumbnail.media_type,
            offset=thumbnail.offset,
            size=thumbnail.size,
            side=thumbnail.side,
        )
        for number, ((image, outcome), thumbnail) in enumerate(zip(chosen, thumbnails, strict=False))
    ]


def _guesses(top: TopClasses, image: int, names: list[str]) -> list[Guess]:
    pairs = zip(top.classes[image].tolist(), top.probabilities[image].tolist(), strict=True)
    return [Guess(name=names[number], probability=round(probability, 6)) for number, probability in pairs]
