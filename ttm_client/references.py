"""References to jobs, studies and other resources: an id, a name, or a response that describes the resource."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ttm_client.errors import NotFound
from ttm_client.models.comparisons import ComparedJob
from ttm_client.models.jobs import Architecture, Artifact, BulkResult, JobSummary, Recipe, Upload
from ttm_client.models.measurements import Device, MeasurementRequest
from ttm_client.models.resources import (
    Delivery,
    Key,
    ProjectSources,
    RegisteredDataset,
    RegisteredTeacher,
    WaitingJob,
    Webhook,
)
from ttm_client.models.studies import StudySummary

JobReference = str | JobSummary | WaitingJob | ComparedJob | BulkResult
"""The id, a unique prefix of the id or the unique name of a job, or a response that describes the job."""

StudyReference = str | StudySummary
"""The id, a unique prefix of the id or the unique name of a study, or a response that describes the study."""

UploadReference = str | Upload
"""The id or the URI of an upload, or the upload."""

_ID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def is_id(reference: str) -> bool:
    """Whether a reference is a complete id, which needs no request to the service."""
    return _ID.fullmatch(reference) is not None


def job_reference(job: JobReference) -> str:
    """The id or the name of a job. Raises TypeError for other types, as all functions of this module do."""
    return _attribute(job, (JobSummary, WaitingJob, ComparedJob, BulkResult), "id", "a job, its id or its name")


def study_reference(study: StudyReference) -> str:
    """The id or the name of a study."""
    return _attribute(study, (StudySummary,), "id", "a study, its id or its name")


def upload_id(upload: UploadReference) -> str:
    """The id of an upload."""
    return _attribute(upload, (Upload,), "id", "an upload, its id or its URI").removeprefix("upload:")


def key_id(key: str | Key) -> str:
    """The id of an API key."""
    return _attribute(key, (Key,), "id", "an API key or its id")


def webhook_id(webhook: str | Webhook) -> str:
    """The id of a webhook."""
    return _attribute(webhook, (Webhook,), "id", "a webhook or its id")


def delivery_id(delivery: str | Delivery) -> str:
    """The id of a delivery of a webhook."""
    return _attribute(delivery, (Delivery,), "id", "a delivery or its id")


def request_id(request: str | MeasurementRequest) -> str:
    """The id of a request to measure a file."""
    return _attribute(request, (MeasurementRequest,), "id", "a measurement request or its id")


def device_name(device: str | Device) -> str:
    """The name of a device."""
    return _attribute(device, (Device,), "name", "a device or its name")


def project_name(project: str | ProjectSources) -> str:
    """The name of a project."""
    return _attribute(project, (ProjectSources,), "project", "a project's name or its sources")


def teacher_name(teacher: str | RegisteredTeacher) -> str:
    """The name of a registered teacher."""
    return _attribute(teacher, (RegisteredTeacher,), "name", "a registered teacher or its name")


def dataset_name(dataset: str | RegisteredDataset) -> str:
    """The name of a registered dataset."""
    return _attribute(dataset, (RegisteredDataset,), "name", "a registered dataset or its name")


def only_named(artifacts: Sequence[Artifact], name: str) -> Artifact:
    """The artifact with this name. Raises NotFound, and TypeError unless the name is a string."""
    if not isinstance(name, str):
        raise TypeError(f"Expected an artifact or its name, not {type(name).__name__}.")
    for artifact in artifacts:
        if artifact.name == name:
            return artifact
    names = ", ".join(artifact.name for artifact in artifacts) or "none"
    detail = f"The job has no artifact {name!r}. Its artifacts: {names}."
    raise NotFound(status=404, code="artifact_not_found", title="Not Found", detail=detail)


def with_references(spec: Any) -> Any:
    """A spec, or a part of one, in which responses are replaced by what a spec calls them: uploads and registered
    teachers and datasets by their URI, jobs by that of their student, architectures and recipes by their name.
    """
    match spec:
        case Mapping():
            return {name: with_references(part) for name, part in spec.items()}
        case list() | tuple():
            return [with_references(part) for part in spec]
        case Upload() | RegisteredTeacher() | RegisteredDataset():
            return spec.uri
        case JobSummary() | WaitingJob() | ComparedJob() | BulkResult():
            return f"job:{spec.id}"
        case Architecture() | Recipe():
            return spec.name
    return spec


def _attribute(value: object, kinds: tuple[type, ...], name: str, expected: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, kinds):
        return str(getattr(value, name))
    raise TypeError(f"Expected {expected}, not {type(value).__name__}.")
