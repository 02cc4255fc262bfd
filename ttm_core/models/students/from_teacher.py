"""The weights of a teacher as those of a student with the same layers."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ttm_core.errors import BadSpec
from ttm_core.models.teachers.load import Teacher


def teacher_weights(teacher: Teacher, classifiers: tuple[str, ...]) -> dict[str, Tensor]:
    """The teacher's weights before folding, with the classifier's rows in the order of the dataset's classes.

    Args:
        teacher: loaded with `keep_weights`.
        classifiers: names of the last layers.

    Raises:
        BadSpec: the teacher has no layers of its own, such as an ensemble.
    """
    weights: Mapping[str, Tensor] | None = teacher.weights
    if weights is None:
        raise BadSpec(
            f"student: a student cannot be made of the teacher {teacher.architecture}, because its layers are not "
            "accessible. Set student.architecture instead."
        )
    if teacher.class_map is None:
        return dict(weights)
    rows = torch.tensor(teacher.class_map)
    heads = tuple(f"{name}." for name in classifiers)
    return {name: value[rows] if name.startswith(heads) else value for name, value in weights.items()}
