"""What a feature feature_loss is told: a loss on features that adds to a method on logits. Torch-free."""

from typing import Annotated, Literal

from pydantic import Field

from ttm_core.spec.base import Spec
from ttm_core.spec.method.requirements import MethodRequirements

Weight = Annotated[float, Field(ge=0, le=1e6)]


class ContrastiveRepresentation(Spec):
    """CRD, Tian et al. 2020 (arXiv 1910.10699): weight * the contrastive loss of student and teacher features against
    those of images of other classes, or without labels of all other images, which two memories of the whole training
    set hold."""

    kind: Literal["crd"] = "crd"
    weight: Weight = 0.8
    dim: Annotated[int, Field(ge=2, le=4096)] = Field(128, description="Width that both features are embedded into.")
    negatives: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        16_384, description="Images of other classes to tell each from; repeated where there are fewer."
    )
    temperature: Annotated[float, Field(gt=0, le=100)] = 0.07
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(0.5, description="Share of the old value a memory keeps.")

    @property
    def requirements(self) -> MethodRequirements:
        return MethodRequirements(
            labels=False, teacher=True, features="pooled", mixes=False, one_teacher=True, remembers_images=True
        )


class InformationTheoreticRepresentation(Spec):
    """ITRD, Miles et al. 2022 (arXiv 2112.00459): weight * (beta_correlation * L_corr + beta_mutual * L_mi)."""

    kind: Literal["itrd"] = "itrd"
    weight: Weight = 1.0
    alpha: Annotated[float, Field(gt=0, le=10)] = Field(
        1.5, description="Order of the entropy: 1.01 within a family of architectures, 1.5 across."
    )
    beta_correlation: Weight = 2.0
    beta_mutual: Weight = 1.0

    @property
    def requirements(self) -> MethodRequirements:
        return MethodRequirements(labels=False, teacher=True, features="pooled", one_teacher=True)


class TransformerFeatures(Spec):
    """ViTKD, Yang et al. 2022 (arXiv 2209.02432): weight * (alpha * the error of the first two blocks' tokens + beta *
    that of the last block's, some of which a small network generates)."""

    kind: Literal["vitkd"] = "vitkd"
    weight: Weight = 1.0
    alpha: Weight = 3e-5
    beta: Weight = 3e-6
    mask_ratio: Annotated[float, Field(gt=0, lt=1)] = Field(0.5, description="Share of the tokens to generate.")

    @property
    def requirements(self) -> MethodRequirements:
        return MethodRequirements(labels=False, teacher=True, features="tokens", one_teacher=True)


FeatureSpec = Annotated[
    ContrastiveRepresentation | InformationTheoreticRepresentation | TransformerFeatures, Field(discriminator="kind")
]
