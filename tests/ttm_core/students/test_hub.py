"""Published weights from a Hub on this machine: students, teachers, and errors."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from torch import nn

from tests.support.hub import COMMIT, hub_of_this_process
from tests.support.models import create_model
from tests.ttm_core import factories
from ttm_core.data.cache import DataCache
from ttm_core.errors import BadSpec, HubUnreachable
from ttm_core.export import load_student
from ttm_core.models.hub.published import fetch
from ttm_core.pipeline.distill import distill
from ttm_core.spec.events import Event, Resolved
from ttm_core.spec.normalization import Normalization

NAME = "test_resnet.r160_in1k"  # timm's smallest model with published weights
CONFIG: dict[str, Any] = {
    "architecture": "mini/resnet8_050",
    "num_classes": 4,
    "pretrained_cfg": {"mean": [0.4] * 3, "std": [0.3] * 3},
}
STILL = {"epochs": 1, "optimizer": {"name": "sgd", "learning_rate": 1e-9, "weight_decay": 0}}


@pytest.fixture
def repositories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the repositories that the Hub serves."""
    root = tmp_path / "hub"
    root.mkdir()
    with hub_of_this_process(root, monkeypatch):
        yield root


def publish(folder: Path, name: str, classes: int, config: dict[str, Any] | None = None) -> nn.Module:
    torch.manual_seed(1)
    model = create_model(name, num_classes=classes).eval()
    folder.mkdir(parents=True)
    save_file(model.state_dict(), folder / "model.safetensors")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return model


def cache_of(tmp_path: Path, max_bytes: int | None = None) -> DataCache:
    return DataCache(tmp_path / "cache", max_bytes)


