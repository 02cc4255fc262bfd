"""Estimates the duration and memory of a run from a few steps on copies of its models."""

import copy
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import torch

from ttm_core.data.batches import finished, prepared_batches
from ttm_core.data.views import Views
from ttm_core.hardware.timing import synchronize
from ttm_core.methods.build import StepContext
from ttm_core.models.teachers.load import Teacher
from ttm_core.precision import Precision, forward
from ttm_core.spec.events import Estimate
from ttm_core.spec.training.training import TrainingSpec
from ttm_core.training.distiller import Distiller
from ttm_core.training.distributed import Distributed
from ttm_core.training.optimizers import build_optimizer
from ttm_core.training.trainer import split_batch

_STEPS = 3
_STEPS_PER_TIMED_STEP = 20  # a run of 40 steps is estimated from two: the estimate must stay cheap
_MAX_SECONDS = 10.0


@dataclass(frozen=True)
class Workload:
    """The amount of work a run has to do."""

    steps: int
    validation_images: int  # over all validations
    store_rows: int  # images the teachers must run on to fill their stores
    store_bytes: int


@dataclass
class Stopwatch:
    """The estimate of a run and the time it has taken over all attempts."""

    estimate: Estimate
    earlier_seconds: float = 0.0  # of earlier attempts
    _started: float = field(default_factory=time.monotonic, init=False)

    @property
    def seconds(self) -> float:
        """Seconds since the first step, without the time between attempts."""
        return self.earlier_seconds + time.monotonic() - self._started


def estimate(
    distiller: Distiller, views: Views, spec: TrainingSpec, workload: Workload, distributed: Distributed
) -> Estimate:
    """Times a few training steps. The run's models, optimizer and random state stay unchanged.

    The first step is not counted, because it allocates memory and selects kernels.
    """
    reads_before = [(source.stored, source.stored.read) for source in distiller.teachers if source.stored is not None]
    student, objective = copy.deepcopy(distiller.student), copy.deepcopy(distiller.objective)
    # Compiling the copy would take longer than the steps.
    copied = replace(distiller, student=student, objective=objective, compile_mode=None)
    optimizer = build_optimizer(spec.optimizer, student, objective)
    with torch.random.fork_rng(devices=[distiller.device] if distiller.device.type == "cuda" else []):
        steps: list[float] = []
        started = time.perf_counter()
        batches = prepared_batches(
            views,
            seed=spec.seed,
            epoch=0,
            view=0,
            batch_size=spec.images_per_step,
            first=0,
            unlabelled_ratio=spec.unlabelled_ratio,
            distributed=distributed,
        )
        for batch in finished(views, batches):
            for part, share in split_batch(batch, spec.gradient_accumulation):
                terms = copied(part, StepContext(0.0, torch.Generator().manual_seed(0)))
                (torch.stack(list(terms.values())).sum() * share).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            synchronize(distiller.device)
            now = time.perf_counter()
            steps.append(now - started)
            started = now
            if len(steps) > min(_STEPS, workload.steps // _STEPS_PER_TIMED_STEP) or sum(steps) > _MAX_SECONDS:
                break
        step_seconds = min(steps[1:] or steps)
        validation = _student_seconds(copied, views, spec.images_per_step)
        teacher = (
            sum(
                _teacher_seconds(source.teacher, views, distiller.device, distiller.teacher_precision)
                for source in distiller.teachers
            )
            if workload.store_rows
            else 0.0
        )
    for stored, read in reads_before:
        stored.read = read  # reads of the estimate are not part of the run
    store_seconds = workload.store_rows * teacher / distributed.size
    validation_seconds = workload.validation_images * validation / distributed.size
    return Estimate(
        seconds=workload.steps * step_seconds + validation_seconds + store_seconds,
        step_seconds=step_seconds,
        teacher_seconds=store_seconds,
        store_bytes=workload.store_bytes,
        memory_bytes=_peak_memory(distiller.device),
    )


@torch.inference_mode()
def _student_seconds(distiller: Distiller, views: Views, batch_size: int) -> float:
    """Seconds per image of a forward pass of the student."""
    pixels = views.batch(views.split.indices[:batch_size], 0)
    model = distiller.student.eval()
    call = partial(forward, model, distiller.preprocess, pixels, distiller.precision)
    return _second_call(call, distiller.device) / len(pixels)


@torch.inference_mode()
def _teacher_seconds(teacher: Teacher, views: Views, device: torch.device, precision: Precision) -> float:
    """Seconds per image of a teacher that fills its store: of the view and the forward pass."""
    indices = views.split.indices[:32]

    def call() -> torch.Tensor:
        return forward(teacher.model, teacher.preprocess, views.batch(indices, 0), precision)

    return _second_call(call, device) / len(indices)


def _second_call(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of the second of two calls."""
    for _ in range(2):
        synchronize(device)
        started = time.perf_counter()
        call()
        synchronize(device)
    return time.perf_counter() - started


def _peak_memory(device: torch.device) -> int:
    """Bytes of GPU memory, or of the process's memory on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
