"""One step's loss: the student, the frozen teacher and the method, wrapped so that the loop knows none of them."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ttm_core.data.batches import Batch
from ttm_core.methods.build import Objective, Terms
from ttm_core.preprocess import Preprocess
from ttm_core.spec import TrainingSpec
from ttm_core.teachers.load import Teacher


@dataclass(frozen=True)
class Distiller:
    """Turns a batch into named loss terms."""

    student: nn.Module
    preprocess: Preprocess
    objective: Objective
    teacher: Teacher | None  # None where the method does not ask for its logits
    device: torch.device
    precision: TrainingSpec

    def __call__(self, batch: Batch) -> Terms:
        """Weighted scalar terms by name; their sum is the loss."""
        pixels = batch.pixels.to(self.device, non_blocking=True)
        labels = batch.labels.to(self.device, non_blocking=True)
        student_input = self.preprocess(pixels)
        teacher_logits = self._teacher_logits(pixels, student_input)
        with self._autocast():
            student_logits = self.student(student_input)
        return self.objective(student_logits, labels, teacher_logits)

    def _teacher_logits(self, pixels: Tensor, student_input: Tensor) -> Tensor | None:
        """float32 [B, C], without a graph."""
        if self.teacher is None:
            return None
        shared = self.teacher.preprocess == self.preprocess
        with torch.no_grad(), self._autocast():
            logits: Tensor = self.teacher.model(student_input if shared else self.teacher.preprocess(pixels))
        return logits.float()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision.precision == "bfloat16")
