"""Whether a run is still wanted, asked by whoever works for it."""

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
    """What the job's row and the worker's process say about one run."""

    def __init__(self, heartbeat: Heartbeat, draining: Flag) -> None:
        self._heartbeat = heartbeat
        self._draining = draining

    def reason(self) -> str | None:
        """Why the run should stop, if it should."""
        if self._draining.is_set():
            return "drained"
        if self._heartbeat.expired:
            return "database_away"
        match self._heartbeat.state:
            case JobState.CANCELLING:
                return "cancelled"
            case _ if self._heartbeat.overdue:
                return "deadline_exceeded"
            case JobState.PAUSING:
                return "paused"
            case _:
                return None

    def unwanted(self) -> bool:
        """Whether `check` would raise."""
        return self._heartbeat.fenced or self.reason() is not None

    def check(self) -> None:
        """Raises LeaseLost or StopRequested."""
        if self._heartbeat.fenced:
            raise LeaseLost
        if (reason := self.reason()) is not None:
            raise StopRequested(reason)

    def while_wanted(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The same chunks, broken off as `check` does."""
        for chunk in chunks:
            self.check()
            yield chunk
