"""The teacher's logits for training views: computed once in blocks, read ever after."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ttm_core.data.dataset import Split
from ttm_core.data.views import Views
from ttm_core.teacher_store.key import store_key
from ttm_core.teacher_store.logits_file import LogitsFile
from ttm_core.teacher_store.store import Stores, open_store, prune
from ttm_core.teachers.load import Teacher

BLOCK = 256
_LARGEST = float(np.finfo(np.float16).max)


@contextmanager
def open_stored_teacher(
    stores: Stores,
    teacher: Teacher,
    split: Split,
    views: Views,
    *,
    count: int,
    num_classes: int,
    device: torch.device,
    precision: str,
) -> Iterator["StoredTeacher"]:
    """A teacher whose logits for views 0 to `count` - 1 of the split's images are kept in its store among `stores`."""
    key = store_key(
        teacher,
        split,
        views.augmentation,
        size=views.size,
        seed=views.seed,
        precision=precision,
        device=device,
        block=BLOCK,
    )
    with open_store(stores.root, key, views=count, rows=len(split), classes=num_classes, block=BLOCK) as file:
        prune(stores.root, stores.max_bytes)
        yield StoredTeacher(teacher, file, split, views, device=device, precision=precision)


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
        self.computed = 0  # images that the teacher ran on
        self.read = 0  # images whose logits were asked for

    def fill(self, view: int) -> Iterator[None]:
        """Compute what is missing of a view, yielding after each block; what is done stays if nobody goes on."""
        for block in self._file.missing(view):
            indices = self._indices[block * BLOCK : (block + 1) * BLOCK]
            self._file.write(view, block, self._compute(indices, view))
            self.computed += len(indices)
            yield
        self._file.sync()

    def logits(self, indices: NDArray[np.int64], view: int) -> Tensor:
        """float32 [B, C] of images of the training split in a view that was filled, on the run's device."""
        rows = self._row_of[indices]
        self.read += len(indices)
        return torch.from_numpy(self._file.read(view, rows)).to(self._device).float()

    @torch.inference_mode()
    def _compute(self, indices: NDArray[np.int64], view: int) -> NDArray[np.float16]:
        pixels = self._views.batch(indices, view).to(self._device)
        dtype = torch.float16 if self._precision == "float16" else torch.bfloat16
        with torch.autocast(self._device.type, dtype, enabled=self._precision != "float32"):
            logits: Tensor = self._teacher.model(self._teacher.preprocess(pixels))
        # float16 holds a logit of 8 to 16 within 0.004; one beyond 65,504 would become infinite.
        return logits.float().clamp(-_LARGEST, _LARGEST).half().cpu().numpy()
