"""What training tells of its steps, gathered without making the device wait."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from ttm_core.errors import NonFiniteLoss
from ttm_core.methods.build import Terms
from ttm_core.spec.events import Event, Metrics, Progress
from ttm_core.training.distributed import Distributed

_T = TypeVar("_T")

_POINTS_PER_RUN = 2_000
_PROGRESS_SECONDS = 1.0


class StepLog:
    """Keeps the loss terms of recent steps on the device and reads them on log steps alone."""

    def __init__(
        self, on_event: Callable[[Event], None], step: int, steps_per_epoch: int, epochs: int, distributed: Distributed
    ) -> None:
        self._on_event, self._distributed = on_event, distributed
        self._steps_per_epoch, self._epochs = steps_per_epoch, epochs
        self._total = steps_per_epoch * epochs
        self._every = max(min(50, steps_per_epoch // 4), self._total // _POINTS_PER_RUN, 1)
        self._step = step
        self._rate = 0.0
        self._names: list[str] = []
        self._terms: list[Tensor] = []
        self._images, self._waited = 0, 0.0
        self._since = self._told = time.monotonic()
        self._speed: float | None = None
        self._steps_per_second: float | None = None

    def timed(self, batches: Iterable[_T]) -> Iterator[_T]:
        """The same batches; the time that they keep the loop waiting is counted."""
        iterator = iter(batches)
        while True:
            asked = time.monotonic()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            self._waited += time.monotonic() - asked
            yield batch

    def add(self, step: int, terms: Terms, images: int, rate: float) -> None:
        """Note a finished step; `rate` is its learning rate."""
        self._step, self._rate = step, rate
        self._names = list(terms)
        self._terms.append(torch.stack([term.detach() for term in terms.values()]))
        self._images += images
        if len(self._terms) >= self._every:
            self.flush()

    def still_here(self) -> None:
        """Tell the progress again while something other than a step takes its time."""
        if time.monotonic() - self._told >= _PROGRESS_SECONDS:
            self._told = time.monotonic()
            self._tell_progress()

    def flush(self) -> None:
        """Read what was gathered (this waits for the device) and tell it. Raises NonFiniteLoss."""
        if not self._terms:
            return
        read = self._distributed.all_reduce(torch.stack(self._terms).double().cpu())  # [steps, terms]
        self._refuse_non_finite(read)
        now = time.monotonic()
        seconds = max(now - self._since, 1e-9)
        means = read.mean(0)
        self._speed = self._images / seconds
        self._steps_per_second = len(self._terms) / seconds
        values = {
            "train/loss": float(means.sum()),
            **{f"train/{name}": float(mean) for name, mean in zip(self._names, means, strict=True)},
            "train/learning_rate": self._rate,
            "train/images_per_second": self._speed,
            "train/data_wait_share": min(self._waited / seconds, 1.0),
        }
        self._on_event(Metrics(step=self._step, epoch=self._step / self._steps_per_epoch, values=values))
        if now - self._told >= _PROGRESS_SECONDS or self._step == self._total:
            self._told = now
            self._tell_progress()
        self._terms, self._images, self._waited, self._since = [], 0, 0.0, time.monotonic()

    def _tell_progress(self) -> None:
        left = (self._total - self._step) / self._steps_per_second if self._steps_per_second else None
        self._on_event(
            Progress(
                step=self._step,
                total_steps=self._total,
                epoch=math.ceil(self._step / self._steps_per_epoch),
                epochs=self._epochs,
                images_per_second=self._speed or 0.0,
                eta_seconds=left,
            )
        )

    def _refuse_non_finite(self, read: Tensor) -> None:
        bad = (~torch.isfinite(read)).nonzero()
        if len(bad):
            row, column = (int(i) for i in bad[0])
            step = self._step - len(read) + row + 1
            raise NonFiniteLoss(
                f"the loss became {float(read[row, column])} at step {step} "
                f"(epoch {step / self._steps_per_epoch:.2f}), "
                f"in its term {self._names[column]!r}, at learning rate {self._rate:.4g}: "
                "a lower learning rate or a smaller weight of that term often helps"
            )
