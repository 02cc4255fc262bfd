"""The training loop.

A step depends on its number and the spec alone (batch, views, learning rate, dropout), so a run resumed from a
checkpoint takes the very steps that it would have taken.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ttm_core.data.batches import epoch_batches, prefetched, steps_per_epoch
from ttm_core.data.dataset import Split
from ttm_core.data.random import seed as derived_seed
from ttm_core.data.views import Views
from ttm_core.distiller import Distiller
from ttm_core.events import Accuracy, Event, Metrics
from ttm_core.optim.build import build_optimizer, learning_rate
from ttm_core.spec import TrainingSpec
from ttm_core.step_log import StepLog

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
    validate: Callable[[nn.Module], Accuracy]
    save: Callable[["Trainer"], None]
    on_event: Callable[[Event], None]
    should_stop: Callable[[], bool]
    step: int = 0
    best: Best = field(default_factory=Best)

    def __post_init__(self) -> None:
        self.student = self.distiller.student
        self.optimizer = build_optimizer(self.spec.optimizer, self.student)
        self.steps_per_epoch = steps_per_epoch(len(self.split), self.spec.batch_size)
        self.total_steps = self.steps_per_epoch * self.spec.epochs

    def state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "student": self.student.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best": {"top1": self.best.top1, "epoch": self.best.epoch, "weights": self.best.weights},
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
        self.student.load_state_dict(state["student"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.best = Best(**state["best"])

    def train(self) -> None:
        """Train from `self.step` to the last step. Raises Interrupted, or NonFiniteLoss naming the step and term."""
        spec = self.spec
        log = StepLog(self.on_event, self.step, self.steps_per_epoch, spec.epochs)
        saved_at = time.monotonic()
        self.student.train()
        while self.step < self.total_steps:
            epoch, first = divmod(self.step, self.steps_per_epoch)
            batches = epoch_batches(
                self.split, self.views, seed=spec.seed, epoch=epoch, batch_size=spec.batch_size, first=first
            )
            for batch in log.timed(prefetched(self.split, batches)):
                rate = self._set_learning_rate()
                torch.manual_seed(derived_seed(_STEP_SEED, spec.seed, self.step))
                terms = self.distiller(batch)
                loss = torch.stack(list(terms.values())).sum()
                loss.backward()
                self.optimizer.step()
                self.optimizer.zero_grad(set_to_none=True)
                self.step += 1
                log.add(self.step, terms, len(batch.labels), rate)

                if self.step % self.steps_per_epoch == 0:
                    log.flush()
                    self._validate(epoch)
                stop = self.should_stop()
                if stop or time.monotonic() - saved_at >= spec.checkpoint_seconds:
                    log.flush()
                    self.save(self)
                    saved_at = time.monotonic()
                if stop:
                    raise Interrupted(self.step)
        log.flush()
        self.save(self)

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
        seen = self.validate(self.student)
        if seen.top1 > self.best.top1:
            weights = {name: tensor.detach().cpu().clone() for name, tensor in self.student.state_dict().items()}
            self.best = Best(seen.top1, epoch + 1, weights)
        values = {"validation/top1": seen.top1, "validation/loss": seen.loss}
        self.on_event(Metrics(step=self.step, epoch=epoch + 1, values=values))
