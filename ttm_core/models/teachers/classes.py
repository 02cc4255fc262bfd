"""Which logits of a teacher are the classes of a dataset."""

from typing import Any

import torch
from torch import nn

from ttm_core.errors import BadCheckpoint, BadDataset, BadSpec, one_output
from ttm_core.spec.names import check_class_names


class SelectClasses(nn.Module):
    """Selects and reorders the logits of a model. Its features stay unchanged.

    Args:
        model: a model with timm's interface.
        classes: indices of the logits.
    """

    classes: torch.Tensor

    def __init__(self, model: Any, classes: list[int]) -> None:
        super().__init__()
        self.model = model
        self.num_prefix_tokens = getattr(model, "num_prefix_tokens", 0)
        self.register_buffer("classes", torch.tensor(classes), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, H, W] -> [B, len(classes)]."""
        logits: torch.Tensor = self.model(x)
        return logits[:, self.classes]

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, H, W] -> features of the model."""
        return self.model.forward_features(x)

    def forward_intermediates(self, x: torch.Tensor, **options: Any) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """[B, C, H, W] -> features of the model and of some of its blocks."""
        return self.model.forward_intermediates(x, **options)

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Features -> [B, len(classes)], or [B, D] with `pre_logits`."""
        if pre_logits:
            return self.model.forward_head(x, pre_logits=True)
        return self.model.forward_head(x)[:, self.classes]

    def get_classifier(self) -> None:
        """None, because no single layer maps features to the selected logits."""


def match_classes(
    num_classes: int, teacher_names: list[str] | None, class_names: list[str], class_map: list[int] | None
) -> list[int] | None:
    """The index of each dataset class among the teacher's classes; None if both have the same classes in the same
    order.

    Args:
        num_classes: of the teacher.
        teacher_names: class names in the teacher's file, if it has them.
        class_names: of the dataset.
        class_map: `teacher.class_map`.

    Raises:
        BadSpec: `class_map` does not fit the classes.
        BadDataset: the classes of the dataset are not among the teacher's.
    """
    if class_map is not None:
        if (
            len(class_map) != len(class_names)
            or max(class_map, default=0) >= num_classes
            or len(set(class_map)) != len(class_map)
        ):
            raise BadSpec(
                f"teacher.class_map must have {len(class_names)} different indices below {num_classes}, one per class "
                "of the dataset."
            )
        return None if class_map == list(range(num_classes)) else class_map
    if teacher_names and set(class_names) <= set(teacher_names):
        return None if teacher_names == class_names else [teacher_names.index(name) for name in class_names]
    if num_classes == 1:
        raise BadDataset(one_output("teacher"))
    if num_classes != len(class_names):
        raise BadDataset(
            f"The teacher has {num_classes} classes and the dataset has {len(class_names)}. If the classes of the "
            "dataset are among the teacher's, set teacher.class_map."
        )
    numbers = [str(label) for label in range(num_classes)]  # names in formats without class names
    if teacher_names and numbers not in (teacher_names, class_names):
        unknown = next(name for name in class_names if name not in teacher_names)
        raise BadDataset(f"The dataset has a class {unknown!r}, which the teacher does not have.")
    return None


def teacher_classes(num_classes: int, teacher_names: list[str] | None, class_map: list[int] | None) -> list[str]:
    """The classes that a dataset without labels gets: those of its teacher, or of the class map."""
    names = teacher_names or [str(label) for label in range(num_classes)]
    if not class_map or max(class_map) >= num_classes:  # match_classes reports an invalid map
        return names
    return [names[index] for index in class_map]


def names_in_file(saved: object, num_classes: int) -> list[str] | None:
    """The class names in the metadata of a teacher's file, if their number is right.

    Raises:
        BadCheckpoint: a name is too long or has unsafe characters.
    """
    if not isinstance(saved, list) or len(saved) != num_classes:
        return None
    names = [str(name) for name in saved]
    check_class_names(names, BadCheckpoint)
    return names
