"""The training loop.

A step depends on its number and the spec alone (batch, views, learning rate, dropout), so a run resumed from a
checkpoint takes the very steps that it would have taken.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ttm_core.data.batches import Batch, epoch_batches, prefetched, steps_per_epoch
from ttm_core.data.dataset import Split
from ttm_core.data.random import seed as derived_seed
from ttm_core.data.views import Views
from ttm_core.methods.build import StepContext, Terms
from ttm_core.spec.events import Accuracy, Event, Log, Metrics
from ttm_core.spec.job import TrainingSpec
from ttm_core.training.distiller import Distiller, Forward, data_parallel, gradient_sync
from ttm_core.training.distributed import Distributed
from ttm_core.training.log import StepLog
from ttm_core.training.optimizers import Ema, build_optimizer, clip_gradients, learning_rate

_STEP_SEED = 201  # the stream of each step's dropout and drop path


@dataclass
class Best:
    """The best student so far, by validation accuracy; the earliest among equals."""

    top1: float = -1.0
    epoch: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)


class Interrupted(Exception):
    """The run was asked to stop and saved a checkpoint at this step."""

    def __init__(self, step: int) -> None:
        super().__init__(f"stopped at step {step}")
        self.step = step


@dataclass
class Trainer:
    """A student in training. `train` runs it to the end, `state`/`load_state` are what a checkpoint holds of it."""

    distiller: Distiller
    spec: TrainingSpec
    split: Split
    views: Views
    frozen: Sequence[nn.Module]  # parts of the student that stay as they are
    validate: Callable[[nn.Module], Accuracy]
    save: Callable[["Trainer"], None]
    prepare_view: Callable[[int], Iterator[None]]  # readies the teacher for a view, yielding now and then
    on_event: Callable[[Event], None]
    should_stop: Callable[[], bool]
    distributed: Distributed = field(default_factory=Distributed)
    step: int = 0
    best: Best = field(default_factory=Best)

    def __post_init__(self) -> None:
        self.student, self.objective = self.distiller.student, self.distiller.objective
        self.optimizer = build_optimizer(self.spec.optimizer, self.student, self.objective)
        self.scaler = torch.amp.GradScaler(
            self.distiller.device.type, enabled=self.spec.precision == "float16"
        )  # float16 alone has too few exponents for gradients
        self.ema = Ema(self.spec.ema, self.student) if self.spec.ema else None
        self.steps_per_epoch = steps_per_epoch(len(self.split), self.spec.batch_size, self.distributed.size)
        self.total_steps = self.steps_per_epoch * self.spec.epochs

    def state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "student": self.student.state_dict(),
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "ema": self.ema.model.state_dict() if self.ema else None,
            "best": {"top1": self.best.top1, "epoch": self.best.epoch, "weights": self.best.weights},
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
        self.student.load_state_dict(state["student"])
        self.objective.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.ema:
            self.ema.model.load_state_dict(state["ema"])
        self.best = Best(**state["best"])

    def train(self) -> None:
        """Train from `self.step` to the last step. Raises Interrupted, or NonFiniteLoss naming the step and term."""
        spec = self.spec
        log = StepLog(self.on_event, self.step, self.steps_per_epoch, spec.epochs, self.distributed)
        saved_at = time.monotonic()
        self._training_mode()
        forward = data_parallel(self.distiller, self.distributed)
        while self.step < self.total_steps and not self._out_of_patience():
            epoch, first = divmod(self.step, self.steps_per_epoch)
            view = epoch % spec.view_count
            for _ in self.prepare_view(view):
                log.still_here()
                if self.distributed.broadcast_flags(self.should_stop())[0]:
                    self.save(self)
                    raise Interrupted(self.step)
            batches = epoch_batches(
                self.views,
                seed=spec.seed,
                epoch=epoch,
                view=view,
                batch_size=spec.batch_size,
                first=first,
                distributed=self.distributed,
            )
            for batch in log.timed(prefetched(self.split, batches, self.distiller.device)):
                rate = self._set_learning_rate()
                terms = self._descend(batch, forward)
                self.step += 1
                if self.ema:
                    self.ema.update(self.student, self.step)
                log.add(self.step, terms, round(len(batch.labels) / batch.share), rate)

                if self.step % self.steps_per_epoch == 0:
                    log.flush()
                    self._validate(epoch)
                overdue = time.monotonic() - saved_at >= spec.checkpoint_seconds
                stop, due = self.distributed.broadcast_flags(self.should_stop(), overdue)
                if stop or due:
                    log.flush()
                    self.save(self)
                    saved_at = time.monotonic()
                if stop:
                    raise Interrupted(self.step)
        log.flush()
        self.save(self)

    def _descend(self, batch: Batch, forward: Forward) -> Terms:
        """One step of the optimizer; the batch's loss terms, detached, as they add to those of the other processes."""
        distributed, key = self.distributed, (_STEP_SEED, self.spec.seed, self.step)
        # Dropout differs between the processes, as it does between the images of one.
        torch.manual_seed(derived_seed(*key) if distributed.is_main else derived_seed(*key, distributed.rank))
        context = StepContext(self.step / self.steps_per_epoch, torch.Generator().manual_seed(derived_seed(*key)))
        total: dict[str, Tensor] = {}
        worked_off = list(parts(batch, self.spec.gradient_accumulation))
        for number, (part, share) in enumerate(worked_off, start=1):
            share *= batch.share
            with gradient_sync(forward, number == len(worked_off)):
                terms = forward(part, context)
                loss = torch.stack(list(terms.values())).sum()
                weight = share * distributed.size  # gradients are averaged over the processes, and should add up
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

    def _out_of_patience(self) -> bool:
        patience = self.spec.early_stopping_patience
        return patience is not None and self.step // self.steps_per_epoch - self.best.epoch >= patience

    def _set_learning_rate(self) -> float:
        rate = learning_rate(
            self.spec.schedule,
            self.spec.optimizer.learning_rate,
            step=self.step,
            steps_per_epoch=self.steps_per_epoch,
            epochs=self.spec.epochs,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _validate(self, epoch: int) -> None:
        judged = self.ema.model if self.ema else self.student
        seen = self.distributed.run_on_main(lambda: self.validate(judged))
        self._training_mode()
        if seen.top1 > self.best.top1:
            weights = {name: tensor.detach().cpu().clone() for name, tensor in judged.state_dict().items()}
            self.best = Best(seen.top1, epoch + 1, weights)
        name = "validation/top1" if seen.against == "labels" else "validation/agreement"
        values = {name: seen.top1, "validation/loss": seen.loss}
        self.on_event(Metrics(step=self.step, epoch=epoch + 1, values=values))
        if self._out_of_patience() and self.step < self.total_steps:
            self.on_event(
                Log(message=f"stopped after epoch {epoch + 1}: validation was best after epoch {self.best.epoch}")
            )


def parts(batch: Batch, count: int) -> Iterator[tuple[Batch, float]]:
    """A batch in up to `count` parts of nearly the same size, none of one image, each with its share of the batch."""
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
