"""The entry point of `ttm`. Imports nothing, so that Ctrl-C while the commands are imported prints no traceback."""

import os
import signal
from types import FrameType

_INTERRUPTED = 130


def main() -> None:
    """Imports the commands and runs the one that the arguments name."""
    # A background job of a shell ignores Ctrl-C, which stays so.
    interruptible = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if interruptible:
        signal.signal(signal.SIGINT, _exit)
    from ttm_client.cli.main import app

    if interruptible:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    app()


def _exit(number: int, frame: FrameType | None) -> None:
    # Some of the modules that are being imported would catch an exception and raise another one.
    os._exit(_INTERRUPTED)
