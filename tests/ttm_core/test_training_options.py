"""Training options take effect in a complete run, and runs with them resume bit-identically."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tests.ttm_core import factories
from tests.ttm_core.test_engine import assert_resumes_bit_identically, sha256, student_of
from ttm_core.errors import BadSpec
from ttm_core.export import load_student
from ttm_core.models.weights import read_weights
from ttm_core.pipeline.distill import distill
from ttm_core.spec import events


def weights(workdir):
    return read_weights(student_of(workdir)).tensors


EVERYTHING = {
    "epochs": 3,
    "augmentation": {"kind": "crop_flip", "padding": 1},
    "label_smoothing": 0.1,
    "gradient_clipping": 1.0,
    "gradient_accumulation": 3,
    "ema": 0.9,
    "optimizer": {"name": "timm", "algorithm": "lamb", "weight_decay": 0.01},
    "schedule": {"kind": "poly", "warmup_epochs": 1},
    "early_stopping_patience": 2,
}


@pytest.mark.parametrize("features", [{"kind": "crd", "negatives": 64}, None])
def test_run_with_all_options_resumes_bit_identically(features, digits_idx, teacher_file, tmp_path):
    method = {"kind": "wttm", "features": features}
    spec = factories.spec(digits_idx, teacher_file, method=method, training=EVERYTHING)
    assert_resumes_bit_identically(spec, tmp_path)


@pytest.mark.thorough
def test_vitkd_run_resumes_bit_identically(tmp_path):
    """Student and teacher are timm's test model: 0.4 M parameters, four patches at 32 pixels."""
    data = factories.digits_folder(tmp_path / "set", classes=3, each=12, size=32)
    student = {"architecture": "test_vit", "image_size": 32, "drop_path": 0.1}
    training = {"epochs": 2, "batch_size": 8}
    distill(factories.spec(data, student=student, training=training), tmp_path / "teacher")
    spec = factories.spec(
        data,
        student_of(tmp_path / "teacher"),
        student=student,
        method={"kind": "wttm", "features": {"kind": "vitkd", "alpha": 1e-4, "beta": 1e-4}},
        training={"gradient_clipping": {"kind": "agc", "value": 0.1}, **training},
    )
    emitted: list[events.Event] = []
    distill(spec, tmp_path / "run", on_event=emitted.append)
    terms = {name for event in emitted if isinstance(event, events.Metrics) for name in event.values}
    assert {"train/ce", "train/wttm", "train/vitkd"} <= terms
    assert_resumes_bit_identically(spec, tmp_path)


def test_vitkd_requires_equal_token_counts(tmp_path):
    data = factories.digits_folder(tmp_path / "set", classes=3, each=12, size=32)
    training = {"epochs": 1, "batch_size": 8}
    small, large = ({"architecture": "test_vit", "image_size": size} for size in (32, 64))
    distill(factories.spec(data, student=large, training=training), tmp_path / "teacher")
    method = {"kind": "wttm", "features": "vitkd"}
    spec = factories.spec(data, student_of(tmp_path / "teacher"), student=small, method=method, training=training)
    with pytest.raises(BadSpec, match="student has 4 tokens and the teacher 16"):
        distill(spec, tmp_path / "student")


def test_gradient_accumulation_equals_one_batch_without_batch_norm(tmp_path):
    """A transformer has no batch norm, so the gradients of the parts add up to the gradient of the batch."""
    data = factories.digits_folder(tmp_path / "set", classes=3, each=12, size=32)
    made = {}
    for name, options in (("whole", {}), ("parts", {"gradient_accumulation": 3})):
        training = {
            "epochs": 2,
            "batch_size": 7,
            "precision": "float32",
            "optimizer": {"name": "sgd", "learning_rate": 0.01},
            **options,
        }
        student = {"architecture": "test_vit", "image_size": 32}
        distill(factories.spec(data, student=student, training=training), tmp_path / name)
        made[name] = weights(tmp_path / name)
    for key, tensor in made["whole"].items():
        torch.testing.assert_close(made["parts"][key], tensor, rtol=1e-4, atol=1e-5)


def test_ema_weights_are_evaluated_and_saved(digits_idx, tmp_path):
    result = distill(factories.spec(digits_idx, training={"ema": 0.99}), tmp_path / "ema")
    distill(factories.spec(digits_idx), tmp_path / "last")
    assert not torch.equal(*(weights(tmp_path / name)["fc.weight"] for name in ("ema", "last")))
    images, labels = factories.digits()
    probabilities = load_student(student_of(tmp_path / "ema")).predict(torch.from_numpy(images[-200:])[:, None])
    right = (probabilities.argmax(1) == torch.from_numpy(labels[-200:])).float().mean().item()
    assert right == pytest.approx(result.student_test.top1)


def test_early_stopping_ends_a_run_and_logs_it(digits_idx, tmp_path):
    emitted: list[events.Event] = []
    still = {"optimizer": {"name": "sgd", "learning_rate": 0.0}, "epochs": 9, "early_stopping_patience": 2}
    spec = factories.spec(digits_idx, training={**still, "checkpoint_seconds": 0.001})
    result = distill(spec, tmp_path, on_event=emitted.append)
    steps = next(event.total_steps for event in emitted if isinstance(event, events.Resolved))
    last = result.best_epoch + 2
    assert last < 9
    assert result.steps == steps // 9 * last
    message = f"stopped early after epoch {last}; the best validation was after {result.best_epoch}"
    assert message in [event.message for event in emitted if isinstance(event, events.Log)]
    before = sha256(student_of(tmp_path))
    assert distill(spec, tmp_path).steps == result.steps
    assert sha256(student_of(tmp_path)) == before


