"""The commands against a running stack, each as a subprocess without a terminal."""

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from rich.cells import cell_len
from typer.testing import CliRunner

from tests.cli.conftest import ENVIRONMENT, Ttm
from tests.ttm_core.factories import digits_idx
from ttm_client import Client
from ttm_client.cli.main import app
from ttm_jobs.broker.embedded import free_port

# An id of no resource, identical in every test process.
MISSING_ID = "01935c5e-8f3a-7c1e-9d55-2f6f0c1b7a10"
QUICK = "steps=6 step_seconds=0.02"


@pytest.fixture
def finished(ttm: Ttm, data: Path) -> str:
    """Id of a job that succeeded."""
    done = ttm("submit", "--student", "resnet18", "--dataset", str(data), "--method", "ce", "--name", QUICK, "--watch")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[0]


def test_submit_watch_show_download(ttm: Ttm, data: Path, tmp_path: Path) -> None:
    teacher = tmp_path / "teacher.pt"
    teacher.write_bytes(b"weights")
    common = ("--student", "resnet18", "--dataset", str(data), "--name", QUICK)
    submitted = ttm(
        "submit",
        "--teacher",
        str(teacher),
        *common,
        "--method",
        "wttm",
        "--set",
        "method.beta=3.5",
        "--epochs",
        "2",
        "--json",
    )
    assert (submitted.returncode, submitted.stderr) == (0, "")
    job = json.loads(submitted.stdout)
    assert job["spec"]["teacher"]["checkpoint"].startswith("upload:")
    assert (job["spec"]["method"]["beta"], job["spec"]["training"]["epochs"]) == (3.5, 2)

    watched = ttm("watch", job["id"], "--json")
    kinds = [json.loads(line)["kind"] for line in watched.stdout.splitlines()]
    assert watched.returncode == 0
    assert kinds[0] == kinds[-1] == "state"
    assert {"phase", "metrics", "progress", "resolved"} <= set(kinds)

    shown = ttm("show", job["id"])
    assert f"job\t{job['id']}" in shown.stdout
    assert "state\tsucceeded" in shown.stdout
    assert json.loads(ttm("show", job["id"], "--json").stdout)["state"] == "succeeded"

    target = tmp_path / "out" / "student.safetensors"
    downloaded = ttm("download", job["id"], "-o", str(target))
    assert (downloaded.returncode, downloaded.stdout) == (0, f"{target}\n")
    assert target.stat().st_size == 64
    log = ttm("download", job["id"], "--artifact", "trainer.log", "-o", str(tmp_path / "log"), "--json")
    assert json.loads(log.stdout) == {"path": str(tmp_path / "log")}
    assert "step 6 of 6" in (tmp_path / "log").read_text()


def test_flags_override_spec_file(ttm: Ttm, data: Path, tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        f"name: from a file\nstudent: {{architecture: resnet18, image_size: 32}}\ndataset: {data}\n"
        "method: {kind: ce}\ntraining: {epochs: 7, seed: 3}\n"
    )
    submitted = ttm("submit", str(spec), "--student", "resnet34", "--epochs", "1", "--json")
    job = json.loads(submitted.stdout)["spec"]
    assert (job["student"]["architecture"], job["student"]["image_size"]) == ("resnet34", 32)
    assert (job["training"]["epochs"], job["training"]["seed"]) == (1, 3)
    assert job["dataset"]["uri"] == data.as_uri()


def test_jobs_lists_newest_first(ttm: Ttm, finished: str) -> None:
    lines = [line.split("\t") for line in ttm("jobs").stdout.splitlines()]
    assert lines[0][0] == finished
    assert lines[0][2] == "succeeded"
    assert len(ttm("jobs", "-n", "1").stdout.splitlines()) == 1
    assert finished not in ttm("jobs", "--state", "failed").stdout
    assert ttm("jobs", "--owner", "nobody").stdout == ""
    assert finished in ttm("jobs", "--study", "none").stdout
    assert ttm("jobs", "--study", finished).stdout == ""
    assert json.loads(ttm("jobs", "--json").stdout)[0]["id"] == finished


