"""The training loop.

A step depends only on its number and the spec (batch, views, learning rate, dropout), so a run resumed from a
checkpoint repeats exactly the steps of an uninterrupted run.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ttm_core.data.batches import (
    Batch,
    PreparedBatch,
    finished,
    images_per_epoch,
    prefetched,
    prepared_batches,
    steps_per_epoch,
)
from ttm_core.data.dataset import Split
from ttm_core.data.random import seed as derived_seed
from ttm_core.data.views import Views
from ttm_core.methods.build import StepContext, Terms
from ttm_core.spec.events import Accuracy, Event, Log, Metrics
from ttm_core.spec.training.training import TrainingSpec
from ttm_core.training.devices import seed_generators
from ttm_core.training.distiller import Distiller, Forward, data_parallel, gradient_sync
from ttm_core.training.distributed import ONE_PROCESS, Distributed
from ttm_core.training.log import StepLog
from ttm_core.training.optimizers import (
    build_ema,
    build_optimizer,
    clip_gradients,
    learning_rate,
    resolved_learning_rate,
    set_learning_rate,
)

_STEP_SEED = 201  # random stream of each step's dropout and drop path


@dataclass
class Best:
    """The best student so far by validation accuracy; the earliest among equals."""

    top1: float = -1.0
    epoch: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)


class Interrupted(Exception):
    """Raised after a stop request, once a checkpoint of this step is saved."""

    def __init__(self, step: int) -> None:
        super().__init__(f"stopped at step {step}")
        self.step = step


class ReachedEpoch(Interrupted):
    """Raised after the epoch at which the run pauses itself. `best_top1` is the best validation accuracy so far."""

    def __init__(self, step: int, epoch: int, best_top1: float) -> None:
        super().__init__(step)
        self.epoch, self.best_top1 = epoch, best_top1


@dataclass
class Trainer:
    """Trains a student. Checkpoints hold what `state` returns and `load_state` restores."""

    distiller: Distiller
    spec: TrainingSpec
    split: Split
    views: Views
    frozen: Sequence[nn.Module]  # parts of the student that stay in evaluation mode
    validate: Callable[[nn.Module], Accuracy]  # called by every process with equal models, with an equal result
    save: Callable[["Trainer"], None]
    prepare_view: Callable[[int], Iterator[None]]  # fills the teacher stores for a view, yields after each block
    on_event: Callable[[Event], None]
    should_stop: Callable[[], bool]
    distributed: Distributed = ONE_PROCESS
    pause_after_epoch: int | None = None
    step: int = 0
    best: Best = field(default_factory=Best)

    def __post_init__(self) -> None:
        self.student, self.objective = self.distiller.student, self.distiller.objective
        self.optimizer = build_optimizer(self.spec.optimizer, self.student, self.objective)
        self.scaler = torch.amp.GradScaler(
            self.distiller.device.type, enabled=self.spec.precision == "float16"
        )  # small gradients underflow in float16
        self.ema = build_ema(self.spec.ema, self.student) if self.spec.ema else None
        images = images_per_epoch(self.split, self.spec.unlabelled_ratio)
        self.steps_per_epoch = steps_per_epoch(images, self.spec.images_per_step, self.distributed.size)
        self.total_steps = self.steps_per_epoch * self.spec.epoch_count
        self._saved_step, self._saved_at = -1, time.monotonic()

    @property
    def best_step(self) -> int:
        """The step after which the best student was validated; 0 before the first validation."""
        return self.best.epoch * self.steps_per_epoch

    def state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "student": self.student.state_dict(),
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "ema": self.ema.state_dict() if self.ema else None,
            "best": {"top1": self.best.top1, "epoch": self.best.epoch, "weights": self.best.weights},
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.step = self._saved_step = state["step"]
        self.student.load_state_dict(state["student"])
        self.objective.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.ema:
            self.ema.load_state_dict(state["ema"])
        self.best = Best(**state["best"])

    def train(self) -> None:
        """Trains from `self.step` to the last step.

        Raises:
            Interrupted: `should_stop` returned True; a checkpoint is saved.
            ReachedEpoch: the run pauses itself after `pause_after_epoch`; a checkpoint is saved.
            NonFiniteLoss: the loss became NaN or infinite; the error names the step and the term.
        """
        spec = self.spec
        log = StepLog(
            self.on_event, self.step, self.steps_per_epoch, spec.epoch_count, self.distributed, self.distiller.precision
        )
        self._saved_at = time.monotonic()
        self._training_mode()
        forward = data_parallel(self.distiller, self.distributed, self._first_batch)
        while self.step < self.total_steps and not self._stopped_early():
            epoch, first = divmod(self.step, self.steps_per_epoch)
            if self.pause_after_epoch is not None and epoch >= self.pause_after_epoch:
                self._save()
                raise ReachedEpoch(self.step, epoch, self.best.top1)
            view = epoch % spec.view_count
            for _ in self.prepare_view(view):
                log.repeat_progress()
                if self.distributed.broadcast_flags(self.should_stop())[0]:
                    self._save()
                    raise Interrupted(self.step)
            batches = prefetched(self.views, self._prepared_batches(epoch, view, first))
            for batch in log.time_waits(batches):
                rate = self._set_learning_rate()
                terms = self._optimize(batch, forward)
                self.step += 1
                if self.ema:
                    self.ema.update_parameters(self.student)
                log.add(self.step, terms, round(len(batch.labels) / batch.share), rate)

                if self.step % self.steps_per_epoch == 0:
                    log.flush()
                    if self._validate(epoch):
                        self._save()
                overdue = time.monotonic() - self._saved_at >= spec.checkpoint_seconds
                stop, due = self.distributed.broadcast_flags(self.should_stop(), overdue)
                if stop or due:
                    log.flush()
                    self._save()
                if stop:
                    raise Interrupted(self.step)
        log.flush()
        self._save()

    def _first_batch(self) -> Batch:
        return next(finished(self.views, self._prepared_batches(epoch=0, view=0, first=0)))

    def _prepared_batches(self, epoch: int, view: int, first: int) -> Iterator[PreparedBatch]:
        return prepared_batches(
            self.views,
            seed=self.spec.seed,
            epoch=epoch,
            view=view,
            batch_size=self.spec.images_per_step,
            first=first,
            unlabelled_ratio=self.spec.unlabelled_ratio,
            distributed=self.distributed,
        )

    def _save(self) -> None:
        """Saves a checkpoint unless this step already has one."""
        if self._saved_step != self.step:
            self.save(self)
            self._saved_step = self.step
        self._saved_at = time.monotonic()

    def _optimize(self, batch: Batch, forward: Forward) -> Terms:
        """One optimizer step. Returns the batch's detached loss terms, which add up over the processes."""
        distributed, key = self.distributed, (_STEP_SEED, self.spec.seed, self.step)
        # Dropout differs between the processes, as it differs between images.
        seed = derived_seed(*key) if distributed.is_main else derived_seed(*key, distributed.rank)
        seed_generators(self.distiller.device, seed)
        context = StepContext(self.step / self.steps_per_epoch, torch.Generator().manual_seed(derived_seed(*key)))
        total: dict[str, Tensor] = {}
        parts = list(split_batch(batch, self.spec.gradient_accumulation))
        for number, (part, share) in enumerate(parts, start=1):
            share *= batch.share
            with gradient_sync(forward, number == len(parts)):
                terms = forward(part, context)
                loss = torch.stack(list(terms.values())).sum()
                weight = share * distributed.size  # DDP averages gradients over the processes; we need their sum
                self.scaler.scale(loss * weight if weight != 1 else loss).backward()
            for name, term in terms.items():
                weighted = term.detach() * share if share < 1 else term.detach()
                total[name] = total[name] + weighted if name in total else weighted
        if self.spec.gradient_clipping is not None:
            self.scaler.unscale_(self.optimizer)
            clip_gradients(self.spec.gradient_clipping, self.student, self.objective)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return total

    def _training_mode(self) -> None:
        self.student.train()
        self.objective.train()
        for module in self.frozen:
            module.eval()

    def _stopped_early(self) -> bool:
        patience = self.spec.early_stopping_patience
        return patience is not None and self.step // self.steps_per_epoch - self.best.epoch >= patience

    def _set_learning_rate(self) -> float:
        rate = learning_rate(
            self.spec.schedule,
            resolved_learning_rate(self.spec.optimizer),
            step=self.step,
            steps_per_epoch=self.steps_per_epoch,
            epochs=self.spec.epoch_count,
        )
        set_learning_rate(self.optimizer, rate)
        return rate

    def _validate(self, epoch: int) -> bool:
        """Validates the student, or its moving average. Returns whether it is the best so far."""
        candidate: nn.Module = self.ema.module if self.ema else self.student
        # Each process has other batch norm statistics, those of its own images; the student has the main process's.
        self.distributed.broadcast_buffers(candidate)
        result = self.validate(candidate)
        self._training_mode()
        is_best = result.top1 > self.best.top1
        if is_best:
            weights = {name: tensor.detach().cpu().clone() for name, tensor in candidate.state_dict().items()}
            self.best = Best(result.top1, epoch + 1, weights)
        name = "validation/top1" if result.against == "labels" else "validation/agreement"
        values = {name: result.top1, "validation/loss": result.loss}
        self.on_event(Metrics(step=self.step, epoch=epoch + 1, values=values))
        if self._stopped_early() and self.step < self.total_steps:
            self.on_event(
                Log(message=f"stopped early after epoch {epoch + 1}; the best validation was after {self.best.epoch}")
            )
        return is_best


def split_batch(batch: Batch, count: int) -> Iterator[tuple[Batch, float]]:
    """Splits a batch into up to `count` parts of nearly equal size for gradient accumulation.

    Yields each part with its share of the batch. No part has fewer than two images.
    """
    images = len(batch.indices)
    count = max(min(count, images // 2), 1)
    bounds = [images * part // count for part in range(count + 1)]
    for start, stop in pairwise(bounds):
        part = replace(
            batch,
            indices=batch.indices[start:stop],
            pixels=batch.pixels[start:stop],
            labels=batch.labels[start:stop],
        )
        yield part, (stop - start) / images
