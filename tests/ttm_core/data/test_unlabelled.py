"""Data without labels: the teacher defines the classes and its predictions select the best student."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from tests.ttm_core.data.formats import png, sample, shard, write_parquet
from tests.ttm_core.factories import digits_folder, spec
from ttm_core.data.build import detect, read_dataset
from ttm_core.data.cache import DataCache
from ttm_core.errors import BadDataset
from ttm_core.export import load_student
from ttm_core.pipeline.distill import distill
from ttm_core.report.evaluate_file import open_split
from ttm_core.spec.dataset import DatasetSpec
from ttm_core.spec.events import Event, Metrics, Result, TeacherMeasured
from ttm_core.training.trainer import Interrupted

IMAGES = [png(pixels) for pixels in sample(24)[0]]
LABELS = [str(label).encode() for label in sample(24)[1]]
CLASSES = ["digit-0", "digit-1", "digit-2"]
CPU = torch.device("cpu")


def loose_images(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for number, content in enumerate(IMAGES):
        (folder / f"{number:02}.png").write_bytes(content)
    return folder


def loose_in_train(folder: Path) -> Path:
    loose_images(folder / "train")
    return folder


def shards(folder: Path) -> Path:
    for name, part in (("train-000.tar", slice(0, 12)), ("train-001.tar", slice(12, 24))):
        shard(folder / name, {f"{number:02}.png": content for number, content in enumerate(IMAGES[part])})
    return folder


def shards_with_captions(folder: Path) -> Path:
    files = {}
    for number, content in enumerate(IMAGES):
        files |= {f"{number:02}.png": content, f"{number:02}.json": json.dumps({"caption": "a digit"}).encode()}
    shard(folder / "train-000.tar", files)
    return folder


def archive(folder: Path) -> Path:
    return shard(
        folder.with_suffix(".tar"), {f"photos/{number:02}.png": content for number, content in enumerate(IMAGES)}
    )


def table(folder: Path) -> Path:
    write_parquet(folder / "train.parquet", {"image": IMAGES, "caption": ["a digit"] * 24})
    return folder


WRITERS = [loose_images, loose_in_train, shards, shards_with_captions, archive, table]


@pytest.fixture
def opened(tmp_path):
    with ThreadPoolExecutor(1) as pool, DataCache(tmp_path / "cache") as cache:
        yield lambda path, **fields: read_dataset(DatasetSpec(uri="file:///x", **fields), path, cache, pool)


@pytest.mark.parametrize("write", WRITERS)
def test_every_format_reads_without_labels(tmp_path, opened, write):
    read = opened(write(tmp_path / "set"))
    assert (len(read.train), len(read.validation), read.class_names) == (22, 2, [])
    assert not read.train.labelled
    assert not read.validation.labelled
    assert set(read.train.indices) | set(read.validation.indices) == set(range(24))


def test_single_tar_of_images_can_be_a_shard(tmp_path, opened):
    path = archive(tmp_path / "set")
    in_place = opened(path, format="webdataset")
    assert not list((tmp_path / "cache").glob("archive-*"))
    assert in_place.train.images.fingerprint() == opened(path).train.images.fingerprint()
    assert len([*(tmp_path / "cache").glob("archive-*")]) == 1


def test_tar_next_to_class_folders_is_ignored(tmp_path):
    folder = digits_folder(tmp_path / "set")
    archive(folder / "backup")
    assert detect(folder) == "image_folder"


def test_partially_labelled_split_is_refused(tmp_path, opened):
    files = {"0.png": IMAGES[0], "1.png": IMAGES[1], "1.cls": LABELS[1]}
    shard(tmp_path / "set/train-0.tar", files)
    with pytest.raises(BadDataset, match=r"contains '0' without a label .*, but other samples have one"):
        opened(tmp_path / "set")


def test_different_class_names_in_splits_are_refused(tmp_path, opened):
    columns = {"image": IMAGES[:3], "label": [0, 1, 2]}
    write_parquet(tmp_path / "set/train.parquet", columns, ["a", "b", "c"])
    write_parquet(tmp_path / "set/test.parquet", columns, ["c", "b", "a"])
    with pytest.raises(BadDataset, match="different class names"):
        opened(tmp_path / "set")


def test_evaluation_requires_labels(tmp_path):
    with pytest.raises(BadDataset, match="train split has no labels"), open_split(table(tmp_path / "set"), "train"):
        pass


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("taught")
    data = digits_folder(folder / "set", each=40, size=32)
    distill(spec(data, training={"epochs": 6, "batch_size": 16}), folder / "run", device=CPU)
    return folder / "run/out/student.safetensors"


def run(data: Path, teacher: Path, workdir: Path, on_event=lambda event: None, **fields) -> Result:
    body = {"method": {"kind": "wttm", "ce_weight": 0}, "training": {"epochs": 2, "batch_size": 8}, **fields}
    return distill(spec(data, teacher, **body), workdir, on_event=on_event, device=CPU)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, teacher) -> tuple[Path, Result, list[Event]]:
    folder = tmp_path_factory.mktemp("unlabelled")
    events: list[Event] = []
    result = run(table(folder / "set"), teacher, folder / "run", events.append, exports=["onnx_int8"])
    return folder / "run", result, events


def test_classes_are_the_teachers_and_agreement_is_not_called_accuracy(finished):
    workdir, result, events = finished
    student = load_student(workdir / "out/student.safetensors")
    assert student.class_names == CLASSES
    assert (result.student_validation.against, result.student_validation.images) == ("teacher", 2)
    assert result.teacher_validation is None
    assert not [event for event in events if isinstance(event, TeacherMeasured)]
    validated = [event.values for event in events if isinstance(event, Metrics) and "validation/loss" in event.values]
    assert len(validated) == 2
    assert all("validation/agreement" in values and "validation/top1" not in values for values in validated)


def test_report_and_card_say_what_top1_is(finished):
    workdir, result, _ = finished
    report = json.loads((workdir / "out/report.json").read_text())
    scores = report["validation"]
    assert (scores["against"], scores["teacher"]) == ("teacher", None)
    assert scores["agreement"] == scores["student"]["top1"] == result.student_validation.top1
    assert [known["name"] for known in scores["classes"]] == CLASSES
    assert sum(known["images"] for known in scores["classes"]) == 2
    assert report["exports"][0]["top1"] is not None
    for name in ("report.html", "MODEL_CARD.md"):
        text = (workdir / "out" / name).read_text()
        assert "top-1 is agreement with the teacher and not accuracy" in text
        assert "None" not in text
    assert "type: accuracy" not in (workdir / "out/MODEL_CARD.md").read_text()


def test_damage_report_has_disagreements_only(finished):
    workdir, result, _ = finished
    damage = json.loads((workdir / "out/damage.json").read_text())
    disagreeing = round((1 - result.student_validation.top1) * result.student_validation.images)
    assert damage["outcomes"] == {"disagreement": disagreeing}
    assert damage["classes"] == []
    assert damage["student_calibration"] is damage["reference_calibration"] is None
    assert [(each["outcome"], each["label"]) for each in damage["gallery"]] == [("disagreement", None)] * disagreeing


@pytest.mark.parametrize("feature_loss", ["crd", "itrd"])
def test_feature_losses_train_without_labels_and_resume_bit_identically(tmp_path, teacher, feature_loss):
    data = loose_images(tmp_path / "set")
    method = {"kind": "wttm", "ce_weight": 0, "features": feature_loss}
    training = {"epochs": 3, "batch_size": 8, "checkpoint_seconds": 1}

    def sha256(result: Result) -> str:
        return next(made.sha256 for made in result.artifacts if made.name == "student.safetensors")

    undisturbed = run(data, teacher, tmp_path / "one", method=method, training=training)
    seen = iter(range(100))
    request = spec(data, teacher, method=method, training=training)
    with pytest.raises(Interrupted):
        distill(request, tmp_path / "two", should_stop=lambda: next(seen) == 4, device=CPU)
    resumed = run(data, teacher, tmp_path / "two", method=method, training=training)
    assert sha256(resumed) == sha256(undisturbed)


def test_class_map_selects_classes_without_labels(tmp_path, teacher):
    mix = {"kind": "crop_flip", "mix": {"mixup_alpha": 0.2}}
    training = {"epochs": 1, "batch_size": 8, "augmentation": mix}
    method = {"kind": "wttm", "ce_weight": 0}
    request = spec(shards(tmp_path / "set"), teacher, method=method, training=training)
    assert request.teacher is not None
    chosen = request.model_copy(update={"teacher": request.teacher.model_copy(update={"class_map": [2, 0]})})
    distill(chosen, tmp_path / "run", device=CPU)
    assert load_student(tmp_path / "run/out/student.safetensors").class_names == ["digit-2", "digit-0"]


def test_several_teachers_agree_on_the_first_ones_classes(tmp_path, teacher):
    teachers = [{"checkpoint": teacher.as_uri()}, {"checkpoint": teacher.as_uri(), "weight": 2}]
    method = {"kind": "wttm", "ce_weight": 0}
    training = {"epochs": 1, "batch_size": 8}
    several = spec(loose_in_train(tmp_path / "set"), teachers=teachers, method=method, training=training)
    distill(several, tmp_path / "run", device=CPU)
    assert load_student(tmp_path / "run/out/student.safetensors").class_names == CLASSES


def test_test_split_without_labels_is_evaluated_against_the_teacher(tmp_path, teacher):
    folder = digits_folder(tmp_path / "set", size=32)
    (folder / "test").mkdir()
    for number, content in enumerate(IMAGES[:6]):
        (folder / "test" / f"{number}.png").write_bytes(content)
    training = {"epochs": 1, "batch_size": 8}
    result = run(folder, teacher, tmp_path / "run", method="wttm", training=training)
    assert result.student_validation.against == "labels"
    assert (result.student_test.against, result.student_test.images) == ("teacher", 6)
    assert result.teacher_validation is not None
    assert result.teacher_test is None
    with pytest.raises(BadDataset, match="nothing can evaluate the student: set `teacher`, or remove these"):
        distill(spec(folder, training=training), tmp_path / "alone", device=CPU)


@pytest.mark.parametrize("method", ["ce", "wttm", "dkd", "nkd", "wkd"])
def test_methods_that_require_labels_are_refused(tmp_path, teacher, method):
    request = spec(table(tmp_path / "set"), None if method == "ce" else teacher, method=method)
    with pytest.raises(BadDataset, match="have no labels"):
        distill(request, tmp_path / "run", device=CPU)
