"""One step's loss terms: wraps student, frozen teachers and method, so that the training loop knows none of them."""

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ttm_core.data.batches import Batch
from ttm_core.hardware.compilation import CompileMode, begin_step, compiled
from ttm_core.methods.build import Objective, StepContext, Terms
from ttm_core.methods.outputs import Outputs, outputs
from ttm_core.models.preprocess import Preprocess
from ttm_core.models.teachers.ensemble import mean_teacher_logits
from ttm_core.models.teachers.load import Teacher
from ttm_core.precision import Precision, autocast
from ttm_core.teacher_store.stored_teacher import StoredTeacher
from ttm_core.training.distributed import Distributed

Forward = Callable[[Batch, StepContext], Terms]
"""From a batch to its weighted scalar loss terms by name."""


@dataclass(frozen=True)
class TeacherSource:
    """A teacher, with its store where its logits are stored."""

    teacher: Teacher
    stored: StoredTeacher | None = None  # replaces the teacher's forward pass
    weight: float = 1.0


@dataclass(frozen=True)
class Distiller:
    """Computes the named loss terms of a batch."""

    student: nn.Module
    preprocess: Preprocess
    objective: Objective
    teachers: Sequence[TeacherSource]  # empty where the method uses no teacher
    device: torch.device
    precision: Precision
    teacher_precision: Precision
    compile_mode: CompileMode | None = None  # of the student's forward pass; teachers come compiled
    _student: nn.Module = field(init=False, repr=False)

    def __post_init__(self) -> None:
        student = compiled(self.student, self.compile_mode) if self.compile_mode else self.student
        object.__setattr__(self, "_student", student)

    def __call__(self, batch: Batch, context: StepContext) -> Terms:
        """Weighted scalar terms by name; their sum is the loss."""
        pixels = batch.pixels.to(self.device, non_blocking=True)
        labels = batch.labels.to(self.device, non_blocking=True)
        student_input = self.preprocess(pixels)
        teacher = self._teacher_outputs(batch, pixels, student_input, context)
        if self.compile_mode == "reduce-overhead":
            begin_step()
        with autocast(self.device, self.precision):
            student = outputs(self._student, student_input, self.objective.features)
        return self.objective(student, teacher, labels, torch.from_numpy(batch.indices), context)

    def _teacher_outputs(
        self, batch: Batch, pixels: Tensor, student_input: Tensor, context: StepContext
    ) -> Outputs | None:
        """Outputs of the teacher or the ensemble mean, without gradients; logits are float32."""
        found = [self._source_outputs(source, batch, pixels, student_input) for source in self.teachers]
        if len(found) <= 1:
            return found[0] if found else None
        weights = [source.weight for source in self.teachers]
        temperature = self.objective.temperature(context)
        return Outputs(mean_teacher_logits([each.logits for each in found], weights, temperature))

    def _source_outputs(self, source: TeacherSource, batch: Batch, pixels: Tensor, student_input: Tensor) -> Outputs:
        if source.stored is not None:
            return Outputs(source.stored.logits(batch.indices, batch.view))
        teacher = source.teacher
        teacher_input = student_input if teacher.preprocess == self.preprocess else teacher.preprocess(pixels)
        with torch.no_grad(), autocast(self.device, self.teacher_precision):
            found = outputs(teacher.model, teacher_input, self.objective.features)
        return replace(found, logits=found.logits.float())


def data_parallel(distiller: Distiller, distributed: Distributed, first_batch: Callable[[], Batch]) -> Forward:
    """The distiller, wrapped in DistributedDataParallel where the run has several processes.

    DistributedDataParallel searches the graph of every step for unused parameters only if there are any, because the
    search takes time.

    Args:
        distiller: to wrap.
        distributed: the processes of the run.
        first_batch: returns a batch of the run.
    """
    if distributed.size == 1:
        return distiller
    unused = distributed.run_on_main(lambda: leaves_parameters_unused(distiller, first_batch()))
    return DistributedDataParallel(_Module(distiller), find_unused_parameters=unused)


def leaves_parameters_unused(distiller: Distiller, batch: Batch) -> bool:
    """Whether the loss does not depend on every trainable parameter, for example because a model has a second head.

    Determined by a step on copies.
    """
    student, objective = copy.deepcopy(distiller.student), copy.deepcopy(distiller.objective)
    copied = replace(distiller, student=student, objective=objective, compile_mode=None)
    reads = [(source.stored, source.stored.read) for source in distiller.teachers if source.stored is not None]
    with torch.random.fork_rng(devices=[distiller.device] if distiller.device.type == "cuda" else []):
        terms = copied(batch, StepContext(0.0, torch.Generator().manual_seed(0)))
    for stored, read in reads:
        stored.read = read  # this step is not part of the run
    trainable = chain(student.parameters(), objective.parameters())
    parameters = [parameter for parameter in trainable if parameter.requires_grad]
    gradients = torch.autograd.grad(torch.stack(list(terms.values())).sum(), parameters, allow_unused=True)
    return any(gradient is None for gradient in gradients)


def gradient_sync(forward: Forward, is_last_part: bool) -> AbstractContextManager[None]:
    """Context of one part of an accumulated step: gradients are reduced with the last part only."""
    if is_last_part or not isinstance(forward, DistributedDataParallel):
        return nullcontext()
    return forward.no_sync()


class _Module(nn.Module):
    """A distiller as a module whose parameters are the trainable ones."""

    def __init__(self, distiller: Distiller) -> None:
        super().__init__()
        self.student, self.objective = distiller.student, distiller.objective
        self._distiller = distiller

    def forward(self, batch: Batch, context: StepContext) -> Terms:
        return self._distiller(batch, context)
