"""Start of processes: imports, parent-death signals, and the permissions of files."""

import ctypes
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_PR_SET_PDEATHSIG = 1

# Files are readable by their owner only: 0600, folders 0700.
PRIVATE_UMASK = 0o077


@contextmanager
def importing() -> Iterator[None]:
    """Imports of a starting process, without garbage collection.

    Nothing that is imported is garbage. Looking for it takes a sixth of the CPU time of the imports, and later
    collections would look at all of it again.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def make_files_private() -> None:
    """Sets the umask of this process and its children, so that other users of the machine cannot read new files."""
    os.umask(PRIVATE_UMASK)


@contextmanager
def private_files() -> Iterator[None]:
    """Applies the private umask within this block."""
    before = os.umask(PRIVATE_UMASK)
    try:
        yield
    finally:
        os.umask(before)


def die_with_parent(sent: signal.Signals = signal.SIGKILL) -> Callable[[], None] | None:
    """Returns a `preexec_fn` that makes the kernel signal the child when the thread that started it ends.

    Start the child from a thread that lives as long as the child should. Linux only; None elsewhere.
    """
    if sys.platform != "linux":
        return None
    # Looked up before the fork: between fork and exec, the child must not wait for another thread's lock.
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def after_fork() -> None:
        prctl(_PR_SET_PDEATHSIG, sent.value, 0, 0, 0)
        # The parent may have died before the call.
        if os.getppid() != parent:
            os._exit(1)

    return after_fork
