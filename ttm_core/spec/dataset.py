"""Specs of datasets and augmentation. Torch-free."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from ttm_core.spec.base import Spec, Uri, or_short
from ttm_core.spec.catalogue import SMALLEST_IMAGE

Share = Annotated[float, Field(gt=0, lt=1)]
Pixels = Annotated[int, Field(ge=SMALLEST_IMAGE, le=1024)]
FormatName = Literal["auto", "image_folder", "idx", "cifar_binary", "cifar_python", "webdataset", "parquet"]


class ValidationSpec(Spec):
    """The validation split of a dataset that has none.

    If the dataset has a split named val, valid or validation, it is used unchanged. The test split is never used for
    validation.
    """

    share: Share = Field(0.1, description="Share of training images to hold out, equal for every class.")
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0


class DatasetSpec(Spec):
    """A dataset by URI. A string is short for `{"uri": ...}`."""

    uri: Uri
    format: FormatName = "auto"
    validation: ValidationSpec = ValidationSpec()
    max_unreadable: Annotated[float, Field(ge=0, le=1)] = Field(
        0.01, description="Share of unreadable images above which the job fails."
    )
    unlabelled: Annotated[list[Uri], Field(max_length=64)] = Field(
        [],
        description="URIs of further training images. Their labels are ignored if they have any. The cross-entropy "
        "uses the labelled images only, and the loss on the teacher's outputs uses all images.",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_uri(cls, data: Any) -> Any:
        return {"uri": data} if isinstance(data, str) else data

    @field_validator("unlabelled")
    @classmethod
    def _sources_differ(cls, unlabelled: list[str], info: ValidationInfo) -> list[str]:
        # A slash at the end of a folder changes nothing.
        plain = [uri.rstrip("/") for uri in unlabelled]
        if str(info.data.get("uri")).rstrip("/") in plain:
            raise ValueError("contains the URI of the labelled images: list only images that are not among them")
        if len(set(plain)) < len(plain):
            raise ValueError("contains a URI twice")
        return unlabelled


class RandAugment(Spec):
    """RandAugment, Cubuk et al. 2020 (arXiv 1909.13719): random operations of equal magnitude for each view."""

    magnitude: Annotated[float, Field(ge=0, le=10)] = Field(9.0, description="Strength from 0 to 10 (maximum).")
    layers: Annotated[int, Field(ge=1, le=8)] = Field(2, description="Number of operations per view.")
    probability: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5, description="Probability that an operation is applied."
    )
    magnitude_std: Annotated[float, Field(ge=0, le=10)] = Field(0.5, description="Standard deviation of the magnitude.")


class RandomErasing(Spec):
    """Random erasing, Zhong et al. 2020 (arXiv 1708.04896): a rectangle of a view is replaced by noise. A number is
    short for `{"probability": ...}`."""

    probability: Annotated[float, Field(gt=0, le=1)] = 0.25
    min_area: Annotated[float, Field(gt=0, le=1)] = 0.02
    max_area: Annotated[float, Field(gt=0, le=1)] = 1 / 3
    max_aspect: Annotated[float, Field(ge=1, le=10)] = Field(10 / 3, description="Aspect ratio in [1 / max, max].")

    @model_validator(mode="before")
    @classmethod
    def _from_probability(cls, data: Any) -> Any:
        return {"probability": data} if isinstance(data, int | float) and not isinstance(data, bool) else data

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min_area > self.max_area:
            raise ValueError("min_area must not be larger than max_area")
        return self


class Mixing(Spec):
    """Mixes pairs of views and their labels: mixup blends them (Zhang et al. 2018, arXiv 1710.09412), CutMix pastes a
    patch (Yun et al. 2019, arXiv 1905.04899). If both are set, each view uses one of them at random."""

    mixup_alpha: Annotated[float, Field(gt=0, le=100)] | None = Field(
        None, description="Shares follow Beta(alpha, alpha)."
    )
    cutmix_alpha: Annotated[float, Field(gt=0, le=100)] | None = Field(
        None, description="Shares of the area follow Beta(alpha, alpha)."
    )
    probability: Annotated[float, Field(gt=0, le=1)] = Field(1.0, description="Probability that a view is mixed.")
    switch: Annotated[float, Field(ge=0, le=1)] = Field(0.5, description="Share of CutMix if both are set.")

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.mixup_alpha is None and self.cutmix_alpha is None:
            raise ValueError("set mixup_alpha, cutmix_alpha, or both")
        return self

    @property
    def cutmix_share(self) -> float:
        """The share of mixed views that use CutMix."""
        if self.mixup_alpha is None:
            return 1.0
        return 0.0 if self.cutmix_alpha is None else self.switch


class NoAugmentation(Spec):
    """No augmentation: a single view per image."""

    kind: Literal["none"] = "none"


class _Augmentation(Spec):
    """Steps that follow the crop, in this order."""

    rand_augment: RandAugment | None = None
    erasing: Annotated[RandomErasing | None, or_short(RandomErasing | float | None)] = None
    mix: Mixing | None = None


class CropFlip(_Augmentation):
    """Zero-pad each side, crop back at a random offset, flip with probability 0.5: the standard for CIFAR."""

    kind: Literal["crop_flip"] = "crop_flip"
    padding: Annotated[int, Field(ge=0, le=64)] = 4
    flip: bool = True


class ResizedCrop(_Augmentation):
    """Crop a random area and aspect ratio, resize, flip with probability 0.5: the standard for ImageNet."""

    kind: Literal["resized_crop"] = "resized_crop"
    min_area: Annotated[float, Field(gt=0, le=1)] = 0.08
    max_aspect: Annotated[float, Field(ge=1, le=4)] = Field(4 / 3, description="Aspect ratio in [1 / max, max].")
    flip: bool = True


AugmentationSpec = Annotated[NoAugmentation | CropFlip | ResizedCrop, Field(discriminator="kind")]


def mixes(augmentation: AugmentationSpec | None) -> bool:
    """Returns whether views may be mixtures of two images."""
    return isinstance(augmentation, _Augmentation) and augmentation.mix is not None
