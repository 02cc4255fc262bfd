"""Unlabelled images in addition to labelled ones: where they come from, how batches mix them, and what they train."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from tests.ttm_core.data.formats import png, sample, samples, shard, write_parquet
from tests.ttm_core.factories import digits, digits_folder, digits_idx, spec
from ttm_core.data.batches import epoch_order, images_per_epoch, labelled_share, prepared_batches
from ttm_core.data.build import read_dataset
from ttm_core.data.cache import DataCache
from ttm_core.data.dataset import Split, full_split
from ttm_core.data.encoded.manifest import Reading
from ttm_core.data.formats.layout import NO_LABEL
from ttm_core.data.images import ArrayImages
from ttm_core.data.unlabelled import add_unlabelled, check_no_overlap, read_unlabelled
from ttm_core.data.views import Views
from ttm_core.errors import BadDataset
from ttm_core.methods.build import Objective, StepContext
from ttm_core.methods.outputs import Outputs
from ttm_core.pipeline.distill import distill
from ttm_core.spec.dataset import CropFlip, DatasetSpec
from ttm_core.spec.events import Event, Log, Resolved, Result
from ttm_core.spec.method.methods import KnowledgeDistillation
from ttm_core.spec.study.study import StudySpec
from ttm_core.teacher_store.key import _images_hash
from ttm_core.teacher_store.store import Stores
from ttm_core.training.distributed import Distributed
from ttm_core.training.trainer import Interrupted

CPU = torch.device("cpu")
IMAGES = [png(pixels) for pixels in sample(24)[0]]


def loose(folder: Path, count: int = 20, *, size: int = 24, nested: bool = False, mode: str = "RGB") -> Path:
    """A folder of images, in one folder or in nested ones."""
    for number, pixels in enumerate(digits()[0][:count]):
        where = folder / f"2020/{number % 3}" if nested else folder
        where.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).resize((size, size)).convert(mode).save(where / f"{number:03}.png")
    return folder


@pytest.fixture
def opened(tmp_path):
    """Reads a dataset with its unlabelled sources, as a run does."""
    with ThreadPoolExecutor(1) as pool, DataCache(tmp_path / "cache") as cache:

        def read(path: Path, *sources: Path, **fields: object):
            dataset = read_dataset(DatasetSpec(uri="file:///x", **fields), path, cache, pool)
            found = [read_unlabelled(each.name, each, Reading(0.01, pool, cache)) for each in sources]
            return add_unlabelled(dataset, found), found

        yield read


def folder_of(folder: Path) -> Path:
    return loose(folder, 24, nested=True)


def shards(folder: Path) -> Path:
    return shard(folder / "0.tar", {f"{number:02}.png": content for number, content in enumerate(IMAGES)}).parent


def labelled_shard(folder: Path) -> Path:
    return shard(folder.with_suffix(".tar"), samples(24))


def archive(folder: Path) -> Path:
    return Path(shutil.make_archive(str(folder), "zip", loose(folder, 24, nested=True)))


def table(folder: Path) -> Path:
    return write_parquet(folder / "a.parquet", {"image": IMAGES, "label": ["x", "y"] * 12}).parent


def idx(folder: Path) -> Path:
    return digits_idx(folder, train=24, test=10)


@pytest.mark.parametrize(
    ("write", "had_labels"),
    [(folder_of, False), (shards, False), (labelled_shard, True), (archive, False), (table, True), (idx, True)],
)
def test_every_format_adds_its_training_images_without_labels(tmp_path, opened, write, had_labels):
    dataset, (source,) = opened(digits_folder(tmp_path / "set"), write(tmp_path / "more"))
    assert source.had_labels is had_labels
    assert (len(dataset.train), len(dataset.train.with_label), len(dataset.train.without_label)) == (48, 24, 24)
    assert dataset.class_names == ["digit-0", "digit-1", "digit-2"]
    assert dataset.image_size == 24
    batch = dataset.train.images.center_squares(dataset.train.indices[[0, 30, 2, 47]], 24)
    assert batch.shape == (4, 3, 24, 24)
    assert len(dataset.validation) == 12


@pytest.mark.parametrize("name", ["unlabelled", "unlabeled"])
def test_folder_next_to_the_splits_is_read_at_any_depth(tmp_path, opened, name):
    folder = digits_folder(tmp_path / "set")
    loose(folder / name, 10, size=40)
    loose(folder / name, 6, nested=True)
    dataset, _ = opened(folder)
    assert len(dataset.train.without_label) == 16
    assert dataset.image_size == 24  # of the labelled images
    assert set(dataset.train.labels[torch.from_numpy(dataset.train.without_label.indices)].tolist()) == {NO_LABEL}


def test_folder_next_to_classes_is_no_class_and_nothing_of_it_is_held_out(tmp_path, opened):
    folder = digits_folder(tmp_path / "set") / "train"
    loose(folder / "unlabelled")
    dataset, _ = opened(folder)
    assert dataset.class_names == ["digit-0", "digit-1", "digit-2"]
    assert (len(dataset.train.with_label), len(dataset.train.without_label)) == (21, 20)
    assert (dataset.validation.labels[torch.from_numpy(dataset.validation.indices)] != NO_LABEL).all()


@pytest.mark.parametrize("form", ["shards", "parquet"])
def test_files_named_unlabelled_are_that_split(tmp_path, opened, form):
    labels = sample(24)[1]
    if form == "shards":
        files = {f"{number:02}.png": content for number, content in enumerate(IMAGES)}
        shard(tmp_path / "set/unlabelled-0.tar", {"a.cls": b"77", **files})
        shard(tmp_path / "set/train-0.tar", samples(24))
    else:
        write_parquet(tmp_path / "set/train.parquet", {"image": IMAGES, "label": [str(each) for each in labels]})
        write_parquet(tmp_path / "set/unlabelled.parquet", {"image": IMAGES, "label": ["other"] * 24})
    dataset, _ = opened(tmp_path / "set")
    assert len(dataset.class_names) == len(set(labels))
    assert len(dataset.train.without_label) == 24


def test_colors_become_those_of_the_labelled_images(tmp_path, opened):
    gray = digits_idx(tmp_path / "gray", train=30, test=10)
    dataset, _ = opened(gray, loose(tmp_path / "rgb"))
    assert dataset.train.images.center_squares(dataset.train.indices[-2:], 8).shape == (2, 1, 8, 8)
    dataset, _ = opened(digits_folder(tmp_path / "set"), gray)
    assert dataset.train.images.center_squares(dataset.train.indices[-2:], 24).shape == (2, 3, 24, 24)


def test_bad_sources_are_refused(tmp_path, opened):
    folder = digits_folder(tmp_path / "set")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadDataset, match="unlabelled source empty has no images"):
        opened(folder, tmp_path / "empty")
    with pytest.raises(BadDataset, match="do not exist"):
        opened(folder, tmp_path / "nothing")
    (tmp_path / "note.txt").write_text("no archive")
    with pytest.raises(
        BadDataset, match=r"The unlabelled images note\.txt: .* neither a tar nor a zip .* successfully$"
    ):
        opened(folder, tmp_path / "note.txt")
    broken = loose(tmp_path / "broken")
    (broken / "x.png").write_bytes(b"no image")
    with pytest.raises(BadDataset, match=r"1 of 21 images cannot be read: x\.png"):
        opened(folder, broken)
    outside = loose(tmp_path / "outside")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/a.png").symlink_to(outside / "000.png")
    with pytest.raises(BadDataset, match="symbolic link out of the dataset"):
        opened(folder, tmp_path / "linked")
    (folder / "unlabelled").mkdir()
    with pytest.raises(BadDataset, match=r"The unlabelled split has no images\. Remove it"):
        opened(folder)


def test_unreadable_images_are_counted_with_the_others(tmp_path, opened):
    folder = digits_folder(tmp_path / "set")
    loose(folder / "unlabelled")
    (folder / "unlabelled/x.png").write_bytes(b"no image")
    dataset, _ = opened(folder, max_unreadable=0.1)
    assert [bad.name for bad in dataset.unreadable] == ["unlabelled/x.png"]
    assert len(dataset.train.without_label) == 20


def test_a_source_with_many_unreadable_images_is_refused(tmp_path, opened):
    loose(tmp_path / "more", 4)
    for number in range(3):
        (tmp_path / f"more/{number}.jpg").write_bytes(IMAGES[0][:100])
    with pytest.raises(BadDataset, match=r"The unlabelled images more: 3 of 7 images .*dataset\.max_unreadable"):
        opened(digits_folder(tmp_path / "set"), tmp_path / "more")


def test_a_source_with_images_of_the_dataset_is_refused(tmp_path):
    folder = digits_folder(tmp_path / "set")
    loose(folder / "unlabelled", 2)
    loose(folder / "extra", 2)
    (tmp_path / "link").symlink_to(folder / "train")
    archives = [tmp_path / "a.tar", tmp_path / "b.tar"]
    for archive in archives:
        archive.write_bytes(b"the same images")
    for source, dataset in (
        (folder, folder),
        (tmp_path, folder),
        (folder / "train", folder),
        (folder / "train/digit-1", folder),
        (folder / "unlabelled", folder),
        (tmp_path / "link", folder),
        (folder / "train/digit-1", folder / "train"),
        archives,
    ):
        with pytest.raises(BadDataset, match=r"images of dataset\.uri among them"):
            check_no_overlap("file:///x", source, dataset)
    for dataset in (folder, folder / "train", archives[0]):
        check_no_overlap("file:///extra", folder / "extra", dataset)


def split_of(labelled: int, unlabelled: int, classes: int = 5) -> Split:
    """Images of one color each, their number."""
    numbers = torch.arange(labelled + unlabelled)
    pixels = numbers.to(torch.uint8)[:, None, None, None].expand(-1, 3, 16, 16).contiguous()
    return full_split(ArrayImages(pixels), torch.where(numbers < labelled, numbers % classes, NO_LABEL))


@pytest.mark.parametrize(("labelled", "unlabelled"), [(30, 90), (90, 30), (7, 200), (64, 64)])
def test_an_epoch_uses_each_image_once_and_every_batch_has_the_ratio(labelled, unlabelled):
    split = split_of(labelled, unlabelled)
    order = epoch_order(split, seed=1, epoch=0)
    assert sorted(order) == list(range(labelled + unlabelled))
    share = labelled / (labelled + unlabelled)
    for start in range(0, len(order) - 32, 16):
        assert abs((order[start : start + 16] < labelled).sum() - 16 * share) <= 1
    assert not np.array_equal(order, epoch_order(split, seed=1, epoch=1))
    assert np.array_equal(order, epoch_order(split, seed=1, epoch=0))


@pytest.mark.parametrize("ratio", [0.5, 1.5, 7])
def test_a_ratio_cycles_through_the_unlabelled_images_over_the_epochs(ratio):
    split = split_of(20, 50)
    seen: list[int] = []
    for epoch in range(10):
        order = epoch_order(split, seed=0, epoch=epoch, unlabelled_ratio=ratio)
        assert len(order) == images_per_epoch(split, ratio) == 20 + round(20 * ratio)
        assert sorted(order[order < 20]) == list(range(20))
        seen += order[order >= 20].tolist()
    whole = len(seen) // 50 * 50
    for start in range(0, whole, 50):
        assert sorted(seen[start : start + 50]) == list(range(20, 70))
    assert labelled_share(split, ratio) == 20 / (20 + round(20 * ratio))


def test_processes_share_the_batches_of_a_run_of_one_process():
    views = Views(split_of(20, 60), 5, CropFlip(padding=0, flip=False), 16, seed=0)
    fields = {"seed": 0, "epoch": 1, "view": 0, "batch_size": 16, "first": 0, "unlabelled_ratio": 2.0}
    whole = list(prepared_batches(views, **fields))
    parts = [list(prepared_batches(views, **fields, distributed=Distributed(rank, 2))) for rank in range(2)]
    for batch, *shares in zip(whole, *parts, strict=True):
        assert np.array_equal(batch.indices, np.concatenate([share.indices for share in shares]))
        counts = [int((share.content.targets != NO_LABEL).sum()) for share in shares]
        assert abs(counts[0] - counts[1]) <= 1


def test_images_are_mixed_with_images_of_their_kind():
    mix = {"mixup_alpha": 0.8, "cutmix_alpha": 1.0}
    views = Views(split_of(20, 60), 5, CropFlip.model_validate({"mix": mix, "padding": 0, "flip": False}), 16, seed=0)
    indices = np.arange(80)
    targets, pixels = views.targets(indices, 0), views.batch(indices, 0)
    assert torch.allclose(targets[:20].sum(1), torch.ones(20))
    assert not targets[20:].any()
    assert pixels[:20].max() < 20 <= pixels[20:].min()


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_that_of_the_labelled_images_and_the_teachers_term_that_of_all(mixed, smoothing):
    torch.manual_seed(0)
    student, teacher = Outputs(torch.randn(8, 5)), Outputs(torch.randn(8, 5))
    labels = torch.tensor([0, -1, 1, -1, 2, -1, 3, -1])
    if mixed:
        labels = torch.nn.functional.one_hot(labels.clamp_min(0), 5) * (labels >= 0).float()[:, None]
    context, numbers = StepContext(0.0, torch.Generator()), torch.arange(8)
    method = KnowledgeDistillation.model_validate({"ce_weight": 0.5})
    objective = Objective(method, epochs=1, label_smoothing=smoothing, labelled_share=0.5)
    terms = objective(student, teacher, labels, numbers, context)
    alone = Objective(method, epochs=1, label_smoothing=smoothing)
    some = slice(0, None, 2)
    expected = alone(Outputs(student.logits[some]), Outputs(teacher.logits[some]), labels[some], numbers, context)
    assert torch.allclose(terms["ce"], expected["ce"])
    every = torch.tensor([0, 1, 1, 3, 2, 4, 3, 0])
    assert torch.equal(terms["kd"], alone(student, teacher, every, numbers, context)["kd"])


def test_a_partner_without_a_label_changes_the_key_of_the_store():
    split = split_of(20, 60)
    hidden = replace(split, labels=torch.where(torch.arange(80) < 10, split.labels, NO_LABEL))
    assert _images_hash(split) != _images_hash(hidden)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, Path, Path]:
    """A labelled folder, unlabelled images and a teacher."""
    folder = tmp_path_factory.mktemp("partly")
    data = digits_folder(folder / "set", each=10, size=32)
    distill(spec(data, training={"epochs": 2, "batch_size": 16}), folder / "run", device=CPU)
    return data, loose(folder / "more", 40, size=20), folder / "run/out/student.safetensors"


def sha256(result: Result) -> str:
    return next(made.sha256 for made in result.artifacts if made.name == "student.safetensors")


def run(trained, workdir: Path, on_event=lambda event: None, stores=None, stop_after: int | None = None, **fields):
    data, more, teacher = trained
    training = {"epochs": 2, "batch_size": 14, **fields.pop("training", {})}
    dataset = {"uri": data.as_uri(), "unlabelled": [more.as_uri()]}
    described = spec(data, teacher, **{"dataset": dataset, **fields}, training=training)
    steps = iter(range(1000))
    stop = (lambda: next(steps) >= stop_after) if stop_after is not None else (lambda: False)
    return distill(described, workdir, on_event=on_event, stores=stores, should_stop=stop, device=CPU)


def test_a_run_counts_both_kinds_and_reports_them(tmp_path, trained):
    events: list[Event] = []
    result = run(trained, tmp_path / "run", events.append, Stores(tmp_path / "stores"))
    resolved = next(event for event in events if isinstance(event, Resolved))
    assert (resolved.train_images, resolved.unlabelled_images, resolved.validation_images) == (70, 40, 15)
    assert resolved.total_steps == result.steps == 2 * 70 // 14
    assert result.teacher_forwards > 70  # distinct views of all images
    report = json.loads((tmp_path / "run/out/report.json").read_text())
    assert (report["run"]["train_images"], report["run"]["unlabelled_images"]) == (70, 40)
    assert "40 of them without a label" in (tmp_path / "run/out/report.html").read_text()
    assert "(40 without a label)" in (tmp_path / "run/out/MODEL_CARD.md").read_text()
    assert any("40 unlabelled images in" in event.message for event in events if isinstance(event, Log))
    # A second run reads the logits of both kinds.
    again = run(trained, tmp_path / "again", stores=Stores(tmp_path / "stores"))
    assert (again.teacher_forwards, sha256(again)) == (0, sha256(result))


MIX = {"kind": "crop_flip", "mix": {"mixup_alpha": 0.8, "cutmix_alpha": 1.0}}
VARIANTS = {
    "wttm": {"method": "wttm"},
    "ratio": {"method": "kd", "training": {"unlabelled_ratio": 1.5, "gradient_accumulation": 2}},
    "mixed": {"method": "ttm", "training": {"augmentation": MIX, "label_smoothing": 0.1}},
    "dist": {"method": "dist"},
    "crd": {"method": {"kind": "wttm", "features": "crd"}},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_resumes_bit_identically(tmp_path, trained, variant):
    undisturbed = run(trained, tmp_path / "one", **VARIANTS[variant])
    with pytest.raises(Interrupted):
        run(trained, tmp_path / "two", stop_after=4, **VARIANTS[variant])
    assert sha256(run(trained, tmp_path / "two", **VARIANTS[variant])) == sha256(undisturbed)


def test_unlabelled_images_change_the_student_and_labels_of_sources_are_ignored(tmp_path, trained):
    data, more, _ = trained
    events: list[Event] = []
    labelled = digits_folder(tmp_path / "labelled", each=5, size=20)
    dataset = {"uri": data.as_uri(), "unlabelled": [more.as_uri(), labelled.as_uri()]}
    both = run(trained, tmp_path / "both", events.append, dataset=dataset)
    warnings = [event.message for event in events if isinstance(event, Log) and event.level == "warning"]
    warnings = [message for message in warnings if "not above chance" not in message]  # of the student
    assert warnings == [f"{labelled.as_uri()} is listed in dataset.unlabelled: its labels are ignored"]
    assert sha256(both) != sha256(run(trained, tmp_path / "without", dataset=data.as_uri()))


def test_methods_that_learn_from_labels_alone_leave_the_folder_out(tmp_path, trained):
    data, more, teacher = trained
    folder = Path(shutil.copytree(data, tmp_path / "set"))
    shutil.copytree(more, folder / "unlabelled")
    for method in ("ce", "dkd"):
        events: list[Event] = []
        described = spec(folder, None if method == "ce" else teacher, method=method, training={"epochs": 1})
        distill(described, tmp_path / method, on_event=events.append, device=CPU)
        resolved = next(event for event in events if isinstance(event, Resolved))
        assert (resolved.train_images, resolved.unlabelled_images) == (30, 0)
        assert any("40 unlabelled images are not used" in event.message for event in events if isinstance(event, Log))


def test_ratio_without_both_kinds_is_refused(tmp_path, trained):
    with pytest.raises(BadDataset, match=r"training\.unlabelled_ratio is set, but"):
        run(trained, tmp_path / "run", dataset=trained[0].as_uri(), training={"unlabelled_ratio": 2})


def test_pruned_student_takes_its_gradients_from_labelled_images(tmp_path, trained):
    student = {"prune": {"parameters": 0.8, "importance": "taylor"}}
    assert run(trained, tmp_path / "run", student=student, training={"epochs": 1}).steps == 5


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"method": "ce"}, "dataset.unlabelled is not supported by method 'ce'"),
        ({"method": "dkd"}, "dataset.unlabelled is not supported by method 'dkd'"),
        ({"dataset": {"uri": "file:///a", "unlabelled": ["file:///a"]}}, "contains the URI of the labelled images"),
        ({"dataset": {"uri": "file:///a/", "unlabelled": ["file:///a"]}}, "contains the URI of the labelled images"),
        ({"dataset": {"uri": "file:///a", "unlabelled": ["file:///b", "file:///b/"]}}, "contains a URI twice"),
        ({"training": {"unlabelled_ratio": 0}}, "greater than 0"),
    ],
)
def test_specs_are_refused(fields, message):
    body = {"dataset": {"uri": "file:///a", "unlabelled": ["file:///b"]}, **fields}
    with pytest.raises(ValidationError, match=message):
        spec(Path("/a"), Path("/t"), **body)


def test_baseline_of_a_study_has_no_unlabelled_images():
    study = StudySpec.model_validate(
        {
            "teacher": {"checkpoint": "file:///t", "architecture": "cifar/resnet20"},
            "dataset": {"uri": "file:///a", "unlabelled": ["file:///b"]},
            "training": {"unlabelled_ratio": 2},
            "limits": {"retention": 0.9},
        }
    )
    student = study.candidates()[0].student
    assert study.trial(student, {}, seed=0).dataset.unlabelled == ["file:///b"]
    baseline = study.trial(student, {}, seed=0, baseline=True)
    assert (baseline.dataset.unlabelled, baseline.training.unlabelled_ratio) == ([], None)
