"""`ttm study submit` and `ttm candidates`."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from ttm_client.cli.output import (
    FAILED,
    JsonOption,
    UrlOption,
    console,
    count,
    fail,
    messages,
    print_json,
    print_rows,
    service,
)
from ttm_client.cli.specs import EpochsOption, SetOption, SpecFile, put, put_assignments, read_spec, send_files, whole
from ttm_client.cli.studies.tables import print_candidates
from ttm_client.cli.studies.watch import follow
from ttm_client.local_files import Spec
from ttm_client.models.studies import StudyPlan


class Goal(StrEnum):
    SMALLEST = "smallest"
    FASTEST = "fastest"
    MOST_ACCURATE = "most_accurate"


TeacherOption = Annotated[str | None, typer.Option(help="Checkpoint of the teacher: local file or URI.")]
DatasetOption = Annotated[str | None, typer.Option(help="Local folder or archive, or URI.")]
StudentsOption = Annotated[
    list[str] | None,
    typer.Option("--student", help="Architecture, or a pattern such as 'mobilenetv3_*'. Repeatable. Default: auto."),
]
MaxMbOption = Annotated[float | None, typer.Option(min=0.001, help="Largest ONNX file in MB (1,000,000 bytes).")]
MaxMsOption = Annotated[float | None, typer.Option(min=0.001, help="Largest latency of one image in ms.")]
MaxMacsOption = Annotated[float | None, typer.Option(min=1, help="Most multiply-accumulates of one image.")]
MaxParametersOption = Annotated[float | None, typer.Option(min=1, help="Most parameters.")]


def submit(
    spec_file: SpecFile = None,
    teacher: TeacherOption = None,
    dataset: DatasetOption = None,
    name: Annotated[str | None, typer.Option(help="Name of the study.")] = None,
    goal: Annotated[Goal | None, typer.Option(help="What to optimize among the students that meet the limits.")] = None,
    min_retention: Annotated[
        float | None,
        typer.Option(min=0.01, help="Least validation accuracy divided by the teacher's, such as 0.97."),
    ] = None,
    min_accuracy: Annotated[float | None, typer.Option(min=0.001, max=1, help="Least validation accuracy.")] = None,
    max_mb: MaxMbOption = None,
    max_ms: MaxMsOption = None,
    max_macs: MaxMacsOption = None,
    max_parameters: MaxParametersOption = None,
    student: StudentsOption = None,
    epochs: EpochsOption = None,
    candidates: Annotated[int | None, typer.Option(min=1, help="Most candidates to train.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Runs of each finalist with different seeds.")] = None,
    set_: SetOption = None,
    tag: Annotated[list[str] | None, typer.Option(help="Tag. Repeatable.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the study and print its candidates without submitting it.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow the study until it ends.")] = False,
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Submit a study, which finds the student that meets limits.

    The smallest study names a teacher, a dataset and one limit. Local files are uploaded.
    """
    spec = _spec(read_spec(spec_file), teacher, dataset, student, max_mb, max_ms, max_macs, max_parameters)
    for field, value in (
        ("name", name),
        ("goal", goal and goal.value),
        ("limits.retention", min_retention),
        ("limits.accuracy", min_accuracy),
        ("training.epochs", epochs),
        ("budget.candidates", candidates),
        ("seeds", seeds),
        ("tags", tag or None),
    ):
        put(spec, field, value)
    put_assignments(spec, set_ or ())
    _check(spec)
    with service(url) as client:
        send_files(spec, client, quiet=json)
        if dry_run:
            _print_plan(client.studies.validate(**spec), json=json)
            return
        study = client.studies.create(**spec)
        if json:
            print_json(study)
        else:
            console.print(study.id, highlight=False)
        if watch:
            follow(client, study.id, json=json)


def candidates(
    spec_file: SpecFile = None,
    teacher: TeacherOption = None,
    dataset: DatasetOption = None,
    max_mb: MaxMbOption = None,
    max_ms: MaxMsOption = None,
    max_macs: MaxMacsOption = None,
    max_parameters: MaxParametersOption = None,
    student: StudentsOption = None,
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Show which students meet limits on size and latency, without training.

    A worker builds, exports and measures each candidate. Measurements are cached on the worker's machine.
    """
    spec = _spec(read_spec(spec_file), teacher, dataset, student, max_mb, max_ms, max_macs, max_parameters)
    spec["screen_only"] = True
    spec.setdefault("goal", "most_accurate")
    _check(spec)
    with service(url) as client:
        send_files(spec, client, quiet=json)
        study = client.studies.create(**spec)
        messages.print(f"study {study.id} measures the candidates", highlight=False)
        ended = client.studies.wait(study.id, interval=0.5)
        found = client.studies.candidates(study.id)
    if json:
        print_json(found)
    else:
        print_candidates(found)
    if ended.state != "succeeded":
        fail((ended.failure or {}).get("message", f"The study is {ended.state}."), FAILED)


def _spec(
    spec: Spec,
    teacher: str | None,
    dataset: str | None,
    students: Sequence[str] | None,
    max_mb: float | None,
    max_ms: float | None,
    max_macs: float | None,
    max_parameters: float | None,
) -> Spec:
    put(spec, "teacher.checkpoint" if isinstance(spec.get("teacher"), dict) else "teacher", teacher)
    put(spec, "dataset.uri" if isinstance(spec.get("dataset"), dict) else "dataset", dataset)
    if students:
        spec["students"] = [_student(name) for name in students]
    for field, value in (
        ("limits.bytes", None if max_mb is None else whole(max_mb * 1e6)),
        ("limits.latency_ms", max_ms),
        ("limits.macs", None if max_macs is None else whole(max_macs)),
        ("limits.parameters", None if max_parameters is None else whole(max_parameters)),
    ):
        put(spec, field, value)
    return spec


def _student(name: str) -> str | dict[str, Any]:
    return {"family": name} if any(character in name for character in "*?[") else name


def _check(spec: Spec) -> None:
    for needed in ("teacher", "dataset"):
        if needed not in spec:
            raise typer.BadParameter(f"A {needed} is required: pass --{needed} or a spec file.")
    if not spec.get("limits"):
        raise typer.BadParameter("A limit is required, such as --min-retention 0.97 or --max-mb 5.")


def _print_plan(plan: StudyPlan, *, json: bool) -> None:
    if json:
        print_json(plan)
        return
    rows = [
        (str(each["number"]), each["label"], count(each["parameters"]), count(each["macs"])) for each in plan.candidates
    ]
    print_rows(("", "CANDIDATE", "PARAMETERS", "MACS"), rows, wrapped=("CANDIDATE",))
    ends = ", ".join(map(str, plan.rungs)) or "none"
    messages.print(
        f"goal {plan.goal}; rungs end after epochs {ends}; at most {plan.most_epochs} epochs", highlight=False
    )
