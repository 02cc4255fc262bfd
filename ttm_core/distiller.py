"""One step's loss: the student, the frozen teacher and the method, wrapped so that the loop knows none of them."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from ttm_core.data.batches import Batch
from ttm_core.methods.build import Moment, Objective, Terms
from ttm_core.methods.outputs import Outputs, outputs
from ttm_core.preprocess import Preprocess
from ttm_core.teacher_store.stored_teacher import StoredTeacher
from ttm_core.teachers.load import Teacher

Precision = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Distiller:
    """Turns a batch into named loss terms."""

    student: nn.Module
    preprocess: Preprocess
    objective: Objective
    teacher: Teacher | None  # None where the method does not ask for its logits
    stored: StoredTeacher | None  # asked instead of the teacher, where its logits are kept
    device: torch.device
    precision: Precision

    def __call__(self, batch: Batch, moment: Moment) -> Terms:
        """Weighted scalar terms by name; their sum is the loss."""
        pixels = batch.pixels.to(self.device, non_blocking=True)
        labels = batch.labels.to(self.device, non_blocking=True)
        student_input = self.preprocess(pixels)
        teacher = self._teacher_outputs(batch, pixels, student_input)
        with self._autocast():
            student = outputs(self.student, student_input, self.objective.features)
        return self.objective(student, teacher, labels, torch.from_numpy(batch.indices), moment)

    def _teacher_outputs(self, batch: Batch, pixels: Tensor, student_input: Tensor) -> Outputs | None:
        """Logits in float32, all without a graph."""
        if self.stored is not None:
            return Outputs(self.stored.logits(batch.indices, batch.view))
        if self.teacher is None:
            return None
        shared = self.teacher.preprocess == self.preprocess
        teacher_input = student_input if shared else self.teacher.preprocess(pixels)
        with torch.no_grad(), self._autocast():
            seen = outputs(self.teacher.model, teacher_input, self.objective.features)
        return replace(seen, logits=seen.logits.float())

    def _autocast(self) -> torch.autocast:
        dtype = torch.float16 if self.precision == "float16" else torch.bfloat16
        return torch.autocast(self.device.type, dtype, enabled=self.precision != "float32")
