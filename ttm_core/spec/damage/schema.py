"""The schema of `damage.json`: what a student lost against its teacher, or against another student. Torch-free."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ttm_core.spec.events import Reference

Outcome = Literal["lost", "gained", "both_wrong", "disagreement"]
"""The reference is right and the student wrong; the reverse; both are wrong; or, without labels, they disagree."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ClassDamage(_Part):
    """Top-1 of one class. The interval is the 95 % hybrid Wilson score interval for a ratio of paired proportions
    (Bonett and Price 2006)."""

    name: str
    images: int
    student_correct: int
    reference_correct: int
    retention_percent: float | None = Field(
        description="The student's accuracy in % of the reference's. None if the reference has no image right."
    )
    retention_low: float | None = Field(description="Lower end of the 95 % interval, in %.")
    retention_high: float | None = Field(description="Upper end of the 95 % interval, in %.")


class Confusion(_Part):
    """Images of class `label` that a model predicts as class `predicted`."""

    label: str
    predicted: str
    reference: int = Field(description="Number of images that the reference confuses.")
    student: int = Field(description="Number of images that the student confuses.")


class CalibrationBin(_Part):
    """Images whose predicted class has a probability above `low`, up to `high`."""

    low: float
    high: float
    images: int
    confidence: float | None = Field(description="Mean probability of the predicted class.")
    accuracy: float | None = Field(description="Share of images that are predicted correctly.")


class Calibration(_Part):
    """A model's reliability curve."""

    error: float = Field(description="Expected calibration error over these bins.")
    bins: list[CalibrationBin]


class Guess(_Part):
    """A predicted class and its probability."""

    name: str
    probability: float


class GalleryImage(_Part):
    """A thumbnail in damage-images.zip, with predictions, most probable first."""

    number: int = Field(description="Position in the gallery, from 0.")
    image: int = Field(description="Position in the evaluated split, from 0.")
    outcome: Outcome
    label: str | None = Field(description="True class; None for images without labels.")
    student: list[Guess]
    reference: list[Guess]
    media_type: Literal["image/png", "image/jpeg"]
    offset: int = Field(description="Position of the encoded image in the archive, in bytes.")
    size: int = Field(description="Bytes.")
    side: int = Field(description="Width and height in pixels.")


class DamageTables(_Part):
    """Everything about a pair of models that follows from their predicted classes and probabilities."""

    images: int
    outcomes: dict[Outcome, int] = Field(description="Number of images by outcome.")
    class_count: int = Field(description="Classes with images. `classes` has at most 1,000 of them.")
    classes: list[ClassDamage] = Field(description="Lowest retention first. Empty without labels.")
    confusion_count: int = Field(description="Confusions that grew. `confusions` has at most 50 of them.")
    confusions: list[Confusion] = Field(
        description="Confusions that are more frequent than with the reference, largest growth first. Without labels, "
        "`label` is the reference's class."
    )
    student_calibration: Calibration | None = Field(description="None without labels.")
    reference_calibration: Calibration | None = Field(description="None without labels.")


class Damage(DamageTables):
    """The damage report of a job. The reference is its teacher."""

    version: Literal[1] = 1
    split: Literal["validation", "test"]
    against: Reference
    data: str = Field(description="Hash of the evaluated images, their order and their labels.")
    gallery: list[GalleryImage]
