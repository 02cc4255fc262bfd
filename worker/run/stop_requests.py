"""Stop requests: why a run should stop."""

from collections.abc import Iterable, Iterator
from threading import Event as Flag

from ttm_jobs.errors import LeaseLost
from ttm_jobs.states import JobState
from worker.run.heartbeat import Heartbeat


class StopRequested(Exception):
    """The run should stop, for this reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class StopRequests:
    """Stop requests for one run, from the job's row and the worker's process."""

    def __init__(self, heartbeat: Heartbeat, draining: Flag) -> None:
        self._heartbeat = heartbeat
        self._draining = draining

    def reason(self) -> str | None:
        """The reason to stop, if any."""
        if self._draining.is_set():
            return "drained"
        if self._heartbeat.expired:
            return "database_unavailable"
        match self._heartbeat.state:
            case JobState.CANCELLING:
                return "cancelled"
            case _ if self._heartbeat.overdue:
                return "deadline_exceeded"
            case JobState.PAUSING:
                return "paused"
            case _:
                return None

    def is_set(self) -> bool:
        """Whether `check` would raise."""
        return self._heartbeat.fenced or self.reason() is not None

    def check(self) -> None:
        """Raises LeaseLost or StopRequested."""
        if self._heartbeat.fenced:
            raise LeaseLost
        if (reason := self.reason()) is not None:
            raise StopRequested(reason)

    def until_stopped(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yields the chunks and calls `check` before each."""
        for chunk in chunks:
            self.check()
            yield chunk