def test_jobs_are_listed_by_the_filters_of_a_saved_view(ttm: Ttm, finished: str) -> None:
    name = "ended, by top-1"
    assert ttm("views", "save", "jobs", name, "?state=succeeded&sort=-top1").returncode == 0
    (row,) = [line.split("\t") for line in ttm("views", "list").stdout.splitlines()]
    assert row[:3] == ["jobs", name, "state=succeeded&sort=-top1"]
    assert finished in ttm("jobs", "--view", name).stdout
    assert finished not in ttm("jobs", "--view", name, "--state", "failed").stdout
    assert ttm("views", "save", "jobs", "of a study", f"?study={finished}").returncode == 0
    assert finished not in ttm("jobs", "--view", "of a study").stdout
    assert finished in ttm("jobs", "--view", "of a study", "--study", "none").stdout
    assert ttm("views", "delete", "jobs", "of a study").returncode == 0
    missing = ttm("jobs", "--view", "other")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert name in missing.stderr
    assert ttm("views", "delete", "jobs", name).returncode == 0
    assert ttm("views", "delete", "jobs", name).returncode == 4


def completions(words: str, url: str) -> list[str]:
    """The completions that bash receives for `words`."""
    variables = {"_TTM_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    return CliRunner().invoke(app, [], prog_name="ttm", env={**variables, "TTM_URL": url}).output.split()


def test_shell_completion_of_commands_states_and_jobs(stack_url: str, finished: str) -> None:
    assert completions("ttm qu", stack_url) == ["queue"]
    assert completions("ttm jobs --state canc", stack_url) == ["cancelling", "cancelled"]
    assert completions("ttm show ", stack_url)[0] == finished
    assert completions(f"ttm logs {finished[:-2]}", stack_url) == [finished]
    # An unreachable service yields no completions.
    assert completions("ttm show ", f"http://127.0.0.1:{free_port()}") == []


def test_dry_run_submits_nothing(ttm: Ttm, data: Path) -> None:
    before = ttm("jobs", "-n", "1", "--json").stdout
    result = ttm("submit", "--student", "cifar/resnet20", "--dataset", str(data), "--method", "ce", "--dry-run")
    assert result.stdout == "student\tcifar/resnet20\t278 k\t40.8 M\n"
    assert ttm("jobs", "-n", "1", "--json").stdout == before


def test_cancel_ends_a_running_job(ttm: Ttm, data: Path) -> None:
    slow = "steps=1000 step_seconds=0.05"
    job_id = ttm(
        "submit", "--student", "resnet18", "--dataset", str(data), "--method", "ce", "--name", slow
    ).stdout.strip()
    cancelled = ttm("cancel", job_id)
    assert cancelled.returncode == 0
    assert "cancel" in cancelled.stdout
    watched = ttm("watch", job_id)
    assert watched.returncode == 1
    assert "state\tcancelled" in watched.stdout


def test_failed_job_sets_exit_code_and_prints_cause(ttm: Ttm, data: Path) -> None:
    fails = ttm(
        "submit", "--student", "resnet18", "--dataset", str(data), "--method", "ce", "--name", "fail_at=2", "-w"
    )
    assert fails.returncode == 1
    assert "bad_dataset (user): No images." in fails.stdout
    assert "next step\t" in fails.stdout


def test_architecture_search(ttm: Ttm) -> None:
    lines = [line.split("\t") for line in ttm("architectures", "cifar resnet20").stdout.splitlines()]
    assert [line[0] for line in lines] == ["cifar/resnet20"]
    assert json.loads(ttm("architectures", "cifar/resnet20", "--json").stdout)[0]["parameters"] > 0


def test_recipes_search_show_and_submit(ttm: Ttm, data: Path, tmp_path: Path) -> None:
    lines = [line.split("\t") for line in ttm("recipes", "resnet56 wttm").stdout.splitlines()]
    assert ["cifar100/resnet56-resnet20/wttm", "72.34", "69.06", "71.92"] in lines
    shown = yaml.safe_load(ttm("recipes", "cifar100/resnet56-resnet20/wttm").stdout)
    assert (shown["method"]["beta"], shown["published"]["distilled"]) == (1.5, 71.92)

    teacher = tmp_path / "teacher.pt"
    teacher.write_bytes(b"weights")
    recipe = ("submit", "--recipe", "cifar100/resnet56-resnet20/wttm", "--dataset", str(data), "--name", QUICK)
    job = json.loads(ttm(*recipe, "--teacher", str(teacher), "--set", "method.beta=2", "--json").stdout)
    assert job["spec"]["teacher"]["architecture"] == "cifar/resnet56"
    assert (job["spec"]["method"]["gamma"], job["spec"]["method"]["beta"]) == (0.3, 2)

    other = tmp_path / "other.pt"
    other.write_bytes(b"other weights")
    job = json.loads(ttm(*recipe, "--teacher", str(teacher), "--teacher", str(other), "--json").stdout)
    assert [each["checkpoint"][:7] for each in job["spec"]["teachers"]] == ["upload:", "upload:"]


def test_distill_needs_no_service(ttm: Ttm, tmp_path: Path) -> None:
    dataset = digits_idx(tmp_path / "digits", train=200, test=50)
    run = ("distill", "--student", "mini/resnet8_025", "--method", "ce", "--dataset", str(dataset), "--epochs", "1")
    done = ttm(
        *run,
        "--set",
        "training.threads=1",
        "--set",
        "exports=[]",
        "--out",
        str(tmp_path / "run"),
        url="http://127.0.0.1:1",
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "out" / "student.safetensors").stat().st_size > 1000
    refused = ttm(*run, "--set", "training.epochs=0", "--out", str(tmp_path / "no"))
    assert refused.returncode == 2
    assert "training.epochs" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("show", MISSING_ID), 4, "The job does not exist"),
        (("cancel", "x"), 4, "No job has the id"),
        (("submit", "--student", "resnet18"), 2, "dataset is required"),
        (("submit", "--student", "resnet188", "--dataset", "file:///x", "--method", "ce"), 2, "Did you mean"),
        (("submit", "--student", "a", "--dataset", "/no/such/folder"), 2, "neither a local file or folder"),
        (("submit", "/no/such/spec.yaml"), 2, "spec.yaml"),
        (("submit", "--set", "epochs", "--student", "a", "--dataset", "file:///x"), 2, "NAME=VALUE"),
        (("submit", "--set", "a=[", "--student", "a", "--dataset", "file:///x"), 2, "a=["),
        (("submit", "--recipe", "cifar100/no/wttm", "--dataset", "file:///x"), 2, "Unknown recipe"),
        (("distill", "--student", "a", "--out", "/tmp/never"), 2, "dataset is required"),
        (("submit", "--set", "a=.nan", "--student", "a", "--dataset", "file:///x"), 2, "/a: Input should be a finite"),
        (("submit", "--set", "a=!!binary aGk=", "--student", "a", "--dataset", "file:///x"), 2, "JSON"),
        (("submit", "--deadline", "nan", "--student", "resnet18", "--dataset", "file:///x"), 2, "/deadline"),
        (("jobs", "--limit", "0"), 2, "limit"),
        (("jobs", "--name", "\udcff"), 2, "is not valid UTF-8"),
        *(
            (("jobs", "--url", url), 2, "is not the URL of a service")
            for url in (
                "ftp://x",
                "127.0.0.1:8000",
                "http://",
                "http://[::1",
                "http://x:y",
                "http://x?a",
                "http://\udcff",
            )
        ),
        (("jobs", "--state", "asleep"), 2, "state"),
        (("frobnicate",), 2, "frobnicate"),
    ],
)
def test_errors_have_exit_code_and_message(ttm: Ttm, arguments: tuple[str, ...], code: int, words: str) -> None:
    ended = ttm(*arguments)
    assert (ended.returncode, ended.stdout) == (code, "")
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr


