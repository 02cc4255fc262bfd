"""What a run will take, from a few steps on copies of its models before it begins."""

import copy
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch

from ttm_core.data.batches import epoch_batches
from ttm_core.data.views import Views
from ttm_core.methods.build import StepContext
from ttm_core.models.teachers.load import Teacher
from ttm_core.spec.events import Estimate
from ttm_core.spec.job import TrainingSpec
from ttm_core.training.distiller import Distiller
from ttm_core.training.distributed import Distributed
from ttm_core.training.optimizers import build_optimizer
from ttm_core.training.trainer import parts

_STEPS = 3
_STEPS_OF_A_RUN = 20  # for one that is timed: a short run is not worth a long look
_ENOUGH_SECONDS = 10.0


@dataclass(frozen=True)
class Work:
    """How much there is to do."""

    steps: int  # of training that are left
    validation_images: int  # of one validation, times how often it happens
    store_rows: int  # that the teachers will be run on to fill their stores
    store_bytes: int


@dataclass
class Effort:
    """What a run was expected to take, and what it took, over all its attempts."""

    estimate: Estimate
    before: float = 0.0  # seconds of earlier attempts
    _started: float = field(default_factory=time.monotonic, init=False)

    @property
    def seconds(self) -> float:
        """From the first step to now, without the time between attempts."""
        return self.before + time.monotonic() - self._started


def estimate(distiller: Distiller, views: Views, spec: TrainingSpec, work: Work, distributed: Distributed) -> Estimate:
    """Time a few steps of the run; the models, the optimizer and the random state of the run stay as they are.

    The first step is not counted: it allocates, and picks its kernels.
    """
    read = [(source.stored, source.stored.read) for source in distiller.teachers if source.stored is not None]
    student, objective = copy.deepcopy(distiller.student), copy.deepcopy(distiller.objective)
    twin = replace(distiller, student=student, objective=objective)
    optimizer = build_optimizer(spec.optimizer, student, objective)
    with torch.random.fork_rng(devices=[distiller.device] if distiller.device.type == "cuda" else []):
        steps: list[float] = []
        started = time.perf_counter()
        batches = epoch_batches(
            views, seed=spec.seed, epoch=0, view=0, batch_size=spec.batch_size, first=0, distributed=distributed
        )
        for batch in batches:
            for part, share in parts(batch, spec.gradient_accumulation):
                terms = twin(part, StepContext(0.0, torch.Generator().manual_seed(0)))
                (torch.stack(list(terms.values())).sum() * share).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            _finish(distiller.device)
            now = time.perf_counter()
            steps.append(now - started)
            started = now
            if len(steps) > min(_STEPS, work.steps // _STEPS_OF_A_RUN) or sum(steps) > _ENOUGH_SECONDS:
                break
        step_seconds = min(steps[1:] or steps)
        forward = _forward_seconds(twin, views, spec.batch_size)
        teacher = (
            sum(_teacher_seconds(source.teacher, views, distiller.device) for source in distiller.teachers)
            if work.store_rows
            else 0.0
        )
    for served, before in read:
        served.read = before  # what was read for this is no part of the run
    stored = work.store_rows * teacher / distributed.size
    return Estimate(
        seconds=work.steps * step_seconds + work.validation_images * forward + stored,
        step_seconds=step_seconds,
        teacher_seconds=stored,
        store_bytes=work.store_bytes,
        memory_bytes=_peak_memory(distiller.device),
    )


@torch.inference_mode()
def _forward_seconds(distiller: Distiller, views: Views, batch_size: int) -> float:
    """Of the student, an image."""
    pixels = views.batch(views.split.indices[:batch_size], 0).to(distiller.device)
    model = distiller.student.eval()
    return _timed(lambda: model(distiller.preprocess(pixels)), distiller.device) / len(pixels)


@torch.inference_mode()
def _teacher_seconds(teacher: Teacher, views: Views, device: torch.device) -> float:
    """Of a teacher on a view as it fills a store, an image."""
    pixels = views.batch(views.split.indices[:32], 0).to(device)
    return _timed(lambda: teacher.model(teacher.preprocess(pixels)), device) / len(pixels)


def _timed(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of the second call of two."""
    for _ in range(2):
        _finish(device)
        started = time.perf_counter()
        call()
        _finish(device)
    return time.perf_counter() - started


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak_memory(device: torch.device) -> int:
    """Bytes: of the device where it has memory of its own, of the process elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
