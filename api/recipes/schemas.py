"""What a recipe looks like to a client."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from api.http.pagination import Page


class Published(BaseModel):
    """Top-1 accuracies of the source, in per cent."""

    teacher: float | None = None
    student: float | None = Field(None, description="Of the student trained alone.")
    distilled: float | None = None


class RecipeOut(BaseModel):
    """A published run that a spec may start from by its name."""

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
    published: Published
    spec: dict[str, Any] = Field(description="A part of a spec: what a job that names the recipe need not say.")


class RecipePage(Page[RecipeOut]):
    """Recipes in order of their names."""
