"""A teacher, five students and a study of real workers on scikit-learn's digits, for the screenshots in the docs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from tests.ttm_core.factories import digits
from ttm_client import Client, Job

_TRAIN = 1297
_TRAINING: Mapping[str, Any] = {"batch_size": 64, "threads": 1, "optimizer": {"name": "adamw", "learning_rate": 0.01}}
_STUDENTS = ("cifar/resnet14", "cifar/resnet8", "mini/resnet8_050", "mini/resnet8_025")
# Ten times the usual time.
_WAIT_SECONDS = 3000.0


@dataclass(frozen=True)
class Runs:
    """Ids of a teacher's job, of the students' jobs, of a failed and a running job, and of a study that has succeeded."""

    teacher: str
    students: tuple[str, ...]
    failed: str
    running: str
    study: str


def create_runs(client: Client, data: Path) -> Runs:
    """Runs everything, which takes a few minutes. The last job still trains when the function returns.

    Args:
        client: of a service with workers.
        data: an allowed data folder.
    """
    dataset = _digits_folder(data / "digits")
    client.datasets.create("digits", dataset, description="1,297 handwritten digits, and 500 for the test")
    teacher = _done(client, _create(client, "digits teacher", "cifar/resnet20", 12, method="ce"))
    client.teachers.create("digits", f"job:{teacher}", description="Trained on the labels")
    fields: dict[str, Any] = {"teacher": "teacher:digits", "tags": ["release-1"]}
    students = [_create(client, f"digits {name.partition('/')[2]}", name, 12, **fields) for name in _STUDENTS]
    students.append(_create(client, "digits resnet8, kd", "cifar/resnet8", 12, method="kd", **fields))
    failed = client.jobs.create(name="flowers", student="cifar/resnet8", dataset=_empty(data / "flowers"), method="ce")
    study = client.studies.create(
        name="digits on the kiosk",
        teacher="teacher:digits",
        dataset="dataset:digits",
        limits={"retention": 0.95, "bytes": 150_000},
        students=[*_STUDENTS[1:], "mini/resnet8_150"],
        search={"training.optimizer.learning_rate": [0.003, 0.03], "method.beta": [1, 4]},
        training={**_TRAINING, "epochs": 9},
        seeds=2,
    )
    ended = client.studies.wait(study.id, timeout=_WAIT_SECONDS)
    assert ended.state == "succeeded", ended.failure
    for job in students:
        _done(client, job)
    assert client.jobs.wait(failed.id, timeout=_WAIT_SECONDS).state == "failed"
    running = _create(client, "digits resnet14, long", "cifar/resnet14", 2000, **fields)
    return Runs(teacher, tuple(job.id for job in students), failed.id, running.id, study.id)


def _create(client: Client, name: str, student: str, epochs: int, **fields: Any) -> Job:
    exports = ["timm", "onnx", "onnx_int8"]
    training = {**_TRAINING, "epochs": epochs}
    return client.jobs.create(
        name=name, student=student, dataset="dataset:digits", training=training, exports=exports, **fields
    )


def _done(client: Client, job: Job) -> str:
    ended = client.jobs.wait(job.id, timeout=_WAIT_SECONDS)
    assert ended.state == "succeeded", ended.failure
    return ended.id


def _digits_folder(folder: Path) -> str:
    """An image folder with a training and a test split, as in the tutorial."""
    for number, (pixels, label) in enumerate(zip(*digits(), strict=True)):
        where = folder / ("train" if number < _TRAIN else "test") / str(label)
        where.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(where / f"{number:04}.png")
    return folder.as_uri()


def _empty(folder: Path) -> str:
    (folder / "train" / "daisy").mkdir(parents=True)
    return folder.as_uri()
