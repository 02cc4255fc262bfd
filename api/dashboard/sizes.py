"""How much smaller a student is, by the catalogue's numbers."""

from functools import cache

from ttm_core import catalogue


def parameters(architectures: str | None) -> int | None:
    """Parameters of an architecture, or of several written `a + b`, with default classes; None where one is unknown."""
    if architectures is None:
        return None
    # Not `catalogue.find`: a teacher is an address until it is loaded, and that would seek the names nearest to it.
    counts = [_counts().get(name.partition(".")[0]) for name in architectures.split(" + ")]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def compression(teacher: str | None, student: str) -> float | None:
    """Parameters of the teacher over those of the student; None while the teacher's architecture is not known."""
    large, small = parameters(teacher), parameters(student)
    return large / small if large and small else None


@cache
def _counts() -> dict[str, int]:
    return {row.name: row.parameters for row in catalogue.all()}
