"""Reports of teacher stores by workers, filled and read by the real trainer."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from safetensors.torch import save_file
from sqlalchemy import Engine

from api.app import create_app
from tests.support.factories import create_job, job_of, queued, spec
from tests.support.models import create_model
from tests.support.rig import MakeRig
from tests.ttm_core.data.formats import png, sample
from ttm_core.teacher_store.listing import describe_stores
from ttm_jobs.database.engine import session_scope
from ttm_jobs.database.tenancy import bound_to
from ttm_jobs.repositories.run_data import teacher_stores
from ttm_jobs.repositories.run_data.teacher_stores import LocalStore
from ttm_jobs.settings import Settings
from ttm_jobs.states import JobState
from worker.presence import Presence
from worker.teacher_stores.report import StoreReport, folder


# The tests below cover the differences between the databases.
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_jobs_that_share_a_teacher_store_are_counted(
    make_rig: MakeRig, forked_trainer_command: Sequence[str], tmp_path: Path
) -> None:
    rig = make_rig(forked_trainer_command, lease_seconds=60.0)
    for number, (label, pixels) in enumerate(zip("abab" * 4, sample(16)[0], strict=True)):
        (tmp_path / f"data/images/{label}").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"data/images/{label}/{number:02}.png").write_bytes(png(pixels))
    teacher = tmp_path / "data/teacher.safetensors"
    save_file(create_model("mini/resnet8_025", num_classes=2).state_dict(), teacher)
    body = spec(
        dataset=(tmp_path / "data/images").as_uri(),
        student="mini/resnet8_025",
        teacher={"checkpoint": teacher.as_uri(), "architecture": "mini/resnet8_025", "allow_chance": True},
        method="kd",
        training={"epochs": 2, "batch_size": 8, "threads": 1, "teacher_logits": "stored"},
        exports=[],
    )
    report = StoreReport(rig.engine, rig.settings.work_dir)
    with Presence(rig.engine, "worker", interval=0.1, also=report.send):
        for _ in range(2):
            job_id = queued(rig.engine, spec=body, teacher=teacher.as_uri())
            rig.run(job_id)
            assert job_of(rig.engine, job_id).state is JobState.SUCCEEDED, job_of(rig.engine, job_id).failure
    report.send()
    [on_disk] = describe_stores(folder(rig.settings.work_dir))
    with TestClient(create_app(rig.settings.model_copy(update={"allowed_hosts": ("testserver",)}))) as client:
        [store] = client.get("/teacher-stores").json()["items"]
    assert store["key"] == on_disk.digest
    assert store["teacher"] == "mini/resnet8_025"
    assert (store["size"], store["rows"], store["encoding"]) == (on_disk.bytes, on_disk.rows, "float16")
    images = 14  # two of sixteen are held out for validation
    assert store["jobs"] == 2
    assert store["forwards"] + store["cache_hits"] == 2 * 2 * images
    assert store["forwards"] <= 2 * images, "the second job did not run the teacher"
    assert store["cache_hits"] >= 2 * images
    assert store["rows"] >= store["forwards"]
    assert store["hosts"][0]["size"] == on_disk.bytes


def _found(digest: str, size: int) -> LocalStore:
    return LocalStore(digest, "float16", size, 256, datetime(2026, 1, 1, tzinfo=UTC))


def test_project_lists_the_teacher_stores_of_its_own_jobs_newest_first(engine: Engine, database_url: str) -> None:
    digests = [f"{number:064x}" for number in range(5)]
    with session_scope(engine) as session:
        teacher_stores.report(session, "one", "/work", [_found(digest, 10) for digest in digests[:4]])
        teacher_stores.report(session, "two", "/work", [_found(digests[0], 30)])
    for digest in digests:
        with session_scope(engine) as session:
            job = create_job(session, teacher="file:///t")
            teacher_stores.used(session, job, [digest], cache_hits=7, forwards=2)
        time.sleep(0.002)
    with session_scope(bound_to(engine, "other")) as session:
        teacher_stores.used(session, create_job(session), digests[:1], cache_hits=100, forwards=100)
    settings = Settings(database_url=database_url, allowed_hosts=("testserver",), storage_url="file:/nowhere")
    with TestClient(create_app(settings)) as client:
        listed, cursor = [], None
        while True:
            page = client.get("/teacher-stores", params={"limit": 3} | ({"cursor": cursor} if cursor else {})).json()
            listed += page["items"]
            cursor = page["next_cursor"]
            if not page["has_more"]:
                break
        # A store without a host is not shown.
        assert [each["key"] for each in listed] == digests[3::-1]
        assert (listed[-1]["jobs"], listed[-1]["cache_hits"], listed[-1]["forwards"], listed[-1]["size"]) == (
            1,
            7,
            2,
            30,
        )
        assert [host["hostname"] for host in listed[-1]["hosts"]] == ["one", "two"]
        assert client.get("/teacher-stores?cursor=x").status_code == 422
        with session_scope(engine) as session:
            # Pruned on one host; the other host has not reported for a long time.
            teacher_stores.report(session, "one", "/work", [_found(digests[1], 10)])
            teacher_stores.delete_unreported(session, older_than=timedelta(days=-1))
        assert client.get("/teacher-stores").json()["items"] == []


def test_teacher_stores_of_one_run_share_its_counts(engine: Engine) -> None:
    with session_scope(engine) as session:
        job = create_job(session)
        for _ in range(2):
            teacher_stores.used(session, job, ["a" * 64, "b" * 64], cache_hits=10, forwards=4)
        teacher_stores.used(session, job, [], cache_hits=10, forwards=4)
        teacher_stores.report(session, "one", "/work", [_found("a" * 64, 1), _found("b" * 64, 1)])
    with session_scope(engine) as session:
        items = teacher_stores.page(session, limit=10)
    assert [(one.cache_hits, one.forwards, one.jobs) for one in items] == [(10, 4, 1), (10, 4, 1)]
