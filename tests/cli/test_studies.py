"""Studies on the command line, against the shared stack."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Ttm
from tests.cli.test_commands import MISSING_ID, completions
from ttm_client.cli.studies.tables import best_accuracy, percent
from ttm_client.models.studies import StudyCandidate


@pytest.fixture
def arguments(data: Path) -> list[str]:
    """The arguments of a small study."""
    (data / "teacher.safetensors").write_bytes(b"x")
    # A file:// URI, because the service inspects uploads.
    uri = (data / "teacher.safetensors").as_uri()
    return ["--teacher", uri, "--dataset", str(data), "--student", "cifar/resnet8", "--student", "cifar/resnet[12]*"]


def test_a_study_is_submitted_watched_and_downloaded(
    ttm: Ttm, arguments: list[str], tmp_path: Path, stack_url: str
) -> None:
    options = ["--min-retention", "0.5", "--max-mb", "1.7", "--epochs", "9", "--seeds", "1", "--name", "kiosk"]
    done = ttm("study", "submit", *arguments, *options, "--watch")
    assert done.returncode == 0, done.stderr
    study_id, *rows = done.stdout.splitlines()
    shown = dict(row.split("\t") for row in rows)
    assert shown["state"] == "succeeded, result"
    assert shown["recommended"].startswith("cifar/resnet8, int8")
    assert shown["top-1 (validation)"].endswith("%, one run")
    assert "top-1 (test)" not in shown, "these data have no test split"
    assert shown["retention (validation)"].endswith("% of the teacher")
    assert shown["against labels alone"].startswith("int8 files: ")
    assert shown["rung 0"] == "epoch 3: 3 of 3 candidates continue"
    assert re.search(r"stage rungs\n.* rung 0: 3 of 3 continue\n.* stage finals\n", done.stderr)

    assert ttm("study", "show", study_id).stdout.splitlines() == rows
    listed = [line.split("\t") for line in ttm("study", "list", "--state", "succeeded").stdout.splitlines()]
    assert [row[:3] for row in listed] == [[study_id, "kiosk", "succeeded"]]
    assert ttm("views", "save", "studies", "broken", "state=failed").returncode == 0
    assert study_id not in ttm("study", "list", "--view", "broken").stdout
    assert study_id in ttm("study", "list", "--view", "broken", "--state", "succeeded").stdout
    assert ttm("study", "list", "--view", "other").returncode == 2
    assert ttm("views", "delete", "studies", "broken").returncode == 0
    front = [line.split("\t") for line in ttm("study", "front", study_id).stdout.splitlines()]
    assert front[0][:3] == ["*", "cifar/resnet8", "int8"]
    candidates = [line.split("\t") for line in ttm("study", "candidates", study_id).stdout.splitlines()]
    # The pattern matches resnet14, resnet20 and resnet110, which is too large even as int8.
    assert [row[1] for row in candidates] == ["cifar/resnet8", "cifar/resnet14", "cifar/resnet20", "cifar/resnet110"]
    assert candidates[3][-1] == "screen: int8: its size of 1,736,564 bytes is above the limit of 1,700,000 bytes"
    assert ttm("study", "replay", study_id).stdout == "The replayed decisions agree.\n"
    path = tmp_path / "student.safetensors"
    assert ttm("study", "download", study_id, "-o", str(tmp_path)).returncode == 0
    assert path.stat().st_size == 64
    finished = ttm("study", "cancel", study_id)
    assert finished.returncode == 5, finished.stderr

    assert completions(f"ttm study show {study_id[:-2]}", stack_url) == [study_id]
    listed = json.loads(ttm("study", "list", "--state", "failed", "--state", "succeeded", "--json").stdout)
    assert study_id in {each["id"] for each in listed}
    assert json.loads(ttm("study", "list", "--state", "paused", "--json").stdout) == []
    # Its name and a prefix of its id, as for jobs.
    for command in ("show", "candidates", "front", "replay", "watch"):
        assert ttm("study", command, "kiosk").stdout == ttm("study", command, study_id).stdout != ""
    assert ttm("study", "cancel", study_id[:23]).returncode == 5
    # Without a confirmation nothing is deleted.
    refused = ttm("study", "delete", "kiosk", "--json")
    assert (refused.returncode, refused.stdout.strip()) == (1, "")
    assert "Delete kiosk (succeeded) with its jobs and their files?" in refused.stderr
    assert ttm("study", "delete", "kiosk", "--yes").stdout == f"{study_id} is deleted\n"
    assert ttm("study", "show", "kiosk").returncode == 4


def run(**fields: Any) -> dict[str, Any]:
    return {"baseline": False, "accuracies": {}, "validation": None, **fields}


@pytest.mark.parametrize(
    ("runs", "shown"),
    [
        ([], "-"),
        ([run(accuracies={"1": 0.5, "3": 0.6})], "60.00%"),
        # Complete runs alone, and one that is less accurate than an earlier epoch.
        ([run(validation=0.7), run(validation=0.65), run(baseline=True, validation=0.9)], "70.00%"),
        ([run(accuracies={"1": 0.8}, validation=0.7)], "70.00%"),
        ([run(validation=0.0)], "0.00%"),
    ],
)
def test_accuracy_of_a_candidate_is_that_of_its_complete_runs(runs: list[dict[str, Any]], shown: str) -> None:
    """As in the dashboard."""
    assert percent(best_accuracy(StudyCandidate.model_construct(jobs=runs))) == shown


def test_candidates_are_shown_without_training(ttm: Ttm, arguments: list[str]) -> None:
    done = ttm("candidates", *arguments, "--max-mb", "0.2", "--max-ms", "1")
    assert done.returncode == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[-1] for row in rows][:2] == ["", ""]
    assert (
        rows[2][-1]
        == "screen: int8: its size of 278,324 bytes is above the limit of 200,000 bytes, its latency of 1.392 ms is above the limit of 1 ms"
    )
    none = ttm("candidates", *arguments, "--max-mb", "0.01", "--json")
    assert none.returncode == 1
    assert (
        "No candidate meets the limits. The nearest are cifar/resnet8 (int8): its size of 83,892 bytes is above the limit of 10,000 bytes"
        in none.stderr
    )
    assert len(json.loads(none.stdout)) == 4


def test_a_recommendation_that_misses_limits_names_them(ttm: Ttm, arguments: list[str]) -> None:
    options = ["--min-accuracy", "1", "--epochs", "3", "--seeds", "1", "--set", "baseline=false", "--watch"]
    done = ttm("study", "submit", *arguments[:6], *options)
    assert done.returncode == 0, done.stderr
    shown = dict(row.split("\t") for row in done.stdout.splitlines()[1:])
    assert shown["recommended"].endswith(", misses the limits least")
    assert re.fullmatch(r"its accuracy of \d+\.\d+% is below the limit of 100\.0+%", shown["misses"])


@pytest.mark.parametrize(
    ("flag", "field"),
    [
        ("--min-retention", "retention"),
        ("--max-ms", "latency_ms"),
        ("--max-mb", "bytes"),
        ("--max-macs", "macs"),
    ],
)
def test_limits_that_are_not_finite_are_refused(ttm: Ttm, arguments: list[str], flag: str, field: str) -> None:
    done = ttm("study", "submit", *arguments, flag, "inf")
    assert done.returncode == 2, done.stderr
    assert f"/limits/{field}: Input should be a finite number" in done.stderr


def test_a_dry_run_prints_the_candidates(ttm: Ttm, arguments: list[str]) -> None:
    done = ttm("study", "submit", *arguments, "--max-mb", "1", "--set", "search={method.beta: [1, 2]}", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert [line.split("\t")[1] for line in done.stdout.splitlines()][:2] == [
        "cifar/resnet8, beta 1",
        "cifar/resnet8, beta 2",
    ]
    assert "goal most_accurate; rungs end after epochs 10; at most" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("submit", "--dataset", "/"), 2, "A teacher is required"),
        (("submit", "--teacher", "upload:1", "--dataset", "/"), 2, "A limit is required"),
        (("show", MISSING_ID), 4, "No study has the id, id prefix or name"),
        (("download", MISSING_ID), 4, "does not exist"),
        (("show",), 2, "Missing argument"),
    ],
)
def test_errors_have_exit_codes(ttm: Ttm, words: tuple[str, ...], code: int, message: str) -> None:
    done = ttm("study", *words)
    assert done.returncode == code
    assert message in done.stderr
