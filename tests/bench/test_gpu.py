"""`make gpu` on a machine without a GPU, and the section that it writes."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.gpu import utilization
from bench.gpu.__main__ import PAGE, PARTS, count, with_section


def test_without_cuda_it_says_so_and_fails() -> None:
    before = PAGE.read_text()
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-m", "bench.gpu"], capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert "no CUDA device" in done.stderr
    assert PAGE.read_text() == before


@pytest.mark.parametrize("part", PARTS)
def test_the_section_of_a_part_is_replaced(part: str) -> None:
    page = with_section(PAGE.read_text(), part, "first")
    assert f"<!-- gpu {part}: begin -->\nfirst\n<!-- gpu {part}: end -->" in page
    assert with_section(page, part, "second") == page.replace("\nfirst\n", "\nsecond\n")
    with pytest.raises(ValueError, match="no section"):
        with_section("no markers", part, "content")


def test_its_tests_need_no_package_of_the_service() -> None:
    """They are collected without the fixtures of tests/conftest.py."""
    forbidden = ("alembic", "celery", "fastapi", "sqlalchemy")
    code = (
        "import sys, pytest; "
        "status = pytest.main(['-q', '--collect-only', '-m', 'gpu', '--confcutdir=tests/gpu', 'tests/gpu']); "
        f"sys.exit(status or bool(set({forbidden}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_utilization_is_sampled_while_the_student_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(utilization, "_INTERVAL", 0.01)
    data = utilization.write_photographs(tmp_path / "data", 16)
    small: dict[str, Any] = {"teacher": "test_resnet", "student": "test_resnet", "size": 64, "batch": 8}
    run = utilization.measure(data, tmp_path, "run", epochs=2, utilization=lambda: 0.5, **small)
    assert run.busy == 0.5
    assert 0 < run.waiting < 1
    assert run.seconds > 0


def test_failures_and_errors_are_counted() -> None:
    junit = '<testsuites><testsuite tests="9" failures="1" errors="2" skipped="3" /></testsuites>'
    assert count(junit) == "Of 9 tests in tests/gpu, 3 passed, 3 failed, 3 were skipped."


@pytest.mark.thorough
def test_gpu_tests_are_excluded_by_default(pytestconfig: pytest.Config) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--collect-only", "tests/gpu"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(pytestconfig.rootpath))
    assert "tests for GPUs are excluded; `make gpu` runs them" in done.stdout
    assert "0 selected" in done.stdout or "no tests collected" in done.stdout
