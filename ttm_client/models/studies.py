"""Typed responses about studies."""

from datetime import datetime
from typing import Any

from ttm_client.models.base import ApiModel
from ttm_client.models.jobs import TERMINAL_STATES


class Difference(ApiModel):
    """A difference in accuracy with its 95 % interval, in [-1, 1]. `method` is `paired_t`, over `count` runs, or
    `paired_bootstrap`, over `count` images. `shown` is false if the interval includes zero.

    >>> comparison = client.studies.recommendation(study.id).comparisons[0]
    >>> comparison["difference"]["method"]
    'paired_t'
    """

    mean: float
    low: float
    high: float
    method: str
    count: int
    shown: bool


class StudyOption(ApiModel):
    """A file of a finalist with its cost, and its mean accuracy over `runs` runs. `misses` are the limits on accuracy,
    size and latency that it does not meet.

    >>> [(option.candidate, option.precision, option.bytes) for option in client.studies.front(study.id)][0]
    (1, 'int8', 83892)
    """

    candidate: int
    precision: str
    bytes: int
    latency_ms: float | None
    macs: int | None
    parameters: int
    validation: float
    test: float | None
    retention: float | None
    runs: int
    misses: tuple[dict[str, Any], ...]

    @property
    def accuracy(self) -> float:
        """Top-1 on the test split; on the validation split without one.

        >>> front = client.studies.front(study.id)
        >>> front[0].accuracy <= front[-1].accuracy
        True
        """
        return self.validation if self.test is None else self.test


class StudyRecommendation(StudyOption):
    """The recommended student of a study. `job` is the job that trained it; `fell_to_cheaper` names the
    candidate that is more accurate on the validation split, but not shown to be better on the test split.

    >>> found = client.studies.recommendation(study.id)
    >>> found.candidate, found.meets_limits, client.jobs.get(found.job).student
    (1, True, 'cifar/resnet8')
    """

    job: str | None
    meets_limits: bool
    fell_to_cheaper: int | None
    comparisons: tuple[dict[str, Any], ...]


class StudySummary(ApiModel):
    """A study as returned in lists.

    >>> [(study.name, study.state, study.stage) for study in client.studies.list()]
    [('kiosk', 'succeeded', 'result')]
    """

    id: str
    name: str | None
    tags: tuple[str, ...] = ()
    owner: str | None = None
    state: str
    stage: str
    goal: str
    limits: dict[str, Any]
    recommendation: StudyRecommendation | None
    failure: dict[str, Any] | None
    blocked_reason: str | None = None
    priority: int
    queue: str
    deadline_at: datetime | None = None
    created_at: datetime
    finished_at: datetime | None

    @property
    def done(self) -> bool:
        """Whether the study is in a terminal state.

        >>> study.done
        True
        """
        return self.state in TERMINAL_STATES


class Study(StudySummary):
    """A study with all its fields. `result` has the front, the baseline and the costs.

    >>> study.rungs[0]["epoch"], study.result["costs"]["epochs_in_rungs"]
    (3, 12)
    """

    spec: dict[str, Any]
    selected: tuple[int, ...]
    rungs: tuple[dict[str, Any], ...]
    finalists: tuple[int, ...]
    result: dict[str, Any] | None


class StudyCandidate(ApiModel):
    """A candidate of a study: its student, its values of the search space, its measurements, its jobs, and why it was
    excluded.

    >>> [(one.label, one.rejected) for one in client.studies.candidates(study.id)][0]
    ('cifar/resnet8', None)
    """

    number: int
    label: str
    student: dict[str, Any]
    values: dict[str, Any]
    parameters: int | None
    macs: int | None
    files: tuple[dict[str, Any], ...]
    device: str | None = None
    runtime: str | None = None
    rejected: dict[str, Any] | None
    jobs: tuple[dict[str, Any], ...]


class StudyPlan(ApiModel):
    """The result of a dry run: the candidates with their sizes in the catalogue, the last epoch of each rung, and an
    upper bound of the epochs.

    >>> plan = client.studies.validate(teacher="job:" + done.id, dataset=dataset, limits={"retention": 0.97})
    >>> plan.goal, plan.rungs
    ('smallest', [1, 3, 10])
    """

    spec: dict[str, Any]
    goal: str
    candidates: list[dict[str, Any]]
    rungs: list[int]
    most_epochs: int


class StudyReplay(ApiModel):
    """The decisions of a study as stored, and as computed again from its stored results.

    >>> client.studies.replay(study.id).agrees
    True
    """

    agrees: bool
    stored: dict[str, Any]
    replayed: dict[str, Any]
