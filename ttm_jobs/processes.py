"""Child processes that do not outlive their parent."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def die_with_parent(sent: signal.Signals = signal.SIGKILL) -> Callable[[], None] | None:
    """A `preexec_fn` that has the kernel send a signal to the child when the thread that started it ends; Linux only,
    None elsewhere.

    The *thread* counts: start the child from one that lives as long as the child should.
    """
    if sys.platform != "linux":
        return None
    # Looked up here, since between fork and exec the child must not wait for a lock that another thread held.
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def after_fork() -> None:
        prctl(_PR_SET_PDEATHSIG, sent.value, 0, 0, 0)
        # The parent may have died before the call.
        if os.getppid() != parent:
            os._exit(1)

    return after_fork
