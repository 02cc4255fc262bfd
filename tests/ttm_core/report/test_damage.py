"""The damage report of real runs: tables, thumbnails and per-image predictions."""

import io
import json
import zipfile
from array import array
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.ttm_core import factories
from ttm_core.pipeline.distill import distill
from ttm_core.report.damage import gallery
from ttm_core.report.schema import Report
from ttm_core.spec.damage.predictions import ModelPredictions, Predictions
from ttm_core.spec.damage.schema import Damage
from ttm_core.spec.damage.tables import MAX_CLASSES, MAX_CONFUSIONS, retention_interval, tabulate

TEST_IMAGES = 200


@pytest.fixture(scope="module")
def run(digits_idx: Path, teacher_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("damage")
    result = distill(factories.spec(digits_idx, teacher_file), workdir)
    assert {"damage.json", "damage-images.zip", "predictions.safetensors"} <= {each.name for each in result.artifacts}
    return workdir / "out"


def damage_of(out: Path) -> Damage:
    return Damage.model_validate_json((out / "damage.json").read_text())


def predictions_of(out: Path) -> Predictions:
    return Predictions.from_bytes((out / "predictions.safetensors").read_bytes())


def test_tables_agree_with_the_report(run: Path) -> None:
    damage, report = damage_of(run), Report.model_validate_json((run / "report.json").read_text())
    scores = report.test
    assert scores is not None
    assert scores.teacher is not None
    assert (damage.split, damage.against, damage.images) == ("test", "labels", TEST_IMAGES)
    assert sum(row.student_correct for row in damage.classes) == round(scores.student.top1 * TEST_IMAGES)
    assert sum(row.reference_correct for row in damage.classes) == round(scores.teacher.top1 * TEST_IMAGES)
    assert damage.student_calibration is not None
    assert damage.student_calibration.error == pytest.approx(scores.student.calibration_error, abs=1e-4)
    assert sum(each.images for each in damage.student_calibration.bins) == TEST_IMAGES
    lost = round((scores.teacher.top1 - scores.student.top1) * TEST_IMAGES)
    assert damage.outcomes["lost"] - damage.outcomes["gained"] == lost
    retained = [row.retention_percent for row in damage.classes]
    assert retained == sorted(retained, key=lambda share: float("inf") if share is None else share)
    for row in damage.classes:
        if row.retention_percent is not None:
            assert row.retention_low is not None
            assert row.retention_high is not None
            assert row.retention_low <= row.retention_percent <= row.retention_high
    growth = [each.student - each.reference for each in damage.confusions]
    assert growth == sorted(growth, reverse=True)
    assert all(each > 0 for each in growth)


def test_thumbnails_are_the_evaluated_images(run: Path, digits_idx: Path) -> None:
    damage, content = damage_of(run), (run / "damage-images.zip").read_bytes()
    assert len(damage.gallery) == min(sum(damage.outcomes.values()), gallery.MAX_IMAGES)
    images, labels = (part[-TEST_IMAGES:] for part in factories.digits())
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        members = archive.namelist()
        for entry in damage.gallery:
            encoded = content[entry.offset : entry.offset + entry.size]
            assert encoded == archive.read(members[entry.number])
            assert np.array_equal(np.asarray(Image.open(io.BytesIO(encoded))), images[entry.image])
            assert entry.label == str(labels[entry.image])


def test_gallery_shows_what_both_models_predict(run: Path) -> None:
    damage, predictions = damage_of(run), predictions_of(run)
    assert predictions.teacher is not None
    names = predictions.info.class_names
    for entry in damage.gallery:
        right = [guesses[0].name == entry.label for guesses in (entry.student, entry.reference)]
        assert (entry.outcome == "lost") == (right == [False, True])
        assert (entry.outcome == "both_wrong") == (right == [False, False])
        for guesses, model in ((entry.student, predictions.student), (entry.reference, predictions.teacher)):
            assert guesses[0].name == names[model.classes[entry.image]]
            assert guesses[0].probability == pytest.approx(model.probabilities[entry.image], abs=1e-5)
            assert [each.probability for each in guesses] == sorted(
                (each.probability for each in guesses), reverse=True
            )


def test_gallery_can_be_left_out(digits_idx: Path, teacher_file: Path, run: Path, tmp_path: Path) -> None:
    distill(factories.spec(digits_idx, teacher_file, report={"gallery": False}), tmp_path)
    assert not (tmp_path / "out/damage-images.zip").exists()
    without = damage_of(tmp_path / "out")
    assert without.gallery == []
    # Equal runs have equal tables.
    assert without == damage_of(run).model_copy(update={"gallery": []})


def test_student_without_a_teacher_has_predictions_of_the_same_data(
    digits_idx: Path, run: Path, tmp_path: Path
) -> None:
    distill(factories.spec(digits_idx), tmp_path)
    assert not (tmp_path / "out/damage.json").exists()
    alone = predictions_of(tmp_path / "out")
    assert alone.teacher is None
    assert alone.info.data == predictions_of(run).info.data == damage_of(run).data
    assert list(alone.labels) == list(predictions_of(run).labels)


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0{}", b"\x04\0\0\0\0\0\0\0null"])
def test_other_files_are_no_predictions(content: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        Predictions.from_bytes(content)


def test_choice_spreads_over_classes_and_prefers_confident_mistakes() -> None:
    outcomes = ["lost"] * 6 + [None] + ["both_wrong"] * 2
    labels = [0, 0, 0, 0, 1, 2, 0, 1, 1]
    confidences = [0.1, 0.9, 0.5, 0.7, 0.2, 0.3, 1.0, 0.4, 0.6]
    chosen = gallery.choose(outcomes, labels, confidences)  # type: ignore[arg-type]
    assert chosen == [*((image, "lost") for image in (1, 5, 4, 3, 2, 0)), (8, "both_wrong"), (7, "both_wrong")]


@pytest.mark.parametrize(("lost", "gained"), [(500, 0), (500, 500), (30, 500), (0, 500)])
def test_choice_is_bounded_and_fills_unused_shares(lost: int, gained: int) -> None:
    outcomes = ["lost"] * lost + ["gained"] * gained
    chosen = gallery.choose(outcomes, [0] * len(outcomes), [0.5] * len(outcomes))  # type: ignore[arg-type]
    assert len(chosen) == gallery.MAX_IMAGES
    assert len({image for image, _ in chosen}) == gallery.MAX_IMAGES
    assert sum(outcome == "lost" for _, outcome in chosen) >= min(lost, 100)


def test_tables_of_many_classes_are_bounded_and_tell_how_many_there_are() -> None:
    count = 3 * MAX_CLASSES
    labels = list(range(count))
    perfect = ModelPredictions(labels, array("f", [0.9] * count))
    shifted = ModelPredictions([(label + 1) % count for label in labels], array("f", [0.8] * count))
    tables = tabulate(labels, shifted, perfect, [f"class {label}" for label in labels], labelled=True)
    assert (len(tables.classes), tables.class_count) == (MAX_CLASSES, count)
    assert (len(tables.confusions), tables.confusion_count) == (MAX_CONFUSIONS, count)
    assert len(tables.model_dump_json()) < 250_000


def test_retention_interval_covers_the_true_ratio() -> None:
    rng = np.random.default_rng(0)
    both, student_only, reference_only = 0.75, 0.05, 0.15
    true = (both + student_only) / (both + reference_only)
    counts = rng.multinomial(100, [both, student_only, reference_only, 0.05], size=4000)
    intervals = [retention_interval(*map(int, row[:3])) for row in counts]
    covered = sum(low <= true <= high for low, high in intervals) / len(intervals)
    assert 0.94 < covered < 0.97


@pytest.mark.parametrize(("counts"), [(10, 0, 0), (0, 0, 10), (0, 10, 0), (0, 0, 0), (1, 0, 0)])
def test_retention_interval_of_extreme_counts_contains_the_ratio(counts: tuple[int, int, int]) -> None:
    both, student_only, reference_only = counts
    low, high = retention_interval(*counts)
    assert 0 <= low <= high
    if both + reference_only:
        assert low <= (both + student_only) / (both + reference_only) <= high + 1e-12


def test_damage_json_is_plain_json(run: Path) -> None:
    assert json.loads((run / "damage.json").read_text())["version"] == 1
