"""Which of the candidates that meet the limits are trained."""

from collections.abc import Sequence

from ttm_jobs.studies.facts import Candidate


def select(feasible: Sequence[Candidate], budget: int) -> list[int]:
    """The numbers of up to `budget` candidates, in order: students take turns, so that each has an equal share.

    More students than the budget are thinned evenly by size, and the smallest and the largest stay.
    """
    groups: dict[str, list[Candidate]] = {}
    for candidate in feasible:
        groups.setdefault(candidate.student, []).append(candidate)
    if len(groups) > budget:
        ordered = sorted(groups.values(), key=lambda group: (_parameters(group[0]), group[0].number))
        step = (len(ordered) - 1) / (budget - 1) if budget > 1 else 0.0
        return sorted(ordered[round(index * step)][0].number for index in range(budget))
    chosen: list[int] = []
    depth = 0
    while len(chosen) < min(budget, len(feasible)):
        chosen += [group[depth].number for group in groups.values() if depth < len(group)][: budget - len(chosen)]
        depth += 1
    return sorted(chosen)


def _parameters(candidate: Candidate) -> int:
    return candidate.screen.parameters if candidate.screen is not None else 0
