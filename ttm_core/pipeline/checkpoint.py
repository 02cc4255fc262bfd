"""Checkpoints: everything that a run needs to go on as if it had never stopped."""

import hashlib
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ttm_core.errors import BadCheckpoint
from ttm_core.models.weights import load_pickle_of_tensors, write_durably

KEPT = 2
_NAME = re.compile(r"step-(\d{9})\.pt")


@dataclass(frozen=True)
class Saved:
    """A checkpoint on disk: its path, size in bytes and SHA-256."""

    path: Path
    size: int
    sha256: str


def save(folder: Path, step: int, state: dict[str, Any]) -> Saved:
    """Write the state at a step, whole and durable, then drop all but the newest few."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    path = folder / f"step-{step:09}.pt"
    write_durably(path, content)
    for old in _newest_first(folder)[KEPT:]:
        old.unlink(missing_ok=True)
    return Saved(path, len(content), hashlib.sha256(content).hexdigest())


def load_newest(folder: Path, *, run: str) -> dict[str, Any] | None:
    """The state of the newest checkpoint that is whole, or None. Raises BadCheckpoint if it is of another run.

    Loaded with weights_only, as a foreign file would be.
    """
    for path in _newest_first(folder):
        try:
            state = load_pickle_of_tensors(path)
        except BadCheckpoint:
            continue  # torn by a full disk or a dying machine: the one before it is whole
        if not isinstance(state, dict) or state.get("run") != run:
            raise BadCheckpoint(f"{path.name} belongs to a run with another spec")
        return state
    return None


def _newest_first(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if _NAME.fullmatch(path.name)), reverse=True)
