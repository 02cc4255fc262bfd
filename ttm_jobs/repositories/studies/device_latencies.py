"""Latencies of a study's files on the device that it names."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from ttm_jobs.database.clock import now
from ttm_jobs.models import Job, MeasurementRequest, RequestState, Study, StudyCandidate
from ttm_jobs.models.base import Json
from ttm_jobs.repositories.measuring import requests
from ttm_jobs.repositories.run_data import artifacts
from ttm_jobs.repositories.studies import candidates as study_candidates
from ttm_jobs.studies.facts import JobKind, Precision, Timing

Requests = Mapping[tuple[int, Precision], MeasurementRequest]
"""What the device was asked for, by candidate and precision."""

# Limits on latency are for one image on one thread.
_BATCH = _THREADS = 1
_FINISHED = (RequestState.DONE, RequestState.FAILED)
_WITHDRAWN = "the study has ended"
# A job's int8 file.
_TRAINED = "student-int8.onnx"


def artifact_name(number: int, precision: Precision) -> str:
    """The screening job's file of a student; `number` is that of its first candidate."""
    return f"candidate-{number}.onnx" if precision == "fp32" else f"candidate-{number}-int8.onnx"


def requested(
    session: Session, device: str, screens: Collection[str], candidates: Sequence[StudyCandidate]
) -> Requests:
    """The first request for each file of the screening jobs, for the latency that limits apply to."""
    by_artifact: dict[str | None, MeasurementRequest] = {}
    for row in _of_jobs(session, device, screens):
        by_artifact.setdefault(row.artifact, row)
    first = _first_numbers(candidates)
    precisions: tuple[Precision, ...] = ("fp32", "int8")
    return {
        (candidate.number, precision): by_artifact[name]
        for candidate in candidates
        for precision in precisions
        if (name := artifact_name(first[candidate.key], precision)) in by_artifact
    }


def requested_of_trained(session: Session, device: str, jobs: Collection[str]) -> Mapping[str, MeasurementRequest]:
    """The first request for the int8 file of each job, for the latency that limits apply to."""
    found: dict[str, MeasurementRequest] = {}
    for row in _of_jobs(session, device, jobs):
        if row.artifact == _TRAINED and row.job_id is not None:
            found.setdefault(row.job_id, row)
    return found


def stored_of_trained(candidates: Iterable[StudyCandidate]) -> Mapping[str, float | None]:
    """The latencies in ms of the int8 files of jobs that `record` has stored; None where the device failed."""
    return {
        job_id: found
        for candidate in candidates
        for job_id, found in (candidate.screen or {}).get("trained", {}).items()
    }


def _of_jobs(session: Session, device: str, jobs: Collection[str]) -> Sequence[MeasurementRequest]:
    query = select(MeasurementRequest).where(
        MeasurementRequest.job_id.in_(jobs),
        MeasurementRequest.device == device,
        MeasurementRequest.batch == _BATCH,
        MeasurementRequest.threads == _THREADS,
    )
    return session.scalars(query.order_by(MeasurementRequest.created_at, MeasurementRequest.id)).all()


def record(session: Session, study: Study) -> None:
    """Stores the latencies that the study's device has measured with its candidates. The first ones stay, so that a
    file that is measured again changes no decision.
    """
    device = study.plan["device"]
    if device is None:
        return
    _record_screened(session, study, device)
    _record_trained(session, study, device)


def _record_trained(session: Session, study: Study, device: str) -> None:
    jobs = _jobs_with_float_layers(session, study)
    for job_id, row in requested_of_trained(session, device, jobs).items():
        candidate = session.get_one(StudyCandidate, (study.id, jobs[job_id]))
        screen = candidate.screen or {}
        known = screen.get("trained", {})
        if row.state in _FINISHED and job_id not in known:
            candidate.screen = {**screen, "trained": {**known, job_id: latency_ms(row)}}


