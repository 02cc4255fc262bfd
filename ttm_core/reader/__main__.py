"""A reader process: `python -m ttm_core.reader TASK LIMITS`.

Reads a line of JSON from standard input: the arguments of the task, and the paths of the sandbox or null. Writes one
JSON object to standard output. Ends when standard input is closed.
"""

import errno
import json
import os
import resource
import signal
import sys
import threading
from contextlib import suppress
from typing import Any

from ttm_core.errors import UserError
from ttm_core.sandbox.confine import Paths, confine_this

_ADDRESS_SPACE = 8 * 2**30
_OPEN_FILES = 1024
_MESSAGE_LENGTH = 1000
# Errors of names and offsets that the file states. Libraries raise OSError without a number for damaged content.
_OF_THE_FILE = {None, errno.EEXIST, errno.EINVAL, errno.EISDIR, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EOVERFLOW}


def main() -> None:
    task, limits = sys.argv[1], json.loads(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit(**limits)
    given = json.loads(sys.stdin.buffer.readline())
    if given["sandbox"] is not None:
        # Before there is a second thread. `ttm doctor` reports what the system does not support.
        confine_this(Paths(**given["sandbox"]))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    answer = json.dumps(_run(task, given["arguments"], limits["file_bytes"])).encode()
    with os.fdopen(1, "wb", closefd=False) as out:
        out.write(answer)
        out.flush()
    # Libraries may hang or crash while they are unloaded after they failed to allocate memory.
    os._exit(0)


def _run(task: str, arguments: dict[str, Any], file_bytes: int) -> dict[str, Any]:
    try:
        from ttm_core.reader import tasks

        return {"kind": "done", "result": tasks.run(task, arguments)}
    except UserError as error:
        return _failure("refused", error.message)
    except MemoryError:
        return {"kind": "memory"}
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _failure("storage_full", f"no space left on the device: {error.filename or error}")
        if error.errno == errno.ENOMEM:
            return {"kind": "memory"}
        if error.errno == errno.EFBIG and resource.getrlimit(resource.RLIMIT_FSIZE)[0] < file_bytes:
            return _failure(
                "storage_full", f"a file exceeds the limit on file sizes (ulimit -f): {error.filename or error}"
            )
        if error.errno == errno.EFBIG:
            return _failure("refused", "The file unpacks to more bytes than allowed for its size.")
        if error.errno in _OF_THE_FILE:
            return _failure("refused", f"The file cannot be read: {type(error).__name__}: {error}")
        return _failure("system", f"{type(error).__name__}: {error}")
    except Exception as error:  # libraries raise exceptions of any type for damaged files
        return _failure("refused", f"The file cannot be read: {type(error).__name__}: {error}")


def _failure(kind: str, message: str) -> dict[str, Any]:
    printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in message[: 2 * _MESSAGE_LENGTH])
    return {"kind": kind, "message": printable[:_MESSAGE_LENGTH]}


def _limit(memory_bytes: int, cpu_seconds: int, file_bytes: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write then fails with EFBIG
    for limit, soft, hard in (
        (resource.RLIMIT_CORE, 0, 0),
        # Private writable memory. The address space also contains mapped libraries and reserved but unused ranges.
        (resource.RLIMIT_DATA, memory_bytes, memory_bytes),
        (resource.RLIMIT_AS, memory_bytes + _ADDRESS_SPACE, memory_bytes + _ADDRESS_SPACE),
        # At the hard limit, the kernel sends SIGKILL, as it does for lack of memory.
        (resource.RLIMIT_CPU, cpu_seconds, cpu_seconds + 5),
        (resource.RLIMIT_FSIZE, file_bytes, file_bytes),
        (resource.RLIMIT_NOFILE, _OPEN_FILES, _OPEN_FILES),
    ):
        with suppress(ValueError, OSError):  # not supported by this system
            present = resource.getrlimit(limit)[1]
            if present != resource.RLIM_INFINITY:
                soft, hard = min(soft, present), min(hard, present)
            resource.setrlimit(limit, (soft, hard))


def _end_with_parent() -> None:
    while os.read(0, 1 << 16):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
