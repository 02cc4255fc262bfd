"""Runs the code blocks of the how-to guides: against a service with the tiny trainer, or on finished jobs of the real one.

Every test takes all blocks of its page that are to be run, so a new block fails it until it is run as well.
"""

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import constants
from PIL import Image

from cli.stack.stack import Stack, StackOptions
from tests.docs.blocks import Block, to_run
from tests.support import acme
from tests.support.damaged import Damaged
from tests.support.hub import hub_of_this_process
from tests.support.hub_commits import commits_of
from tests.support.models import save_untrained
from tests.support.s3_server import S3Server
from tests.support.tiny import wait_until
from tests.ttm_core.factories import digits_folder
from ttm_client import Client
from ttm_core.export import load_student
from ttm_core.export.formats.program import write_program
from ttm_core.export.formats.timm_folder import write_timm_zip
from ttm_core.models import build
from ttm_core.spec.job import DistillSpec
from ttm_core.spec.structure import ModelStructure

BIN = Path(sys.executable).parent
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("TTM_")}
LOCAL = "http://127.0.0.1:8000"
SUBMITTED = "upload:01935c5e-8f3a-7c1e-9d55-2f6f0c1b7a10"


def shell(
    block: Block, folder: Path, values: Mapping[str, str] | None = None, seconds: float = 300, **environment: str
) -> str:
    """Runs a shell block in a folder and returns its output. `python` and `ttm` are those of the tests."""
    ended = subprocess.run(
        ["bash", "-euc", block.replaced(values or {})],
        cwd=folder,
        env={**CLEAN, "PATH": f"{BIN}{os.pathsep}{CLEAN['PATH']}", "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert ended.returncode == 0, (str(block), ended.stderr)
    return ended.stdout


def python(block: Block, names: dict[str, Any], values: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Runs a Python block in this process with the names that the page assumes. Returns all names."""
    exec(compile(block.replaced(values or {}), str(block), "exec"), names)
    return names


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working directory of the guides that use the service: `data/pets` has images, and teachers are next to it."""
    folder = tmp_path_factory.mktemp("how-to")
    digits_folder(folder / "data" / "pets")
    (folder / "teacher.safetensors").write_bytes(b"weights")
    return folder


@pytest.fixture(scope="module")
def service(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The service with a worker that runs the tiny trainer and has the package of the guide to architectures."""
    packages = acme.install(tmp_path_factory.mktemp("packages"))
    root = str(Path(__file__).parents[2])
    options = StackOptions(
        var=tmp_path_factory.mktemp("var"),
        port=0,
        data_roots=(folder,),
        worker_command=(sys.executable, "-m", "tests.support.tiny_worker"),
        environment={**CLEAN, "PYTHONPATH": f"{packages}{os.pathsep}{root}", "TTM_QUEUES": "cpu,gpu"},
    )
    with Stack(options) as stack:
        yield stack


@pytest.fixture
def client(service: Stack, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client of the service. TTM_URL is its address and the working directory is that of the guides."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TTM_URL", service.url)
    with Client(service.url) as client:
        yield client


@pytest.mark.thorough
def test_add_an_architecture(client: Client, service: Stack, folder: Path) -> None:
    commands, module, project = to_run("how-to/add-an-architecture.md")
    assert (module.language, project.language) == ("python", "toml")  # tests.support.acme installs them
    digits_folder(folder / "architecture" / "data")
    values = {"file:///data/pets": (folder / "data/pets").as_uri(), "--dataset data ": "--dataset data --epochs 2 "}
    packages = service.options.environment["PYTHONPATH"]
    wait_until(lambda: any(each.name == "acme_net" for each in client.architectures.list("acme")))
    shell(commands, folder / "architecture", values, TTM_URL=service.url, PYTHONPATH=packages)
    assert architecture_of(folder / "architecture/run", packages) == "acme_net"
    (job,) = [each for each in client.jobs.list() if each.student == "acme_net"]
    assert client.jobs.wait(job.id, timeout=600).state == "succeeded"


def architecture_of(run: Path, packages: str) -> str:
    """The architecture of the student in a folder of results."""
    (file,) = run.rglob("student.safetensors")
    code = "import sys; from ttm_core.export import load_student; print(load_student(sys.argv[1]).architecture)"
    ended = subprocess.run(
        [sys.executable, "-c", code, file], env={**CLEAN, "PYTHONPATH": packages}, capture_output=True, check=True
    )
    return ended.stdout.decode().strip()


@pytest.mark.thorough
def test_bring_your_own_teacher(client: Client, service: Stack, folder: Path) -> None:
    inspect, first, second, binary, third, export = to_run("how-to/bring-your-own-teacher.md")
    model = build(ModelStructure(architecture="cifar/resnet56", num_classes=10, image_size=32))
    # As published for CIFAR-10: shortcuts without parameters, and no counters of batches.
    left_out = ("num_batches_tracked", "shortcut", "downsample")
    published = {name: each for name, each in model.state_dict().items() if not any(part in name for part in left_out)}
    torch.save(published, folder / "resnet56.th")
    command, _, expected = inspect.text.partition("\n")
    printed = shell(replace(inspect, text=command.removeprefix("$ ")), folder, TTM_URL=service.url)
    (uploaded,) = re.findall(r"upload:[0-9a-f-]{36}", printed)
    # A terminal aligns the columns below their names; a pipe separates them with tabs.
    *lines, _, row = expected.replace(SUBMITTED, uploaded).splitlines()
    assert printed.split() == " ".join([*lines, row]).split()
    for block in (first, second, third):
        teacher = yaml.safe_load(block.replaced({SUBMITTED: uploaded, "upload:...": uploaded}))["teacher"]
        DistillSpec.model_validate({"teacher": teacher, "student": "resnet18", "dataset": "file:///data/pets"})
    teacher = yaml.safe_load(first.replaced({SUBMITTED: uploaded}))["teacher"]
    dataset = (folder / "data/pets").as_uri()
    client.jobs.validate(teacher=teacher, student="cifar/resnet20", dataset=dataset)
    one_output = build(ModelStructure(architecture="mini/resnet8_025", num_classes=1)).state_dict()
    torch.save(one_output, folder / "binary.pth")
    assert python(binary, {})["state"]["fc.weight"].shape[0] == 2
    python(export, {"model": build(ModelStructure(architecture="mini/resnet8_025", num_classes=3, image_size=224))})
    described = client.uploads.inspect(client.uploads.create("teacher.onnx").id)
    assert described.kind == "onnx"


@pytest.mark.thorough
def test_find_a_student(client: Client, service: Stack, folder: Path) -> None:
    submit, with_python, which, on_a_board, read = to_run("how-to/find-a-student.md")
    shell(submit, folder, TTM_URL=service.url)
    names = python(with_python, {})
    assert names["ended"].state == "succeeded"
    assert (folder / "student.safetensors").exists()
    shell(which, folder, TTM_URL=service.url)
    shell(on_a_board, folder, TTM_URL=service.url)
    assert {study.state for study in client.studies.list()} >= {"succeeded"}
    printed = shell(read, folder, {"ID": names["study"].id}, TTM_URL=service.url)
    assert "pets on the kiosk" in printed


@pytest.mark.thorough
def test_gpu_workers(client: Client, service: Stack, folder: Path) -> None:
    (submit,) = to_run("how-to/gpu-workers.md")
    uploaded = client.uploads.create("teacher.safetensors").uri
    values = {LOCAL: service.url, "upload:ID": uploaded, "file:///data/pets": (folder / "data/pets").as_uri()}
    job = json.loads(shell(submit, folder, values))
    assert (job["queue"], job["state"]) == ("gpu", "queued")


@pytest.mark.thorough
def test_run_a_table(client: Client, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (table,) = to_run("how-to/run-a-table.md")
    (folder / "resnet56.pth").write_bytes(b"weights")
    python(table, {"DATASET": (folder / "data/pets").as_uri()})
    assert len(capsys.readouterr().out.splitlines()) == 3 * len([*client.recipes.list("resnet56-resnet20")])


@pytest.mark.thorough
def test_run_in_production(tmp_path: Path, s3_server: S3Server) -> None:
    rule, restrict = to_run("how-to/run-in-production.md")
    s3_server.set_lifecycle(s3_server.new_bucket(), json.loads(rule.text))
    printed = shell(restrict, tmp_path)
    assert "/data/vision https://data.example.org gs://pets" in printed


@pytest.fixture
def results(damaged: Damaged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Values of the guides about finished jobs, in whose working directory the files of the student are."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TTM_URL", damaged.url)
    with Client(damaged.url) as client:
        for artifact in client.jobs.artifacts(damaged.student):
            client.jobs.download_artifact(damaged.student, artifact, tmp_path / artifact.name)
    Image.fromarray(np.full((24, 24, 3), 200, np.uint8)).save(tmp_path / "photo.jpg")
    shutil.copy(tmp_path / "photo.jpg", tmp_path / "cat.jpg")
    return {
        LOCAL: damaged.url,
        "OTHER_JOB": damaged.teacher,
        "$JOB": damaged.student,
        "JOB": damaged.student,
        "0198c0de-0000-7000-8000-000000000000": damaged.student,
    }


@pytest.mark.thorough
def test_see_what_the_student_lost(
    results: dict[str, str], damaged: Damaged, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage, report, predict, curl, spec = to_run("how-to/see-what-the-student-lost.md")
    assert "teacher right, student wrong" in shell(damage, tmp_path, results, TTM_URL=damaged.url)
    python(report, {"job_id": damaged.student})
    assert capsys.readouterr().out
    assert shell(predict, tmp_path, results, TTM_URL=damaged.url)
    assert json.loads(shell(curl, tmp_path, results))["models"]
    fields = json.loads(spec.text)
    assert DistillSpec.model_validate({"student": "resnet18", "method": "ce", "dataset": "file:///d", **fields})


@pytest.mark.thorough
def test_ship_on_a_board(results: dict[str, str], damaged: Damaged, tmp_path: Path) -> None:
    create, measure, agent, request, unit, run = to_run("how-to/ship-on-a-board.md")
    environment = {"TTM_URL": damaged.url, "TTM_DATABASE_URL": f"sqlite:///{tmp_path / 'keys.db'}"}
    shell(replace(create, text="ttm keys create --scope admin"), tmp_path, **environment)
    assert shell(create, tmp_path, **environment).startswith("ttm_")
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench/bin").symlink_to(BIN)
    assert "Ship student" in shell(measure, tmp_path, results, **environment)

    measuring = subprocess.Popen(
        ["bash", "-euc", f"exec {agent.text}"],
        cwd=tmp_path,
        env={**CLEAN, **environment},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        with Client(damaged.url) as client:
            python(request, {"job": client.jobs.get(damaged.student)})
        assert measuring.stderr is not None
        assert any("batch 1, threads 1: " in line for line in measuring.stderr)
    finally:
        measuring.terminate()
        measuring.wait(60)
    parsed = configparser.ConfigParser()
    parsed.read_string(unit.text)
    assert parsed["Service"]["ExecStart"].endswith(agent.text.strip())
    structure = load_student(tmp_path / "student.safetensors").preprocess
    pixels = np.zeros((2, structure.channels, structure.image_size, structure.image_size), np.float32)
    assert python(run, {"pixels": pixels})["logits"].shape == (2, 5)


@pytest.mark.parametrize("number", [0, 1])
def test_single_sign_on(number: int, tmp_path: Path) -> None:
    blocks = to_run("how-to/single-sign-on.md")
    assert len(blocks) == 2
    (tmp_path / "client_secret").write_text("secret")
    values = {"/run/secrets/oidc_client_secret": str(tmp_path / "client_secret")}
    code = "from ttm_jobs.settings import Settings; s = Settings(); print(s.oidc_issuer, s.proxy_identity)"
    setting = replace(blocks[number], text=f"set -a\n{blocks[number].text}\npython -c '{code}'\n")
    printed = shell(setting, tmp_path, values, TTM_DATABASE_URL="sqlite:///x.db", TTM_BROKER_URL="redis://127.0.0.1:1")
    assert printed.split() == [["https://id.example.com/realms/team", "None"], ["None", "x-forwarded"]][number]


@pytest.mark.thorough
def test_use_the_student(
    results: dict[str, str],
    damaged: Damaged,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with_engine, with_timm, with_onnx, with_pytorch, push, evaluate = to_run("how-to/use-the-student.md")
    student = load_student(tmp_path / "student.safetensors")
    side = student.preprocess.image_size
    image = Image.open("photo.jpg").convert("RGB").resize((side, side))
    assert python(with_engine, {"image": image})["name"]
    student_of_timm(tmp_path)
    assert python(with_timm, {})["model"].num_classes == 2
    python(with_onnx, {})
    assert capsys.readouterr().out.strip()
    write_program(student, tmp_path / "student.pt2", torch.zeros(1, student.preprocess.channels, side, side).byte())
    pixels = torch.zeros(2, student.preprocess.channels, side, side)
    assert python(with_pytorch, {"pixels": pixels})["logits"].shape == (2, len(student.class_names))
    (tmp_path / "hub").mkdir()
    with hub_of_this_process(tmp_path / "hub", monkeypatch):
        values = {**results, "hf_...": "hf_OWNER"}
        endpoint = {"HF_ENDPOINT": constants.ENDPOINT, "HF_HUB_DISABLE_XET": "1"}
        assert "/OWNER/REPO/commit/" in shell(push, tmp_path, values, TTM_URL=damaged.url, **endpoint)
    assert len(commits_of(tmp_path / "hub/OWNER/REPO")) == 1
    shutil.copytree(damaged.data / "digits", tmp_path / "DIR")
    shutil.copytree(tmp_path / "DIR/val", tmp_path / "DIR/test")
    lines = shell(evaluate, tmp_path).splitlines()
    assert {"top1", "loss"} <= set(json.loads(lines[1]))


def student_of_timm(folder: Path) -> None:
    """Writes the folder `student-timm` of an untrained student."""
    path = folder / "timm.safetensors"
    save_untrained(path, "test_resnet")
    write_timm_zip(load_student(path), folder / "student-timm.zip")
    shutil.unpack_archive(folder / "student-timm.zip", folder)
