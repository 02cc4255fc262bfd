"""The locked dependencies against the database of known holes, where that answers. Where it does not, nothing is said of
them: the run shows a skipped test and a warning, so that nobody takes silence for safety.
"""

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def audit(lock: str, seconds: float) -> list[dict[str, Any]] | None:
    """What is known of each dependency of a lock; None if there was no answer in time."""
    options = ["--disable-pip", "--require-hashes", "--timeout", "5", "--progress-spinner", "off", "--format", "json"]
    command = [sys.executable, "-m", "pip_audit", "-r", str(ROOT / lock), *options]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
        found: list[dict[str, Any]] = json.loads(ended.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError):
        return None
    return found


def test_no_dependency_has_a_known_hole() -> None:
    # The API's own lock is short: where it is not answered for, neither is the whole.
    looked_at = audit("deploy/api.lock", seconds=30)
    if looked_at is None or all("skip_reason" in each for each in looked_at):
        message = "NOT AUDITED: no database of known holes answers"
        warnings.warn(message, stacklevel=1)
        pytest.skip(message)
    found = [*looked_at, *(audit("requirements.lock", seconds=120) or [])]
    holes = {(each["name"], hole["id"]) for each in found for hole in each.get("vulns", [])}
    assert holes == set()
