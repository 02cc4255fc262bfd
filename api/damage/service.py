"""Damage reports of jobs: against the teacher as stored, against another job from both jobs' predictions."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy.orm import Session

from api.artifacts import service as artifact_service
from api.artifacts.service import Download
from api.damage.schemas import DamageImage, DamageImagePage, DamageOut, ImageSort
from api.http.pagination import decode_cursor, encode_cursor
from ttm_core.spec.damage.files import DAMAGE_FILE, IMAGES_FILE, PREDICTIONS_FILE
from ttm_core.spec.damage.predictions import Predictions
from ttm_core.spec.damage.schema import Damage, DamageTables, GalleryImage, Guess, Outcome
from ttm_core.spec.damage.tables import outcomes_of, tabulate
from ttm_jobs.errors import ArtifactNotFound, Conflict, NotFound
from ttm_jobs.storage import Storage

_KIND = "damage images"
_CACHED = 32


class NoDamageReport(NotFound):
    """The job has no damage report: it has no teacher, its split has more than 1,000,000 images, or its artifacts were
    deleted. Two jobs of any method can be compared with `against`.
    """

    code = "no_damage_report"


class DamageImageNotFound(NotFound):
    """The gallery has no image of this number."""

    code = "damage_image_not_found"


class DifferentData(Conflict):
    """The jobs were evaluated on different images, labels or classes."""

    code = "different_data"


@dataclass(frozen=True)
class Thumbnail:
    """Where an encoded image is in the storage."""

    archive: Download
    entry: GalleryImage

    @property
    def etag(self) -> str:
        return f'"{self.archive.sha256}-{self.entry.number}"'


@dataclass(frozen=True)
class Compared:
    """A report and its gallery, before any filter."""

    report: DamageOut
    gallery: Sequence[GalleryImage]


def version(session: Session, job_id: str, against: str | None) -> str:
    """The ETag of a report. Raises JobNotFound, JobNotFinished and NoDamageReport."""
    if against is None:
        return f'"{_artifact(session, job_id, DAMAGE_FILE).sha256}"'
    hashes = [_artifact(session, each, PREDICTIONS_FILE).sha256 for each in (job_id, against)]
    return f'"{hashes[0][:32]}-{hashes[1][:32]}"'


def read(session: Session, storage: Storage, job_id: str, against: str | None) -> Compared:
    """The report of a job against its teacher, or against the student of another job.

    Raises JobNotFound, JobNotFinished, NoDamageReport and DifferentData.
    """
    if against is None:
        damage = _stored(session, storage, job_id)
        shared = damage.model_dump(include={*DamageTables.model_fields, "split", "against", "data"})
        return Compared(_report(job_id, None, shared, damage.gallery), damage.gallery)
    ours, theirs = (predictions(session, storage, each) for each in (job_id, against))
    if ours.info.data != theirs.info.data:
        raise DifferentData("The jobs were evaluated on different images, labels or classes.")
    labelled, names = ours.info.against == "labels", ours.info.class_names
    labels = ours.labels if labelled else theirs.student.classes
    tables = tabulate(labels, ours.student, theirs.student, names, labelled=labelled)
    gallery = _against(_gallery(session, storage, job_id), labels, ours, theirs, labelled=labelled)
    shared = {**tables.model_dump(), **ours.info.model_dump(include={"split", "against", "data"})}
    return Compared(_report(job_id, against, shared, gallery), gallery)


def image_page(
    compared: Compared,
    *,
    outcome: Outcome | None,
    class_name: str | None,
    sort: ImageSort | None,
    limit: int,
    cursor: str | None,
) -> DamageImagePage:
    """A page of the gallery. `class_name` is the true class, or without labels the reference's."""
    start = 0 if cursor is None else decode_cursor(_KIND, cursor, _position)
    found = [
        entry
        for entry in compared.gallery
        if outcome in (None, entry.outcome) and class_name in (None, entry.label or entry.reference[0].name)
    ]
    if sort is not None:
        found.sort(key=lambda entry: entry.student[0].probability, reverse=sort == "-confidence")
    more = start + limit < len(found)
    return DamageImagePage(
        items=[_image(compared.report.job, entry) for entry in found[start : start + limit]],
        next_cursor=encode_cursor(_KIND, [start + limit]) if more else None,
        has_more=more,
    )


def thumbnail(session: Session, storage: Storage, job_id: str, number: int) -> Thumbnail:
    """An image of a job's gallery. Raises JobNotFound, JobNotFinished, NoDamageReport and DamageImageNotFound."""
    gallery = _stored(session, storage, job_id).gallery
    if number >= len(gallery):
        raise DamageImageNotFound
    return Thumbnail(_artifact(session, job_id, IMAGES_FILE), gallery[number])


def _report(job_id: str, against: str | None, shared: dict[str, Any], gallery: Sequence[GalleryImage]) -> DamageOut:
    reference = "teacher" if against is None else "job"
    return DamageOut(job=job_id, reference=reference, reference_job=against, gallery_count=len(gallery), **shared)


def _against(
    gallery: Sequence[GalleryImage], labels: Sequence[int], ours: Predictions, theirs: Predictions, *, labelled: bool
) -> list[GalleryImage]:
    """The images of a gallery that one of two students has wrong, with the other student as the reference."""
    outcomes = list(outcomes_of(labels, ours.student.classes, theirs.student.classes, labelled=labelled))
    found = []
    for entry in gallery:
        outcome = outcomes[entry.image] if entry.image < len(outcomes) else None
        if outcome is not None:
            name = ours.info.class_names[theirs.student.classes[entry.image]]
            guess = Guess(name=name, probability=round(theirs.student.probabilities[entry.image], 6))
            found.append(entry.model_copy(update={"outcome": outcome, "reference": [guess]}))
    return found


def _image(job_id: str, entry: GalleryImage) -> DamageImage:
    values = entry.model_dump(include=set(DamageImage.model_fields) - {"href"})
    return DamageImage(href=f"/jobs/{job_id}/damage/images/{entry.number}", **values)


def _position(position: list[Any]) -> int:
    (start,) = position
    if not isinstance(start, int) or start < 0:
        raise ValueError
    return start


def _artifact(session: Session, job_id: str, name: str) -> Download:
    try:
        return artifact_service.report(session, job_id, name)
    except ArtifactNotFound:
        raise NoDamageReport from None


def _stored(session: Session, storage: Storage, job_id: str) -> Damage:
    artifact = _artifact(session, job_id, DAMAGE_FILE)
    try:
        return _parsed(storage, artifact.key, artifact.sha256)  # type: ignore[arg-type]  # every storage is hashable
    except ValueError:
        raise NoDamageReport("The damage report has another version than this service.") from None


def _gallery(session: Session, storage: Storage, job_id: str) -> Sequence[GalleryImage]:
    try:
        return _stored(session, storage, job_id).gallery
    except NoDamageReport:
        return []


def predictions(session: Session, storage: Storage, job_id: str) -> Predictions:
    """Both models' predictions of a job's last evaluation. Raises JobNotFound, JobNotFinished and NoDamageReport."""
    artifact = _artifact(session, job_id, PREDICTIONS_FILE)
    try:
        return Predictions.from_bytes(b"".join(storage.open(artifact.key)))
    except ValueError:
        raise NoDamageReport("The file of predictions has another version than this service.") from None


# A page of the gallery requests up to 200 thumbnails, and each needs the index. `sha256` is part of the cache key,
# because a storage key can get a new file.
@lru_cache(maxsize=_CACHED)
def _parsed(storage: Storage, key: str, sha256: str) -> Damage:
    return Damage.model_validate_json(b"".join(storage.open(key)))
