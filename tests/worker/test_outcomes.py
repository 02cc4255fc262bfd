import signal

import pytest

from ttm_core.spec.events import Failed, Stopped
from worker.run.outcomes import Broken, Rejected, Released, outcome_of

USER = Failed(code="bad_dataset", message="No images.", origin="user", retryable=False)
SYSTEM = Failed(code="storage_full", message="Full.", origin="system", retryable=True)


def test_reported_failure_takes_precedence_over_stop_reason_and_exit_status() -> None:
    assert isinstance(outcome_of(USER, 1, "drained"), Rejected)
    assert isinstance(outcome_of(SYSTEM, 1, "drained"), Broken)


@pytest.mark.parametrize("last", [Stopped(step=3), None])
@pytest.mark.parametrize("returncode", [3, 0, -signal.SIGTERM, -signal.SIGKILL])
def test_trainer_that_exits_after_a_stop_request_is_released(last: Stopped | None, returncode: int) -> None:
    assert outcome_of(last, returncode, "cancelled") == Released("cancelled")


@pytest.mark.parametrize(
    ("returncode", "words"), [(-signal.SIGKILL, "lack of memory"), (-signal.SIGSEGV, "SIGSEGV"), (9, "status 9")]
)
def test_trainer_that_exits_without_a_final_event_died(returncode: int, words: str) -> None:
    outcome = outcome_of(None, returncode, None)
    assert isinstance(outcome, Broken)
    assert outcome.failure.code == "trainer_died"
    assert outcome.failure.retryable
    assert words in outcome.failure.message
