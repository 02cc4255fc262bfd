"""Checks the locked dependencies for known vulnerabilities with pip-audit. If the vulnerability database cannot be reached,
the test is skipped with a warning.
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
    """The known vulnerabilities of each dependency in a lock file. None if the database does not respond in time."""
    options = ["--disable-pip", "--require-hashes", "--timeout", "5", "--progress-spinner", "off", "--format", "json"]
    command = [sys.executable, "-m", "pip_audit", "-r", str(ROOT / lock), *options]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
        found: list[dict[str, Any]] = json.loads(ended.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError):
        return None
    return found


def test_no_dependency_has_a_known_vulnerability() -> None:
    # The API's lock file is short, so it is used to test whether the database responds.
    audited = audit("deploy/api.lock", seconds=30)
    if audited is None or all("skip_reason" in each for each in audited):
        message = "NOT AUDITED: the vulnerability database cannot be reached"
        warnings.warn(message, stacklevel=1)
        pytest.skip(message)
    found = [*audited, *(audit("requirements.lock", seconds=120) or [])]
    vulnerabilities = {(each["name"], entry["id"]) for each in found for entry in each.get("vulns", [])}
    assert vulnerabilities == set()
