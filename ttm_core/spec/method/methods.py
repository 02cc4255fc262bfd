"""Specs of distillation methods. Torch-free, because the API imports them."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from ttm_core.spec.base import Spec, by_name
from ttm_core.spec.method.features import FeatureSpec
from ttm_core.spec.method.requirements import MethodRequirements
from ttm_core.spec.method.schedules import PositiveScheduled, Ramp, Scheduled

PositiveFloat = Annotated[float, Field(gt=0, le=1e6)]
Weight = Annotated[float, Field(ge=0, le=1e6)]


def _complete_temperature(data: Any, default_gamma: float) -> Any:
    """Derives gamma or temperature from the other: gamma = 1 / temperature."""
    # A null gamma is not an absent one: its field refuses it.
    if not isinstance(data, dict) or ("gamma" in data and data["gamma"] is None):
        return data
    gamma, temperature = data.get("gamma"), data.get("temperature")
    if isinstance(gamma, dict | Ramp):
        if temperature is not None:
            raise ValueError("temperature cannot be set if gamma is a ramp")
        return data
    if gamma is None and temperature is None:
        return {**data, "gamma": default_gamma, "temperature": 1 / default_gamma}
    try:
        if gamma is None:
            return {**data, "gamma": 1 / float(temperature)}  # type: ignore[arg-type]
        if temperature is None:
            return {**data, "temperature": 1 / float(gamma)}
        agree = abs(float(gamma) * float(temperature) - 1) <= 1e-6
    except (TypeError, ValueError, ZeroDivisionError):
        return data  # not numbers, or out of range: field validation reports it
    if not agree:
        raise ValueError(
            f"gamma is {gamma} and temperature is {temperature}, but gamma must be 1 / temperature: set one of them"
        )
    return data


class CrossEntropy(Spec):
    """Training on labels only: H(y, q). Use it for the baseline and for teachers."""

    kind: Literal["ce"] = "ce"

    @property
    def requirements(self) -> MethodRequirements:
        return MethodRequirements(labels=True, teacher=False)


class _Distillation(Spec):
    """A loss on the teacher's logits plus ce_weight * H(y, q) and an optional feature loss."""

    uses_labels: ClassVar[bool] = False
    """Whether the loss uses labels in addition to the cross-entropy."""
    supports_mixing: ClassVar[bool] = True
    uses_class_relations: ClassVar[bool] = False

    ce_weight: Weight = Field(1.0, description="Weight of the cross-entropy with the labels; 0 disables it.")
    logit_standardization: bool = Field(
        False,
        description="Standardize the logits of student and teacher per image before all losses except the "
        "cross-entropy: "
        "Sun et al. 2024 (arXiv 2403.01427).",
    )
    features: Annotated[FeatureSpec, by_name("kind", FeatureSpec)] | None = Field(
        None, description="Additional feature loss: crd, itrd or vitkd."
    )

    @property
    def requirements(self) -> MethodRequirements:
        """The requirements of the method and its feature loss."""
        own = MethodRequirements(
            labels=self.ce_weight > 0 or self.uses_labels,
            teacher=True,
            mixes=self.supports_mixing,
            one_teacher=self.uses_class_relations or self.logit_standardization,
            class_relations=self.uses_class_relations,
            labels_in_teacher_term=self.uses_labels,
        )
        return own.combined_with(self.features.requirements) if self.features else own


def _gamma(default: float) -> Any:
    return Field(default, description="Exponent of the power transform, 1 / T. A ramp changes it over the epochs.")


class _Tempered(_Distillation):
    """A method with a temperature T on the teacher's logits; gamma = 1 / T is the power transform's exponent."""

    gamma: PositiveScheduled = _gamma(0.2)
    temperature: PositiveFloat | None = Field(
        None, description="T of the teacher's softmax, 1 / gamma. null if gamma is a ramp."
    )

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, data: Any) -> Any:
        return _complete_temperature(data, cls.model_fields["gamma"].default)


