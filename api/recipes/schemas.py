"""Schemas of recipes."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from api.http.pagination import Page


class PublishedAccuracy(BaseModel):
    """Published top-1 accuracies, in percent."""

    teacher: float | None = None
    student: float | None = Field(None, description="Of the student trained without distillation.")
    distilled: float | None = None


class RecipeOut(BaseModel):
    """A published experiment that a job can start from."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "name": "cifar100/resnet56-resnet20/wttm",
                "title": "WTTM, ResNet-56 to ResNet-20 on CIFAR-100",
                "source": "Zheng and Yang, Transformed Teacher Matching, ICLR 2024, arXiv 2402.11148",
                "published": {"teacher": 72.34, "student": 69.06, "distilled": 71.92},
                "spec": {"student": {"architecture": "cifar/resnet20"}, "method": {"kind": "wttm", "gamma": 0.3}},
            }
        }
    )

    name: str
    title: str
    source: str
    published: PublishedAccuracy
    spec: dict[str, Any] = Field(
        description="The spec fields that the recipe sets. A job that uses it may override them."
    )


class RecipePage(Page[RecipeOut]):
    """Recipes, sorted by name."""
