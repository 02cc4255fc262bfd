"""What a distillation method is told. Torch-free: this is also a part of the body of POST /jobs."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from ttm_core.spec.base import Spec, by_name
from ttm_core.spec.method.features import FeatureSpec
from ttm_core.spec.method.requirements import MethodRequirements
from ttm_core.spec.method.schedules import PositiveScheduled, Ramp, Scheduled

PositiveFloat = Annotated[float, Field(gt=0, le=1e6)]
Weight = Annotated[float, Field(ge=0, le=1e6)]


def _complete_temperature(data: Any, default_gamma: float) -> Any:
    """Let gamma or temperature be given, the other follow: gamma = 1 / temperature."""
    if not isinstance(data, dict):
        return data
    gamma, temperature = data.get("gamma"), data.get("temperature")
    if isinstance(gamma, dict | Ramp):
        if temperature is not None:
            raise ValueError("a gamma that changes over the epochs has no one temperature: leave temperature out")
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
        return data  # not numbers, or out of range: the fields themselves say so
    if not agree:
        raise ValueError(f"gamma is 1 / temperature, but gamma is {gamma} and temperature is {temperature}: give one")
    return data


class CrossEntropy(Spec):
    """Labels alone: H(y, q). The baseline, and how a teacher is trained."""

    kind: Literal["ce"] = "ce"

    @property
    def requirements(self) -> MethodRequirements:
        return MethodRequirements(labels=True, teacher=False)


class _Distillation(Spec):
    """A method on the teacher's logits, beside ce_weight * H(y, q) and, if given, a loss on features."""

    takes_class_of_image: ClassVar[bool] = False
    """Whether the loss itself asks for each image's class, beside the cross-entropy."""
    takes_mixes: ClassVar[bool] = True
    asks_relations: ClassVar[bool] = False

    ce_weight: Weight = Field(1.0, description="Weight of the cross-entropy with the labels; 0 leaves it out.")
    logit_standardization: bool = Field(
        False,
        description="Give each image's logits mean 0 and deviation 1 first, on both sides, in all but the "
        "cross-entropy: Sun et al. 2024 (arXiv 2403.01427).",
    )
    features: Annotated[FeatureSpec, by_name("kind", FeatureSpec)] | None = Field(
        None, description="A loss on features that adds to the method's own: crd, itrd or vitkd."
    )

    @property
    def requirements(self) -> MethodRequirements:
        """What this method asks of the data and of the teacher, its feature feature_loss's wants included."""
        own = MethodRequirements(
            labels=self.ce_weight > 0 or self.takes_class_of_image,
            teacher=True,
            mixes=self.takes_mixes,
            one_teacher=self.asks_relations or self.logit_standardization,
        )
        return own.along_with(self.features.requirements) if self.features else own


def _gamma(default: float) -> Any:
    return Field(default, description="Exponent of the power transform, 1 / T; may change over the epochs.")


class _Tempered(_Distillation):
    """A method with a temperature T on the teacher's logits; gamma = 1 / T is the power transform's exponent."""

    gamma: PositiveScheduled = _gamma(0.2)
    temperature: PositiveFloat | None = Field(
        None, description="T of the teacher's softmax, 1 / gamma; null where gamma changes over the epochs."
    )

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, data: Any) -> Any:
        return _complete_temperature(data, cls.model_fields["gamma"].default)


class KnowledgeDistillation(_Tempered):
    """Hinton et al. 2015 (arXiv 1503.02531): ce_weight * H(y, q) + kd_weight * T^2 * KL(p_T || q_T)."""

    kind: Literal["kd"] = "kd"
    gamma: PositiveScheduled = _gamma(0.25)
    ce_weight: Weight = 0.1
    kd_weight: Scheduled = 0.9


class TransformedTeacherMatching(_Tempered):
    """Zheng & Yang 2024 (arXiv 2402.11148): ce_weight * H(y, q) + beta * KL(p_T || q). The student keeps
    temperature 1."""

    kind: Literal["ttm"] = "ttm"
    beta: Scheduled = 8.0
    ce_weight: Weight = Field(1.0, description="0 distils without labels.")


