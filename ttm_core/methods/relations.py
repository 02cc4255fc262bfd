"""How alike the teacher holds two classes to be, for WKD-L."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ttm_core import losses
from ttm_core.data.dataset import Split
from ttm_core.errors import BadSpec
from ttm_core.methods.outputs import outputs, probe
from ttm_core.models.teachers.load import SelectClasses, Teacher
from ttm_core.spec.method.methods import WassersteinDistillation

_BATCH = 64


def transport_costs(spec: WassersteinDistillation, teacher: Teacher, split: Split, *, size: int) -> Tensor:
    """[C, C] costs of moving probability between two classes. `size` is the side of the student's views in pixels.

    Raises BadSpec where the teacher or the data cannot tell how alike the classes are.
    """
    match spec.relations:
        case "classifier":
            alike = losses.cosine_interrelations(_classifier_rows(teacher))
        case "features":
            alike = losses.cka_interrelations(_class_features(teacher, split, spec.images_per_class, size))
    return losses.transport_costs(alike, sharpness=spec.sharpness)


def _classifier_rows(teacher: Teacher) -> Tensor:
    """[C, D]: the weights of the teacher's classifier, in the order of the dataset's classes."""
    model: Any = teacher.model.model if isinstance(teacher.model, SelectClasses) else teacher.model
    classifier = model.get_classifier()
    if not isinstance(classifier, nn.Linear):
        raise BadSpec(
            f"wkd: the classifier of {teacher.architecture} is not one linear layer: set method.relations to 'features'"
        )
    rows = classifier.weight.detach().float()
    return rows if teacher.class_map is None else rows[torch.tensor(teacher.class_map, device=rows.device)]


@torch.no_grad()
def _class_features(teacher: Teacher, split: Split, images_per_class: int, size: int) -> Tensor:
    """[C, N, D]: the teacher's pooled features of the first N training images of each class."""
    probe(teacher.model, teacher.preprocess, "pooled", teacher.architecture)
    labels = split.labels[torch.from_numpy(split.indices)]
    counts = torch.bincount(labels, minlength=teacher.classes)
    count = min(images_per_class, int(counts.min()))
    if count < 2:
        raise BadSpec(
            f"wkd: class {int(counts.argmin())} has {int(counts.min())} training images, and two are needed to tell "
            "how alike the teacher's features are: set method.relations to 'classifier'"
        )
    by_class = labels.argsort(stable=True)
    starts = counts.cumsum(0) - counts
    chosen = by_class[starts.unsqueeze(1) + torch.arange(count)].flatten().numpy()
    device = next(teacher.model.parameters()).device
    parts = []
    for indices in np.array_split(split.indices[chosen], max(len(chosen) // _BATCH, 1)):
        pixels = split.images.whole(indices, size).to(device)
        parts.append(outputs(teacher.model, teacher.preprocess(pixels), "pooled").features[0].float())
    return torch.cat(parts).unflatten(0, (teacher.classes, count))
