"""The teacher's logits for training views: computed once in blocks, read ever after."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ttm_core.data.dataset import Split
from ttm_core.data.views import Views
from ttm_core.teacher_store.logits_file import LogitsFile
from ttm_core.teachers.load import Teacher

BLOCK = 256
_LARGEST = float(np.finfo(np.float16).max)


class StoredTeacher:
    """Serves float32 logits from a store and fills what is missing.

    The teacher always runs on whole blocks of neighbouring images, never on a training batch: which images stand beside
    each other in a batch changes the last bits of a logit, and a stored number must not depend on who asked first.
    """

    def __init__(
        self, teacher: Teacher, file: LogitsFile, split: Split, views: Views, *, device: torch.device, precision: str
    ) -> None:
        self._teacher, self._file, self._views = teacher, file, views
        self._indices = np.sort(split.indices)
        self._row_of = np.full(len(split.images), -1, np.int64)
        self._row_of[self._indices] = np.arange(len(self._indices))
        self._device, self._precision = device, precision
        self.forwards = 0
        self.spared = 0

    def fill(self, view: int, on_block: Callable[[], None] = lambda: None) -> None:
        """Compute what is missing of a view; `on_block` is called after each block and may raise to stop."""
        for block in self._file.missing(view):
            indices = self._indices[block * BLOCK : (block + 1) * BLOCK]
            self._file.write(view, block, self._compute(indices, view))
            self.forwards += len(indices)
            on_block()
        self._file.sync()

    def logits(self, indices: NDArray[np.int64], view: int) -> Tensor:
        """float32 [B, C] of images of the training split in a view that was filled, on the run's device."""
        rows = self._row_of[indices]
        self.spared += len(indices)
        return torch.from_numpy(self._file.read(view, rows)).to(self._device).float()

    @torch.inference_mode()
    def _compute(self, indices: NDArray[np.int64], view: int) -> NDArray[np.float16]:
        pixels = self._views.batch(indices, view).to(self._device)
        dtype = torch.float16 if self._precision == "float16" else torch.bfloat16
        with torch.autocast(self._device.type, dtype, enabled=self._precision != "float32"):
            logits: Tensor = self._teacher.model(self._teacher.preprocess(pixels))
        # float16 holds a logit of 8 to 16 within 0.004; one beyond 65,504 would become infinite.
        return logits.float().clamp(-_LARGEST, _LARGEST).half().cpu().numpy()
