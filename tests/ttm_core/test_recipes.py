"""Recipes match the tables of the paper, and each of them runs."""

import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from tests.support.models import create_model
from tests.ttm_core import factories
from ttm_core.models.weights import write_safetensors
from ttm_core.pipeline.distill import distill
from ttm_core.spec import recipes
from ttm_core.spec.job import DistillSpec
from ttm_core.spec.method.methods import KnowledgeDistillation, TransformedTeacherMatching
from ttm_core.spec.optimizer.optimizers import AdamW, Constant, Cosine, MultiStep, Sgd, Timm
from ttm_core.spec.recipes import UnknownRecipe

# Zheng & Yang 2024, table 7 and the official code: gamma and beta of TTM, WTTM, WTTM+CRD and WTTM+ITRD.
HYPERPARAMETERS = {
    "wrn_40_2-wrn_16_2": ((0.1, 101), (0.1, 4), (0.1, 4), (0.3, 6)),
    "wrn_40_2-wrn_40_1": ((0.1, 76), (0.1, 3), (0.1, 2), (0.4, 0.08)),
    "resnet56-resnet20": ((0.3, 7), (0.3, 1.5), (0.3, 0.6), (0.5, 5)),
    "resnet110-resnet20": ((0.2, 8), (0.2, 2), (0.2, 1.4), (0.3, 1.5)),
    "resnet110-resnet32": ((0.1, 33), (0.1, 1.5), (0.2, 1), (0.3, 0.015)),
    "resnet32x4-resnet8x4": ((0.1, 100), (0.1, 3), (0.2, 4), (0.1, 1.5)),
    "vgg13-vgg8": ((0.1, 45), (0.1, 2.25), (0.2, 4), (0.1, 0.5)),
    "vgg13-MobileNetV2": ((0.2, 16), (0.2, 3), (0.3, 4.2), (0.3, 0.03)),
    "ResNet50-MobileNetV2": ((0.2, 20), (0.2, 5), (0.3, 3), (0.2, 0.02)),
    "ResNet50-vgg8": ((0.1, 70), (0.1, 2), (0.1, 3), (0.1, 1)),
    "resnet32x4-ShuffleV1": ((0.2, 12), (0.2, 1.4), (0.2, 0.4), (0.3, 0.6)),
    "resnet32x4-ShuffleV2": ((0.4, 40), (0.4, 16), (0.4, 12), (0.4, 0.8)),
    "wrn_40_2-ShuffleV1": ((0.3, 8), (0.3, 3), (0.2, 0.16), (0.1, 0.2)),
}
ACROSS = list(HYPERPARAMETERS)[7:]
WITHOUT_MUTUAL_INFORMATION = {"ResNet50-MobileNetV2", "ResNet50-vgg8", "wrn_40_2-ShuffleV1"}
# Tables 1 and 2: top-1 of the teacher, the student alone, KD, TTM, WTTM, WTTM+CRD, WTTM+ITRD.
PUBLISHED = {
    "wrn_40_2-wrn_16_2": (75.61, 73.26, 74.92, 76.23, 76.37, 76.61, 76.65),
    "wrn_40_2-wrn_40_1": (75.61, 71.98, 73.54, 74.32, 74.58, 74.94, 75.34),
    "resnet56-resnet20": (72.34, 69.06, 70.66, 71.83, 71.92, 72.20, 72.16),
    "resnet110-resnet20": (74.31, 69.06, 70.67, 71.46, 71.67, 72.13, 72.20),
    "resnet110-resnet32": (74.31, 71.14, 73.08, 73.97, 74.13, 74.52, 74.36),
    "resnet32x4-resnet8x4": (79.42, 72.50, 73.33, 76.17, 76.06, 76.65, 77.36),
    "vgg13-vgg8": (74.64, 70.36, 72.98, 74.33, 74.44, 74.71, 75.13),
    "vgg13-MobileNetV2": (74.64, 64.60, 67.37, 68.98, 69.16, 70.30, 70.70),
    "ResNet50-MobileNetV2": (79.34, 64.60, 67.35, 69.24, 69.59, 70.84, 71.56),
    "ResNet50-vgg8": (79.34, 70.36, 73.81, 74.87, 74.82, 75.30, 76.00),
    "resnet32x4-ShuffleV1": (79.42, 70.50, 74.07, 74.18, 74.37, 75.82, 77.03),
    "resnet32x4-ShuffleV2": (79.42, 71.82, 74.45, 76.57, 76.55, 77.04, 77.68),
    "wrn_40_2-ShuffleV1": (75.61, 70.50, 74.83, 75.39, 75.42, 76.86, 77.44),
}
METHODS = ("kd", "ttm", "wttm", "wttm-crd", "wttm-itrd")
# gamma, beta and the published top-1, where there is one.
IMAGENET = {
    "resnet34-resnet18/wttm": (0.8, 1.6, 72.19),
    "resnet50-resnet18/wttm": (0.8, 1.6, None),
    "resnet101-resnet18/wttm": (0.8, 1.6, None),
    "resnet152-resnet18/wttm": (0.8, 1.6, None),
    "resnet50-mobilenetv1_100/wttm": (0.7, 3.5, 73.09),
    "deit3_small_patch16_224-deit_tiny_patch16_224/wttm": (0.8, 1.6, 77.03),
    "deit3_small_patch16_224-deit_tiny_patch16_224/wttm-vitkd": (0.8, 1.6, 78.04),
}
FILES = {"dataset": "file:///data", "teacher": "file:///teacher"}