def _jobs_with_float_layers(session: Session, study: Study) -> Mapping[str, int]:
    """The candidates of the study's finished jobs whose int8 file has layers in float32, which is slower."""
    rows = session.execute(
        select(Job.id, Job.candidate, Job.result).where(
            Job.study_id == study.id, Job.kind == JobKind.DISTILL, Job.baseline.is_(False), Job.result.is_not(None)
        )
    )
    return {row.id: row.candidate for row in rows if (row.result or {}).get("int8_in_float")}


def _record_screened(session: Session, study: Study, device: str) -> None:
    screens = session.scalars(select(Job.id).where(Job.study_id == study.id, Job.kind == JobKind.SCREEN)).all()
    candidates = study_candidates.of_study(session, study.id)
    finished = {
        key: row for key, row in requested(session, device, screens, candidates).items() if row.state in _FINISHED
    }
    for candidate in candidates:
        if candidate.screen is None:
            continue
        files, runtimes = [], []
        for file in candidate.screen.get("files", ()):
            row = finished.get((candidate.number, file["precision"]))
            if row is None or file.get("measured"):
                files.append(file)
                continue
            files.append({**file, "latency_ms": latency_ms(row), "measured": True})
            runtimes += [] if row.result is None else [f"{row.result['runtime']} {row.result['runtime_version']}"]
        if files != candidate.screen.get("files", []):
            runtime = runtimes[-1] if runtimes else candidate.screen.get("runtime")
            candidate.screen = {**candidate.screen, "files": files, "device": device, "runtime": runtime}


def timing(file: Json, request: MeasurementRequest | None) -> tuple[Timing, float | None]:
    """Whether the latency of a screened file on the device is known, and the latency in ms; None until it is stored,
    and if the device failed to measure it.

    A request that finishes after the study has ended is not stored and changes no decision.
    """
    if file.get("measured"):
        return Timing.DONE, file["latency_ms"]
    return Timing.MISSING if request is None else Timing.REQUESTED, None


def latency_ms(request: MeasurementRequest) -> float | None:
    """The median latency in ms; None without a measurement."""
    if request.state is not RequestState.DONE or request.result is None:
        return None
    found: float = request.result["p50_ms"]
    return found


def ask(
    session: Session,
    device: str,
    screen_job: str,
    candidates: Sequence[StudyCandidate],
    files: Collection[tuple[int, Precision]],
) -> None:
    """Asks the device to measure files of the screening job, each once."""
    first, keys = _first_numbers(candidates), {candidate.number: candidate.key for candidate in candidates}
    names = dict.fromkeys(artifact_name(first[keys[number]], precision) for number, precision in files)
    for name in names:
        requests.request_artifact(
            session, artifacts.get(session, screen_job, name), device=device, batch=_BATCH, threads=_THREADS
        )


def ask_trained(session: Session, device: str, jobs: Iterable[str]) -> None:
    """Asks the device to measure the int8 files of jobs."""
    for job_id in jobs:
        requests.request_artifact(
            session, artifacts.get(session, job_id, _TRAINED), device=device, batch=_BATCH, threads=_THREADS
        )


def withdraw(session: Session, study: Study) -> None:
    """Fails what the study's device has not measured yet, so that its agent does no work for a study that has ended."""
    device = study.plan["device"]
    screens = select(Job.id).where(Job.study_id == study.id, Job.kind == JobKind.SCREEN)
    trained = requested_of_trained(session, device, _jobs_with_float_layers(session, study))
    session.execute(
        update(MeasurementRequest)
        .where(
            or_(
                MeasurementRequest.job_id.in_(screens), MeasurementRequest.id.in_([row.id for row in trained.values()])
            ),
            MeasurementRequest.device == device,
            MeasurementRequest.batch == _BATCH,
            MeasurementRequest.threads == _THREADS,
            MeasurementRequest.state.not_in(_FINISHED),
        )
        .values(state=RequestState.FAILED, error=_WITHDRAWN, finished_at=now(session)),
        execution_options={"synchronize_session": False},
    )


def _first_numbers(candidates: Iterable[StudyCandidate]) -> dict[str, int]:
    """The number of the first candidate of each student."""
    first: dict[str, int] = {}
    for candidate in candidates:
        first.setdefault(candidate.key, candidate.number)
    return first
