"""What a method asks of a run. Torch-free, so that an impossible combination is refused before it is queued."""

from dataclasses import dataclass, replace
from typing import Literal

Features = Literal["none", "pooled", "tokens"]
"""None; the input of the classifier; the patch tokens of a vision transformer's first two and its last block."""


@dataclass(frozen=True)
class MethodRequirements:
    """What a method asks of the data and of the teacher."""

    labels: bool
    """A label for each image."""
    teacher: bool
    """The teacher's logits for the very view that the student sees."""
    features: Features = "none"
    """Of both, for that view."""
    mixes: bool = True
    """Whether an image may be a mixture of two, and its label a distribution over the classes."""
    one_teacher: bool = False
    """Something of the teacher that cannot be averaged over several."""
    remembers_images: bool = False
    """It keeps something of each image from the last time that it saw it."""

    @property
    def stored_logits_suffice(self) -> bool:
        """Whether the teacher's logits, computed earlier, are all that a step wants of it."""
        return self.teacher and self.features == "none"

    def along_with(self, feature_loss: "MethodRequirements") -> "MethodRequirements":
        """What a method and its feature feature_loss ask together."""
        return replace(
            self,
            labels=self.labels or feature_loss.labels,
            features=feature_loss.features,
            mixes=self.mixes and feature_loss.mixes,
            one_teacher=self.one_teacher or feature_loss.one_teacher,
            remembers_images=self.remembers_images or feature_loss.remembers_images,
        )