def spec(recipe, **fields):
    return DistillSpec.model_validate({"recipe": recipe, **FILES, **fields})


def test_there_is_one_recipe_per_row():
    rows = [f"cifar100/{pair}/{method}" for pair in HYPERPARAMETERS for method in METHODS]
    assert set(recipes.names()) == {*rows, *(f"imagenet/{name}" for name in IMAGENET)}
    assert len(recipes.names()) == 72


@pytest.mark.parametrize("pair", HYPERPARAMETERS)
def test_cifar100_recipes_match_the_paper(pair):
    teacher, _, student = pair.partition("-")
    for method, hyper in zip(METHODS[1:], HYPERPARAMETERS[pair], strict=True):
        expanded = spec(f"cifar100/{pair}/{method}").method
        assert expanded.kind == method.partition("-")[0]
        assert (expanded.gamma, expanded.beta, expanded.ce_weight) == (*hyper, 1.0)
    kd = spec(f"cifar100/{pair}/kd").method
    assert kd == KnowledgeDistillation.model_validate({"temperature": 4, "ce_weight": 0.1, "kd_weight": 0.9})
    crd = spec(f"cifar100/{pair}/wttm-crd").method.features
    assert (crd.weight, crd.dim, crd.negatives, crd.temperature, crd.momentum) == (0.8, 128, 16384, 0.07, 0.5)
    itrd = spec(f"cifar100/{pair}/wttm-itrd").method.features
    assert (itrd.weight, itrd.alpha, itrd.beta_correlation) == (1, 1.5 if pair in ACROSS else 1.01, 2)
    assert itrd.beta_mutual == (0 if pair in WITHOUT_MUTUAL_INFORMATION else 1)

    for method in METHODS:
        expanded = spec(f"cifar100/{pair}/{method}")
        assert (expanded.teacher.architecture, expanded.student.architecture) == (
            f"cifar/{teacher}",
            f"cifar/{student}",
        )
        assert expanded.student.image_size == 32
        assert expanded.student.normalization.model_dump() == {
            "mean": [0.5071, 0.4867, 0.4408],
            "std": [0.2675, 0.2565, 0.2761],
        }
        training = expanded.training
        rate = 0.01 if student in ("MobileNetV2", "ShuffleV1", "ShuffleV2") else 0.05
        assert training.optimizer == Sgd(learning_rate=rate, momentum=0.9, nesterov=False, weight_decay=5e-4)
        assert training.schedule == MultiStep(milestones=[150, 180, 210], factor=0.1)
        assert (training.epochs, training.batch_size) == (240, 64)
        assert training.augmentation.model_dump(exclude_none=True) == {"kind": "crop_flip", "padding": 4, "flip": True}


