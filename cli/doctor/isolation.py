"""The check of `ttm doctor` that names the mechanisms of the sandbox that this machine lacks."""

import json
import subprocess
import sys

from cli.doctor.checks import Check, Status

_ADVICE = "docs/security.md, Isolation of the trainer: run workers as a separate user, in a container without network."
_RULES = {"list": [], "read": ["/"], "write": ["/dev"], "network": False, "file_bytes": 2**40}


def isolation_check() -> Check:
    """Enters the sandbox of trainers and reader processes in a process that then ends."""
    if sys.platform != "linux":
        return Check("isolation", Status.WARNING, "only on Linux", _ADVICE)
    # A process, because the command line does not import the engine.
    tried = subprocess.run(
        [sys.executable, "-m", "ttm_core.sandbox.confine", json.dumps(_RULES), sys.executable, "-c", ""],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    missing = [line.removeprefix("sandbox: ") for line in tried.stderr.splitlines() if line.startswith("sandbox: ")]
    if missing or tried.returncode:
        return Check("isolation", Status.WARNING, "; ".join(missing) or "the sandbox cannot be entered", _ADVICE)
    return Check("isolation", Status.OK, "namespaces, Landlock, no privileges")
