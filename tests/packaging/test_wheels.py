"""Each wheel of `make dist`, installed alone into an empty environment and used."""

import hashlib
import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.support.tiny import wait_until
from tests.ttm_core.factories import digits_idx
from tests.ttm_measure.factories import conv_classifier
from ttm_jobs.broker.embedded import free_port

ROOT = Path(__file__).parents[2]
UV = [sys.executable, "-m", "uv", "--quiet"]
# The client's and the service's names would collide with other packages' if they were top-level.
TOP_LEVEL = {
    "ttm-client": {"ttm_client", "ttm_command"},
    "ttm-core": {"ttm_core"},
    "ttm-measure": {"ttm_measure"},
    "ttm-service": {"ttm_service"},
}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The built wheels by the name of their distribution."""
    folder = tmp_path_factory.mktemp("dist")
    for package in ("client", "core", "measure", "service"):
        build = ["build", "--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", str(folder)]
        subprocess.run([*UV, *build, str(ROOT / "packaging" / package)], check=True)
    return {path.name.split("-")[0].replace("_", "-"): path for path in folder.glob("*.whl")}


def install(folder: Path, *requirements: str) -> Path:
    """Creates an environment with these requirements at the locked versions, and returns its `bin`."""
    subprocess.run([*UV, "venv", "--python", sys.executable, str(folder)], check=True)
    python = folder / "bin" / "python"
    # The versions of the lock are in uv's cache, because `make setup` installed them from there.
    command = ["pip", "install", "--offline", "--python", str(python), "--constraint", str(ROOT / "requirements.lock")]
    subprocess.run([*UV, *command, "--no-verify-hashes", *requirements], check=True)
    reuse_bytecode(next(folder.glob("lib/python*/site-packages")))
    return folder / "bin"


def reuse_bytecode(packages: Path) -> None:
    """Copies the bytecode of equal files from the environment of the tests: to compile torch takes ten seconds."""
    ours = Path(sysconfig.get_path("purelib"))
    for cache in ours.rglob("__pycache__"):
        there = packages / cache.parent.relative_to(ours)
        if not there.is_dir():
            continue
        (there / "__pycache__").mkdir(exist_ok=True)
        for compiled in cache.glob(f"*.{sys.implementation.cache_tag}.pyc"):
            name = f"{compiled.name.partition('.')[0]}.py"
            sizes = {path.stat().st_size for path in (cache.parent / name, there / name) if path.exists()}
            content = compiled.read_bytes()
            if sizes == {int.from_bytes(content[12:16], "little")}:
                # A header whose flags are 1 is not compared with the time of the source.
                content = content[:4] + (1).to_bytes(4, "little") + content[8:]
                (there / "__pycache__" / compiled.name).write_bytes(content)


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TTM_", "VIRTUAL"))}


def run(folder: Path, *command: str, **options: str) -> str:
    """The standard output of a command that must succeed outside the checkout."""
    done = subprocess.run(
        command, cwd=folder, env={**environment(), **options}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_wheel_installs_a_generic_package(wheels: dict[str, Path]) -> None:
    top_level = {
        name: {entry.partition("/")[0] for entry in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in entry}
        for name, wheel in wheels.items()
    }
    assert top_level == TOP_LEVEL


def test_client_runs_alone(wheels: dict[str, Path], tmp_path: Path) -> None:
    binaries = install(tmp_path / "venv", str(wheels["ttm-client"]))
    installed = json.loads(run(tmp_path, *UV, "pip", "list", "--format", "json", "--python", str(binaries / "python")))
    assert not {"torch", "numpy", "fastapi", "sqlalchemy", "celery"} & {package["name"] for package in installed}
    assert "submit" in run(tmp_path, str(binaries / "ttm"), "--help")
    assert "ttm up" not in run(tmp_path, str(binaries / "ttm"), "--help")
    code = "from ttm_client import AsyncClient, Client; Client('http://127.0.0.1:9').close()"
    run(tmp_path, str(binaries / "python"), "-c", code)


def test_client_measures_without_the_engine(wheels: dict[str, Path], tmp_path: Path) -> None:
    binaries = install(tmp_path / "venv", f"{wheels['ttm-client']}[bench]", str(wheels["ttm-measure"]))
    installed = json.loads(run(tmp_path, *UV, "pip", "list", "--format", "json", "--python", str(binaries / "python")))
    assert not {"torch", "ttm-core", "ttm-service"} & {package["name"] for package in installed}
    command = [str(binaries / "ttm"), "bench", "--agent", "--device-name", "pi5", "--url", "http://127.0.0.1:9"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True) as agent:
        assert agent.stderr is not None
        assert "measuring for pi5" in agent.stderr.readline()
        assert "Cannot connect" in agent.stderr.readline(), "it keeps trying"
        agent.terminate()


def test_core_trains_alone(wheels: dict[str, Path], tmp_path: Path) -> None:
    binaries = install(tmp_path / "venv", str(wheels["ttm-core"]), str(wheels["ttm-measure"]))
    spec = {
        "dataset": digits_idx(tmp_path / "digits").as_uri(),
        "student": "mini/resnet8_025",
        "method": "ce",
        "training": {"epochs": 1},
        "exports": ["onnx"],
    }
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    code = """
from ttm_core.__main__ import main
from ttm_core.export import load_student
assert main(["distill", "spec.json", "--out", "run"]) == 0
assert load_student("run/out/student.safetensors").architecture == "mini/resnet8_025"
"""
    run(tmp_path, str(binaries / "python"), "-c", code)
    assert (tmp_path / "run/out/student.onnx").stat().st_size > 0


def test_measure_runs_alone(wheels: dict[str, Path], tmp_path: Path) -> None:
    binaries = install(tmp_path / "venv", str(wheels["ttm-measure"]))
    model = conv_classifier(tmp_path / "student.onnx")
    output = run(tmp_path, str(binaries / "python"), "-m", "ttm_measure", str(model), "--seconds", "0.2", "--json")
    (measured,) = json.loads(output)
    assert measured["sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    installed = json.loads(run(tmp_path, *UV, "pip", "list", "--format", "json", "--python", str(binaries / "python")))
    assert not {"torch", "ttm-core", "ttm-client"} & {package["name"] for package in installed}


@pytest.fixture
def service(wheels: dict[str, Path], tmp_path: Path) -> Iterator[str]:
    """The address of an API that runs from its wheel, without torch."""
    binaries = install(tmp_path / "venv", str(wheels["ttm-service"]), str(wheels["ttm-client"]))
    address = {"TTM_DATABASE_URL": f"sqlite:///{tmp_path}/ttm.db", "TTM_PORT": str(free_port())}
    migrate = "import ttm_service; ttm_service._activate(); from ttm_jobs.database.migrate import upgrade; import sys"
    run(tmp_path, str(binaries / "python"), "-c", f"{migrate}; upgrade(sys.argv[1])", address["TTM_DATABASE_URL"])
    assert "Run API" in run(tmp_path, str(binaries / "ttm"), "--help")
    process = subprocess.Popen(
        [str(binaries / "python"), "-m", "ttm_service", "api"], cwd=tmp_path, env={**environment(), **address}
    )
    try:
        yield f"http://127.0.0.1:{address['TTM_PORT']}"
    finally:
        process.terminate()
        process.wait(60)


def test_service_runs_alone(service: str) -> None:
    def alive() -> bool:
        try:
            return httpx2.get(f"{service}/healthz").status_code == 200
        except httpx2.TransportError:
            return False

    wait_until(alive)
    assert "resnet18" in httpx2.get(f"{service}/architectures?q=resnet18").text
    assert "<title>" in httpx2.get(f"{service}/").text
    assert httpx2.get(f"{service}/recipes?limit=1").json()["items"]
