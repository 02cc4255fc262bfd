"""Folders that the processes of a test run share."""

import os
from pathlib import Path

import pytest


def common_folder(tmp_path_factory: pytest.TempPathFactory, name: str) -> Path:
    """A folder of the whole run. The processes of pytest-xdist have folders of their own in a common one."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    folder.mkdir(exist_ok=True)
    return folder
