"""The agent of `ttm bench --agent`: measures the ONNX files that the service requests for one device."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential

from ttm_client import ChecksumMismatch, Client, ConnectionFailed, InvalidRequest, NotFound, ServerError, Unavailable
from ttm_client.models.measurements import MeasurementRequest

_LONGEST_PAUSE = 60.0
_LONGEST_ERROR = 500
_T = TypeVar("_T")


class Agent:
    """Polls for work and measures it, one file at a time. The service can only make it run ONNX files.

    Waits with exponential backoff, at most a minute, while the service cannot be reached.
    """

    def __init__(
        self, client: Client, device: str, *, seconds: float, poll_seconds: float, report: Callable[[str], None]
    ) -> None:
        self._client = client
        self._device = device
        self._seconds = seconds
        self._poll_seconds = poll_seconds
        self._report = report
        self._retrying = Retrying(
            retry=retry_if_exception_type((ConnectionFailed, Unavailable, ServerError)),
            wait=wait_random_exponential(multiplier=poll_seconds, max=_LONGEST_PAUSE),
            before_sleep=self._report_retry,
        )

    def run(self) -> None:
        """Serves until it is interrupted, or the service refuses the key."""
        while True:
            work = self._persistently(lambda: self._client.devices.claim(self._device))
            if work is None:
                time.sleep(self._poll_seconds)
            else:
                self._serve(work)

    def _serve(self, work: MeasurementRequest) -> None:
        try:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "model.onnx"
                self._persistently(lambda: self._client.devices.download(work, path))
                self._measure(work, path)
        except NotFound:
            self._report(f"{work.id}: deleted in the meantime")
        except (InvalidRequest, ChecksumMismatch) as error:
            # The request stays claimed until its lease expires; another version of the agent may complete it.
            self._report(f"{work.id}: {error}")

    def _measure(self, work: MeasurementRequest, path: Path) -> None:
        from ttm_measure import MeasureError, measure
        from ttm_measure.machine import usable_cores

        threads = work.threads or len(usable_cores())
        try:
            result = measure(path, batch=work.batch, threads=threads, seconds=self._seconds)
        except MeasureError as error:
            reason = _printable(f"{error.code}: {error.message}")
            self._persistently(lambda: self._client.devices.fail(self._device, work.id, reason))
            self._report(f"{work.id}: {reason}")
            return
        values = result.model_dump(mode="json")
        self._persistently(lambda: self._client.devices.complete(self._device, work.id, values))
        self._report(f"{work.id}: batch {work.batch}, threads {threads}: {result.p50_ms:.3g} ms")

    def _persistently(self, send: Callable[[], _T]) -> _T:
        return self._retrying(send)

    def _report_retry(self, state: RetryCallState) -> None:
        assert state.outcome is not None
        assert state.next_action is not None
        self._report(f"{state.outcome.exception()}; next attempt in {state.next_action.sleep:.0f} s")


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)[:_LONGEST_ERROR]
