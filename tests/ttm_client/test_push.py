"""Students on a Hub on this machine: what a repository contains, who may write to it, and errors."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import onnxruntime
import pytest
import timm
import torch
from huggingface_hub import constants

from tests.support.damaged import HOSTILE_CLASS, Damaged
from tests.support.hub_commits import Commit, commits_of
from tests.support.models import save_untrained
from tests.ttm_core.report.factories import report
from ttm_client import Client, HubRefused, HubUnreachable
from ttm_client.hub.files import repository_files
from ttm_client.hub.publish import Destination, publish
from ttm_core.data.cache import DataCache
from ttm_core.export import load_student
from ttm_core.export.formats.timm_folder import write_timm_zip
from ttm_core.export.model_card import model_card
from ttm_core.models.hub.published import fetch
from ttm_core.report.schema import ExportedFile
from ttm_jobs.broker.embedded import free_port

FILES = [
    "README.md",
    "config.json",
    "model.safetensors",
    *(f"student{end}" for end in ("-fp16.onnx", "-int8.onnx", ".onnx", ".pt2")),
]


@pytest.fixture
def client(damaged: Damaged) -> Iterator[Client]:
    with Client(damaged.url) as client:
        yield client


def test_pushed_student_loads_from_the_repository(
    client: Client, damaged: Damaged, writable_hub: Path, tmp_path: Path
) -> None:
    commit = client.jobs.push(damaged.student, "hf:me/pets")
    folder = writable_hub / "me/pets"
    assert commit.startswith(f"{constants.ENDPOINT}/me/pets/commit/")
    assert commits_of(folder) == [Commit("main", f"Student of job {damaged.student}", True, FILES)]
    student = load_student(folder / "model.safetensors")
    session = onnxruntime.InferenceSession(folder / "student.onnx")
    pixels = torch.rand(2, student.preprocess.channels, student.preprocess.image_size, student.preprocess.image_size)
    assert session.run(["logits"], {"image": pixels.numpy()})[0].shape == (2, len(student.class_names))
    with DataCache(tmp_path / "cache", None) as cache:
        found = fetch("hf:me/pets", cache, field="student.checkpoint")
    assert (found.architecture, found.normalization) == (student.architecture, student.preprocess.normalization)
    assert json.loads((folder / "config.json").read_text())["label_names"] == student.class_names
    card = (folder / "README.md").read_text()
    assert 'load_student("model.safetensors")' in card
    # What the job was trained on stays in the service.
    for name in FILES:
        content = (folder / name).read_bytes()
        assert str(damaged.data).encode() not in content, name
        assert damaged.teacher.encode() not in content, name
    assert HOSTILE_CLASS in student.class_names

    client.jobs.push(damaged.student, "me/other", public=True, revision="next", message="Second try")
    assert commits_of(writable_hub / "me/other") == [Commit("next", "Second try", False, FILES)]
    client.jobs.push(damaged.student, "me/other", revision="next")
    assert len(commits_of(writable_hub / "me/other")) == 2


def test_student_of_a_timm_architecture_loads_with_timm_alone(writable_hub: Path, tmp_path: Path) -> None:
    spec = save_untrained(tmp_path / "student.safetensors", "test_resnet")
    student = load_student(tmp_path / "student.safetensors")
    write_timm_zip(student, tmp_path / "student-timm.zip")
    exported = [ExportedFile(format="timm", file="student-timm.zip", size=1000)]
    (tmp_path / "MODEL_CARD.md").write_text(model_card(report(["cat", "dog"], exports=exported), spec))
    files = repository_files(tmp_path, "me/pets")
    publish(files, Destination("me/pets", None, public=False), message="First", token="hf_me")
    assert commits_of(writable_hub / "me/pets")[0].files == ["README.md", "config.json", "model.safetensors"]
    card = (writable_hub / "me/pets/README.md").read_text()
    assert 'timm.create_model("hf-hub:me/pets", pretrained=True)' in card
    assert "student-timm" not in card
    model = timm.create_model("hf-hub:me/pets", pretrained=True).eval()
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(model(images), student.model(images))
    assert model.pretrained_cfg["label_names"] == ["cat", "dog"]


def test_repository_of_others_and_unknown_tokens_are_refused(
    client: Client, damaged: Damaged, writable_hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (writable_hub / "other/pets").mkdir(parents=True)
    for repository in ("other/new", "other/pets"):
        with pytest.raises(HubRefused, match=f"may not write to '{repository}'"):
            client.jobs.push(damaged.student, repository)
    for wrong in ("pets/", "a/b/c", "me/.."):
        with pytest.raises(HubRefused, match="is not a repository"):
            client.jobs.push(damaged.student, wrong)
    monkeypatch.setenv("HF_TOKEN", "secret-of-mine")
    with pytest.raises(HubRefused, match="does not accept the token") as raised:
        client.jobs.push(damaged.student, "me/pets")
    assert "secret-of-mine" not in str(raised.value)
    monkeypatch.setenv("HF_TOKEN", " ")
    with pytest.raises(HubRefused, match="Set HF_TOKEN"):
        client.jobs.push(damaged.student, "me/pets")
    assert [path.name for path in writable_hub.iterdir()] == ["other"]


def test_hub_that_limits_the_rate_or_is_down_is_reported(
    client: Client, damaged: Damaged, writable_hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (writable_hub / ".create-status").write_text("429")
    with pytest.raises(HubUnreachable, match=r"limits the rate of your requests \(429\)"):
        client.jobs.push(damaged.student, "me/pets")
    (writable_hub / ".create-status").write_text("503")
    with pytest.raises(HubUnreachable, match="returned status 503"):
        client.jobs.push(damaged.student, "me/pets")
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(HubUnreachable, match="cannot be reached"):
        client.jobs.push(damaged.student, "me/pets")


def test_job_without_a_student_has_nothing_to_push(client: Client, damaged: Damaged, writable_hub: Path) -> None:
    queued = client.jobs.create(student="mini/resnet8_025", dataset=(damaged.data / "digits").as_uri(), method="ce")
    with pytest.raises(HubRefused, match="has no student to upload"):
        client.jobs.push(queued.id, "me/pets")


def test_command_pushes_and_explains_errors(damaged: Damaged, writable_hub: Path) -> None:
    environment = {
        **os.environ,
        "TTM_URL": damaged.url,
        "HF_ENDPOINT": constants.ENDPOINT,
        "HF_HUB_DISABLE_XET": "1",
        "HF_TOKEN": "hf_me",
    }

    def ttm_push(*arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ttm_client.cli.main", "push", damaged.student, *arguments]
        return subprocess.run(command, env=environment | changed, capture_output=True, text=True, check=False)

    pushed = ttm_push("hf:me/pets", "--public", "--message", "From the shell", "--json")
    assert pushed.returncode == 0, pushed.stderr
    assert json.loads(pushed.stdout)["commit"].startswith(f"{constants.ENDPOINT}/me/pets/commit/")
    assert commits_of(writable_hub / "me/pets") == [Commit("main", "From the shell", False, FILES)]
    refused = ttm_push("hf:other/pets")
    assert (refused.returncode, "may not write to 'other/pets'" in refused.stderr) == (1, True)
    assert "hf_me" not in refused.stderr + refused.stdout + pushed.stderr
    assert ttm_push("me/pets").returncode == 2
