"""Tables of studies, candidates and fronts."""

from collections.abc import Sequence
from typing import Any

from ttm_client.cli.output import console, count, local_time, print_rows, size
from ttm_client.models.studies import Study, StudyCandidate, StudyOption, StudyRecommendation, StudySummary

# Next to a label of 25 characters, a row fits 80 columns.
_BAR_WIDTH = 20
# Values that limit nothing.
_UNLIMITED = (None, "worker", "any")


def print_studies(studies: Sequence[StudySummary]) -> None:
    """One line per study."""
    rows = [
        (
            study.id,
            study.name or "-",
            study.state,
            study.stage,
            study.goal,
            _chosen(study),
            local_time(study.created_at),
        )
        for study in studies
    ]
    print_rows(("ID", "NAME", "STATE", "STAGE", "GOAL", "RECOMMENDED", "CREATED"), rows, ("CREATED", "GOAL", "STAGE"))


def print_candidates(candidates: Sequence[StudyCandidate]) -> None:
    """One line per candidate: size and latency of each file, and why it was excluded."""
    rows = [
        (
            str(one.number),
            one.label,
            count(one.parameters),
            count(one.macs),
            _files(one, "bytes"),
            _files(one, "latency_ms"),
            percent(best_accuracy(one)),
            "" if one.rejected is None else f"{one.rejected['stage']}: {one.rejected['reason']}",
        )
        for one in candidates
    ]
    columns = ("", "CANDIDATE", "PARAMETERS", "MACS", "FP32 / INT8", "MS", "TOP-1", "REJECTED")
    print_rows(columns, rows, ("MACS", "PARAMETERS"), wrapped=("CANDIDATE", "REJECTED"))


def print_front(
    front: Sequence[StudyOption], candidates: Sequence[StudyCandidate], chosen: StudyRecommendation | None
) -> None:
    """The front as a table, with a bar of the accuracy on a terminal."""
    labels = {one.number: one.label for one in candidates}
    best = max((option.accuracy for option in front), default=1.0) or 1.0
    rows = [
        (
            "*" if chosen and (option.candidate, option.precision) == (chosen.candidate, chosen.precision) else "",
            labels.get(option.candidate, str(option.candidate)),
            option.precision,
            size(option.bytes),
            "-" if option.latency_ms is None else f"{option.latency_ms:.2f}",
            f"{option.accuracy:.2%}",
            "█" * round(_BAR_WIDTH * option.accuracy / best) if console.is_terminal else "",
        )
        for option in front
    ]
    top1 = "VALIDATION TOP-1" if any(option.test is None for option in front) else "TEST TOP-1"
    print_rows(("", "STUDENT", "FILE", "SIZE", "MS", top1, ""), rows, wrapped=("STUDENT",))


def describe(study: Study, candidates: Sequence[StudyCandidate]) -> list[tuple[str, str]]:
    """A study as rows of name and value."""
    labels = {one.number: one.label for one in candidates}
    rows = [
        ("study", study.id),
        ("name", study.name or "-"),
        ("state", f"{study.state}, {study.stage}"),
        ("goal", study.goal),
        ("limits", ", ".join(f"{name} {value}" for name, value in study.limits.items() if value not in _UNLIMITED)),
    ]
    if study.blocked_reason is not None:
        rows.append(("blocked", study.blocked_reason))
    if study.failure is not None:
        rows.append(("failure", f"{study.failure['code']}: {study.failure['message']}"))
    rows += [
        (
            f"rung {rung['rung']}",
            f"epoch {rung['epoch']}: {len(rung['promoted'])} of {len(rung['accuracies'])} candidates continue",
        )
        for rung in study.rungs
    ]
    if study.finalists:
        rows.append(("finalists", ", ".join(labels[number] for number in study.finalists)))
    if study.recommendation is not None:
        rows += _recommendation(study.recommendation, study.result or {}, labels)
    return rows


def _recommendation(
    found: StudyRecommendation, result: dict[str, Any], labels: dict[int, str]
) -> list[tuple[str, str]]:
    meets = "" if found.meets_limits else ", misses the limits least"
    runs = "one run" if found.runs == 1 else f"mean of {found.runs} runs"
    rows = [("recommended", f"{labels[found.candidate]}, {found.precision}{meets}")]
    if found.misses:
        rows.append(("misses", ", ".join(miss["message"] for miss in found.misses)))
    rows += [
        ("job", found.job or "-"),
        ("size", f"{size(found.bytes)}, {count(found.parameters)} parameters"),
        ("latency", "-" if found.latency_ms is None else f"{found.latency_ms:.2f} ms"),
        ("top-1 (validation)", f"{found.validation:.2%}, {runs}"),
    ]
    if found.retention is not None:
        rows.append(("retention (validation)", f"{found.retention:.2%} of the teacher"))
    if found.test is not None:
        rows.append(("top-1 (test)", f"{found.test:.2%}, {runs}"))
    if found.fell_to_cheaper is not None:
        other = labels[found.fell_to_cheaper]
        rows.append(
            ("note", f"{other} is more accurate in validation, but not shown to be better, and this one is cheaper")
        )
    rows += [(f"against {labels[each['candidate']]}", difference(each["difference"])) for each in found.comparisons]
    baseline = result.get("baseline") or {}
    if baseline.get("runs"):
        rows.append(("against labels alone", f"{baseline['precision']} files: {difference(baseline['difference'])}"))
    rows.append(("candidates tried", str(result["candidates_tried"])))
    costs = result["costs"]
    rows.append(
        (
            "cost",
            f"{costs['device_hours']:.2f} device hours, {costs['epochs_trained']} epochs trained, "
            f"{costs['epochs_saved']} saved",
        )
    )
    rows.append(
        ("teacher", f"{costs['teacher_forwards']} images computed, {costs['teacher_cache_hits']} read from the store")
    )
    return rows


def difference(found: dict[str, Any] | None) -> str:
    """A difference in accuracy with its interval, or that none is shown."""
    if found is None:
        return "not compared"
    unit = "runs" if found["method"] == "paired_t" else "images"
    method = f"{found['method'].replace('_', ' ')}, {found['count']} {unit}"
    interval = f"{100 * found['low']:+.2f} to {100 * found['high']:+.2f} points"
    if not found["shown"]:
        return f"no difference shown ({interval}; {method})"
    return f"{100 * found['mean']:+.2f} points ({interval}; {method})"


def _chosen(study: StudySummary) -> str:
    found = study.recommendation
    return "-" if found is None else f"#{found.candidate} {found.precision}, {found.accuracy:.2%}"


def _files(candidate: StudyCandidate, field: str) -> str:
    values = [file[field] for file in candidate.files if file[field] is not None]
    return " / ".join(size(value) if field == "bytes" else f"{value:.2f}" for value in values) or "-"


def best_accuracy(candidate: StudyCandidate) -> float | None:
    """The best validation accuracy of a candidate so far: of its complete runs, else at the end of its rungs."""
    runs = [job for job in candidate.jobs if not job["baseline"]]
    complete = [job["validation"] for job in runs if job["validation"] is not None]
    return max(complete or (value for job in runs for value in job["accuracies"].values()), default=None)


def percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"