def test_published_accuracies_match_the_paper():
    for pair, (teacher, student, *distilled) in PUBLISHED.items():
        for method, top1 in zip(METHODS, distilled, strict=True):
            published = recipes.find(f"cifar100/{pair}/{method}").published
            assert published == {"teacher": teacher, "student": student, "distilled": top1}
    for name, (_, _, top1) in IMAGENET.items():
        assert recipes.find(f"imagenet/{name}").published.get("distilled") == top1


@pytest.mark.parametrize("name", IMAGENET)
def test_imagenet_recipes_match_the_paper(name):
    expanded = spec(f"imagenet/{name}")
    assert (expanded.method.kind, expanded.method.gamma, expanded.method.beta) == ("wttm", *IMAGENET[name][:2])
    training = expanded.training
    if name.startswith("deit"):
        assert training.optimizer == Timm(algorithm="adamw", learning_rate=1e-3, weight_decay=0.05)
        assert training.schedule == Cosine(warmup_epochs=20, final_learning_rate=1e-5)
        assert (training.epochs, training.batch_size, training.gradient_accumulation) == (300, 4 * 256, 4)
        assert (training.gradient_clipping.kind, training.gradient_clipping.value, training.label_smoothing) == (
            "norm",
            5,
            0.1,
        )
        assert (expanded.method.features is not None) == name.endswith("vitkd")
    else:
        assert training.optimizer == Sgd(learning_rate=0.1, momentum=0.9, nesterov=False, weight_decay=1e-4)
        assert training.schedule == MultiStep(milestones=[30, 60, 90], factor=0.1)
        assert (training.epochs, training.batch_size) == (100, 256)
    assert training.augmentation.kind == "resized_crop"
    assert expanded.student.image_size == 224


NAME = "cifar100/resnet56-resnet20/wttm"


def test_spec_fields_override_the_recipe():
    expanded = spec(
        NAME,
        name="mine",
        student="cifar/resnet8",
        method={"beta": 3},
        training={"epochs": 10, "optimizer": {"learning_rate": 0.1}, "schedule": "constant"},
    )
    assert (expanded.name, expanded.recipe) == ("mine", NAME)
    assert (expanded.teacher.checkpoint, expanded.teacher.architecture) == ("file:///teacher", "cifar/resnet56")
    assert (expanded.student.architecture, expanded.student.image_size) == ("cifar/resnet8", 32)
    assert (expanded.dataset.uri, expanded.dataset.validation.share) == ("file:///data", 0.02)
    assert (expanded.method.kind, expanded.method.gamma, expanded.method.beta) == ("wttm", 0.3, 3)
    assert expanded.training.optimizer == Sgd(learning_rate=0.1)
    assert expanded.training.schedule == Constant()
    assert (expanded.training.epochs, expanded.training.batch_size) == (10, 64)


def test_another_variant_replaces_the_object_of_the_recipe():
    expanded = spec(NAME, method="ttm", training={"optimizer": {"name": "adamw", "weight_decay": 0.1}})
    assert expanded.method == TransformedTeacherMatching.model_validate({})
    assert expanded.training.optimizer == AdamW(weight_decay=0.1)
    assert spec(NAME, method="wttm").method == spec(NAME).method


def test_temperature_replaces_the_gamma_of_the_recipe():
    expanded = spec(NAME, method={"temperature": 5}).method
    assert (expanded.gamma, expanded.temperature, expanded.beta) == (0.2, 5, 1.5)
    ramp = {"kind": "linear", "first": 0.5, "last": 0.1}
    assert spec(NAME, method={"gamma": ramp}).method.gamma.last == 0.1


