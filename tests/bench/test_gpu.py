"""`make gpu` on a machine without a GPU, and the section that it writes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.gpu import PAGE, count, with_section


def test_without_cuda_it_says_so_and_fails() -> None:
    before = PAGE.read_text()
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-m", "bench.gpu"], capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert "no CUDA device" in done.stderr
    assert PAGE.read_text() == before


def test_the_section_is_replaced() -> None:
    page = with_section(PAGE.read_text(), "first")
    assert "<!-- gpu: begin -->\nfirst\n<!-- gpu: end -->" in page
    assert with_section(page, "second") == page.replace("\nfirst\n", "\nsecond\n")
    with pytest.raises(ValueError, match="no section"):
        with_section("no markers", "content")


def test_failures_and_errors_are_counted() -> None:
    junit = '<testsuites><testsuite tests="9" failures="1" errors="2" skipped="3" /></testsuites>'
    assert count(junit) == "Of 9 tests in tests/gpu, 3 passed, 3 failed, 3 were skipped."


@pytest.mark.thorough
def test_gpu_tests_are_excluded_by_default(pytestconfig: pytest.Config) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--collect-only", "tests/gpu"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(pytestconfig.rootpath))
    assert "tests for GPUs are excluded; `make gpu` runs them" in done.stdout
    assert "0 selected" in done.stdout or "no tests collected" in done.stdout
