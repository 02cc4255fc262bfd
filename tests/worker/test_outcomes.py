import signal

import pytest

from ttm_core.spec.events import Failed, Stopped
from worker.run.outcomes import Broken, Rejected, Released, outcome_of

USER = Failed(code="bad_dataset", message="No images.", origin="user", retryable=False)
SYSTEM = Failed(code="storage_full", message="Full.", origin="system", retryable=True)


def test_a_last_word_counts_more_than_a_wish_or_a_status() -> None:
    assert isinstance(outcome_of(USER, 1, "drained"), Rejected)
    assert isinstance(outcome_of(SYSTEM, 1, "drained"), Broken)


@pytest.mark.parametrize("last", [Stopped(step=3), None])
@pytest.mark.parametrize("returncode", [3, 0, -signal.SIGTERM, -signal.SIGKILL])
def test_who_ends_because_we_asked_is_released_however_it_ended(last: Stopped | None, returncode: int) -> None:
    assert outcome_of(last, returncode, "cancelled") == Released("cancelled")


@pytest.mark.parametrize(
    ("returncode", "words"), [(-signal.SIGKILL, "lack of memory"), (-signal.SIGSEGV, "SIGSEGV"), (9, "status 9")]
)
def test_who_ends_without_a_word_died(returncode: int, words: str) -> None:
    outcome = outcome_of(None, returncode, None)
    assert isinstance(outcome, Broken)
    assert outcome.failure.code == "trainer_died"
    assert outcome.failure.retryable
    assert words in outcome.failure.message
