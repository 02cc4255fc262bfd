"""`make release` on a copy of the checkout: what it makes, and what it refuses."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the files of this checkout and one commit."""
    folder = tmp_path_factory.mktemp("release") / "checkout"
    for name in git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        if not name.startswith(("tests/", "docs/images/", "bench/")) or name.startswith("tests/data/openapi/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    git(folder, "init", "--quiet", "--initial-branch", "main")
    for key, value in (("user.name", "An engineer"), ("user.email", "engineer@example.org")):
        git(folder, "config", key, value)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Everything")
    return folder


@pytest.fixture
def checkout(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "checkout"))


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def release(checkout: Path, *arguments: str, programs: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(checkout / "packaging/release.py"), *arguments]
    path = os.environ["PATH"] if programs is None else f"{programs}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command, cwd=checkout, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
    )


def recording_docker(folder: Path) -> Path:
    """A folder with a program `docker` that writes its working directory's version and its arguments to `calls`."""
    program = folder / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$(git describe) $*" >> {folder / "calls"}\n')
    program.chmod(0o755)
    return program.parent


def test_version_is_written_everywhere(checkout: Path) -> None:
    code = "import sys, pathlib; from release import set_version; set_version(pathlib.Path(sys.argv[1]), '1.2.3')"
    subprocess.run([sys.executable, "-c", code, str(checkout)], cwd=checkout / "packaging", check=True)
    changed = set(git(checkout, "diff", "--name-only").splitlines())
    assert {"docker-compose.yml", "api/http/headers/versions.py", "packaging/service/pyproject.toml"} < changed
    assert "ttm-client==1.2.3" in (checkout / "packaging/service/pyproject.toml").read_text()
    changelog = (checkout / "CHANGELOG.md").read_text()
    assert re.search(r"## \[Unreleased\]\n\n## \[1\.2\.3\] - \d{4}-\d\d-\d\d\n\n### Added", changelog)
    assert "no release yet" not in changelog
    snapshots = list((checkout / "tests/data/openapi").iterdir())
    assert [path.name for path in snapshots] == ["1.2.3.json"]
    assert json.loads(snapshots[0].read_text())["info"]["version"] == "1.2.3"


@pytest.mark.thorough
def test_dry_run_makes_the_files_and_changes_nothing(checkout: Path, tmp_path: Path) -> None:
    before = git(checkout, "rev-parse", "HEAD")
    made = release(checkout, "1.2.3", "--dry-run", "--images", programs=recording_docker(tmp_path))
    assert made.returncode == 0, made.stderr
    folder = checkout / "dist/1.2.3"
    wheels = {f"ttm_{name}-1.2.3-py3-none-any.whl" for name in ("client", "core", "measure", "service")}
    others = {"sbom.json", "sbom-ttm-api.json", "sbom-ttm-worker.json", "CHANGES.md", "images.txt", "SHA256SUMS"}
    assert {path.name for path in folder.iterdir()} == wheels | others
    with zipfile.ZipFile(folder / "ttm_service-1.2.3-py3-none-any.whl") as wheel:
        metadata = wheel.read("ttm_service-1.2.3.dist-info/METADATA").decode()
        assert 'API_VERSION = "1.2.3"' in wheel.read("ttm_service/api/http/headers/versions.py").decode()
    assert "Requires-Dist: ttm-client==1.2.3" in metadata
    components = {
        each["name"]: each["version"] for each in json.loads((folder / "sbom.json").read_text())["components"]
    }
    assert components["ttm-client"] == components["ttm-service"] == "1.2.3"
    assert "fastapi" in components
    assert (folder / "CHANGES.md").read_text().startswith("### Added")
    images = dict(line.split() for line in (folder / "images.txt").read_text().splitlines())
    assert images["ttm-api:1.2.3"] == "deploy/api.Dockerfile"
    assert images["ttm-worker:1.2.3"] == "deploy/worker.Dockerfile"
    installed = {
        name: {each["name"] for each in json.loads((folder / f"sbom-ttm-{name}.json").read_text())["components"]}
        for name in ("api", "worker")
    }
    assert "fastapi" in installed["api"]
    assert "torch" in installed["worker"] - installed["api"]
    assert (tmp_path / "calls").read_text().splitlines() == [
        "v1.2.3 build --file deploy/api.Dockerfile --tag ttm-api:1.2.3 .",
        "v1.2.3 build --file deploy/worker.Dockerfile --tag ttm-worker:1.2.3 .",
    ]
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split()
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert git(checkout, "rev-parse", "HEAD") == before
    assert git(checkout, "tag") == git(checkout, "status", "--porcelain") == ""


@pytest.mark.thorough
def test_release_commits_the_version_and_tags_it(checkout: Path) -> None:
    assert release(checkout, "1.2.3").returncode == 0
    assert git(checkout, "describe", "--exact-match") == "v1.2.3"
    assert git(checkout, "log", "--format=%an %s", "-1") == "An engineer Release 1.2.3"
    assert git(checkout, "status", "--porcelain") == ""
    assert "ttm-worker:1.2.3" in (checkout / "docker-compose.yml").read_text()
    again = release(checkout, "1.2.4")
    assert "there is nothing to release" in again.stderr


def test_release_is_refused(checkout: Path) -> None:
    for version, reason in (("1.2", "is not a version"), ("0.0.9", "is older than the version in packaging, 0.1.0")):
        assert reason in release(checkout, version).stderr
    git(checkout, "tag", "v2.0.0")
    assert "1.9.0 is not newer than the last release, 2.0.0" in release(checkout, "1.9.0").stderr
    changelog = checkout / "CHANGELOG.md"
    changelog.write_text("# Changelog\n\n## [Unreleased]\n\n### Added\n\n## [2.0.0] - 2026-01-01\n\n- Everything.\n")
    assert "has changes that are not committed" in release(checkout, "2.1.0").stderr
    git(checkout, "commit", "--quiet", "--all", "--message", "No entries")
    refused = release(checkout, "2.1.0")
    assert (refused.returncode, "is empty" in refused.stderr) == (1, True)
    assert not (checkout / "dist").exists()
