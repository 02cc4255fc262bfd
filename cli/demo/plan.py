"""Specs of the demo, chosen so that two CPU cores finish within minutes."""

from typing import Any

STUDENT = "mini/resnet8_025"
TEACHER = "mini/resnet8_100"

LABELS = "labels"
METHODS: dict[str, dict[str, Any]] = {
    LABELS: {"kind": "ce"},
    "KD": {"kind": "kd"},
    "WTTM": {"kind": "wttm", "gamma": 0.1, "beta": 2},
}
"""Methods by their label in the table."""


CANDIDATES = ["mini/resnet8_025", "mini/resnet8_050", "mini/resnet8_150"]
"""Students of the study."""
# The students reach 86 and 90 %: far enough from the limit that differences between CPUs do not change the choice.
LIMITS = {"retention": 0.88, "bytes": 200_000}
LIMITS_IN_WORDS = ("88 % of the teacher's accuracy", "at most 200 kB")

# With a smaller validation split, the choice of the best epoch is mostly noise.
VALIDATION_SHARE = 0.5


def student_images(images: int) -> int:
    """The number of labelled images for the students, out of the teacher's `images`."""
    return 2_000 if images > 10_000 else 200


def teacher_spec(images: int, *, flip: bool) -> dict[str, Any]:
    """Spec of the teacher: cross-entropy, two epochs on a large dataset, ten on a small one."""
    training = _training(2 if images > 10_000 else 10, 128, flip)
    return {"student": TEACHER, "method": "ce", "training": training, "exports": []}


def student_spec(*, flip: bool, seed: int) -> dict[str, Any]:
    """Spec shared by the students, which differ only in the method.

    One thread each: a second thread does not speed up a student of this size, so two jobs run in parallel.
    """
    training = _training(30, 64, flip) | {"threads": 1, "seed": seed}
    return {"student": STUDENT, "training": training, "exports": []}


def study_spec(*, flip: bool) -> dict[str, Any]:
    """Spec of the study: one seed, and a third of the epochs of the students above."""
    training = _training(9, 64, flip) | {"threads": 1}
    return {
        "goal": "smallest",
        "limits": LIMITS,
        "students": CANDIDATES,
        "method": METHODS["WTTM"],
        "training": training,
        "seeds": 1,
    }


def _training(epochs: int, batch_size: int, flip: bool) -> dict[str, Any]:
    return {
        "epochs": epochs,
        "batch_size": batch_size,
        "optimizer": {"name": "adamw", "learning_rate": 0.01},
        "augmentation": {"kind": "crop_flip", "padding": 0, "flip": flip},
        # The accuracies then do not depend on whether the CPU has bfloat16 units.
        "precision": "float32",
    }
