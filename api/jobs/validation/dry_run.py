"""Dry runs of job requests."""

from collections.abc import Mapping

from sqlalchemy.orm import Session

from api.architectures import installed
from api.jobs.estimates import estimate
from api.jobs.schemas import Dryrun, JobRequest, ModelSize
from api.jobs.validation.request import check_request
from api.registry.resolution import Resolved
from ttm_core.spec import catalogue
from ttm_core.spec.catalogue import Architecture
from ttm_core.spec.job import DistillSpec
from ttm_jobs.settings import Settings


def dry_run(session: Session, settings: Settings, resolved: Resolved[JobRequest]) -> Dryrun:
    """The result of a dry run. Raises the same FieldErrors as a submission."""
    request = resolved.request
    check_request(session, settings, request)
    teachers = [teacher.architecture for teacher in request.all_teachers]
    packaged = installed.for_names(session, settings, [request.student.architecture, *teachers])
    classes = next((teacher.num_classes for teacher in request.all_teachers if teacher.num_classes), None)
    logits = None if classes is None else classes * len(request.all_teachers)
    similar = estimate(session, request)
    return Dryrun(
        spec=request.model_dump(mode="json", include=set(DistillSpec.model_fields)),
        resolved_references=resolved.resolved_references,
        student=_student_size(request, packaged),
        teachers=[_size(name, packaged) for name in teachers if name is not None],
        teacher_store_bytes_per_image=logits and logits * _LOGIT_BYTES[request.training.stored_as],
        similar_job=similar and similar.job_id,
        seconds=similar and similar.seconds,
        memory_bytes=similar and similar.memory_bytes,
        disk_bytes=similar and similar.disk_bytes,
    )


_LOGIT_BYTES = {"float16": 2, "int8": 1}


def _size(name: str, packaged: Mapping[str, Architecture]) -> ModelSize:
    model = catalogue.find(name, packaged)
    return ModelSize(architecture=name, parameters=model.parameters, macs=model.macs, input_size=list(model.input_size))


def _student_size(request: JobRequest, packaged: Mapping[str, Architecture]) -> ModelSize | None:
    """The student's size. That of a pruned student is the target, computed from its teacher's."""
    student = request.student
    if student.named_architecture is not None:
        return _size(student.named_architecture, packaged)
    if request.teacher is None or student.prune is None:
        return None
    teacher = request.teacher.named_architecture
    if teacher is None:
        return None
    whole = _size(teacher, packaged)
    return ModelSize(
        architecture=teacher,
        parameters=_share(whole.parameters, student.prune.parameters),
        macs=_share(whole.macs, student.prune.macs),
        input_size=whole.input_size,
    )


def _share(number: int | None, share: float | None) -> int | None:
    return None if number is None or share is None else round(number * share)
