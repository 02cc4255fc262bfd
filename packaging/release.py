"""Makes a release: wheels, images, SBOMs, checksums and the section of the changelog, and the tag.

    python packaging/release.py VERSION [--images] [--dry-run]

Works in a temporary clone: only a release that is complete changes this checkout, by a commit and the tag vVERSION.
Nothing is pushed or published. The files are in dist/VERSION, with an SBOM of all packages and one of each image. With
--dry-run, only they are made. With --images, Docker builds the images of the version.
"""

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import yaml
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
PACKAGES = ("client", "core", "measure", "service")
SEMVER = re.compile(r"\d+\.\d+\.\d+(?:-(?:a|b|rc)\.\d+)?")
# Every place that states the version, and the text before it. `==` is a dependency between the wheels.
PLACES = {
    "packaging/client/pyproject.toml": ('version = "', "=="),
    "packaging/core/pyproject.toml": ('version = "', "=="),
    "packaging/measure/pyproject.toml": ('version = "',),
    "packaging/service/pyproject.toml": ('version = "', "=="),
    "api/http/headers/versions.py": ('API_VERSION = "',),
    "docker-compose.yml": ("ttm-api:", "ttm-worker:"),
    "deploy/kubernetes/kustomization.yaml": ("newTag: ",),
    "docs/reference/openapi.json": ('"version": "',),
}
UNRELEASED = "## [Unreleased]\n"
# The lock that a Dockerfile installs.
INSTALLED = re.compile(r"^COPY (\S+\.lock) ", re.M)


class Refused(Exception):
    """The release cannot be made."""


def git(*arguments: str, folder: Path = ROOT) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def current_version() -> str:
    text = (ROOT / "packaging/client/pyproject.toml").read_text()
    found = re.search(r'^version = "([^"]+)"$', text, re.M)
    assert found is not None
    return found[1]


def check(version: str, *, with_images: bool) -> None:
    """Raises Refused unless the checkout can be released as `version`."""
    if with_images and shutil.which("docker") is None:
        raise Refused("docker is not installed: omit --images, and build the images of images.txt elsewhere.")
    if SEMVER.fullmatch(version) is None:
        raise Refused(f"{version!r} is not a version: write MAJOR.MINOR.PATCH, or MAJOR.MINOR.PATCH-rc.N.")
    if git("status", "--porcelain"):
        raise Refused("The checkout has changes that are not committed: commit or remove them.")
    released = [tag.removeprefix("v") for tag in git("tag", "--list", "v*").splitlines()]
    newest = max(map(Version, filter(SEMVER.fullmatch, released)), default=None)
    if newest is not None and Version(version) <= newest:
        raise Refused(f"{version} is not newer than the last release, {newest}.")
    if Version(version) < Version(current_version()):
        raise Refused(f"{version} is older than the version in packaging, {current_version()}.")
    if not section((ROOT / "CHANGELOG.md").read_text()):
        raise Refused("The section Unreleased of CHANGELOG.md is empty: there is nothing to release.")


def section(changelog: str) -> str:
    """The text of the section Unreleased. Headings without entries do not count."""
    text = changelog.partition(UNRELEASED)[2].partition("\n## [")[0].strip()
    return text if re.search(r"^- ", text, re.M) else ""


def set_version(folder: Path, version: str) -> None:
    """Writes the version everywhere, and the heading of its section in the changelog."""
    old = current_version()
    for name, places in PLACES.items():
        path = folder / name
        text = path.read_text()
        for place in places:
            if place + old not in text:
                raise Refused(f"{name} does not contain {place + old!r}. Correct PLACES in packaging/release.py.")
            text = text.replace(place + old, place + version)
        path.write_text(text)
    changelog = folder / "CHANGELOG.md"
    heading = f"{UNRELEASED}\n## [{version}] - {datetime.now(UTC):%Y-%m-%d}\n"
    text = changelog.read_text().replace(UNRELEASED, heading, 1).replace(" There is\nno release yet.", "", 1)
    changelog.write_text(text)
    # The document that later versions are compared with.
    snapshots = folder / "tests/data/openapi"
    for snapshot in snapshots.glob("*.json"):
        snapshot.unlink()
    shutil.copy(folder / "docs/reference/openapi.json", snapshots / f"{version}.json")


