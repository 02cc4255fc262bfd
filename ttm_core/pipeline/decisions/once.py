"""Decisions of a run's first attempt, which its later attempts keep."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ttm_core.files.durable import write_durably


def decide_once(workdir: Path, name: str, decide: Callable[[], Any]) -> Any:
    """The decision of the first attempt in this work directory."""
    path = workdir / "decisions" / f"{name}.json"
    if not path.exists():
        write_durably(path, json.dumps(decide()).encode())
    return json.loads(path.read_text())
