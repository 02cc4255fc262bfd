"""`ttm damage` and `ttm predict`."""

from pathlib import Path
from typing import Annotated

import typer

from ttm_client import ClassDamage, DamageReport
from ttm_client.cli.output import USAGE, JsonOption, LimitOption, UrlOption, fail, print_json, print_rows, service

_BAR = 20


def damage(
    job_id: Annotated[str, typer.Argument(metavar="JOB", help="Id, unique prefix of an id, or unique name of a job.")],
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="JOB", help="Compare with the student of this job instead of the teacher."),
    ] = None,
    limit: LimitOption = 20,
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Show what the student lost: retention per class and the confusions that grew."""
    with service(url) as client:
        report = client.jobs.damage(job_id, against=against)
    if json:
        print_json(report)
        return
    reference = "TEACHER" if report.reference == "teacher" else "OTHER"
    print_rows(("OUTCOME", "IMAGES"), _outcomes(report, reference.lower()))
    rows = [_class(row) for row in report.classes[:limit]]
    if rows:
        print_rows(("CLASS", "IMAGES", reference, "STUDENT", "RETENTION", "95 % INTERVAL", ""), rows, optional=("",))
    pairs = [(each.label, each.predicted, str(each.reference), str(each.student)) for each in report.confusions[:limit]]
    if pairs:
        print_rows(("CLASS", "PREDICTED AS", reference, "STUDENT"), pairs)


def predict(
    job_id: Annotated[str, typer.Argument(metavar="JOB", help="Id, unique prefix of an id, or unique name of a job.")],
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="PNG, JPEG, WebP, GIF, BMP or TIFF file.")],
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Classify an image with the student, its int8 file and the teacher."""
    if not image.is_file():
        fail(f"There is no file {image}.", USAGE)
    with service(url) as client:
        answer = client.jobs.predict(job_id, image)
    if json:
        print_json(answer)
        return
    rows = [
        (each.model, guess.name, f"{guess.probability:.1%}", _bar(guess.probability), f"{each.latency_ms:.3g} ms")
        for each in answer.models
        for guess in each.top
    ]
    print_rows(("MODEL", "CLASS", "PROBABILITY", "", "LATENCY"), rows, optional=("",))


def _outcomes(report: DamageReport, reference: str) -> list[tuple[str, str]]:
    words = {
        "lost": f"{reference} right, student wrong",
        "gained": f"student right, {reference} wrong",
        "both_wrong": "both wrong",
        "disagreement": "different classes",
    }
    counts = [(words.get(name, name), str(count)) for name, count in report.outcomes.items()]
    return [*counts, (f"all {report.split} images", str(report.images))]


def _class(row: ClassDamage) -> tuple[str, ...]:
    retention, low, high = row.retention_percent, row.retention_low, row.retention_high
    known = retention is not None and low is not None and high is not None
    return (
        row.name,
        str(row.images),
        f"{row.reference_correct / row.images:.1%}",
        f"{row.student_correct / row.images:.1%}",
        f"{retention:.1f} %" if known else "-",
        f"{low:.0f} to {high:.0f} %" if known else "-",
        _bar(min(retention or 0.0, 100.0) / 100) if known else "",
    )


def _bar(share: float) -> str:
    full = round(_BAR * share)
    return "█" * full + "·" * (_BAR - full)
