"""What a distillation method is told. Torch-free: this is also a part of the body of POST /jobs."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from ttm_core.base import Spec

PositiveFloat = Annotated[float, Field(gt=0, le=1e6)]
Weight = Annotated[float, Field(ge=0, le=1e6)]


def _complete_temperature(data: Any, default_gamma: float) -> Any:
    """Let gamma or temperature be given, the other follow: gamma = 1 / temperature."""
    if not isinstance(data, dict):
        return data
    gamma, temperature = data.get("gamma"), data.get("temperature")
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


class _Tempered(Spec):
    """A method with a temperature T on the teacher's logits; gamma = 1 / T is the power transform's exponent."""

    default_gamma: ClassVar[float]

    gamma: PositiveFloat = Field(0.0, validate_default=True, description="Exponent of the power transform, 1 / T.")
    temperature: PositiveFloat = Field(0.0, validate_default=True, description="T of the teacher's softmax, 1 / gamma.")

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, data: Any) -> Any:
        return _complete_temperature(data, cls.default_gamma)


class CrossEntropy(Spec):
    """Labels alone: H(y, q). The baseline, and how a teacher is trained."""

    kind: Literal["ce"] = "ce"


class KnowledgeDistillation(_Tempered):
    """Hinton et al. 2015: ce_weight * H(y, q) + kd_weight * T^2 * KL(p_T || q_T)."""

    default_gamma: ClassVar[float] = 0.25

    kind: Literal["kd"] = "kd"
    ce_weight: Weight = 0.1
    kd_weight: Weight = 0.9


class TransformedTeacherMatching(_Tempered):
    """Zheng & Yang 2024: ce_weight * H(y, q) + beta * KL(p_T || q). The student keeps temperature 1."""

    default_gamma: ClassVar[float] = 0.2

    kind: Literal["ttm"] = "ttm"
    beta: Weight = 8.0
    ce_weight: Weight = Field(1.0, description="0 distils without labels.")


class WeightedTransformedTeacherMatching(_Tempered):
    """Zheng & Yang 2024: ce_weight * H(y, q) + beta * mean(U_gamma(p) * KL(p_T || q))."""

    default_gamma: ClassVar[float] = 0.2

    kind: Literal["wttm"] = "wttm"
    beta: Weight = 2.0
    ce_weight: Weight = Field(1.0, description="0 distils without labels.")


MethodSpec = Annotated[
    CrossEntropy | KnowledgeDistillation | TransformedTeacherMatching | WeightedTransformedTeacherMatching,
    Field(discriminator="kind"),
]
