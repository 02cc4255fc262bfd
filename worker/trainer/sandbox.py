"""The trainer's sandbox: readable paths, writable paths, network access and environment.

The rules of the fork server do not depend on a job, because it starts before there is one.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from ttm_core.sandbox import confine
from ttm_core.sandbox.environment import without_secrets
from ttm_core.sandbox.paths import existing, listed, programs
from ttm_jobs.settings import Settings

# Includes GPUs and shared memory. File permissions still apply.
_DEVICES = "/dev"
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
# Short commands import torch and packages of others, which takes seconds.
_MAX_SECONDS = 300


def prefix(
    settings: Settings,
    command: Sequence[str],
    temporary: str,
    *,
    network: bool,
    data_roots: Sequence[Path] | None = None,
) -> list[str]:
    """Command prefix that starts the trainer in the sandbox; empty if isolation is off or not supported.

    The trainer may read `data_roots`, by default those of the settings.
    """
    if settings.trainer_isolation == "off" or sys.platform != "linux":
        return []
    if shutil.which(command[0]) is None:
        return []  # starting it then fails with a clear error
    settings.work_dir.mkdir(parents=True, exist_ok=True)
    roots = settings.data_roots if data_roots is None else data_roots
    rules = {
        "list": listed(),
        "read": existing([*programs(), *_named(command), *_authorities(), *map(str, roots)]),
        "write": existing([str(settings.work_dir), temporary, _DEVICES, *_hub()]),
        "network": network,
        "parent": os.getpid(),
        "file_bytes": max(settings.teacher_store_max_bytes, settings.data_cache_max_bytes),
    }
    return [sys.executable, "-I", "-S", confine.__file__, json.dumps(rules)]


def environment() -> dict[str, str]:
    """The environment of this process without the service's secrets, and without the folder that torch creates at
    import: the sandbox allows only the temporary one, which is torch's default.
    """
    return {name: value for name, value in without_secrets().items() if name != "TORCHINDUCTOR_CACHE_DIR"}


def run_confined(
    settings: Settings, command: Sequence[str], *, stderr: int | None = None
) -> "subprocess.CompletedProcess[bytes]":
    """Runs a command to its end and returns its exit status and standard output.

    `stderr` is as for subprocess.run; by default, it is that of this process.

    Raises:
        OSError: the command cannot be started.
        subprocess.TimeoutExpired: it takes more than five minutes.
    """
    with TemporaryDirectory(prefix="ttm-", ignore_cleanup_errors=True) as temporary:
        return subprocess.run(
            [*prefix(settings, command, temporary, network=False), *command],
            env={**environment(), "TMPDIR": temporary},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            timeout=_MAX_SECONDS,
        )


def _named(command: Sequence[str]) -> list[str]:
    """The files named in the command."""
    return [part for part in command if part.startswith("/")]


def _authorities() -> list[str]:
    """Certificates of the authorities that HTTP clients trust, where the environment names them."""
    return [path for name in _CERTIFICATES for path in os.environ.get(name, "").split(os.pathsep)]


def _hub() -> list[str]:
    """Cache directory of Hugging Face Hub, which contains timm's pretrained weights."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return [os.path.expanduser(os.environ.get("HF_HOME") or f"{cache}/huggingface")]
