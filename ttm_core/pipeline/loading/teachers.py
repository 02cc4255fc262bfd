"""Loads the teachers of a run."""

from pathlib import Path

from ttm_core.errors import BadSpec
from ttm_core.models.hub.published import fetch
from ttm_core.models.teachers.load import Teacher, load_teacher
from ttm_core.pipeline.context import RunContext
from ttm_core.spec.job import DistillSpec, TeacherSpec


def load_teachers(
    spec: DistillSpec, context: RunContext, class_names: list[str], size: int
) -> tuple[list[Teacher], list[Path]]:
    """The teachers on the run's device, and their files.

    Args:
        spec: of the run.
        context: the surroundings of the run.
        class_names: of the dataset; empty for those of the first teacher.
        size: side of the student's images in pixels, for teachers that state none.

    Raises:
        EngineError: a teacher cannot be loaded, or not be used with the method.
    """
    teachers: list[Teacher] = []
    files: list[Path] = []
    students = [spec.student, *(each.student for each in context.options.students)]
    for teacher_spec, path in zip(spec.all_teachers, context.inputs.teachers, strict=True):
        if path is None:
            teacher_spec, path = _published_teacher(teacher_spec, context)
        teachers.append(
            load_teacher(
                teacher_spec,
                path,
                image_size=size,
                class_names=class_names,
                keep_weights=any(student.from_teacher is not None for student in students),
            )
        )
        files.append(path)
        class_names = teachers[0].class_names
    if spec.method.requirements.teacher_layers and any(teacher.structure is None for teacher in teachers):
        raise BadSpec(
            f"method: {spec.method.kind!r} with these options needs layers of the teacher, which ONNX files lack. Use "
            "a method that learns from logits, or the teacher's weights."
        )
    for teacher in teachers:
        teacher.model.to(context.device)
    return teachers, files


def _published_teacher(spec: TeacherSpec, context: RunContext) -> tuple[TeacherSpec, Path]:
    """The spec with what the publisher says about the model, and the downloaded file."""
    found = context.distributed.main_first(
        lambda: fetch(spec.checkpoint, context.data_cache, field="teacher.checkpoint")
    )
    update = {
        "architecture": spec.architecture or found.architecture,
        "normalization": spec.normalization or found.normalization,
        "image_size": spec.image_size or found.image_size,
    }
    return spec.model_copy(update=update), found.path
