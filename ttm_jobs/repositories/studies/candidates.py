"""The candidates of studies."""

from collections.abc import Collection, Sequence

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from ttm_jobs.models import StudyCandidate
from ttm_jobs.models.base import Json


def of_study(session: Session, study_id: str) -> Sequence[StudyCandidate]:
    """Returns the candidates of a study by number."""
    query = select(StudyCandidate).where(StudyCandidate.study_id == study_id).order_by(StudyCandidate.number)
    return session.scalars(query).all()


def students(session: Session, study_id: str, *, unscreened: bool) -> list[tuple[list[int], Json]]:
    """Returns the students, each with the numbers of its candidates: those without measurements, or all."""
    numbers: dict[str, list[int]] = {}
    found: dict[str, Json] = {}
    for candidate in of_study(session, study_id):
        if candidate.screen is None or not unscreened:
            numbers.setdefault(candidate.key, []).append(candidate.number)
            found[candidate.key] = candidate.student
    return [(numbers[key], found[key]) for key in numbers]


def record_screen(session: Session, study_id: str, numbers: Collection[int], screen: Json) -> None:
    """Stores the measurements of a student. The first ones stay, so that a repeated event changes no decision."""
    session.execute(
        update(StudyCandidate)
        .where(StudyCandidate.study_id == study_id, StudyCandidate.number.in_(numbers), StudyCandidate.screen.is_(None))
        .values(screen=screen)
    )


def reject(session: Session, study_id: str, number: int, rejected: Json) -> bool:
    """Stores why a candidate is excluded. Returns whether it was not excluded before."""
    candidate = session.get_one(StudyCandidate, (study_id, number))
    if candidate.rejected is not None:
        return False
    candidate.rejected = rejected
    return True
