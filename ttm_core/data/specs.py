"""What a dataset and its augmentation are told. Torch-free."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ttm_core.base import Spec

Share = Annotated[float, Field(gt=0, lt=1)]
Pixels = Annotated[int, Field(ge=8, le=1024)]


class ValidationSpec(Spec):
    """Where validation images come from when the dataset brings no validation split of its own.

    A split named val, valid or validation in the dataset is always used as it is. The test split never is.
    """

    share: Share = Field(0.1, description="Share of the training images held out, the same share of each class.")
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0


class DatasetSpec(Spec):
    """Images with labels, by URI. A string is short for `{"uri": ...}`."""

    uri: Annotated[str, Field(min_length=1, max_length=2048)]
    format: Literal["auto", "image_folder", "idx"] = "auto"
    validation: ValidationSpec = ValidationSpec()
    max_unreadable: Annotated[float, Field(ge=0, le=1)] = Field(
        0.01, description="Share of unreadable images above which the job fails."
    )

    @model_validator(mode="before")
    @classmethod
    def _from_uri(cls, data: Any) -> Any:
        return {"uri": data} if isinstance(data, str) else data


class NoAugmentation(Spec):
    """The image as it is: one view."""

    kind: Literal["none"] = "none"


class CropFlip(Spec):
    """Zero-pad each side, crop back at a random offset, flip half the time: CIFAR's standard."""

    kind: Literal["crop_flip"] = "crop_flip"
    padding: Annotated[int, Field(ge=0, le=64)] = 4
    flip: bool = True


class ResizedCrop(Spec):
    """A random area and aspect ratio, resized to the input size, flipped half the time: ImageNet's standard."""

    kind: Literal["resized_crop"] = "resized_crop"
    min_area: Annotated[float, Field(gt=0, le=1)] = 0.08
    max_aspect: Annotated[float, Field(ge=1, le=4)] = Field(4 / 3, description="Aspect ratio in [1 / max, max].")
    flip: bool = True


AugmentationSpec = Annotated[NoAugmentation | CropFlip | ResizedCrop, Field(discriminator="kind")]
