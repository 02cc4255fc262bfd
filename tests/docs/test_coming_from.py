"""Runs the Python blocks of the page for users of other tools against a real API."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import make_settings
from tests.support.api_server import served
from ttm_client import Client

PAGE = (Path(__file__).parents[2] / "docs/how-to/coming-from-other-tools.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.S)


def test_every_section_shows_both_and_ours_is_accepted(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # `text` is the other tool's code, which is not run.
    assert [kind for kind, _ in BLOCKS] == ["python", *["text", "python"] * 4]
    settings = make_settings(sqlite_url, tmp_path)
    (tmp_path / "teacher.safetensors").write_bytes(b"weights")
    monkeypatch.chdir(tmp_path)
    with served(settings) as url:
        monkeypatch.setenv("TTM_URL", url)
        names: dict[str, Any] = {"dataset": settings.data_roots[0].as_uri()}
        for kind, block in BLOCKS:
            if kind == "python":
                exec(block, names)
        assert [job.spec["training"]["seed"] for job in names["jobs"]] == [0, 1, 2]
        assert names["job"].spec["student"]["prune"]["macs"] == 0.5
        assert names["study"].goal == "fastest"
        client: Client = names["client"]
        assert len(list(client.jobs.list(tags=("table1",)))) == 3
        client.close()
