"""Class similarities from the teacher, for WKD-L."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ttm_core import losses
from ttm_core.data.dataset import Split
from ttm_core.errors import BadSpec
from ttm_core.methods.outputs import outputs, probe
from ttm_core.models.teachers.classes import SelectClasses
from ttm_core.models.teachers.load import Teacher
from ttm_core.spec.method.methods import WassersteinDistillation

_BATCH = 64


def transport_costs(spec: WassersteinDistillation, teacher: Teacher, split: Split, *, size: int) -> Tensor:
    """Computes the costs of moving probability between classes: [C, C].

    Args:
        spec: the method.
        teacher: the teacher.
        split: the training images.
        size: side of the student's views in pixels.

    Raises:
        BadSpec: similarities cannot be computed from this teacher or these data.
    """
    match spec.relations:
        case "classifier":
            similarities = losses.cosine_interrelations(_classifier_rows(teacher))
        case "features":
            similarities = losses.cka_interrelations(_class_features(teacher, split, spec.images_per_class, size))
    return losses.transport_costs(similarities, sharpness=spec.sharpness)


def _classifier_rows(teacher: Teacher) -> Tensor:
    """The rows of the teacher's classifier in the order of the dataset's classes: [C, D]."""
    model: Any = teacher.model.model if isinstance(teacher.model, SelectClasses) else teacher.model
    classifier = model.get_classifier() if hasattr(model, "get_classifier") else None
    if not isinstance(classifier, nn.Linear):
        raise BadSpec(
            f"The classifier of {teacher.architecture} is not a linear layer. Set method.relations to 'features'."
        )
    rows = classifier.weight.detach().float()
    return rows if teacher.class_map is None else rows[torch.tensor(teacher.class_map, device=rows.device)]


@torch.no_grad()
def _class_features(teacher: Teacher, split: Split, images_per_class: int, size: int) -> Tensor:
    """The teacher's pooled features of the first N training images of each class: [C, N, D]."""
    probe(teacher.model, teacher.preprocess, "pooled", teacher.architecture)
    labels = split.labels[torch.from_numpy(split.indices)]
    counts = torch.bincount(labels, minlength=teacher.classes)
    count = min(images_per_class, int(counts.min()))
    if count < 2:
        raise BadSpec(
            f"Class {int(counts.argmin())} has {int(counts.min())} training images, but method.relations 'features' "
            "requires two. Set method.relations to 'classifier'."
        )
    by_class = labels.argsort(stable=True)
    starts = counts.cumsum(0) - counts
    chosen = by_class[starts.unsqueeze(1) + torch.arange(count)].flatten().numpy()
    device = next(teacher.model.parameters()).device
    parts = []
    for indices in np.array_split(split.indices[chosen], max(len(chosen) // _BATCH, 1)):
        pixels = split.images.center_squares(indices, size).to(device)
        parts.append(outputs(teacher.model, teacher.preprocess(pixels), "pooled").features[0].float())
    return torch.cat(parts).unflatten(0, (teacher.classes, count))
