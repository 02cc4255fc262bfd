"""How much smaller a student is than its teacher."""

from functools import cache

from ttm_core.spec import catalogue
from ttm_jobs.models import Job


def compression_of(job: Job, teacher: str | None) -> float | None:
    """Parameters of the teacher over those of the student: of the run once it has ended, else of the catalogue. None
    until the teacher's architecture is known.
    """
    result = job.result or {}
    large, small = result.get("teacher_parameters"), result.get("student_parameters")
    return large / small if large and small else compression(teacher, job.student)


def compression(teacher: str | None, student: str) -> float | None:
    """The ratio for two architectures of the catalogue, with their default numbers of classes. None for others."""
    large, small = parameters(teacher), parameters(student)
    return large / small if large and small else None


def parameters(architectures: str | None) -> int | None:
    """Parameters of an architecture, or the sum for an ensemble written `a + b`, with the default number of classes.
    None if one is unknown.
    """
    if architectures is None:
        return None
    # Not `catalogue.find`: for a URI it would search the catalogue for similar names.
    counts = [_counts().get(name.partition(".")[0]) for name in architectures.split(" + ")]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


@cache
def _counts() -> dict[str, int]:
    return {row.name: row.parameters for row in catalogue.all()}
