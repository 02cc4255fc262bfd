"""Shell completion of job ids and states. Offers nothing if the service does not answer quickly."""

from itertools import islice

from ttm_client import ClientError
from ttm_client.synchronous.resources.jobs import Jobs
from ttm_client.synchronous.transport import Transport

_STATES = ("queued", "running", "pausing", "paused", "cancelling", "cancelled", "succeeded", "failed")
_OFFERED = 30


def job_ids(incomplete: str) -> list[tuple[str, str]]:
    """The newest jobs with a description each."""
    # One attempt only: the user is waiting at the prompt.
    try:
        transport = Transport(timeout=2.0, attempts=1)
    except ValueError:  # TTM_URL is not a URL
        return []
    try:
        found = list(islice(Jobs(transport).list(), _OFFERED))
    except ClientError:
        return []
    finally:
        transport.close()
    return [(job.id, f"{job.name or job.student}, {job.state}") for job in found if job.id.startswith(incomplete)]


def states(incomplete: str) -> list[str]:
    """The states of a job."""
    return [state for state in _STATES if state.startswith(incomplete)]