class WeightedTransformedTeacherMatching(_Tempered):
    """Zheng & Yang 2024 (arXiv 2402.11148): ce_weight * H(y, q) + beta * mean(U_gamma(p) * KL(p_T || q)), where
    U_gamma(p), the sum of p^gamma over the classes, weighs an image by how unsure the teacher is of it."""

    kind: Literal["wttm"] = "wttm"
    beta: Scheduled = 2.0
    ce_weight: Weight = Field(1.0, description="0 distils without labels.")


class DecoupledDistillation(_Distillation):
    """DKD, Zhao et al. 2022 (arXiv 2203.08679): ce_weight * H(y, q) + weight * T^2 * (alpha * TCKD + beta * NCKD), the
    divergences of target against not target, and over the classes other than the target."""

    takes_class_of_image: ClassVar[bool] = True
    takes_mixes: ClassVar[bool] = False

    kind: Literal["dkd"] = "dkd"
    weight: Scheduled = Field(1.0, description="Of both terms; the published code warms it up over 20 epochs.")
    alpha: Weight = 1.0
    beta: Scheduled = Field(8.0, description="The paper takes it from 1 to 8 by the pair.")
    temperature: PositiveFloat = 4.0


class CorrelationDistillation(_Distillation):
    """DIST, Huang et al. 2022 (arXiv 2205.10536): ce_weight * H(y, q) + weight * T^2 * (inter_weight * (1 - r_inter) +
    intra_weight * (1 - r_intra)), the correlations with the teacher over the classes and over the batch."""

    kind: Literal["dist"] = "dist"
    weight: Scheduled = 1.0
    inter_weight: Weight = Field(2.0, description="The paper's beta; 2 on CIFAR-100, 1 on ImageNet.")
    intra_weight: Weight = Field(2.0, description="The paper's gamma; 2 on CIFAR-100, 1 on ImageNet.")
    temperature: PositiveFloat = Field(4.0, description="4 on CIFAR-100, 1 on ImageNet.")


class NormalizedDistillation(_Distillation):
    """NKD, Yang et al. 2023 (arXiv 2303.13005): ce_weight * H(y, q) + weight * (the target's cross-entropy, weighted by
    the teacher's confidence in it + non_target_weight * T^2 * that over the other classes). An image that is a mixture
    has its heaviest class as target."""

    takes_class_of_image: ClassVar[bool] = True

    kind: Literal["nkd"] = "nkd"
    weight: Scheduled = Field(1.0, description="The paper's alpha.")
    non_target_weight: Weight = Field(1.5, description="The paper's gamma.")
    temperature: PositiveFloat = 1.0


class WassersteinDistillation(_Distillation):
    """WKD-L, Lv et al. 2024 (arXiv 2412.08139): ce_weight * H(y, q) - p_target * log q_target + weight * W, the cost of
    moving the student's probabilities of the other classes onto the teacher's, where moving between classes that the
    teacher holds for related is cheap. Which those are is asked of the teacher once, before the first step."""

    takes_class_of_image: ClassVar[bool] = True
    takes_mixes: ClassVar[bool] = False
    asks_relations: ClassVar[bool] = True

    kind: Literal["wkd"] = "wkd"
    weight: Scheduled = Field(200.0, description="200 or 600 by the pair on CIFAR-100, 30 on ImageNet.")
    temperature: PositiveFloat = Field(8.0, description="6 to 8 on CIFAR-100, 2 on ImageNet.")
    relations: Literal["classifier", "features"] = Field(
        "classifier",
        description="How alike two classes are to the teacher: by the cosine of its classifier's rows, or by the "
        "alignment (CKA) of its features for images of both.",
    )
    images_per_class: Annotated[int, Field(ge=2, le=1000)] = Field(
        50, description="Training images of each class that `features` looks at; fewer where a class has fewer."
    )
    sharpness: PositiveFloat = Field(1.0, description="k of the cost 1 - exp(-k * (1 - alikeness)).")
    regularization: Annotated[float, Field(ge=0.025, le=100)] = Field(
        0.05, description="Weight of the plan's entropy in Sinkhorn's algorithm; less does not fit into float32."
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
