"""Finished jobs of the real trainer with damage reports, and the API that serves them."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save
from sqlalchemy import Engine

from tests.support.api_server import served
from tests.support.factories import claimed, job_of, queued, spec
from tests.support.forked_trainer import forked_trainer
from tests.support.rig import Rig
from tests.support.runs import succeed
from tests.ttm_core.factories import digits_folder
from ttm_core.files.locks import FileLock
from ttm_core.spec.damage.files import DAMAGE_FILE, PREDICTIONS_FILE
from ttm_core.spec.damage.predictions import METADATA_KEY, PredictionsInfo
from ttm_jobs.database.engine import create_engine, session_scope
from ttm_jobs.models import Job
from ttm_jobs.repositories.jobs import leases
from ttm_jobs.repositories.run_data import artifacts
from ttm_jobs.repositories.run_data.artifacts import PublishedFile
from ttm_jobs.settings import Settings
from ttm_jobs.states import JobState
from ttm_jobs.storage import Storage, build_storage

HOSTILE_CLASS = "\"><img src=x onerror=alert(1)>{{7*7}}'"
_CLASSES, _TRAIN = 5, 80


@dataclass(frozen=True)
class Damaged:
    """Ids of succeeded jobs.

    Attributes:
        teacher: trained without a teacher on the same data.
        student: has ONNX files, a gallery and the teacher's ONNX file.
        elsewhere: has predictions of other images, and no other files of a report.
    """

    url: str
    settings: Settings
    engine: Engine
    storage: Storage
    data: Path
    teacher: str
    student: str
    elsewhere: str


@contextmanager
def damaged_jobs(folder: Path, database: Path) -> Iterator[Damaged]:
    """Serves the jobs. The first process that uses `folder` trains them, on a copy of an empty database."""
    data = folder / "data"
    settings = Settings(
        database_url=f"sqlite:///{folder / 'ttm.db'}",
        storage_url=f"file:{folder / 'storage'}",
        work_dir=folder / "work",
        data_roots=(data,),
        broker_url="redis://127.0.0.1:1/0",
        lease_seconds=60.0,
        requests_per_second=None,
        failed_sign_ins_per_minute=None,
        max_image_bytes=1_000_000,
    )
    engine = create_engine(settings.database_url)
    storage = build_storage(settings.storage_url)
    names = folder / "jobs.json"
    with FileLock(folder, "training") as lock:
        lock.acquire_exclusive()
        if not names.exists():
            shutil.copy(database, folder / "ttm.db")
            with forked_trainer() as command:
                trained = _train(Rig(settings, engine, storage, command), data / "digits")
            names.write_text(json.dumps(trained))
    with served(settings) as url:
        yield Damaged(url, settings, engine, storage, data, **json.loads(names.read_text()))
    engine.dispose()


def _train(rig: Rig, images: Path) -> dict[str, str]:
    """Ids of the jobs by name."""
    digits_folder(images, classes=_CLASSES, each=_TRAIN)
    for split in ("train", "val"):
        (images / split / "digit-3").rename(images / split / HOSTILE_CLASS)

    def run(student: str, epochs: int, **fields: Any) -> str:
        training = {"epochs": epochs, "batch_size": 32, "threads": 1}
        body = spec(dataset=images.as_uri(), student=student, training=training, **{"exports": [], **fields})
        job_id = queued(rig.engine, spec=body, student=student)
        rig.run(job_id)
        job = job_of(rig.engine, job_id)
        assert job.state is JobState.SUCCEEDED, job.failure
        return job_id

    teacher = run("mini/resnet8_050", 6, method="ce")
    taught = {"method": "wttm", "teacher": {"checkpoint": f"job:{teacher}", "allow_chance": True}}
    exports = {"exports": ["onnx", "onnx_fp16", "onnx_int8", "pt2"], "quantize": {"mode": "post_training"}}
    student = run("mini/resnet8_025", 2, **taught, **exports)
    return {"teacher": teacher, "student": student, "elsewhere": _evaluated_elsewhere(rig.engine, rig.storage)}


def _evaluated_elsewhere(engine: Engine, storage: Storage) -> str:
    """A job without a trainer, whose predictions are of other images."""
    job_id = queued(engine)
    lease = claimed(engine, job_id)
    info = PredictionsInfo(split="test", against="labels", data="0" * 64, class_names=["a", "b"])
    columns = {name: np.zeros(3, np.uint16) for name in ("label", "student")}
    columns["student_probability"] = np.ones(3, np.float32)
    key = f"jobs/{job_id}/1/{PREDICTIONS_FILE}"
    stored = storage.put(key, [save(columns, {METADATA_KEY: info.model_dump_json()})])
    with session_scope(engine) as session:
        file = PublishedFile(PREDICTIONS_FILE, key, "application/octet-stream", stored.size, stored.sha256)
        artifacts.record(session, leases.fence(session, lease), [file])
    succeed(engine, storage, lease)
    return job_id


def record_largest_damage(engine: Engine, storage: Storage, job_id: str) -> None:
    """Gives a job the largest damage report that a run writes: 1,000 classes, 50 confusions and 200 images."""
    names = [f"class {number}, with a name of usual length" for number in range(1000)]
    parts = [
        {
            "name": name,
            "images": 50,
            "student_correct": 40,
            "reference_correct": 45,
            "retention_percent": 88.89,
            "retention_low": 80.0,
            "retention_high": 97.5,
        }
        for name in names
    ]
    guesses = [{"name": name, "probability": 0.3} for name in names[:3]]
    image = {"outcome": "lost", "label": names[0], "student": guesses, "reference": guesses, "media_type": "image/png"}
    bins = [
        {"low": each / 15, "high": (each + 1) / 15, "images": 3333, "confidence": each / 15, "accuracy": each / 15}
        for each in range(15)
    ]
    report = {
        "images": 50_000,
        "outcomes": {"lost": 200, "gained": 10, "both_wrong": 90},
        "class_count": 1000,
        "classes": parts,
        "confusion_count": 50,
        "confusions": [
            {"label": names[each], "predicted": names[each + 1], "reference": 1, "student": 5} for each in range(50)
        ],
        "student_calibration": {"error": 0.1, "bins": bins},
        "reference_calibration": {"error": 0.1, "bins": bins},
        "split": "test",
        "against": "labels",
        "data": "0" * 64,
        "gallery": [
            {**image, "number": each, "image": each, "offset": 0, "size": 1, "side": 96} for each in range(200)
        ],
    }
    content = json.dumps(report).encode()
    key = f"jobs/{job_id}/{DAMAGE_FILE}"
    stored = storage.put(key, [content])
    with session_scope(engine) as session:
        file = PublishedFile(DAMAGE_FILE, key, "application/json", stored.size, stored.sha256)
        artifacts.record(session, session.get_one(Job, job_id), [file])