def commit(folder: Path, version: str) -> None:
    """Commits and tags the version, as the user of this checkout."""
    author = [part for key in ("user.name", "user.email") for part in ("-c", f"{key}={git('config', key)}")]
    git("add", "--all", folder=folder)
    git(*author, "commit", "--quiet", "--allow-empty", "--message", f"Release {version}", folder=folder)
    git(*author, "tag", "--annotate", f"v{version}", "--message", f"Release {version}", folder=folder)


def build(folder: Path, version: str, to: Path) -> None:
    """Writes the files of the release."""
    for package in PACKAGES:
        command = [sys.executable, "-m", "uv", "--quiet", "build", "--wheel", "--no-build-isolation"]
        command += ["--python", sys.executable, "--out-dir", str(to), str(folder / "packaging" / package)]
        subprocess.run(command, check=True)
    (to / ".gitignore").unlink(missing_ok=True)  # uv's
    sbom = to / "sbom.json"
    command = [str(BIN / "cyclonedx-py"), "environment", "--output-reproducible", "--validate", "-o", str(sbom)]
    subprocess.run([*command, sys.executable], check=True, capture_output=True)
    sbom.write_text(json.dumps(with_version(json.loads(sbom.read_text()), version), indent=2) + "\n")
    (to / "CHANGES.md").write_text(section((ROOT / "CHANGELOG.md").read_text()) + "\n")
    listed = images(folder / "docker-compose.yml")
    (to / "images.txt").write_text("".join(f"{image} {file or '-'}\n" for image, file in listed.items()))
    for image, file in listed.items():
        if file is not None:
            write_sbom_of_image(folder, file, to / f"sbom-{image.partition(':')[0]}.json")
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(to.iterdir())}
    (to / "SHA256SUMS").write_text("".join(f"{digest}  {name}\n" for name, digest in sums.items()))


def with_version(sbom: dict, version: str) -> dict:
    """The SBOM with the version of our wheels, which the environment has from the checkout."""
    for component in sbom["components"]:
        if component["name"].startswith("ttm-"):
            component["version"] = version
            component.pop("purl", None)
            component.pop("externalReferences", None)  # the path of the checkout
    return sbom


def images(compose: Path) -> dict[str, str | None]:
    """The images of the compose file, with the path of the Dockerfile; None for images of others."""
    services = yaml.safe_load(compose.read_text())["services"].values()
    return dict(sorted((each["image"], each["build"]["dockerfile"] if "build" in each else None) for each in services))


def write_sbom_of_image(folder: Path, dockerfile: str, to: Path) -> None:
    """Writes the SBOM of the Python packages that an image contains: those of the lock that its Dockerfile installs."""
    (lock,) = INSTALLED.findall((folder / dockerfile).read_text())
    command = [str(BIN / "cyclonedx-py"), "requirements", "--output-reproducible", "--validate", "-o", str(to)]
    subprocess.run([*command, str(folder / lock)], check=True, capture_output=True)


def build_images(folder: Path) -> None:
    """Builds and tags the images of the compose file that have a Dockerfile."""
    for image, file in images(folder / "docker-compose.yml").items():
        if file is not None:
            subprocess.run(["docker", "build", "--file", file, "--tag", image, "."], cwd=folder, check=True)


def release(version: str, *, with_images: bool, dry_run: bool) -> Path:
    """Makes the release and returns the folder with its files. Raises Refused."""
    check(version, with_images=with_images)
    to = ROOT / "dist" / version
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as temporary:
        clone = Path(temporary) / "clone"
        git("clone", "--quiet", "--no-local", str(ROOT), str(clone))
        set_version(clone, version)
        commit(clone, version)
        build(clone, version, to)
        if with_images:
            build_images(clone)
        if not dry_run:
            git("fetch", "--quiet", str(clone), f"refs/tags/v{version}:refs/tags/v{version}")
            git("merge", "--quiet", "--ff-only", f"v{version}")
    return to


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version")
    parser.add_argument("--images", action="store_true", help="also build the images with Docker")
    parser.add_argument("--dry-run", action="store_true", help="make the files only: no commit, no tag")
    given = parser.parse_args()
    try:
        folder = release(given.version, with_images=given.images, dry_run=given.dry_run)
    except Refused as error:
        sys.exit(f"error: {error}")
    print(folder)
    if not given.dry_run:
        print(f"Publish it: git push origin HEAD v{given.version}, upload the files, push the images of images.txt.")
