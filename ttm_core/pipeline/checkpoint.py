"""Checkpoints: the complete state of a run, from which it resumes with identical results."""

import hashlib
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ttm_core.errors import BadCheckpoint
from ttm_core.models.weights import write_durably

KEPT = 2
_NAME = re.compile(r"step-(\d{9})\.pt")


@dataclass(frozen=True)
class SavedCheckpoint:
    """A checkpoint on disk: its path, size in bytes and SHA-256."""

    path: Path
    size: int
    sha256: str


def save(folder: Path, step: int, state: dict[str, Any], *, best_step: int | None = None) -> SavedCheckpoint:
    """Writes the state of a step durably, then deletes all checkpoints but the newest two and that of `best_step`."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    path = _path(folder, step)
    write_durably(path, content)
    best = None if best_step is None else _path(folder, best_step)
    for old in _newest_first(folder)[KEPT:]:
        if old != best:
            old.unlink(missing_ok=True)
    return SavedCheckpoint(path, len(content), hashlib.sha256(content).hexdigest())


def load_newest(folder: Path, *, run: str) -> dict[str, Any] | None:
    """Loads the newest complete checkpoint with weights_only. Returns None if there is none.

    Raises:
        BadCheckpoint: it belongs to a run with another spec.
    """
    for path in _newest_first(folder):
        try:
            # Memory-mapped storages cannot grow, so a damaged tensor larger than its storage raises an error.
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except Exception:  # truncated by a full disk or a crash; the one before it is complete
            continue
        if not isinstance(state, dict) or state.get("run") != run:
            raise BadCheckpoint(f"{path.name} belongs to a run with another spec")
        return state
    return None


def _path(folder: Path, step: int) -> Path:
    return folder / f"step-{step:09}.pt"


def _newest_first(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if _NAME.fullmatch(path.name)), reverse=True)
