"""Rules of the trainer's sandbox: readable paths, writable paths and network access.

The rules of a standby trainer do not depend on a job, because it starts before its job is known.
"""

import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from ttm_core.sandbox import confine
from ttm_core.sandbox.paths import existing, listed, programs
from ttm_jobs.settings import Settings

# Includes GPUs and shared memory. File permissions still apply.
_DEVICES = "/dev"
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


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
