"""The fields of a teacher that do not fit its ONNX file. Validation and runs report the same errors."""

from collections.abc import Iterator

from ttm_core.checkpoints.schema import NORMALIZATION_HINT, OnnxClassifier
from ttm_core.spec.job import TeacherSpec

_OF_WEIGHTS = ("architecture", "key_map", "checkpoint_key")


def unfit_fields(teacher: TeacherSpec, found: OnnxClassifier) -> Iterator[tuple[str, str]]:
    """The names of the fields that do not fit the file or are missing, each with a message that says what to do."""
    for name in _OF_WEIGHTS:
        if getattr(teacher, name) is not None:
            yield (
                name,
                f"teacher.{name} is not supported for ONNX files, which hold their own graph: remove this field.",
            )
    if teacher.image_size is not None and found.image_size not in (None, teacher.image_size):
        message = f"teacher.image_size is {teacher.image_size}, but the ONNX file takes {found.image_size} pixels."
        yield "image_size", f"{message} Remove this field."
    if teacher.normalization is None and found.pixels is None:
        message = "teacher.normalization is required: the ONNX file does not seem to normalize its input."
        yield "normalization", f"{message} {NORMALIZATION_HINT}"
    if teacher.normalization is not None and len(teacher.normalization.mean) != found.channels:
        message = f"teacher.normalization has {len(teacher.normalization.mean)} channels, but the ONNX file takes"
        yield "normalization", f"{message} {found.channels}. Set mean and std to lists of {found.channels}."
    classes = found.num_classes
    if classes is None:
        return
    if teacher.num_classes not in (None, classes):
        message = f"teacher.num_classes is {teacher.num_classes}, but the ONNX file returns {classes}."
        yield "num_classes", f"{message} Remove this field."
    if teacher.class_map is not None and (largest := max(teacher.class_map, default=0)) >= classes:
        message = f"teacher.class_map has the index {largest}, but the ONNX file returns {classes} classes."
        yield "class_map", f"{message} Its indices are 0 to {classes - 1}."
