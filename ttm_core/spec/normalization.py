"""Normalization of the pixels of an image."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from ttm_core.spec.base import Spec

Channels = Annotated[list[float], Field(min_length=1, max_length=4)]


class Normalization(Spec):
    """Mean and standard deviation of each channel, for pixels in [0, 1]. Divide values for pixels in [0, 255] by
    255."""

    mean: Channels
    std: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1, max_length=4)]

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        if len(self.mean) != len(self.std):
            raise ValueError("mean and std must have the same length: one number per channel")
        return self

    @model_validator(mode="after")
    def _scaled_to_one(self) -> Self:
        # The largest published values are 0.51 for a mean and 1 for a std; the smallest std is 1 / 255.
        for name, values, low in (("mean", self.mean, 0.0), ("std", self.std, 0.001)):
            if not all(low <= value <= 1 for value in values):
                scaled = ", ".join(f"{value / 255:.4g}" for value in values)
                hint = f" For pixels in [0, 255], divide by 255: [{scaled}]." if max(values) > 1 else ""
                raise ValueError(f"{name} must be in [{low:g}, 1], because pixels are scaled to [0, 1].{hint}")
        return self


PRESETS = {
    "ImageNet": Normalization(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
    "mean and std 0.5": Normalization(mean=[0.5, 0.5, 0.5], std=[0.5, 0.5, 0.5]),
    "CIFAR-10": Normalization(mean=[0.4914, 0.4822, 0.4465], std=[0.247, 0.2435, 0.2616]),
    "CIFAR-100": Normalization(mean=[0.5071, 0.4867, 0.4408], std=[0.2675, 0.2565, 0.2761]),
}
"""Normalizations that published models with three channels use."""
