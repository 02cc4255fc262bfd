"""Teacher stores in the storage: another machine reads a complete version or none."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.support.factories import job_of, queued
from tests.support.models import create_model
from tests.support.rig import MakeRig
from tests.support.s3_server import S3Server
from tests.ttm_core.factories import digits_idx
from ttm_core.models.weights import write_safetensors
from ttm_core.teacher_store.codecs import build_codec
from ttm_core.teacher_store.key import StoreKey
from ttm_core.teacher_store.listing import MARK_BYTES
from ttm_core.teacher_store.store import open_store
from ttm_jobs.states import JobState
from ttm_jobs.storage import Storage, build_storage
from worker.teacher_stores.exchange import StoreExchange

ROWS, BLOCKS = 12, 3
ENDS = ROWS // BLOCKS * np.arange(1, BLOCKS + 1)
LOGITS = np.random.default_rng(0).normal(size=(ROWS, 5)).astype(np.float16).astype(np.float32)


def key_of(seed: int = 0) -> StoreKey:
    return StoreKey("teacher", "images", {"kind": "none"}, 8, seed, {"block": 4}, "float16")


def fill(root: Path, blocks: range, seed: int = 0) -> str:
    key = key_of(seed)
    with open_store(root, key, build_codec("float16", 5), ends=ENDS) as file:
        for block in blocks:
            file.write(block, block * 4, LOGITS[block * 4 : block * 4 + 4])
    return key.digest


def read(root: Path) -> tuple[list[int], np.ndarray]:
    with open_store(root, key_of(), build_codec("float16", 5), ends=ENDS) as file:
        file.drop_damaged(np.arange(BLOCKS))
        return file.missing(np.arange(BLOCKS)), file.read(np.arange(ROWS))


@pytest.fixture(params=["local", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "local":
        return build_storage(f"file:{tmp_path}/storage")
    server: S3Server = request.getfixturevalue("s3_server")
    return build_storage(f"s3://{server.new_bucket()}", server.access)


def exchange(storage: Storage, root: Path, max_bytes: int = 10**9) -> StoreExchange:
    root.mkdir(exist_ok=True)
    return StoreExchange(storage, root, max_bytes)


def test_published_store_is_read_on_another_machine(storage: Storage, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    digest = fill(here, range(BLOCKS))
    assert not exchange(storage, there).fetch(digest), "not published yet"
    assert exchange(storage, here).publish(digest)
    assert not exchange(storage, here).publish(digest), "already published"
    assert exchange(storage, there).fetch(digest)
    assert not exchange(storage, there).fetch(digest), "already present locally"
    missing, logits = read(there)
    assert missing == []
    assert (logits == LOGITS).all()


def test_store_with_more_entries_replaces_the_other(storage: Storage, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    digest = fill(one, range(1))
    fill(two, range(2))
    assert exchange(storage, one).publish(digest)
    assert not exchange(storage, two).fetch(digest), "the local store has more entries"
    assert exchange(storage, two).publish(digest)
    assert {key.split("/")[2] for key in storage.list("teacher-stores")} == {"000000000002"}, (
        "the smaller version is removed"
    )
    assert exchange(storage, one).fetch(digest)
    assert read(one)[0] == [2]
    assert not exchange(storage, one).publish(digest)


def test_open_store_is_not_replaced(storage: Storage, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    digest = fill(here, range(BLOCKS))
    assert exchange(storage, here).publish(digest)
    fill(there, range(1))
    with open_store(there, key_of(), build_codec("float16", 5), ends=ENDS):
        assert not exchange(storage, there).fetch(digest)
    assert exchange(storage, there).fetch(digest)


@pytest.mark.parametrize("name", ["rows", "present", "about.json"])
def test_damaged_store_version_is_rejected(storage: Storage, tmp_path: Path, name: str) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    digest = fill(here, range(BLOCKS))
    assert exchange(storage, here).publish(digest)
    storage.put(f"teacher-stores/{digest}/{BLOCKS:012}/{name}", [b"\1\1\1 and no more"])
    assert not exchange(storage, there).fetch(digest)
    assert [path.name for path in there.iterdir()] == [".locks"], "no partial download is left"


def test_oldest_published_stores_are_evicted_first(storage: Storage, tmp_path: Path) -> None:
    here = tmp_path / "here"
    digests = [fill(here, range(BLOCKS), seed) for seed in range(3)]
    size = ROWS * 10 + BLOCKS * MARK_BYTES
    for digest in digests:
        assert exchange(storage, here, max_bytes=2 * size).publish(digest)
    assert {key.split("/")[1] for key in storage.list("teacher-stores")} == set(digests[1:])


# The databases do not differ here.
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_second_machine_does_not_run_the_teacher(
    make_rig: MakeRig, forked_trainer_command: Sequence[str], tmp_path: Path
) -> None:
    digits_idx(tmp_path / "data" / "digits", train=120, test=40)
    model = create_model("mini/resnet8_100", num_classes=10, in_chans=1)
    structure = {"architecture": "mini/resnet8_100", "num_classes": 10, "in_chans": 1}
    metadata = {"format": 2, "structure": structure}
    write_safetensors(tmp_path / "data" / "teacher.safetensors", model.state_dict(), metadata)
    body = {
        "name": "student",
        "teacher": {"checkpoint": f"file://{tmp_path}/data/teacher.safetensors", "allow_chance": True},
        "student": "mini/resnet8_025",
        "dataset": f"file://{tmp_path}/data/digits",
        "method": "wttm",
        "exports": [],
        "training": {"epochs": 2, "batch_size": 32, "threads": 1},
    }
    teacher_use = []
    for _ in range(2):
        rig = make_rig(forked_trainer_command, shared_store_max_bytes=10**9, data_roots=(tmp_path / "data",))
        job_id = queued(rig.engine, spec=body)
        rig.run(job_id)
        job = job_of(rig.engine, job_id)
        assert job.state is JobState.SUCCEEDED, job.failure
        report = json.loads(json.dumps(job.result))
        teacher_use.append((report["teacher_forwards"], report["teacher_cache_hits"]))
    assert teacher_use[0][0] > 0
    assert teacher_use[1] == (0, teacher_use[0][0] + teacher_use[0][1])
