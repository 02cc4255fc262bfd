"""The licenses of the dependencies: allowed, and listed in the docs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "packaging/licenses.py"


def test_every_installed_package_has_an_allowed_license_and_is_listed(tmp_path: Path) -> None:
    page = tmp_path / "licenses.md"
    ended = subprocess.run([sys.executable, SCRIPT, page], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    committed = (ROOT / "docs/reference/licenses.md").read_text().splitlines()
    # Other platforms and Python versions install fewer or other packages.
    locked = set(re.findall(r"^([A-Za-z0-9._-]+)==", (ROOT / "requirements.lock").read_text(), re.M))
    rows = [row for row in page.read_text().splitlines() if row.startswith("| ") and row.split()[1] in locked]
    assert len(rows) > 100
    assert [row for row in rows if row not in committed] == []


@pytest.mark.parametrize(
    ("stated", "allowed"),
    [
        ("License-Expression: MIT", True),
        ("License-Expression: GPL-3.0-only OR Apache-2.0", True),
        ("License-Expression: Apache-2.0 WITH LLVM-exception", True),
        ("License-Expression: MIT AND GPL-3.0-only", False),
        ("Classifier: License :: OSI Approved :: GNU Affero General Public License v3", False),
        ("License: do what you want", False),
        ("Summary: no license", False),
    ],
)
def test_licenses_that_are_not_allowed_fail(tmp_path: Path, stated: str, allowed: bool) -> None:
    info = tmp_path / "other-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: other\nVersion: 1.0\n{stated}\n")
    ended = subprocess.run(
        [sys.executable, SCRIPT],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == (0 if allowed else 1)
    assert ("  other: " in ended.stderr) is not allowed