def test_conflicts_and_missing_artifacts_have_exit_codes(ttm: Ttm, finished: str, tmp_path: Path) -> None:
    assert ttm("cancel", finished).returncode == 5
    assert ttm("download", finished, "--artifact", "nothing").returncode == 4


def test_another_server_is_an_error(ttm: Ttm, stack_url: str) -> None:
    ended = ttm("jobs", url=stack_url + "/ui")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"error {stack_url}/ui/jobs?limit=100 answered with a web page")
    assert len(ended.stderr.splitlines()) == 1


def test_unreachable_service_suggests_ttm_up(ttm: Ttm) -> None:
    ended = ttm("jobs", url=f"http://127.0.0.1:{free_port()}")
    assert ended.returncode == 3
    assert "ttm up" in ended.stderr


def leaves(group: Any, *names: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from leaves(command, *names, name)
        else:
            yield " ".join((*names, name)), command


def test_every_command_has_json_option() -> None:
    commands = dict(leaves(typer.main.get_command(app)))
    assert {"submit", "keys create", "projects list"} <= set(commands)
    assert {
        name for name, command in commands.items() if not any("--json" in one.opts for one in command.params)
    } == set()


@pytest.mark.parametrize(
    "command",
    [
        *("jobs", "study list", "views list", "uploads list", "teachers list", "datasets list", "webhooks list"),
        *("architectures", "recipes", "workers", "stores", "devices", "audit"),
    ],
)
def test_lists_are_arrays(ttm: Ttm, command: str) -> None:
    assert isinstance(json.loads(ttm(*command.split(), "--json").stdout), list)


@pytest.mark.parametrize("command", [command.name or command.callback.__name__ for command in app.registered_commands])  # type: ignore[union-attr]
def test_every_command_documents_its_exit_codes(command: str) -> None:
    shown = CliRunner().invoke(app, [command, "--help"]).output
    assert "Exit codes" in shown
    assert len(shown) > 400


def on_a_terminal(url: str, columns: int, *arguments: str, kind: str = "xterm") -> str:
    """The output of a successful command on a terminal of this width."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "ttm_client.cli.main", *arguments],
        env={**ENVIRONMENT, "TTM_URL": url, "TERM": kind, "COLUMNS": str(columns), "NO_COLOR": "1"},
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    written = bytearray()
    while True:
        try:
            written += os.read(leader, 65536)
        except OSError:  # the process closed the terminal
            break
    os.close(leader)
    assert process.wait(60) == 0
    return written.decode(errors="replace")


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        (80, "ID NAME STATE TOP-1"),  # at widths in between, the columns depend on the names of the jobs
        (200, "ID NAME STATE OWNER STUDENT METHOD PROGRESS TOP-1 CREATED"),
    ],
)
def test_table_fits_narrow_terminal(ttm: Ttm, stack_url: str, finished: str, columns: int, shown: str) -> None:
    """Each job is one line: of a name that is too long, the beginning and the end are shown."""
    assert ttm("tag", finished, "--add", f"terminal-{columns}").returncode == 0
    with Client(stack_url) as client:
        client.jobs.update(finished, name="first " + "日本語 word " * 15 + "last")
    output = re.sub(r"\x1b\[[0-9;]*m", "", on_a_terminal(stack_url, columns, "jobs", "--tag", f"terminal-{columns}"))
    header, *lines = output.splitlines()
    assert header.split() == shown.split()
    (line,) = lines
    assert re.match(rf"{finished}  first.*….*last\s+succeeded", line)
    assert cell_len(line) <= columns


def test_rows_that_fit_no_table_are_printed_below_each_other(ttm: Ttm, stack_url: str, finished: str) -> None:
    assert ttm("tag", finished, "--add", "narrow").returncode == 0
    output = re.sub(r"\x1b\[[0-9;]*m", "", on_a_terminal(stack_url, 40, "jobs", "--tag", "narrow"))
    assert all(cell_len(line) <= 40 for line in output.splitlines())
    fields: dict[str, str] = {}
    last = ""
    for line in output.splitlines():
        title, value = line[:8].strip(), line[8:].strip()
        last = title or last
        fields[last] = fields.get(last, "") + value
    assert (fields["ID"], fields["STATE"], fields["STUDENT"]) == (finished, "succeeded", "resnet18")


def test_watch_prints_lines_on_a_terminal_that_cannot_redraw_them(stack_url: str, finished: str) -> None:
    output = on_a_terminal(stack_url, 80, "watch", finished, kind="dumb")
    assert re.search("state running\r\n(.*\r\n)+.* state succeeded\r\n", output)
    assert "\x1b" not in output
    assert "━" not in output


def test_watch_draws_bar_and_numbers_on_a_terminal_of_80_columns(stack_url: str, data: Path) -> None:
    job = ("--student", "resnet18", "--dataset", data.as_uri(), "--method", "ce", "--name", "steps=30 step_seconds=0.1")
    # The command is loaded before the job exists, so that it sees the job run.
    text = on_a_terminal(stack_url, 80, "submit", *job, "--watch")
    bars = [line for line in re.split(r"\r|\n|\x1b\[[0-9;?]*[A-Za-z]", text) if "━" in line]
    assert max(map(len, bars)) <= 80
    for words in ("training", "succeeded", "100%", "left 0:0", "loss 0."):
        assert any(words in line for line in bars), words
