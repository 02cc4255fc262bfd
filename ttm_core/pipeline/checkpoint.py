"""Checkpoints: the complete state of a run, from which it resumes with identical results."""

import hashlib
import io
import re
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from ttm_core.errors import BadCheckpoint
from ttm_core.files.durable import write_durably

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


class CheckpointWriter:
    """Saves checkpoints in a background thread, one at a time.

    A failure is raised by the next call of `save` or `raise_failure`, and at the latest by the end of the block.

    Args:
        folder: of the checkpoints.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._saving: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._thread.shutdown()
        self.raise_failure()

    def save(
        self,
        step: int,
        state: dict[str, Any],
        *,
        best_step: int | None,
        on_saved: Callable[[SavedCheckpoint], None],
    ) -> None:
        """Copies the state to the CPU, then writes it in the background. Waits for the checkpoint before it.

        `on_saved` is called in the background thread when the checkpoint is durable.
        """
        if self._saving is not None:
            self._saving.result()
        copied = _to_cpu(state)

        def write() -> None:
            on_saved(save(self._folder, step, copied, best_step=best_step))

        self._saving = self._thread.submit(write)

    def raise_failure(self) -> None:
        """Raises the error of the last checkpoint if it could not be saved. Does not wait."""
        if self._saving is not None and self._saving.done():
            self._saving.result()


def _to_cpu(value: Any) -> Any:
    """A copy of nested dictionaries and lists, with all tensors copied to the CPU."""
    match value:
        case torch.Tensor():
            detached = value.detach()
            return detached.clone() if detached.device.type == "cpu" else detached.cpu()
        case dict():
            return {key: _to_cpu(item) for key, item in value.items()}
        case list() | tuple():
            return type(value)(_to_cpu(item) for item in value)
        case _:
            return value


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
