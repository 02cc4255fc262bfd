"""What a study decides: its stage, the actions to apply, and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ttm_jobs.studies.facts import JobKind, Precision
from ttm_jobs.studies.rules.limits import NearMiss
from ttm_jobs.studies.rules.recommendation import Recommendation

Stage = Literal["screen", "teacher", "rungs", "finals", "baseline", "result"]


@dataclass(frozen=True)
class Start:
    """Create a job. `pause_after` is the epoch after which it pauses itself; None for a complete run."""

    kind: JobKind
    candidate: int = 0
    seed: int = 0
    baseline: bool = False
    rung: int = 0
    pause_after: int | None = None


@dataclass(frozen=True)
class Measure:
    """Ask the study's device to measure screened files, as pairs of candidate and precision, and int8 files of jobs."""

    files: Sequence[tuple[int, Precision]] = ()
    jobs: Sequence[str] = ()


@dataclass(frozen=True)
class Continue:
    """Resume a paused job, up to the end of another rung."""

    job_id: str
    rung: int
    pause_after: int | None


@dataclass(frozen=True)
class Reject:
    """Exclude a candidate and cancel its job."""

    candidate: int
    stage: Literal["screen", "budget", "rungs", "finals"]
    reason: str


@dataclass(frozen=True)
class Succeed:
    """End the study with a result; without a recommendation if it only screens."""

    recommendation: Recommendation | None


@dataclass(frozen=True)
class Fail:
    """End the study without a result."""

    code: str
    message: str
    nearest: Sequence[NearMiss] = ()


Action = Start | Measure | Continue | Reject | Succeed | Fail


@dataclass(frozen=True)
class RungDecision:
    """The end of a rung: the accuracies that were compared and the candidates that continue, best first."""

    rung: int
    epoch: int
    accuracies: Mapping[int, float]
    promoted: Sequence[int]


@dataclass(frozen=True)
class Decision:
    """The current stage, the actions to apply, and everything that was decided on the way."""

    stage: Stage
    actions: Sequence[Action] = ()
    selected: Sequence[int] = ()
    rungs: Sequence[RungDecision] = ()
    finalists: Sequence[int] = ()
    recommendation: Recommendation | None = None
    # The first rung that is not started because the device hours are used up.
    stopped_at_rung: int | None = None
    # Files that the study's device still has to measure.
    unmeasured: int = 0