def test_null_removes_the_feature_loss():
    assert spec("cifar100/resnet56-resnet20/wttm-crd", method={"features": None}).method.features is None


@pytest.mark.parametrize("name", recipes.names())
def test_expanded_spec_round_trips_through_json(name):
    expanded = spec(name)
    assert DistillSpec.model_validate_json(expanded.model_dump_json()) == expanded


def test_recipes_are_not_modified_by_expansion():
    before = spec(NAME)
    recipes.expand({"recipe": NAME, "training": {"optimizer": {"learning_rate": 1}}})["training"]["epochs"] = 1
    assert spec(NAME) == before


def test_unknown_recipe_suggests_similar_names():
    with pytest.raises(ValidationError, match=f"did you mean .*{NAME}"):
        spec("cifar100/resnet56-resnet20/wtm")
    with pytest.raises(UnknownRecipe):
        recipes.find("nothing like it")
    with pytest.raises(UnknownRecipe):
        recipes.find("../pyproject")


def test_recipes_do_not_import_torch():
    code = "import sys, ttm_core.spec.recipes as r; r.names(); assert not {'torch', 'numpy'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_schema_does_not_require_fields_of_recipes():
    assert DistillSpec.model_json_schema()["required"] == ["dataset"]
    with pytest.raises(ValidationError, match="student"):
        DistillSpec.model_validate({"dataset": "file:///data", "method": "ce"})


# The ImageNet models run on small images.
SIZES = {"cifar100": 32, "imagenet": 64}
# The values of every recipe are compared with the paper above. All methods run on the first pair of CIFAR-100, and methods
# with feature losses on the others.
BY_PAIR: dict[tuple[str, str], list[str]] = defaultdict(list)
for _name in recipes.names():
    _benchmark, _pair, _method = _name.split("/")
    if _benchmark == "imagenet" or _pair == next(iter(HYPERPARAMETERS)) or "-" in _method:
        BY_PAIR[_benchmark, _pair].append(_name)


def made_teacher(path: Path, architecture: str, size: int) -> Path:
    torch.manual_seed(0)
    model = create_model(architecture, num_classes=2, image_size=size)
    structure = {"architecture": architecture, "num_classes": 2, "image_size": size}
    write_safetensors(path, model.state_dict(), {"format": 2, "structure": structure})
    return path


QUICK = (
    ("cifar100", next(iter(HYPERPARAMETERS))),
    ("imagenet", "resnet34-resnet18"),
    ("imagenet", "deit3_small_patch16_224-deit_tiny_patch16_224"),
)


@pytest.mark.parametrize(
    ("benchmark", "pair"),
    [pytest.param(*each, marks=[] if each in QUICK else pytest.mark.thorough) for each in BY_PAIR],
)
def test_each_pair_runs(benchmark, pair, tmp_path):
    size = SIZES[benchmark]
    data = factories.digits_folder(tmp_path / "data", classes=2, each=3, size=size)
    names = BY_PAIR[benchmark, pair]
    teacher = recipes.find(names[0]).spec["teacher"]["architecture"]
    checkpoint = made_teacher(tmp_path / "teacher.safetensors", teacher, size)
    for name in names:
        expanded = spec(
            name,
            teacher={"checkpoint": checkpoint.as_uri(), "allow_chance": True},
            dataset=data.as_uri(),
            exports=[],
            student={"image_size": size},
            training={"epochs": 1, "batch_size": 3, "gradient_accumulation": 1, "threads": 1},
        )
        workdir = tmp_path / name.replace("/", "-")
        result = distill(expanded, workdir)
        assert result.steps == 2
        assert {artifact.name for artifact in result.artifacts} >= {"student.safetensors", "report.json"}