def test_frozen_parts_keep_their_weights_and_statistics(digits_idx, teacher_file, tmp_path):
    student = {
        "architecture": "mini/resnet8_050",
        "checkpoint": teacher_file.as_uri(),
        "freeze": ["conv1.*", "bn1.*", "layer[12].*"],
    }
    spec = factories.spec(digits_idx, teacher_file, student=student, training={"epochs": 1})
    distill(spec, tmp_path)
    start, end = read_weights(teacher_file).tensors, weights(tmp_path)
    for key, tensor in start.items():
        frozen = key.startswith(("conv1", "bn1", "layer1", "layer2"))
        assert torch.equal(tensor, end[key]) == frozen, key


def test_layer_decay_of_a_partly_frozen_student_resumes_bit_identically(digits_idx, teacher_file, tmp_path):
    student = {"architecture": "mini/resnet8_050", "checkpoint": teacher_file.as_uri(), "freeze": ["conv1.*"]}
    optimizer = {"name": "sgd", "learning_rate": 0.05, "layer_decay": 0.6}
    spec = factories.spec(
        digits_idx, teacher_file, student=student, exports=[], training={"epochs": 1, "optimizer": optimizer}
    )
    assert_resumes_bit_identically(spec, tmp_path)


def test_freeze_pattern_must_match_a_parameter(digits_idx, teacher_file, tmp_path):
    student = {"architecture": "mini/resnet8_050", "checkpoint": teacher_file.as_uri()}
    for patterns, message in ((["stem.*"], r"no parameter matches 'stem\.\*'"), (["*"], "excludes every parameter")):
        spec = factories.spec(digits_idx, student={**student, "freeze": patterns})
        with pytest.raises(BadSpec, match=message):
            distill(spec, tmp_path)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_float16_trains(digits_idx, teacher_file, tmp_path):
    spec = factories.spec(digits_idx, teacher_file, training={"precision": "float16", "gradient_clipping": 5.0})
    assert distill(spec, tmp_path).student_validation.loss < 2.3


def test_drop_path_requires_stochastic_depth(digits_idx, tmp_path):
    spec = factories.spec(digits_idx, student={"architecture": "test_efficientnet", "image_size": 32, "drop_path": 0.1})
    distill(spec.model_copy(update={"training": spec.training.model_copy(update={"epochs": 1})}), tmp_path)
    with pytest.raises(BadSpec, match="vgg11 does not support stochastic depth"):
        distill(
            factories.spec(digits_idx, student={"architecture": "vgg11", "image_size": 32, "drop_path": 0.1}),
            tmp_path / "vgg",
        )


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"student": {"architecture": "cifar/resnet20", "drop_path": 0.1}}, "does not support stochastic depth"),
        ({"student": {"architecture": "cifar/resnet20", "freeze": ["conv1.*"]}}, "freeze requires `checkpoint`"),
        ({"training": {"batch_size": 7, "gradient_accumulation": 4}}, "batch norm needs two images"),
        ({"training": {"gradient_clipping": 0}}, "greater than 0"),
        ({"training": {"ema": 1}}, "less than 1"),
    ],
)
def test_invalid_options_are_refused_by_the_spec(part, message, digits_idx):
    with pytest.raises(ValidationError, match=message):
        factories.spec(digits_idx, **part)


def test_wkd_with_features_requires_two_images_per_class(digits_idx, teacher_file, tmp_path):
    images, labels = factories.digits()
    keep = np.flatnonzero(labels != 0)[:60].tolist() + np.flatnonzero(labels == 0)[:1].tolist()
    for prefix in ("train", "t10k"):
        factories.write_idx(tmp_path / f"{prefix}-images-idx3-ubyte.gz", images[keep])
        factories.write_idx(tmp_path / f"{prefix}-labels-idx1-ubyte.gz", labels[keep].astype(np.uint8))
    method = {"kind": "wkd", "relations": "features"}
    with pytest.raises(BadSpec, match="Class 0 has 1 training images"):
        distill(factories.spec(tmp_path, teacher_file, method=method), tmp_path / "student")


@pytest.mark.parametrize("rate", [1e-9, 0.05])
def test_student_at_chance_is_a_warning(digits_idx, tmp_path, rate):
    training = {"epochs": 4, "optimizer": {"name": "sgd", "learning_rate": rate}, "augmentation": "none"}
    emitted: list[events.Event] = []
    result = distill(factories.spec(digits_idx, training=training), tmp_path, on_event=emitted.append)
    warnings = [event.message for event in emitted if isinstance(event, events.Log) and event.level == "warning"]
    at_chance = [message for message in warnings if "not above chance" in message]
    assert len(at_chance) == (rate == 1e-9)
    if at_chance:
        assert f"classifies {result.student_validation.top1:.1%} of" in at_chance[0]
        assert "a lower learning rate than 1e-09, or more epochs than 4" in at_chance[0]
