"""The Dockerfiles pass hadolint, which also checks the shell commands in them."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINTER = ROOT / "build" / "hadolint" / "bin" / "hadolint"
DOCKERFILES = sorted((ROOT / "deploy").glob("*.Dockerfile"))


def lint(file: Path) -> subprocess.CompletedProcess[str]:
    if not LINTER.exists():
        pytest.skip("NO LINTER: the Dockerfiles were not linted. `make dockerfile-linter` installs hadolint.")
    return subprocess.run([LINTER, "--no-color", file], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda path: path.name)
def test_dockerfile_passes_hadolint(file: Path) -> None:
    done = lint(file)
    assert done.returncode == 0, done.stdout


def test_the_linter_finds_mistakes(tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text(f"{DOCKERFILES[0].read_text()}RUN cd /app && sudo pip install flask\n")
    assert "DL3004" in lint(file).stdout
