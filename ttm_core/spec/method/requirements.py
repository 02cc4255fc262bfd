"""The requirements of a method. Torch-free, so that the API can refuse unsupported combinations."""

from dataclasses import dataclass, replace
from typing import Literal

Features = Literal["none", "pooled", "tokens"]
"""No features, the input of the classifier, or the patch tokens of the first two and the last transformer block."""


@dataclass(frozen=True)
class MethodRequirements:
    """The requirements of a method on the data and the teacher."""

    labels: bool
    """Whether every image needs a label."""
    teacher: bool
    """Whether it uses the teacher's logits for the view the student sees."""
    features: Features = "none"
    """The features of both models it uses."""
    mixes: bool = True
    """Whether it supports mixed images: their labels are distributions over classes."""
    one_teacher: bool = False
    """Whether it uses outputs that cannot be averaged over several teachers."""
    class_relations: bool = False
    """Whether it compares classes by the teacher's classifier or features."""
    has_memory_bank: bool = False
    """Whether it keeps features of every image between steps."""
    labels_in_teacher_term: bool = False
    """Whether its loss on the teacher's logits uses labels."""

    @property
    def stored_logits_suffice(self) -> bool:
        """Whether a step needs only logits of the teacher, which may be computed in advance."""
        return self.teacher and self.features == "none"

    @property
    def teacher_layers(self) -> bool:
        """Whether it uses layers of the teacher, which an ONNX file does not have."""
        return self.features != "none" or self.class_relations

    @property
    def learns_without_labels(self) -> bool:
        """Whether an image without a label contributes to the loss."""
        return self.teacher and not self.labels_in_teacher_term

    def combined_with(self, feature_loss: "MethodRequirements") -> "MethodRequirements":
        """The combined requirements of a method and its feature loss."""
        return replace(
            self,
            labels=self.labels or feature_loss.labels,
            features=feature_loss.features,
            mixes=self.mixes and feature_loss.mixes,
            one_teacher=self.one_teacher or feature_loss.one_teacher,
            has_memory_bank=self.has_memory_bank or feature_loss.has_memory_bank,
        )