def test_student_starts_with_the_weights_of_a_timm_model(repositories: Path, tmp_path: Path) -> None:
    published = publish(repositories / "timm" / NAME, "test_resnet", 1000)
    data = factories.digits_folder(tmp_path / "data", size=64)
    distill(factories.spec(data, student=f"timm:{NAME}", training=STILL), tmp_path / "run")
    student = load_student(tmp_path / "run/out/student.safetensors")
    assert student.architecture == NAME
    assert student.structure.num_classes == 3
    assert student.preprocess.normalization == Normalization(mean=[0.5] * 3, std=[0.5] * 3)
    for name, parameter in student.model.named_parameters():
        if not name.startswith("fc."):
            torch.testing.assert_close(parameter, published.get_parameter(name), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("uri", ["hf:someone/pets", "hf:someone/pets@v1", f"hf:someone/pets@{COMMIT}"])
def test_student_and_teacher_from_a_repository_with_a_timm_config(uri: str, repositories: Path, tmp_path: Path) -> None:
    published = publish(repositories / "someone/pets", "mini/resnet8_050", 4, CONFIG)
    data = factories.digits_folder(tmp_path / "data", classes=4, size=16)
    teacher = {"checkpoint": uri, "allow_chance": True}
    distill(factories.spec(data, teacher, student={"checkpoint": uri}, training=STILL), tmp_path / "run")
    student = load_student(tmp_path / "run/out/student.safetensors")
    assert student.architecture == "mini/resnet8_050"
    assert student.preprocess.normalization == Normalization(mean=[0.4] * 3, std=[0.3] * 3)
    torch.testing.assert_close(student.model.fc.weight, published.fc.weight, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(("published", "own", "expected"), [(24, None, 24), (None, None, 16), (24, 32, 32)])
def test_published_teacher_has_the_image_size_of_its_description(
    published: int | None, own: int | None, expected: int, repositories: Path, tmp_path: Path
) -> None:
    described = {**CONFIG["pretrained_cfg"], "input_size": None if published is None else [3, published, published]}
    publish(repositories / "someone/pets", "mini/resnet8_050", 4, {**CONFIG, "pretrained_cfg": described})
    data = factories.digits_folder(tmp_path / "data", classes=4, size=16)
    teacher = {"checkpoint": "hf:someone/pets", "allow_chance": True, "image_size": own}
    emitted: list[Event] = []
    distill(factories.spec(data, teacher, training=STILL), tmp_path / "run", on_event=emitted.append)
    [resolved] = [event for event in emitted if isinstance(event, Resolved)]
    assert resolved.spec.teacher is not None
    assert resolved.spec.teacher.image_size == expected


def test_published_teacher_is_pruned(repositories: Path, tmp_path: Path) -> None:
    publish(repositories / "someone/pets", "mini/resnet8_050", 4, CONFIG)
    data = factories.digits_folder(tmp_path / "data", classes=4, size=16)
    teacher = {"checkpoint": "hf:someone/pets", "allow_chance": True}
    distill(factories.spec(data, teacher, student={"prune": {"macs": 0.5, "round_to": 2}}), tmp_path / "run")
    assert load_student(tmp_path / "run/out/student.safetensors").structure.pruning


def test_files_are_downloaded_once_into_the_bounded_cache(repositories: Path, tmp_path: Path) -> None:
    publish(repositories / "someone/pets", "mini/resnet8_050", 4, CONFIG)
    with cache_of(tmp_path, 10_000_000) as cache:
        found = fetch("hf:someone/pets", cache, field="student.checkpoint")
        assert found.path.is_relative_to(tmp_path / "cache")
        found.path.with_name("mark").touch()
        assert fetch("hf:someone/pets", cache, field="student.checkpoint").path.with_name("mark").exists()
    assert not (tmp_path / "hf-home").exists()
    with cache_of(tmp_path, 10_000) as cache, pytest.raises(BadSpec, match="more than the limit of 10,000"):
        fetch("hf:someone/pets", cache, field="student.checkpoint")


def test_unreachable_hub_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A closed port gives the same error, but after half a minute of retries.
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for uri, repository in (("timm:resnet18.a1_in1k", "timm/resnet18.a1_in1k"), ("hf:someone/pets", "someone/pets")):
        with cache_of(tmp_path) as cache, pytest.raises(HubUnreachable, match="cannot reach") as raised:
            fetch(uri, cache, field="student.checkpoint")
        assert repository in raised.value.message
        assert (raised.value.code, raised.value.origin, raised.value.retryable) == ("hub_unreachable", "system", True)


def test_hub_that_limits_the_rate_is_tried_again_later(repositories: Path, tmp_path: Path) -> None:
    publish(repositories / "someone/pets", "mini/resnet8_050", 4, CONFIG)
    (repositories / "someone/pets/.status").write_text("429")
    with cache_of(tmp_path) as cache, pytest.raises(HubUnreachable) as raised:
        fetch("hf:someone/pets", cache, field="student.checkpoint")
    assert (raised.value.origin, raised.value.retryable) == ("system", True)


@pytest.mark.parametrize(
    "name", ["no_such_model", "resnet18.no_such_tag", "../../x", "%2e%2e/x", "r\u0435snet18", "x" * 2000, "", "a b"]
)
def test_name_without_published_weights_is_refused(name: str, tmp_path: Path) -> None:
    with (
        cache_of(tmp_path) as cache,
        pytest.raises(BadSpec, match=r"student\.checkpoint: timm has no published weights"),
    ):
        fetch(f"timm:{name}", cache, field="student.checkpoint")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "no config.json"),
        ("[1]", "no valid config.json"),
        ("{", "no valid config.json"),
        ("{}", "no valid config.json"),
        ('{"architecture": 5}', "no valid config.json"),
        ('{"architecture": "no_such_model"}', "unknown architecture"),
        ('{"architecture": "../../etc/passwd"}', "unknown architecture"),
        ('{"architecture": "resnet18", "model_args": {"checkpoint_path": "/etc/passwd"}}', "checkpoint_path"),
        ('{"architecture": "resnet18", "model_args": 5}', "no valid config.json|arguments"),
        ('{"a": "' + "x" * 2**20 + '"}', "more than the limit"),
    ],
)
def test_repository_that_describes_no_model_is_refused(
    config: str | None, message: str, repositories: Path, tmp_path: Path
) -> None:
    folder = repositories / "someone/pets"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"x")
    if config is not None:
        (folder / "config.json").write_text(config)
    with cache_of(tmp_path) as cache, pytest.raises(BadSpec, match=message):
        fetch("hf:someone/pets", cache, field="student.checkpoint")


@pytest.mark.parametrize(
    "uri",
    ["hf:no/repository", "hf:someone/pets@no-such-revision", "hf:../x", "hf:a/../b", "hf:a/%2e%2e", "hf:pets@../main"],
)
def test_missing_repository_or_revision_is_refused(uri: str, repositories: Path, tmp_path: Path) -> None:
    publish(repositories / "someone/pets", "mini/resnet8_050", 4, CONFIG)
    with cache_of(tmp_path) as cache, pytest.raises(BadSpec, match=r"the Hugging Face Hub has no config\.json in"):
        fetch(uri, cache, field="student.checkpoint")
