"""The teacher's logits for training views, computed once in blocks and then read from the store."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ttm_core.data.views import Views
from ttm_core.files.locks import POLL_SECONDS, Claims
from ttm_core.models.teachers.load import Teacher
from ttm_core.precision import Precision, forward
from ttm_core.teacher_store.codecs import Encoding, build_codec
from ttm_core.teacher_store.key import store_key
from ttm_core.teacher_store.logits_file import LogitsFile
from ttm_core.teacher_store.rows import Rows
from ttm_core.teacher_store.store import Stores, open_store, prune
from ttm_core.training.distributed import ONE_PROCESS, Distributed
from ttm_core.transfer import copied_to

BLOCK = 256


@contextmanager
def open_stored_teacher(
    stores: Stores,
    teacher: Teacher,
    views: Views,
    *,
    count: int,
    device: torch.device,
    precision: Precision,
    encoding: Encoding = "float16",
    block: int = BLOCK,
    distributed: Distributed = ONE_PROCESS,
) -> Iterator["StoredTeacher"]:
    """Opens the store of a teacher's logits for views 0 to `count` - 1 of the split's images."""
    key = store_key(teacher, views, precision=precision, device=device, block=block, encoding=encoding)
    rows = Rows(views, block)
    rows.number(count)
    codec = build_codec(encoding, teacher.classes)
    distributed.run_on_main(lambda: stores.fetch(key.digest))
    # Claims close after the file, which makes the claimed blocks durable.
    with (
        Claims(stores.root, key.digest) as claims,
        open_store(stores.root, key, codec, ends=rows.ends) as file,
    ):
        prune(stores.root, stores.max_bytes)
        yield StoredTeacher(
            teacher,
            file,
            claims,
            rows,
            views,
            digest=key.digest,
            device=device,
            precision=precision,
            distributed=distributed,
        )


class StoredTeacher:
    """Reads logits from a store and computes missing ones."""

    def __init__(
        self,
        teacher: Teacher,
        file: LogitsFile,
        claims: Claims,
        rows: Rows,
        views: Views,
        *,
        digest: str,
        device: torch.device,
        precision: Precision,
        distributed: Distributed,
    ) -> None:
        self._teacher, self._file, self._claims, self._rows, self._views = teacher, file, claims, rows, views
        self._device, self._precision, self._distributed = device, precision, distributed
        self.digest = digest  # of the store's key
        self.computed = 0  # images the teacher ran on
        self.read = 0  # images whose logits were read

    @property
    def missing(self) -> int:
        """The number of images the teacher still has to run on to fill all views."""
        blocks = self._file.missing(np.arange(self._rows.blocks))
        return sum(len(self._rows.members(block)[2]) for block in blocks)

    @property
    def bytes(self) -> int:
        """The size of the store when all views are filled."""
        return self._rows.count * self._file.row_bytes

    def fill(self, view: int) -> Iterator[None]:
        """Computes the missing blocks of a view and yields after each. Completed blocks persist if the caller stops.

        Runs that fill the same store at once divide the blocks: a block that another run has claimed is skipped, and
        computed at the end if that run ended without it. While this run waits for others, it yields at intervals.
        The processes of a run divide its blocks and yield equally often.
        """
        distributed = self._distributed
        missing = distributed.run_on_main(partial(self._missing, self._rows.blocks_of(view)))
        while missing:
            left, elsewhere = deque(missing), list[int]()
            while blocks := distributed.run_on_main(partial(self._claim, left, elsewhere)):
                for block in blocks[distributed.rank : distributed.rank + 1]:
                    number, first_row, indices = self._rows.members(block)
                    self._file.write(block, first_row, self._compute(indices, number))
                    self.computed += len(indices)
                yield
            # Before waiting for other runs, which may wait for these blocks.
            self._file.sync()
            distributed.barrier()
            self._claims.release()
            missing = distributed.run_on_main(partial(self._file.missing, np.asarray(elsewhere, np.int64)))
            if missing:
                yield
                time.sleep(POLL_SECONDS)

    def _missing(self, blocks: NDArray[np.int64]) -> list[int]:
        self._file.drop_damaged(blocks)
        return self._file.missing(blocks)

    def _claim(self, left: deque[int], elsewhere: list[int]) -> list[int]:
        """Claims a block for each process of the run, fewer at the end. Moves blocks that other runs have claimed from
        `left` to `elsewhere`.
        """
        claimed: list[int] = []
        while left and len(claimed) < self._distributed.size:
            block = left.popleft()
            if not self._claims.try_claim(block):
                elsewhere.append(block)
            elif self._file.missing(np.array([block])):  # another run may have finished it meanwhile
                claimed.append(block)
        return claimed

    def logits(self, indices: NDArray[np.int64], view: int) -> Tensor:
        """Reads the logits of training images in a filled view: float32 [B, C] on the run's device."""
        self.read += len(indices)
        return copied_to(self._device, torch.from_numpy(self._file.read(self._rows.rows_of(indices, view))))

    @torch.inference_mode()
    def _compute(self, indices: NDArray[np.int64], view: int) -> NDArray[np.float32]:
        pixels = self._views.batch(indices, view)
        return forward(self._teacher.model, self._teacher.preprocess, pixels, self._precision).cpu().numpy()