class KnowledgeDistillation(_Tempered):
    """Hinton et al. 2015 (arXiv 1503.02531): ce_weight * H(y, q) + kd_weight * T^2 * KL(p_T || q_T)."""

    kind: Literal["kd"] = "kd"
    gamma: PositiveScheduled = _gamma(0.25)
    ce_weight: Weight = Field(
        0.1,
        description="Weight of the cross-entropy with the labels; 0 disables it. With logit_standardization, the "
        "default is 1: the loss on standardized logits does not determine their scale.",
    )
    kd_weight: Scheduled = 0.9

    @model_validator(mode="before")
    @classmethod
    def _standardized(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("logit_standardization") is True and "ce_weight" not in data:
            return {**data, "ce_weight": 1.0}
        return data


class TransformedTeacherMatching(_Tempered):
    """Zheng & Yang 2024 (arXiv 2402.11148): ce_weight * H(y, q) + beta * KL(p_T || q). The student keeps
    temperature 1."""

    kind: Literal["ttm"] = "ttm"
    beta: Scheduled = 8.0
    ce_weight: Weight = Field(1.0, description="0 distills without labels.")


class WeightedTransformedTeacherMatching(_Tempered):
    """Zheng & Yang 2024 (arXiv 2402.11148): ce_weight * H(y, q) + beta * mean(U_gamma(p) * KL(p_T || q)), where
    U_gamma(p), the sum of p^gamma over the classes, weights images by the uncertainty of the teacher."""

    kind: Literal["wttm"] = "wttm"
    beta: Scheduled = 2.0
    ce_weight: Weight = Field(1.0, description="0 distills without labels.")


class WarmedUpDistillation(_Distillation):
    """A method that is published for long runs, with a weight at which short runs do not learn the labels."""

    published_weight: ClassVar[float]

    weight: Scheduled | None = Field(
        None,
        description="Default: rises from 0 to the published weight (1 for dkd and dist, 200 for wkd) over 15,640 "
        "steps, 20 epochs of CIFAR-100, and stays there. A run with fewer steps ends below it. With ce_weight 0: the "
        "published weight from the start.",
    )


class DecoupledDistillation(WarmedUpDistillation):
    """DKD, Zhao et al. 2022 (arXiv 2203.08679): ce_weight * H(y, q) + weight * T^2 * (alpha * TCKD + beta * NCKD), the
    divergences between target and other classes, and among the other classes."""

    uses_labels: ClassVar[bool] = True
    supports_mixing: ClassVar[bool] = False
    published_weight: ClassVar[float] = 1.0

    kind: Literal["dkd"] = "dkd"
    alpha: Weight = 1.0
    beta: Scheduled = Field(8.0, description="1 to 8 in the paper, depending on teacher and student.")
    temperature: PositiveFloat = 4.0


class CorrelationDistillation(WarmedUpDistillation):
    """DIST, Huang et al. 2022 (arXiv 2205.10536): ce_weight * H(y, q) + weight * T^2 * (inter_weight * (1 - r_inter) +
    intra_weight * (1 - r_intra)), the correlations with the teacher over the classes and over the batch."""

    published_weight: ClassVar[float] = 1.0

    kind: Literal["dist"] = "dist"
    inter_weight: Weight = Field(2.0, description="The paper's beta; 2 on CIFAR-100, 1 on ImageNet.")
    intra_weight: Weight = Field(2.0, description="The paper's gamma; 2 on CIFAR-100, 1 on ImageNet.")
    temperature: PositiveFloat = Field(4.0, description="4 on CIFAR-100, 1 on ImageNet.")


class NormalizedDistillation(_Distillation):
    """NKD, Yang et al. 2023 (arXiv 2303.13005): ce_weight * H(y, q) + weight * (the target's cross-entropy, weighted by
    the teacher's confidence in it + non_target_weight * T^2 * that over the other classes). The target of a mixed
    image is its class with the largest share."""

    uses_labels: ClassVar[bool] = True

    kind: Literal["nkd"] = "nkd"
    weight: Scheduled = Field(1.0, description="The paper's alpha.")
    non_target_weight: Weight = Field(1.5, description="The paper's gamma.")
    temperature: PositiveFloat = 1.0


class WassersteinDistillation(WarmedUpDistillation):
    """WKD-L, Lv et al. 2024 (arXiv 2412.08139): ce_weight * H(y, q) - p_target * log q_target + weight * W, the cost of
    moving the student's probabilities of the other classes onto the teacher's, where moving between classes that are
    similar to the teacher is cheap. The similarities are computed once, before the first step."""

    uses_labels: ClassVar[bool] = True
    supports_mixing: ClassVar[bool] = False
    uses_class_relations: ClassVar[bool] = True
    published_weight: ClassVar[float] = 200.0

    kind: Literal["wkd"] = "wkd"
    temperature: PositiveFloat = Field(8.0, description="6 to 8 on CIFAR-100, 2 on ImageNet.")
    relations: Literal["classifier", "features"] = Field(
        "classifier",
        description="Similarity of two classes: classifier is the cosine of the teacher's classifier rows, "
        "features is the "
        "alignment (CKA) of its features for images of both classes.",
    )
    images_per_class: Annotated[int, Field(ge=2, le=1000)] = Field(
        50, description="Maximum number of training images per class for `features`."
    )
    sharpness: PositiveFloat = Field(1.0, description="k in the cost 1 - exp(-k * (1 - similarity)).")
    regularization: Annotated[float, Field(ge=0.025, le=100)] = Field(
        0.05, description="Weight of the entropy in Sinkhorn's algorithm. Smaller values underflow in float32."
    )
    iterations: Annotated[int, Field(ge=1, le=1000)] = 10


MethodSpec = Annotated[
    CrossEntropy
    | KnowledgeDistillation
    | TransformedTeacherMatching
    | WeightedTransformedTeacherMatching
    | DecoupledDistillation
    | CorrelationDistillation
    | NormalizedDistillation
    | WassersteinDistillation,
    Field(discriminator="kind"),
]
