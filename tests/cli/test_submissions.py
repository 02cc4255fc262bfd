"""The commands copied from a job's page submit the same job, in each language."""

import os
import re
import shutil
import subprocess
import sys
from html import unescape
from pathlib import Path

import httpx2
import pytest

from tests.cli.conftest import ENVIRONMENT
from ttm_client import Client

HOSTILE = """it's "quoted" $HOME `id` \\ <b>bold</b>"""


@pytest.mark.parametrize("language", ["curl", "Python", "ttm"])
def test_copied_command_submits_the_same_job(stack_url: str, data: Path, tmp_path: Path, language: str) -> None:
    if language == "curl" and shutil.which("curl") is None:
        pytest.skip("there is no curl")
    with Client(stack_url) as client:
        first = client.jobs.create(
            name=HOSTILE, student="resnet18", dataset=data.as_uri(), method="ce", training={"epochs": 3}
        )
        client.jobs.cancel(first.id)
        page = httpx2.get(f"{stack_url}/ui/jobs/{first.id}").text
        found = re.search(rf'aria-label="{language} command"><code>(.*?)</code>', page, re.S)
        assert found is not None
        command = tmp_path / "command"
        command.write_text(unescape(found[1]))
        # The Python snippet waits for the job; this test only needs its submission.
        program = [sys.executable, str(command)] if language == "Python" else ["bash", str(command)]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        ended = subprocess.run(program, env={**ENVIRONMENT, "PATH": path}, capture_output=True, text=True, check=False)
        again = next(client.jobs.list())
        assert again.id != first.id, ended.stderr
        copy = client.jobs.get(again.id)
        assert copy.name == HOSTILE
        assert copy.spec["training"]["epochs"] == 3
        assert "succeeded" in ended.stdout or language == "curl", ended.stderr
        client.jobs.wait(again.id, 60)
