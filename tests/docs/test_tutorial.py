"""Runs the tutorial and the notebook against a real stack."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.stack.stack import Stack, StackOptions
from ttm_client import Client

ROOT = Path(__file__).parents[2]
TUTORIAL = (ROOT / "docs/tutorial.md").read_text()
BLOCKS = re.findall(r"```(sh|python)\n(.*?)```", TUTORIAL, re.S)
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("TTM_")}
# Selects the `ttm` and `python` of the test environment.
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working directory of the tutorial."""
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, workspace: Path) -> Iterator[Stack]:
    options = StackOptions(
        var=tmp_path_factory.mktemp("var"),
        port=0,
        data_roots=(workspace,),
        # One thread, because other tests run at the same time.
        environment={**ENVIRONMENT, "OMP_NUM_THREADS": "1", "TTM_WORKERS_PER_MACHINE": "2"},
    )
    with Stack(options) as stack:
        yield stack


# At ten times the usual time.
@pytest.mark.thorough
def test_tutorial(stack: Stack, workspace: Path) -> None:
    # Runs the blocks in order. The fixture replaces the `ttm up` block.
    assert [block for kind, block in BLOCKS if "ttm up" in block] == ["ttm up --data-root digits\n"]
    first, last = (block for kind, block in BLOCKS if kind == "python")
    (workspace / "first.py").write_text(first)
    (workspace / "last.py").write_text("from pathlib import Path\n" + last)
    shell = "".join(block for kind, block in BLOCKS if kind == "sh" and "ttm up" not in block)
    ended = subprocess.run(
        ["bash", "-euc", f"python first.py\n{shell}python last.py\n"],
        cwd=workspace,
        env={**ENVIRONMENT, "PATH": PATH, "TTM_URL": stack.url, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "method.kind\tce\twttm" in ended.stdout
    assert ended.stdout.splitlines()[-1] in "0123456789"
    with Client(stack.url) as client:
        (study,) = client.studies.list()
        assert (study.state, study.name) == ("succeeded", "digits study")
        found = client.studies.recommendation(study.id)
        # The largest of the three is rejected before anything is trained.
        rejected = [each for each in client.studies.candidates(study.id) if each.rejected is not None]
    assert "mini/resnet8_100" in {each.label for each in rejected if each.rejected["stage"] == "screen"}
    assert found.meets_limits
    assert found.bytes <= 90_000
    # Far above chance (0.1). The tests of the methods check accuracy.
    assert found.accuracy > 0.7


def test_notebook_runs(stack: Stack, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Imported here, with jsonschema: takes a second, in every process that collects tests.
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(ROOT / "notebooks/first_student.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "outputs are not committed"
    monkeypatch.setenv("TTM_URL", stack.url)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(workspace)}}
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    results = [output["data"]["text/plain"] for output in outputs if output["output_type"] == "execute_result"]
    assert results[0] == "'succeeded'"
    assert "change_points" in results[1]
    assert "validation/top1" in results[2]
    assert results[-1].strip("'") in "0123456789"
    bar = "".join(
        output["text"] for output in outputs if output["output_type"] == "stream" and output["name"] == "stderr"
    )
    assert "100%" in bar
