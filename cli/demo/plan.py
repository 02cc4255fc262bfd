"""What the demo trains, and how long: chosen so that two CPU cores finish it within minutes."""

from typing import Any

STUDENT = "mini/resnet8_025"
TEACHER = "mini/resnet8_100"

METHODS: dict[str, dict[str, Any]] = {
    "labels": {"kind": "ce"},
    "KD": {"kind": "kd"},
    "WTTM": {"kind": "wttm"},
}
"""What stands in the table for each method, and its spec."""


def student_images(images: int) -> int:
    """Of `images` that the teacher saw, the labelled ones that its students see: few, as a user might have."""
    return 2_000 if images > 10_000 else 200


def teacher_spec(images: int, *, flip: bool) -> dict[str, Any]:
    """Training of the teacher on labels alone: two passes over a large set, more over a small one."""
    return {"student": TEACHER, "method": "ce", "training": _training(2 if images > 10_000 else 10, flip)}


def student_spec(*, flip: bool) -> dict[str, Any]:
    """Training of every student: the three jobs differ in nothing but the method."""
    return {"student": STUDENT, "training": _training(40, flip)}


def _training(epochs: int, flip: bool) -> dict[str, Any]:
    return {
        "epochs": epochs,
        "optimizer": {"name": "adamw", "learning_rate": 0.01},
        "augmentation": {"kind": "crop_flip", "padding": 0, "flip": flip},
    }
