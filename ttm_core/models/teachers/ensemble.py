"""Ensembles of teachers: the weighted mean of their tempered distributions."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ttm_core.models.teachers.load import Teacher


def mean_teacher_logits(logits: Sequence[Tensor], weights: Sequence[float], temperature: float) -> Tensor:
    """Logits whose tempered distribution is the weighted mean of the teachers' tempered distributions.

    softmax(result / T) = sum_i w_i softmax(logits_i / T), with weights normalized to sum 1. Every method that reads
    teacher logits at temperature T therefore learns from the mean. Quantities of the untempered distribution (WTTM's
    sample weight) are also derived from these logits. For one teacher, the result equals its logits up to a constant.

    Args:
        logits: [B, C] of each teacher.
        weights: positive, one for each teacher.
        temperature: T.

    Returns:
        float32 [B, C].
    """
    share = torch.tensor(weights, dtype=torch.float64)
    log_share = (share / share.sum()).log().tolist()
    terms = [
        functional.log_softmax(each.float() / temperature, dim=1) + w for each, w in zip(logits, log_share, strict=True)
    ]
    return temperature * torch.logsumexp(torch.stack(terms), dim=0)


class Ensemble(nn.Module):
    """Several teachers in place of one model. It has no forward pass, because its teachers may have images of different
    sizes: `mean` combines their logits.

    Args:
        teachers: with the same classes.
        weights: positive, one for each teacher.
        temperature: of the averaged distributions.
    """

    def __init__(self, teachers: Sequence[Teacher], weights: Sequence[float], temperature: float) -> None:
        super().__init__()
        self.models = nn.ModuleList([teacher.model for teacher in teachers])
        self.teachers = tuple(teachers)
        self._weights, self._temperature = weights, temperature

    def mean(self, logits: Sequence[Tensor]) -> Tensor:
        """The logits float32 [B, classes] of the ensemble, from those of its teachers."""
        return mean_teacher_logits(logits, self._weights, self._temperature)


def as_one_teacher(teachers: Sequence[Teacher], weights: Sequence[float], temperature: float) -> Teacher:
    """One teacher, or several as an ensemble. The preprocessing of an ensemble is that of the teacher with the largest
    images.
    """
    first = teachers[0]
    if len(teachers) == 1:
        return first
    return Teacher(
        model=Ensemble(teachers, weights, temperature).eval(),
        structure=None,
        architecture=" + ".join(teacher.architecture for teacher in teachers),
        num_classes=first.classes,
        parameters=sum(teacher.parameters for teacher in teachers),
        class_names=first.class_names,
        class_map=None,
        preprocess=max((teacher.preprocess for teacher in teachers), key=lambda each: each.image_size),
        layout=first.layout,
        compiled=first.compiled,
    )
