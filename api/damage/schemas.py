"""Schemas of damage reports."""

from typing import Literal

from pydantic import BaseModel, Field

from api.http.pagination import Page
from ttm_core.spec.damage.schema import DamageTables, Guess, Outcome
from ttm_core.spec.events import Reference

ImageSort = Literal["confidence", "-confidence"]


class DamageOut(DamageTables):
    """What the job's student lost against its teacher, or against another job's student."""

    job: str = Field(description="Id of the job.")
    reference: Literal["teacher", "job"] = Field(description="What the student is compared with.")
    reference_job: str | None = Field(description="Id of the other job; null for the teacher.")
    split: Literal["validation", "test"]
    against: Reference = Field(
        description="`labels`; or `teacher` for images without labels, where only disagreements are known."
    )
    data: str = Field(
        description="Hash of the evaluated images, their order and their labels. Jobs with equal hashes are comparable."
    )
    gallery_count: int = Field(description="Number of images in the gallery.")


class DamageImage(BaseModel):
    """An image of the gallery with both models' most probable classes."""

    number: int
    image: int = Field(description="Position in the evaluated split, from 0.")
    outcome: Outcome
    label: str | None = Field(description="True class; null for images without labels.")
    student: list[Guess]
    reference: list[Guess] = Field(description="The teacher's top 3, or the other student's top 1.")
    side: int = Field(description="Width and height of the thumbnail in pixels.")
    href: str = Field(description="Path of the thumbnail.")


class DamageImagePage(Page[DamageImage]):
    """A page of the gallery."""
