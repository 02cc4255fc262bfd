"""`ttm pause`, `resume`, `retry`, `logs`, `compare`, `tag`, `open`, `delete` and `download --all`."""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

import httpx2

from tests.cli.conftest import Ttm

SLOW = "steps=1000 step_seconds=0.05"


def submitted(ttm: Ttm, data: Path, name: str, *more: str) -> str:
    done = ttm("submit", "--student", "resnet18", "--dataset", str(data), "--method", "ce", "--name", name, *more)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout.splitlines()[0]


def test_pause_resume_and_retry(ttm: Ttm, data: Path) -> None:
    busy = submitted(ttm, data, SLOW)
    # The only worker is busy, so this job stays queued.
    handling = ["--priority", "2", "--max-attempts", "7", "--deadline", "3600", "--tag", "night"]
    handling += ["--queue", "default", "--device-memory", "0.5"]
    job = submitted(ttm, data, SLOW, *handling)
    shown = json.loads(ttm("show", job, "--json").stdout)
    assert (shown["max_attempts"], shown["attempts"], shown["queue"]) == (7, [], "default")
    waiting = json.loads(ttm("queue", "--json").stdout)["jobs"]
    assert [row["device_memory_bytes"] for row in waiting if row["id"] == job] == [500_000_000]
    assert ttm("pause", job).stdout == f"{job} is paused\n"
    assert ttm("retry", job).returncode == 5
    assert json.loads(ttm("resume", job, "--json").stdout)["state"] == "queued"
    assert ttm("resume", job).returncode == 5
    assert ttm("logs", job).returncode == 4
    for one in (job, busy):
        ttm("cancel", one)
        ttm("watch", one)
    again = json.loads(ttm("retry", job, "--json").stdout)
    assert again["retry_of"] == job
    several = ttm("cancel", again["id"], job, busy)
    assert (several.returncode, several.stdout.count(" is cancel")) == (0, 3), several.stdout


def test_follow_logs_and_show_attempts(ttm: Ttm, data: Path) -> None:
    job = submitted(ttm, data, "fail_at=3 step_seconds=0.05")
    followed = ttm("logs", "--follow", job)
    assert followed.returncode == 0
    assert followed.stdout.splitlines()[-1] == "step 3 of 10"
    assert json.loads(ttm("logs", job, "--json").stdout)["log"] == followed.stdout
    assert "attempt 1\tfailed, steps 0 to 3, bad_dataset: No images." in ttm("show", job).stdout


def test_compare(ttm: Ttm, data: Path) -> None:
    jobs = [submitted(ttm, data, "steps=2", "--epochs", epochs, "--watch") for epochs in ("3", "4")]
    lines = [line.split("\t") for line in ttm("compare", *jobs).stdout.splitlines()]
    assert lines[0][:4] == ["a", "steps=2", "succeeded", "resnet18"]
    assert lines[0][4].startswith("50.00%")
    assert ["training.epochs", "3", "4"] in lines
    compared = json.loads(ttm("compare", *jobs, "--json").stdout)
    assert compared["differences"] == [{"field": "training.epochs", "values": ["3", "4"]}]
    assert ttm("compare", jobs[0]).returncode == 2


def test_tag_open_and_delete(ttm: Ttm, data: Path) -> None:
    job = submitted(ttm, data, SLOW, "--tag", "night")
    assert ttm("tag", job, "--add", "pets", "--add", "night").stdout == f"{job} has the tags night pets\n"
    assert ttm("tag", job, "--remove", "night").stdout == f"{job} has the tags pets\n"
    assert json.loads(ttm("show", job, "--json").stdout)["tags"] == ["pets"]
    assert ttm("tag", job, "--add", "not a tag").returncode == 2
    assert ttm("tag", "--tag", "pets", "--add", "cats", "--dry-run").stdout == f"{job} has the tags pets\n"
    assert ttm("tag", "--tag", "pets", "--add", "cats").stdout == f"{job} has the tags cats pets\n"
    for ambiguous in (("tag", "--add", "x"), ("tag", job, "--tag", "pets", "--add", "x"), ("cancel",)):
        assert ttm(*ambiguous).returncode == 2
    assert (ttm("cancel", "--tag", "none").stdout, ttm("cancel", "--tag", "none").returncode) == ("", 0)
    shown = json.loads(ttm("cancel", "--tag", "cats", "--dry-run", "--json").stdout)
    assert [(each["id"], each["tags"]) for each in shown] == [(job, ["cats", "pets"])]
    address = json.loads(ttm("open", job, "--json").stdout)["page"]
    assert address.endswith(f"/ui/jobs/{job}")
    assert httpx2.get(address).status_code == 200
    assert ttm("delete", job, "--yes").returncode == 5
    assert ttm("cancel", "--tag", "cats").stdout.startswith(f"{job} is cancel")
    ttm("watch", job)
    # Without a confirmation nothing is deleted.
    refused = ttm("delete", job, "--json")
    assert (refused.returncode, refused.stdout.strip()) == (1, "")
    assert "Delete " in refused.stderr
    assert ttm("show", job).returncode == 0
    assert ttm("delete", job, "--yes").stdout == f"{job} is deleted\n"
    assert ttm("show", job).returncode == 4


def test_all_artifacts_are_downloaded_into_a_folder(ttm: Ttm, data: Path, tmp_path: Path) -> None:
    job = submitted(ttm, data, "steps=2", "--watch")
    listed = {file["name"]: file["sha256"] for file in json.loads(ttm("show", job, "--json").stdout)["artifacts"]}
    assert len(listed) > 1
    assert ttm("download", job, "--all", "--output", str(tmp_path / "job")).returncode == 0
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / "job").iterdir()} == listed
    assert ttm("download", job, "--all", "--artifact", "report.json").returncode == 2


def test_an_artifact_is_downloaded_into_an_existing_folder(ttm: Ttm, data: Path, tmp_path: Path) -> None:
    job = submitted(ttm, data, "steps=2", "--watch")
    for artifact in (), ("--artifact", "trainer.log"):
        name = artifact[-1] if artifact else "student.safetensors"
        downloaded = ttm("download", job, *artifact, "-o", str(tmp_path))
        assert (downloaded.returncode, downloaded.stdout) == (0, f"{tmp_path / name}\n"), downloaded.stderr
        assert (tmp_path / name).is_file()


def test_paths_that_cannot_be_written_are_errors(ttm: Ttm, data: Path, tmp_path: Path) -> None:
    job = submitted(ttm, data, "steps=2", "--watch")
    (tmp_path / "file").touch()
    # Nobody, not even root, can create a file in /proc.
    for path, reason in (
        (Path("/proc/student"), "No such file or directory"),
        (tmp_path / ("x" * 300), "File name too long"),
        (tmp_path / "file" / "student", "File exists"),
    ):
        ended = ttm("download", job, "-o", str(path))
        assert ended.returncode == 1
        assert ended.stderr.startswith("error /")
        assert ended.stderr.endswith(f": {reason}\n"), ended.stderr
    assert (
        ttm("download", job, "--all", "-o", str(tmp_path / "file")).stderr
        == f"error {tmp_path / 'file'}: File exists\n"
    )


def test_version_is_that_of_the_package(ttm: Ttm) -> None:
    assert ttm("--version").stdout == f"ttm {version('ttm-client')}\n"
