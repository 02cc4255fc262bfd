"""Shell completion of the ids of jobs and studies, and of states. None if the service does not answer quickly."""

from collections.abc import Callable, Iterable
from itertools import islice

from ttm_client import ClientError
from ttm_client.synchronous.resources.jobs import Jobs
from ttm_client.synchronous.resources.studies import Studies
from ttm_client.synchronous.transport import Transport

_STATES = ("queued", "running", "pausing", "paused", "cancelling", "cancelled", "succeeded", "failed")
_OFFERED = 30


def job_ids(incomplete: str) -> list[tuple[str, str]]:
    """The newest jobs with a description each."""
    return _ids(incomplete, lambda to: ((job.id, f"{job.name or job.student}, {job.state}") for job in Jobs(to).list()))


def study_ids(incomplete: str) -> list[tuple[str, str]]:
    """The newest studies with a description each."""
    return _ids(
        incomplete, lambda to: ((each.id, f"{each.name or each.goal}, {each.state}") for each in Studies(to).list())
    )


def _ids(incomplete: str, newest: Callable[[Transport], Iterable[tuple[str, str]]]) -> list[tuple[str, str]]:
    # One attempt only: the user is waiting at the prompt.
    try:
        transport = Transport(timeout=2.0, attempts=1)
    except ValueError:  # TTM_URL is not a URL
        return []
    try:
        found = list(islice(newest(transport), _OFFERED))
    except ClientError:
        return []
    finally:
        transport.close()
    return [each for each in found if each[0].startswith(incomplete)]


def states(incomplete: str) -> list[str]:
    """The states of a job."""
    return [state for state in _STATES if state.startswith(incomplete)]
