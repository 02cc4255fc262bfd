"""Specs of feature losses, which add to a method on logits. Torch-free."""

from typing import Annotated, Literal

from pydantic import Field

from ttm_core.spec.base import Spec
from ttm_core.spec.method.requirements import MethodRequirements

Weight = Annotated[float, Field(ge=0, le=1e6)]


class ContrastiveRepresentation(Spec):
    """CRD, Tian et al. 2020 (arXiv 1910.10699): weight * the contrastive loss of student and teacher features against
    features of images of other classes (without labels: of all other images). Two memory banks keep the features of the
    whole training set."""

    kind: Literal["crd"] = "crd"
    weight: Weight = 0.8
    dim: Annotated[int, Field(ge=2, le=4096)] = Field(128, description="Width of the embedding of both features.")
    negatives: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        16_384, description="Negatives per image; drawn with replacement if there are fewer images."
    )
    temperature: Annotated[float, Field(gt=0, le=100)] = 0.07
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(0.5, description="Momentum of the memory banks.")

    @property
    def requirements(self) -> MethodRequirements:
        return MethodRequirements(
            labels=False, teacher=True, features="pooled", mixes=False, one_teacher=True, has_memory_bank=True
        )


class InformationTheoreticRepresentation(Spec):
    """ITRD, Miles et al. 2022 (arXiv 2112.00459): weight * (beta_correlation * L_corr + beta_mutual * L_mi)."""

    kind: Literal["itrd"] = "itrd"
    weight: Weight = 1.0
    alpha: Annotated[float, Field(gt=0, le=10)] = Field(
        1.5, description="Order of the entropy: 1.01 for student and teacher of one architecture family, else 1.5."
    )
    beta_correlation: Weight = 2.0
    beta_mutual: Weight = 1.0

    @property
    def requirements(self) -> MethodRequirements:
        return MethodRequirements(labels=False, teacher=True, features="pooled", one_teacher=True)


class TransformerFeatures(Spec):
    """ViTKD, Yang et al. 2022 (arXiv 2209.02432): weight * (alpha * the error of the tokens of the first two blocks +
    beta * the error of masked tokens of the last block, which a small network generates)."""

    kind: Literal["vitkd"] = "vitkd"
    weight: Weight = 1.0
    alpha: Weight = 3e-5
    beta: Weight = 3e-6
    mask_ratio: Annotated[float, Field(gt=0, lt=1)] = Field(0.5, description="Share of masked tokens.")

    @property
    def requirements(self) -> MethodRequirements:
        return MethodRequirements(labels=False, teacher=True, features="tokens", one_teacher=True)


FeatureSpec = Annotated[
    ContrastiveRepresentation | InformationTheoreticRepresentation | TransformerFeatures, Field(discriminator="kind")
]
