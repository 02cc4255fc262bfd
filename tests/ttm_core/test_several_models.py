"""Files with several models, as training programs write them: one is chosen by its fit, its key or its kind."""

import argparse
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from tests.support.models import create_model
from tests.ttm_core.test_foreign_checkpoints import load
from ttm_core.checkpoints.models_in import choose_model
from ttm_core.checkpoints.schema import Inspection, InspectionRequest
from ttm_core.checkpoints.signatures import read_signatures
from ttm_core.errors import ArchitectureMismatch, BadSpec
from ttm_core.models.students.checkpoint import initialize_from
from ttm_core.models.teachers.adapt import signature_of_architecture
from ttm_core.reader.checkpoints.inspection import inspect
from ttm_core.reader.pickles.torch_file import read_shapes

SMALL, LARGE = "mini/resnet8_025", "cifar/resnet14"


def state_of(architecture: str, prefix: str = "", *, seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    state = create_model(architecture, num_classes=10).state_dict()
    return {f"{prefix}{name}": value for name, value in state.items()}


def backbone(prefix: str, **head: Tensor) -> dict[str, Tensor]:
    state = {name: value for name, value in state_of(SMALL, prefix).items() if not name.startswith(f"{prefix}fc.")}
    return state | {name.replace("__", "."): value for name, value in head.items()}


OPTIMIZER = {
    "state": {0: {"exp_avg": torch.zeros(16, 3, 3, 3)}, "conv1.weight": {"exp_avg": torch.zeros(3)}},
    "param_groups": [{"lr": 0.1}],
}
FILES: dict[str, dict[str, Any]] = {
    "timm": {"arch": SMALL, "state_dict": state_of(SMALL), "optimizer": OPTIMIZER, "state_dict_ema": state_of(SMALL)},
    "torchvision": {
        "model": state_of(SMALL),
        "optimizer": OPTIMIZER,
        "args": argparse.Namespace(model=SMALL),
        "model_ema": {**state_of(SMALL, "module."), "n_averaged": torch.tensor(7)},
    },
    "dino": {
        "student": backbone("module.backbone.", module__head__mlp__0__weight=torch.zeros(5, 64)),
        "teacher": backbone("backbone.", head__mlp__0__weight=torch.zeros(5, 64)),
        "optimizer": OPTIMIZER,
        "dino_loss": {"center": torch.zeros(1, 5)},
    },
    "moco": {
        "state_dict": {
            **backbone("module.encoder_q.", module__encoder_q__fc__0__weight=torch.zeros(16, 16)),
            **backbone("module.encoder_k.", module__encoder_k__fc__0__weight=torch.zeros(16, 16)),
            "module.queue": torch.zeros(5, 8),
        },
        "optimizer": OPTIMIZER,
    },
    "lightning, distilled": {
        "state_dict": {**state_of(SMALL, "student.net."), **state_of(LARGE, "teacher."), "kd_loss.t": torch.ones(1)},
        "optimizer_states": [OPTIMIZER],
    },
    "lightning, averaged": {"state_dict": state_of(SMALL, "model."), "current_model_state": state_of(SMALL, "model.")},
    "lightning, with its average": {"state_dict": {**state_of(SMALL, "model."), **state_of(SMALL, "ema.module.")}},
    "composer": {"state": {"model": state_of(SMALL, "module."), "optimizers": {"Adam": OPTIMIZER}}},
    "fixmatch": {"model": state_of(SMALL), "ema_model": state_of(SMALL), "optimizer": OPTIMIZER, "it": 9},
    "own keys": {"resnet": state_of(SMALL), "best": torch.tensor(0.7), "scheduler": {"gamma": torch.ones(2)}},
}


def keys(content: dict[str, Any], path: Path, architecture: str | None = None, **request: Any) -> list[str]:
    torch.save(content, path)
    shapes, roots = read_shapes(path)
    signature = None if architecture is None else signature_of_architecture(architecture)
    return [model.key for model in choose_model(shapes, roots, signature=signature, **request)]


@pytest.mark.parametrize(
    ("file", "architecture", "key", "for_any"),
    [
        ("timm", SMALL, "state_dict_ema", "state_dict_ema"),
        ("torchvision", SMALL, "model_ema", "model_ema"),
        ("dino", SMALL, "teacher.backbone", "teacher"),
        ("moco", SMALL, "state_dict.module.encoder_q", "state_dict.module.encoder_q"),
        ("lightning, distilled", SMALL, "state_dict.student", "state_dict.teacher"),
        ("lightning, distilled", LARGE, "state_dict.teacher", "state_dict.teacher"),
        ("lightning, averaged", SMALL, "state_dict", "state_dict"),
        ("lightning, with its average", SMALL, "state_dict.ema", "state_dict.ema"),
        ("composer", SMALL, "state.model", "state.model"),
        ("fixmatch", SMALL, "ema_model", "ema_model"),
        ("own keys", SMALL, "resnet", "resnet"),
    ],
)
def test_a_model_is_chosen(tmp_path: Path, file: str, architecture: str, key: str, for_any: str):
    assert keys(FILES[file], tmp_path / "x.pth", architecture)[0] == key
    assert keys(FILES[file], tmp_path / "x.pth")[0] == for_any


@pytest.mark.parametrize(
    ("file", "key", "found"),
    [
        ("timm", "state_dict", "state_dict"),
        ("dino", "student", "student.module.backbone"),
        ("lightning, distilled", "student", "state_dict.student"),
        ("lightning, distilled", "state_dict.student.net", "state_dict.student.net"),
        ("moco", "encoder_k", "state_dict.module.encoder_k"),
        ("fixmatch", "model", "model"),
    ],
)
def test_a_key_selects_a_model(tmp_path: Path, file: str, key: str, found: str):
    assert keys(FILES[file], tmp_path / "x.pth", SMALL, key=key)[0] == found


@pytest.mark.parametrize(
    ("file", "message"),
    [("timm", r"no tensors under 'teacher'\. It has models under 'state_dict_ema', 'state_dict'"), (None, "one model")],
)
def test_a_key_that_the_file_lacks_is_refused(tmp_path: Path, file: str | None, message: str):
    content = FILES[file] if file else state_of(SMALL)
    with pytest.raises(BadSpec, match=message):
        keys(content, tmp_path / "x.pth", SMALL, key="teacher")


def test_no_architecture_has_parts_that_are_named_like_models():
    for signature in read_signatures():
        found = choose_model(signature.shapes, [""])
        assert [model.key for model in found] == [""]
        assert found[0].names.keys() == signature.shapes.keys()


def test_a_key_map_finds_the_model_that_it_applies_to(tmp_path: Path):
    renamed = {name.replace("fc.", "last."): value for name, value in state_of(SMALL).items()}
    content = {"ema": state_of(LARGE), "net": renamed}
    assert keys(content, tmp_path / "x.pth", SMALL, key_map={"last.": "fc."})[0] == "net"
    with pytest.raises(BadSpec, match=r"starts with 'none\.'"):
        keys(content, tmp_path / "x.pth", SMALL, key_map={"none.": "fc."})


def test_dicts_in_dicts_end(tmp_path: Path):
    content: dict[str, Any] = {"state_dict": state_of(SMALL)}
    for name in "abcdefghijklmnopqrst":
        content[name] = content
    assert keys(content, tmp_path / "x.pth", SMALL)[0] == "state_dict"


def test_many_dicts_and_prefixes_take_bounded_time(tmp_path: Path):
    tensor = torch.zeros(1)
    content: dict[str, Any] = {f"{number}": {"x": tensor} for number in range(20_000)}
    content["net"] = {**state_of(SMALL), **{f"{number}_ema.x.conv1.weight": tensor for number in range(20_000)}}
    found = keys(content, tmp_path / "x.pth", SMALL)
    assert len(found) <= 32
    assert found[0] == "net"


def inspected(path: Path, **request: Any) -> Inspection:
    return inspect(path, InspectionRequest.model_validate(request))


@pytest.mark.parametrize("kind", ["torch", "safetensors"])
def test_teacher_and_student_load_their_own_tensors(tmp_path: Path, kind: str):
    student, teacher = state_of(SMALL, "student."), state_of(SMALL, "teacher.", seed=1)
    path = tmp_path / "x"
    if kind == "torch":
        torch.save({"state_dict": {**student, **teacher}}, path)
    else:
        safetensors.torch.save_file({**student, **teacher}, path)
    at = "state_dict." if kind == "torch" else ""

    found = inspected(path, checkpoint_key="student" if kind == "torch" else None)
    keys = [f"{at}student"] if kind == "torch" else ["teacher", "student"]
    assert (found.layout, found.candidates[0].architecture) == (keys[0], SMALL)
    assert found.checkpoint_keys == (keys if len(keys) > 1 else [])

    for key, tensors in (("student", student), ("teacher", teacher), (None, teacher)):
        loaded = load(path, 32, architecture=SMALL, checkpoint_key=key)
        name = "fc.bias"
        expected = tensors[f"{key or 'teacher'}.{name}"]
        assert torch.equal(dict(loaded.model.named_parameters())[name], expected)
    model = create_model(SMALL, num_classes=10)
    initialize_from(model, path, SMALL, "student")
    assert torch.equal(model.state_dict()["conv1.weight"], student["student.conv1.weight"])


def test_a_student_starts_with_a_backbone_whose_head_is_another_one(tmp_path: Path):
    torch.save(FILES["dino"], tmp_path / "x.pth")
    found = inspected(tmp_path / "x.pth")
    assert found.layout == "teacher.backbone"
    assert (found.candidates[0].missing, found.candidates[0].unexpected_count) == (["fc.weight", "fc.bias"], 0)
    model = create_model(SMALL, num_classes=10)
    fresh = initialize_from(model, tmp_path / "x.pth", SMALL)
    assert {name.partition(".")[0] for name in fresh} == {"fc"}
    assert torch.equal(model.state_dict()["conv1.weight"], state_of(SMALL)["conv1.weight"])


def test_initial_weights_of_another_image_size_are_refused_with_the_field(tmp_path: Path):
    torch.save(create_model("test_vit", num_classes=7).state_dict(), tmp_path / "x.pth")
    model = create_model("test_vit", num_classes=10, image_size=96)
    with pytest.raises(ArchitectureMismatch, match=r"1 tensors of .* \(pos_embed .*\)\. Set student.image_size to the"):
        initialize_from(model, tmp_path / "x.pth", "test_vit")


def test_a_student_starts_with_weights_whose_classifier_has_another_name(tmp_path: Path):
    state = {name.replace("fc.", "linear."): value for name, value in state_of(SMALL, "module.").items()}
    torch.save({"net": state, "acc": 91.2, "epoch": 199}, tmp_path / "x.pth")
    model = create_model(SMALL, num_classes=10)
    assert initialize_from(model, tmp_path / "x.pth", SMALL) == []
    assert torch.equal(model.state_dict()["fc.weight"], state_of(SMALL)["fc.weight"])


def test_a_backbone_and_its_classifier_are_one_model(tmp_path: Path):
    state = state_of(SMALL)
    named = {f"head.{name}" if name.startswith("fc.") else f"backbone.{name}": value for name, value in state.items()}
    torch.save({"state_dict": named, "meta": {"epoch": 3}}, tmp_path / "x.pth")
    best = inspected(tmp_path / "x.pth", architecture=SMALL).candidates[0]
    assert best.loads
    assert best.key_map is not None
    assert best.key_map["head.fc."] == "fc."
