"""Progress and metrics events of training steps, collected without synchronizing with the device at each step."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from ttm_core.errors import NonFiniteLoss
from ttm_core.methods.build import Terms
from ttm_core.precision import Precision
from ttm_core.spec.events import Event, Metrics, Progress
from ttm_core.training.distributed import Distributed

_T = TypeVar("_T")

_POINTS_PER_RUN = 2_000
_PROGRESS_SECONDS = 1.0


class StepLog:
    """Keeps the loss terms of recent steps on the device and reads them at log steps only."""

    def __init__(
        self,
        on_event: Callable[[Event], None],
        step: int,
        steps_per_epoch: int,
        epochs: int,
        distributed: Distributed,
        precision: Precision = "float32",
    ) -> None:
        self._on_event, self._distributed = on_event, distributed
        self._steps_per_epoch, self._epochs = steps_per_epoch, epochs
        self._total = steps_per_epoch * epochs
        self._every = max(min(50, steps_per_epoch // 4), self._total // _POINTS_PER_RUN, 1)
        self._step = step
        self._precision = precision
        self._rate = 0.0
        self._names: list[str] = []
        self._terms: list[Tensor] = []
        self._images, self._waited = 0, 0.0
        self._since = self._reported_at = time.monotonic()
        self._speed: float | None = None
        self._steps_per_second: float | None = None

    def time_waits(self, batches: Iterable[_T]) -> Iterator[_T]:
        """Yields the same batches and adds up the time that the loop waits for them."""
        iterator = iter(batches)
        while True:
            requested = time.monotonic()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            self._waited += time.monotonic() - requested
            yield batch

    def add(self, step: int, terms: Terms, images: int, rate: float) -> None:
        """Records a finished step; `rate` is its learning rate."""
        self._step, self._rate = step, rate
        self._names = list(terms)
        self._terms.append(torch.stack([term.detach() for term in terms.values()]))
        self._images += images
        if len(self._terms) >= self._every:
            self.flush()

    def repeat_progress(self) -> None:
        """Emits the last progress again, at most once a second, while no steps are taken."""
        if time.monotonic() - self._reported_at >= _PROGRESS_SECONDS:
            self._reported_at = time.monotonic()
            self._emit_progress()

    def flush(self) -> None:
        """Reads the recorded terms from the device and emits their means. Raises NonFiniteLoss."""
        if not self._terms:
            return
        terms = self._distributed.all_reduce(torch.stack(self._terms).double().cpu())  # [steps, terms]
        self._check_finite(terms)
        now = time.monotonic()
        seconds = max(now - self._since, 1e-9)
        means = terms.mean(0)
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
        if now - self._reported_at >= _PROGRESS_SECONDS or self._step == self._total:
            self._reported_at = now
            self._emit_progress()
        self._terms, self._images, self._waited, self._since = [], 0, 0.0, time.monotonic()

    def _emit_progress(self) -> None:
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

    def _check_finite(self, terms: Tensor) -> None:
        bad = (~torch.isfinite(terms)).nonzero()
        if len(bad):
            row, column = (int(i) for i in bad[0])
            step = self._step - len(terms) + row + 1
            or_precision = "" if self._precision == "float32" else ", or set training.precision to float32"
            raise NonFiniteLoss(
                f"The loss became {float(terms[row, column])} at step {step} "
                f"(epoch {step / self._steps_per_epoch:.2f}) in the term {self._names[column]!r} at learning rate "
                f"{self._rate:.4g}: lower the learning rate or the weight of that term{or_precision}."
            )
