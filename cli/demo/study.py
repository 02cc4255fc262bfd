"""The demo's study: the smallest student that meets limits on accuracy and size."""

from typing import Any

from rich.console import Console

from cli.demo import plan
from ttm_client import Client, Study, StudyCandidate, StudyOption
from ttm_client.cli.plots import Point, scatter

_POLL_SECONDS = 0.5
_MARKS = "abcdefgh"


class StudyFailed(Exception):
    """The demo's study did not find a student."""


def submit(client: Client, teacher: str, dataset: dict[str, Any], *, flip: bool, seed: int, console: Console) -> Study:
    """Submits the study. Its jobs run after the jobs that are queued already.

    Args:
        client: the service.
        teacher: URI of the teacher.
        dataset: the dataset of the students.
        flip: whether views are flipped.
        seed: random seed.
        console: where to print.
    """
    limits = ", ".join(plan.LIMITS_IN_WORDS)
    console.print(f"[bold]Study[/] of {len(plan.CANDIDATES)} students: the smallest one with {limits}")
    spec = plan.study_spec(flip=flip) | {"seed": seed}
    return client.studies.create(name="demo: study", teacher=teacher, dataset=dataset, **spec)


def follow(client: Client, study: Study, console: Console) -> Study:
    """Waits for the study and prints its steps, its front and its recommendation.

    Raises:
        StudyFailed: it ended without a recommendation.
    """
    console.print("[bold]Study[/]: results")
    printed = ""

    def show(now: Study) -> None:
        nonlocal printed
        line = f"{now.state}: {now.stage}"
        if line != printed and not now.done:
            console.print(f"  {line}", style="dim", highlight=False, markup=False)
            printed = line

    study = client.studies.wait(study.id, on_update=show, interval=_POLL_SECONDS)
    if study.state != "succeeded" or study.recommendation is None or study.recommendation.job is None:
        raise StudyFailed(f"study {study.id} ended as {study.state} without a recommendation")
    candidates = {each.number: each for each in client.studies.candidates(study.id)}
    _print(study, candidates, client.studies.front(study.id), console)
    return study


def _print(
    study: Study, candidates: dict[int, StudyCandidate], front: tuple[StudyOption, ...], console: Console
) -> None:
    for each in candidates.values():
        if each.rejected is not None:
            console.print(f"  {each.label}: {each.rejected['reason']}", style="dim", highlight=False, markup=False)
    points = [
        Point(option.bytes / 1000, option.accuracy, _MARKS[index % len(_MARKS)]) for index, option in enumerate(front)
    ]
    plot = scatter(points, x_label="size in kB", y_label="accuracy", x_format="{:.0f}", y_format="{:.1%}")
    console.print(f"\n{plot}", highlight=False, markup=False)
    for point, option in zip(points, front, strict=True):
        console.print(
            f"  {point.mark}  {candidates[option.candidate].label}, {option.precision}: {option.accuracy:.2%}, "
            f"{option.bytes / 1000:.0f} kB",
            highlight=False,
            markup=False,
        )
    chosen = study.recommendation
    assert chosen is not None
    kept = "" if chosen.retention is None else f", {chosen.retention:.1%} of the teacher kept"
    console.print(
        f"  Recommended: [bold]{candidates[chosen.candidate].label}, {chosen.precision}[/] "
        f"({chosen.bytes / 1000:.0f} kB{kept}).",
        highlight=False,
    )
    for miss in chosen.misses:
        console.print(f"  It misses a limit: {miss['message']}", highlight=False, markup=False)
