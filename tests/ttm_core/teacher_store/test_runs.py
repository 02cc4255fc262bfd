"""Runs with a teacher store: the student does not depend on the state of the store, and the teacher runs once."""

import hashlib
import json
import os
import random
from pathlib import Path

import pytest

from tests.conftest import THOROUGH
from tests.ttm_core import factories
from ttm_core.pipeline.distill import distill
from ttm_core.spec import events
from ttm_core.teacher_store import evaluation
from ttm_core.teacher_store.store import Stores, list_stores
from ttm_core.training.trainer import Interrupted

TRAINING = {"epochs": 3, "augmentation": {"kind": "crop_flip", "padding": 1}}


def sha256(workdir: Path) -> str:
    return hashlib.sha256((workdir / "out" / "student.safetensors").read_bytes()).hexdigest()


def run_with_events(spec, workdir, stores):
    emitted: list[events.Event] = []
    result = distill(spec, workdir, stores=Stores(stores) if stores else None, on_event=emitted.append)
    return result, emitted


def test_second_job_does_not_run_the_teacher(digits_idx, teacher_file, tmp_path):
    phases = {}
    for name, method in (("kd", "kd"), ("wttm", {"kind": "wttm", "gamma": 0.1, "beta": 3})):
        spec = factories.spec(digits_idx, teacher_file, method=method, training=TRAINING)
        result, emitted = run_with_events(spec, tmp_path / name, tmp_path / "stores")
        phases[name] = [event.phase for event in emitted if isinstance(event, events.PhaseChanged)]
        # An image has 18 distinct views, so a few repeat in three epochs.
        computed = range(3 * 240, 3 * 270) if name == "kd" else range(1)
        assert result.teacher_forwards in computed
        assert result.teacher_cache_hits == 3 * 270 - result.teacher_forwards
        [resolved] = [event for event in emitted if isinstance(event, events.Resolved)]
        [store] = list_stores(tmp_path / "stores")
        assert resolved.teacher_stores == [store.digest]
    assert "caching_teacher" in phases["kd"]
    assert "caching_teacher" not in phases["wttm"]


def test_seeds_share_one_teacher_pass_and_another_view_seed_does_not(digits_idx, teacher_file, tmp_path):
    students = set()
    for seed in range(3):
        spec = factories.spec(digits_idx, teacher_file, training={**TRAINING, "seed": seed})
        result, _ = run_with_events(spec, tmp_path / f"seed{seed}", tmp_path / "stores")
        assert result.teacher_forwards in (range(3 * 240, 3 * 270) if seed == 0 else range(1))
        students.add(sha256(tmp_path / f"seed{seed}"))
    assert len(students) == 3, "a seed decides the initial weights and the order of the images"
    spec = factories.spec(digits_idx, teacher_file, training={**TRAINING, "view_seed": 1})
    result, _ = run_with_events(spec, tmp_path / "other views", tmp_path / "stores")
    assert result.teacher_forwards in range(3 * 240, 3 * 270)
    assert len(list_stores(tmp_path / "stores")) == 2


def test_fewer_views_need_fewer_teacher_forwards(digits_idx, teacher_file, tmp_path):
    spec = factories.spec(digits_idx, teacher_file, training={**TRAINING, "epochs": 4, "views": 2})
    result, _ = run_with_events(spec, tmp_path / "run", tmp_path / "stores")
    assert result.teacher_forwards in range(2 * 250, 2 * 270)
    assert result.teacher_cache_hits == 4 * 270 - result.teacher_forwards


def test_equal_views_need_one_teacher_forward_per_image(digits_idx, teacher_file, tmp_path):
    spec = factories.spec(digits_idx, teacher_file, training={"epochs": 3, "augmentation": "none"})
    result, _ = run_with_events(spec, tmp_path / "run", tmp_path / "stores")
    assert (result.teacher_forwards, result.teacher_cache_hits) == (270, 2 * 270)


def test_cold_warm_and_interrupted_stores_give_the_same_student(digits_idx, teacher_file, tmp_path):
    """An empty, full, partial or lost store gives the bit-identical student."""
    spec = factories.spec(digits_idx, teacher_file, training=TRAINING)
    for name in ("cold", "warm"):
        run_with_events(spec, tmp_path / name, tmp_path / "stores")
    assert sha256(tmp_path / "cold") == sha256(tmp_path / "warm")

    chance = random.Random(0)
    # Two suffice by default: a store that is lost, and one that is kept.
    for trial in range(5 if THOROUGH in os.environ else 2):
        workdir, stores = tmp_path / f"stopped-{trial}", tmp_path / f"stores-{trial}"
        left = iter(range(chance.randrange(1, 28), -1, -1))  # counts steps and teacher blocks
        with pytest.raises(Interrupted):
            distill(spec, workdir, stores=Stores(stores), should_stop=lambda left=left: next(left) == 0)
        resumed_from = stores if trial % 2 else tmp_path / f"lost-{trial}"
        run_with_events(spec, workdir, resumed_from)
        assert sha256(workdir) == sha256(tmp_path / "cold")


