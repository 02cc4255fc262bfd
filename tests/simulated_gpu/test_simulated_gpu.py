"""The tests of `tests/gpu` on a simulated GPU, in a process of their own."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the simulated GPU needs g++")


def run(*arguments: str) -> None:
    command = ["-p", "tests.simulated_gpu.plugin", "-p", "no:cacheprovider", "--confcutdir=tests/gpu", "-n", "0", "-q"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *command, *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
    assert " passed" in done.stdout


def test_it_refuses_what_a_gpu_refuses() -> None:
    run("tests/simulated_gpu/refusals.py")


def test_views_and_steps_work_on_a_gpu_and_do_not_synchronize() -> None:
    run("tests/gpu", "-k", "views or synchronize")


@pytest.mark.thorough
def test_all_runs_work_on_a_gpu() -> None:
    run("tests/gpu")
