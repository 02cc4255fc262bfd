"""What the demo trains, and how long: chosen so that two CPU cores finish it within minutes."""

from typing import Any

STUDENT = "mini/resnet8_025"
TEACHER = "mini/resnet8_100"

METHODS: dict[str, dict[str, Any]] = {
    "labels": {"kind": "ce"},
    "KD": {"kind": "kd"},
    "WTTM": {"kind": "wttm", "gamma": 0.1, "beta": 2},
}
"""What stands in the table for each method, and its spec."""


# Half to learn from and half to choose the best epoch by: fewer to choose by would choose by chance.
VALIDATION_SHARE = 0.5


def student_images(images: int) -> int:
    """Of `images` that the teacher saw, the labelled ones that its students learn from: few, as a user might have."""
    return 2_000 if images > 10_000 else 200


def teacher_spec(images: int, *, flip: bool) -> dict[str, Any]:
    """Training of the teacher on labels alone: two passes over a large set, more over a small one."""
    training = _training(2 if images > 10_000 else 10, 128, flip)
    return {"student": TEACHER, "method": "ce", "training": training, "exports": []}


def student_spec(*, flip: bool) -> dict[str, Any]:
    """Training of every student: the three jobs differ in nothing but the method. A second thread would not help one so
    small, so two of them are trained at once.
    """
    return {"student": STUDENT, "training": _training(30, 64, flip) | {"threads": 1}, "exports": []}


def _training(epochs: int, batch_size: int, flip: bool) -> dict[str, Any]:
    return {
        "epochs": epochs,
        "batch_size": batch_size,
        "optimizer": {"name": "adamw", "learning_rate": 0.01},
        "augmentation": {"kind": "crop_flip", "padding": 0, "flip": flip},
    }
