"""Registry, uploads, webhooks, the queue and workers."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cli.stack.stack import Stack
from tests.cli.conftest import ENVIRONMENT, Ttm
from tests.cli.test_commands import MISSING_ID, QUICK
from tests.support.models import create_model
from tests.support.onnx_files import linear_classifier
from tests.support.tiny import wait_until
from ttm_client import Client


@pytest.mark.parametrize("kind", ["teachers", "datasets"])
def test_registry_entries_are_submitted_by_reference(ttm: Ttm, data: Path, tmp_path: Path, kind: str) -> None:
    thing = tmp_path / "teacher.pt" if kind == "teachers" else data
    if kind == "teachers":
        thing.write_bytes(b"weights")
    name = f"pets-{kind}"
    first = ttm(kind, "add", name, str(thing), "--description", "the first")
    assert (first.returncode, first.stdout, first.stderr) == (0, f"{kind[:-1]}:{name}@1\n", "")
    again = json.loads(ttm(kind, "add", name, str(thing), "--json").stdout)
    assert again["version"] == 2
    shown = [line.split("\t") for line in ttm(kind, "show", name).stdout.splitlines()]
    assert [row[0] for row in shown] == [f"{kind[:-1]}:{name}@{version}" for version in (2, 1)]
    assert shown[1][3] == "the first"
    assert [each["name"] for each in json.loads(ttm(kind, "list", "--json").stdout)] == [name]
    if kind == "datasets":
        submitted = ttm("submit", "--student", "resnet18", "--dataset", f"dataset:{name}", "--method", "ce", "--json")
        assert json.loads(submitted.stdout)["spec"]["dataset"]["uri"] == data.as_uri()
    for version in ("1", "2"):
        assert ttm(kind, "remove", name, version).returncode == 0
    gone = ttm(kind, "show", name)
    assert (gone.returncode, gone.stdout) == (4, "")


def test_send_list_and_delete_uploads(ttm: Ttm, tmp_path: Path) -> None:
    path = tmp_path / "teacher.safetensors"
    path.write_bytes(b"weights")
    address = ttm("uploads", "send", str(path)).stdout.strip()
    assert address.startswith("upload:")
    rows = [line.split("\t") for line in ttm("uploads", "list").stdout.splitlines()]
    assert rows[0][:3] == [address, "teacher.safetensors", "7 B"]
    assert ttm("uploads", "delete", address).returncode == 0
    assert address not in ttm("uploads", "list").stdout
    assert ttm("uploads", "delete", address).returncode == 4
    assert ttm("uploads", "send", str(tmp_path / "none")).returncode == 2


def test_webhook_lifecycle(ttm: Ttm) -> None:
    made = ttm("webhooks", "create", "https://hooks.example.org/ttm", "--event", "job.failed", "--description", "duty")
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith("whsec_")
    (row,) = [line.split("\t") for line in ttm("webhooks", "list").stdout.splitlines()]
    assert row[1:] == ["https://hooks.example.org/ttm", "job.failed", "enabled", "duty"]
    assert row[0] in made.stderr
    assert ttm("webhooks", "rotate", row[0]).stdout != made.stdout
    sent = json.loads(ttm("webhooks", "ping", row[0], "--json").stdout)
    assert sent["id"] in ttm("webhooks", "deliveries", row[0]).stdout
    assert sent["id"] in ttm("webhooks", "redeliver", row[0], sent["id"]).stdout
    assert ttm("webhooks", "replay", row[0], "--since", "2027-01-01").stdout == "0\n"
    assert json.loads(ttm("webhooks", "disable", row[0], "--json").stdout)["enabled"] is False
    assert "disabled" in ttm("webhooks", "list").stdout
    assert json.loads(ttm("webhooks", "enable", row[0], "--json").stdout)["enabled"] is True
    assert ttm("webhooks", "delete", row[0]).returncode == 0
    assert ttm("webhooks", "list").stdout == ""
    refused = ttm("webhooks", "create", "http://127.0.0.1/")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert ttm("webhooks", "ping", MISSING_ID).returncode == 4


def test_queue_and_workers(ttm: Ttm, stack: Stack, data: Path) -> None:
    with Client(stack.url) as client:
        holding = client.jobs.create(
            student="resnet18", dataset=data.as_uri(), method="ce", name="steps=2000 step_seconds=0.05"
        )
        wait_until(lambda: client.jobs.get(holding.id).state == "running")
        waiting = [
            client.jobs.create(student="resnet18", dataset=data.as_uri(), method="ce", name=QUICK, priority=priority).id
            for priority in (2, 8)
        ]
        rows = [line.split("\t") for line in ttm("queue").stdout.splitlines()]
        assert [(row[0], row[1], row[4], row[7]) for row in rows] == [
            ("1", waiting[1], "8", "jobs ahead of it"),
            ("2", waiting[0], "2", "jobs ahead of it"),
        ]
        overview = json.loads(ttm("queue", "--json", "-n", "1").stdout)
        assert (
            overview["depth"],
            overview["queues"][0]["project_position"],
            [job["id"] for job in overview["jobs"]],
        ) == (
            2,
            1,
            waiting[1:],
        )
        (worker,) = [line.split("\t") for line in ttm("workers").stdout.splitlines()]
        assert worker[4] == holding.id
        assert json.loads(ttm("workers", "--json").stdout)[0]["busy"] is True
        for job_id in (*waiting, holding.id):
            client.jobs.cancel(job_id)
    assert ttm("stores").stdout == ""
    assert json.loads(ttm("stores", "--json").stdout) == []


def test_inspect_shows_the_architectures_that_a_local_file_fits(ttm: Ttm, tmp_path: Path) -> None:
    path = tmp_path / "teacher.pt"
    state = create_model("mini/resnet8_025", num_classes=10).state_dict()
    torch.save({"student": state, "teacher": state}, path)
    shown = ttm("inspect", str(path))
    assert shown.returncode == 0
    assert "checkpoint_key teacher; also student\n" in shown.stdout
    assert "mini/resnet8_025\t100.0%\t10\tloads" in shown.stdout
    uri = shown.stdout.splitlines()[0]
    found = json.loads(ttm("inspect", uri, "--checkpoint-key", "student", "--json").stdout)
    assert found["layout"] == "student"
    assert found["candidates"][0]["architecture"] == "mini/resnet8_025"
    path.write_bytes(b"no checkpoint")
    assert ttm("inspect", str(path)).returncode == 1
    assert ttm("inspect", str(tmp_path / "none")).returncode == 2


def test_inspect_shows_what_an_onnx_file_takes_and_returns(ttm: Ttm, tmp_path: Path) -> None:
    path = tmp_path / "teacher.onnx"
    path.write_bytes(linear_classifier(shape=[None, 3, None, None]))
    before = dict(line.split("\t") for line in ttm("inspect", str(path)).stdout.splitlines() if "\t" in line)
    assert before == {
        "parameters": "1.92 k",
        "input": "x: float32, NCHW, any batch, 3 x any x any",
        "output": "y: logits of 10 classes",
        "pixels": "not normalized: set teacher.normalization",
        "run": "no; --image-size sets the size",
    }
    after = ttm("inspect", str(path), "--image-size", "8").stdout
    assert "run\tonce at 8 pixels\n" in after
    failed = ttm("inspect", str(path), "--image-size", "9")
    assert failed.returncode == 1
    assert "9" in failed.stderr


def test_changes_are_in_the_audit_log(ttm: Ttm) -> None:
    made = json.loads(ttm("webhooks", "create", "https://hooks.example.org/audited", "--json").stdout)
    ttm("webhooks", "delete", made["id"])
    listed = json.loads(ttm("audit", "--object", made["id"], "--json").stdout)
    assert [entry["action"] for entry in listed] == ["webhooks_delete", "webhooks_create"]
    (row,) = [line.split("\t") for line in ttm("audit", "--limit", "1").stdout.splitlines()]
    assert row[1:4] == ["-", "webhooks_delete", made["id"]]
    assert ttm("audit", "--object", made["id"], "--before", "2020-01-01").stdout == ""
    assert ttm("audit", "--after", "yesterday").returncode == 2


def test_events_of_all_jobs_are_followed_until_interrupted(ttm: Ttm, stack: Stack, data: Path) -> None:
    job = json.loads(
        ttm(
            "submit", "--student", "resnet18", "--dataset", str(data), "--method", "ce", "--name", QUICK, "--json"
        ).stdout
    )
    command = [sys.executable, "-m", "ttm_client.cli.main", "events", "--type", "job.state", "--after", "0"]
    with subprocess.Popen(
        command,
        env={**ENVIRONMENT, "TTM_URL": stack.url},
        stdout=subprocess.PIPE,
        text=True,
        # Shells start background jobs with SIGINT ignored, and processes inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as following:
        assert following.stdout is not None
        lines = iter(following.stdout)
        for state in ("queued", "running", "succeeded"):
            assert next(line for line in lines if f"job.state {state} {job['id']} ({QUICK})" in line)
        following.send_signal(signal.SIGINT)
        assert following.wait(60) == 130
    assert ttm("events", "--type", "metrics").returncode == 2
