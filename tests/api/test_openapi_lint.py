"""The OpenAPI document passes Redocly's recommended rules."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "reference" / "openapi.json"
LINTER = ROOT / "build" / "redocly" / "node_modules" / ".bin" / "redocly"
# Health checks have no client errors.
EXPECTED = {
    ("operation-4xx-response", "#/paths/~1healthz/get/responses"),
    ("operation-4xx-response", "#/paths/~1readyz/get/responses"),
}


def test_document_passes_redocly(tmp_path: Path) -> None:
    if shutil.which("node") is None or not LINTER.exists():
        pytest.skip(
            "NO LINTER: the OpenAPI document was not linted. `make openapi-linter` installs Redocly where npm is present."
        )
    environment = {
        **os.environ,
        "REDOCLY_TELEMETRY": "off",
        "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true",
        "HOME": str(tmp_path),
    }
    command = [str(LINTER), "lint", "--format=json", str(DOCUMENT)]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    problems = json.loads(run.stdout)["problems"]
    assert {(each["ruleId"], each["location"][0]["pointer"]) for each in problems} == EXPECTED, run.stdout