def test_stored_logits_train_like_online_logits(digits_idx, teacher_file, tmp_path):
    """Compares the first steps, before float16 rounding errors have grown."""
    first = {}
    for how in ("online", "stored"):
        spec = factories.spec(digits_idx, teacher_file, training={**TRAINING, "teacher_logits": how})
        result, emitted = run_with_events(spec, tmp_path / how, None)
        assert (result.teacher_forwards is None) == (how == "online")
        first[how] = next(event.values for event in emitted if isinstance(event, events.Metrics))
    assert first["stored"]["train/wttm"] == pytest.approx(first["online"]["train/wttm"], rel=1e-3)
    assert first["stored"]["train/ce"] == pytest.approx(first["online"]["train/ce"], rel=1e-3)


def test_feature_methods_run_the_teacher_online(digits_idx, teacher_file, tmp_path):
    method = {"kind": "wttm", "features": {"kind": "crd", "dim": 8, "negatives": 16}}
    spec = factories.spec(digits_idx, teacher_file, method=method, training={"epochs": 1})
    result, emitted = run_with_events(spec, tmp_path / "run", tmp_path / "stores")
    assert next(event.spec.training.teacher_logits for event in emitted if event.kind == "resolved") == "online"
    assert result.teacher_forwards is None
    with pytest.raises(ValueError, match="more than its logits"):
        factories.spec(digits_idx, teacher_file, method=method, training={"teacher_logits": "stored"})


def test_store_without_enough_space_is_not_created(digits_idx, teacher_file, tmp_path):
    spec = factories.spec(digits_idx, teacher_file, training=TRAINING)
    distill(spec, tmp_path / "run", stores=Stores(tmp_path / "stores", max_bytes=1000))
    assert list_stores(tmp_path / "stores") == []


def test_number_of_views_fits_the_space(digits_idx, teacher_file, tmp_path):
    """A view of 270 images of ten classes takes 5,400 bytes as float16, and half of that as int8."""
    for room, stored_as, views in (
        (11_000, "float16", 2),
        (11_000, "int8", 4),
        (10**9, "float16", 5),
        (100, "int8", None),
    ):
        training = {**TRAINING, "epochs": 5, "views": "fit", "stored_as": stored_as}
        spec = factories.spec(digits_idx, teacher_file, training=training)
        name = f"{room}-{stored_as}"
        emitted: list[events.Event] = []
        stores = Stores(tmp_path / f"stores-{name}", max_bytes=room)
        result = distill(spec, tmp_path / name, stores=stores, on_event=emitted.append)
        resolved = next(event.spec.training for event in emitted if isinstance(event, events.Resolved))
        assert resolved.views == views
        assert resolved.teacher_logits == ("online" if views is None else "stored")
        if views is not None:
            assert result.teacher_forwards in range(views * 240, views * 270 + 1)


@pytest.fixture
def teacher_images(monkeypatch):
    """The number of images of each forward pass of a teacher that is not a training view."""
    computed: list[int] = []
    forward = evaluation.forward

    def count(model, preprocess, pixels, precision):
        computed.append(len(pixels))
        return forward(model, preprocess, pixels, precision)

    monkeypatch.setattr(evaluation, "forward", count)
    return computed


def test_a_second_run_evaluates_the_teacher_from_the_store(digits_idx, teacher_file, tmp_path, teacher_images):
    results = {}
    for name, stores in (("cold", "stores"), ("warm", "stores"), ("none", None)):
        spec = factories.spec(digits_idx, teacher_file, training={**TRAINING, "seed": 5})
        result, _ = run_with_events(spec, tmp_path / name, tmp_path / stores if stores else None)
        results[name] = result.teacher_validation, result.teacher_test
        images = result.teacher_validation.images + (result.teacher_test.images if result.teacher_test else 0)
        assert sum(teacher_images) == (0 if name == "warm" else images)
        teacher_images.clear()
    assert results["cold"] == results["warm"] == results["none"]
    reports = [json.loads((tmp_path / name / "out" / "report.json").read_text()) for name in ("cold", "warm")]
    assert reports[0]["validation"] == reports[1]["validation"]
    assert reports[0]["test"] == reports[1]["test"]


def test_evaluation_logits_of_another_precision_are_not_reused(digits_idx, teacher_file, tmp_path, teacher_images):
    for precision in ("float32", "bfloat16"):
        spec = factories.spec(digits_idx, teacher_file, training={"epochs": 1, "teacher_precision": precision})
        run_with_events(spec, tmp_path / precision, tmp_path / "stores")
        assert sum(teacher_images) > 0
        teacher_images.clear()


@pytest.mark.parametrize("file", ["present", "rows"])
def test_a_half_written_or_damaged_evaluation_store_is_completed(
    digits_idx, teacher_file, tmp_path, teacher_images, file
):
    spec = factories.spec(digits_idx, teacher_file, training={"epochs": 1})
    first, _ = run_with_events(spec, tmp_path / "first", tmp_path / "stores")
    teacher_images.clear()
    lost = sorted((tmp_path / "stores" / evaluation.FOLDER).glob(f"*/{file}"))[0]
    lost.write_bytes(bytes(lost.stat().st_size))
    second, _ = run_with_events(spec, tmp_path / "second", tmp_path / "stores")
    assert sum(teacher_images) > 0
    assert (second.teacher_validation, second.teacher_test) == (first.teacher_validation, first.teacher_test)
