"""What distinguishes a student from others of its architecture, in words."""

from collections.abc import Iterator

from ttm_core.spec.normalization import PRESETS, Normalization
from ttm_core.spec.student.pruning import PruneSpec
from ttm_core.spec.student.student import StudentSpec


def details(student: StudentSpec) -> list[str]:
    """The fields that are not defaults in words, without the architecture and the pruning target."""
    return list(_details(student))


def _details(student: StudentSpec) -> Iterator[str]:
    if student.architecture is not None and student.checkpoint is not None:
        yield f"weights of {student.checkpoint}"
    if student.initialize == "teacher":
        yield "weights of the teacher"
    if student.prune is not None:
        yield from _pruning(student.prune)
    if student.image_size is not None:
        yield f"{student.image_size} px"
    if student.normalization is not None:
        yield _normalization(student.normalization)
    if student.freeze:
        yield f"{' and '.join(student.freeze)} frozen"
    if student.drop_path is not None:
        yield f"drop path {student.drop_path:g}"


def _pruning(prune: PruneSpec) -> Iterator[str]:
    default = PruneSpec(macs=0.5)
    if prune.importance != default.importance:
        yield f"{prune.importance} importance"
    if prune.round_to != default.round_to:
        yield f"channels in multiples of {prune.round_to}"
    if prune.steps != default.steps:
        yield f"in {prune.steps} steps"
        if prune.recovery_steps != default.recovery_steps:
            yield f"{prune.recovery_steps} training steps between them"


def _normalization(normalization: Normalization) -> str:
    preset = next((name for name, known in PRESETS.items() if known == normalization), None)
    return f"normalization {preset}" if preset else f"mean {normalization.mean}, std {normalization.std}"
