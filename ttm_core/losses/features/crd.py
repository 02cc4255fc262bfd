"""Contrastive representation distillation (CRD)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ttm_core.losses._checks import full_precision, paired_features


class NegativeSampler:
    """Draws negatives: samples of other classes, without replacement if there are enough.

    Args:
        labels: [N] class index of every training sample; `torch.arange(N)` for unlabelled data.
        count: K, the number of negatives per sample.

    Raises:
        ValueError: all samples have the same class.
    """

    def __init__(self, labels: Tensor, count: int) -> None:
        self._count = count
        self._labels = labels.long()
        sizes = torch.bincount(self._labels)
        if sizes.max() == len(labels):
            raise ValueError("all samples have the same class, so there are no negatives")
        # With samples sorted by class, the negatives of a class follow its end, cyclically.
        self._by_class = self._labels.argsort(stable=True)
        self._ends = sizes.cumsum(0)
        self._others = (len(labels) - sizes).tolist()

    def draw(self, indices: Tensor, generator: torch.Generator) -> Tensor:
        """[B] positions in the training set -> [B, K] positions of negatives, on the CPU.

        Equal states of `generator` give equal draws.
        """
        classes = self._labels[indices]
        steps = torch.stack([self._steps(self._others[label], generator) for label in classes.numpy()])
        return self._by_class[(self._ends[classes].unsqueeze(1) + steps) % len(self._labels)]

    def _steps(self, others: int, generator: torch.Generator) -> Tensor:
        if others < self._count:
            return torch.randint(others, (self._count,), generator=generator)
        return torch.randperm(others, generator=generator)[: self._count]


EPSILON = 1e-7


class Crd(nn.Module):
    """Contrastive representation distillation: contrasts the student and teacher features of an image with features of
    other images, which memory banks keep for every training sample.

    The memory banks and the normalization constants are buffers, so that checkpoints contain them.

    Source: Tian, Krishnan and Isola, "Contrastive Representation Distillation", ICLR 2020, arXiv 1910.10699.

    Args:
        student_dim: width of the student's features.
        teacher_dim: width of the teacher's features.
        samples: size of the training set.
        dim: width of the embedding of both features.
        temperature: divisor of the inner products.
        momentum: weight of the old value in updates of the memory banks.
    """

    student_memory: Tensor
    teacher_memory: Tensor
    student_normalizer: Tensor
    teacher_normalizer: Tensor

    def __init__(
        self,
        student_dim: int,
        teacher_dim: int,
        samples: int,
        *,
        dim: int = 128,
        temperature: float = 0.07,
        momentum: float = 0.5,
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.momentum = momentum
        self.embed_student = nn.Linear(student_dim, dim)
        self.embed_teacher = nn.Linear(teacher_dim, dim)
        bound = math.sqrt(3 / dim)
        for side in ("student", "teacher"):
            self.register_buffer(f"{side}_memory", torch.empty(samples, dim).uniform_(-bound, bound))
            # 0 until the first batch sets it.
            self.register_buffer(f"{side}_normalizer", torch.zeros(()))

    def forward(self, student_features: Tensor, teacher_features: Tensor, indices: Tensor, negatives: Tensor) -> Tensor:
        """The sum of the contrastive losses of student and teacher. Updates the memory banks in training mode.

        Args:
            student_features: [B, student_dim].
            teacher_features: [B, teacher_dim]; no gradient flows into it.
            indices: [B] positions of the images in the training set.
            negatives: [B, K] positions of the negatives from `NegativeSampler`.

        Returns:
            A scalar in float32 or wider.

        Raises:
            ValueError: the shapes do not match.
        """
        widths = self.embed_student.in_features, self.embed_teacher.in_features
        student, teacher = paired_features(student_features, teacher_features, layout="[B, D]", widths=widths)
        if indices.shape != student.shape[:1] or negatives.shape[:1] != student.shape[:1] or negatives.ndim != 2:
            raise ValueError(
                f"indices are {list(indices.shape)} and negatives {list(negatives.shape)}; they must be [B] and "
                f"[B, K] for a batch of {len(student)}"
            )
        contrasted = torch.cat([indices.unsqueeze(1), negatives], dim=1)
        with full_precision(student):
            student = F.normalize(self.embed_student(student))
            teacher = F.normalize(self.embed_teacher(teacher))
            loss = self._contrast(student, self.teacher_memory, self.student_normalizer, contrasted)
            loss = loss + self._contrast(teacher, self.student_memory, self.teacher_normalizer, contrasted)
        if self.training:
            self._update_memory(self.student_memory, indices, student.detach())
            self._update_memory(self.teacher_memory, indices, teacher.detach())
        return loss

    def _contrast(self, anchors: Tensor, memory: Tensor, normalizer: Tensor, contrasted: Tensor) -> Tensor:
        samples, noise = len(memory), contrasted.shape[1] - 1
        # The product with the whole memory bank is smaller than with the B * K selected rows. The copy is necessary
        # because the memory bank changes before the backward pass.
        scores = ((anchors @ memory.clone().mT).gather(1, contrasted) / self.temperature).exp()
        # Set by the first batch. A condition in Python would synchronize the GPU.
        constant = torch.where(normalizer > 0, normalizer, scores.detach().mean() * samples)
        if self.training:
            normalizer.copy_(constant)
        scores = scores / constant
        positive, negative = scores[:, :1], scores[:, 1:]
        density = noise / samples
        log_positive = (positive / (positive + density + EPSILON)).log()
        log_negative = (density / (negative + density + EPSILON)).log()
        return -(log_positive.sum() + log_negative.sum()) / len(anchors)

    def _update_memory(self, memory: Tensor, indices: Tensor, features: Tensor) -> None:
        kept = self.momentum * memory[indices] + (1 - self.momentum) * features
        memory.index_copy_(0, indices, F.normalize(kept))
