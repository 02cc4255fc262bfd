"""Finds the job or study that a reference names. A complete id needs no request."""

from ttm_client.asynchronous.paging import pages
from ttm_client.asynchronous.transport import AsyncTransport
from ttm_client.models.jobs import Job, JobSummary
from ttm_client.models.studies import Study, StudySummary
from ttm_client.protocol import fits_in_path, only_id, segment
from ttm_client.references import JobReference, StudyReference, is_id, job_reference, study_reference
from ttm_client.responses import read


async def find_job(transport: AsyncTransport, job: JobReference) -> Job:
    """Returns a job. Raises NotFound, and Conflict if several jobs have the name or the prefix of the id."""
    reference = job_reference(job)
    if not fits_in_path(reference):
        found = pages(transport, JobSummary, "/jobs", {"limit": 100, "name": reference})
        # No name is empty, and an empty filter would list all jobs.
        ids = [each.id async for each in found if each.name == reference] if reference else []
        reference = only_id(ids, "job", reference)
    return read(Job, await transport.request("GET", f"/jobs/{segment(reference)}"))


async def find_study(transport: AsyncTransport, study: StudyReference) -> Study:
    """Returns a study. Raises NotFound, and Conflict if several studies have the name or the prefix of the id."""
    reference = study_reference(study)
    if not fits_in_path(reference):
        found = pages(transport, StudySummary, "/studies", {"limit": 100})
        ids = [each.id async for each in found if each.name == reference] if reference else []
        reference = only_id(ids, "study", reference)
    return read(Study, await transport.request("GET", f"/studies/{segment(reference)}"))


async def job_id(transport: AsyncTransport, job: JobReference) -> str:
    """Returns the id of a job. Raises the errors of `find_job` for a name or a prefix."""
    reference = job_reference(job)
    return reference if is_id(reference) else (await find_job(transport, reference)).id


async def job_path(transport: AsyncTransport, job: JobReference) -> str:
    """Returns the path of a job. Raises the errors of `job_id`."""
    return f"/jobs/{await job_id(transport, job)}"


async def study_id(transport: AsyncTransport, study: StudyReference) -> str:
    """Returns the id of a study. Raises the errors of `find_study` for a name or a prefix."""
    reference = study_reference(study)
    return reference if is_id(reference) else (await find_study(transport, reference)).id


async def study_path(transport: AsyncTransport, study: StudyReference) -> str:
    """Returns the path of a study. Raises the errors of `study_id`."""
    return f"/studies/{await study_id(transport, study)}"
