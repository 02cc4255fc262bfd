"""Rules of the trainer's sandbox: readable paths, writable paths and network access.

The rules do not depend on the job, because a standby trainer starts before its job is known.
"""

import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence

from ttm_jobs.settings import Settings
from worker.trainer import confine

# System programs, libraries and their configuration. /proc and /sys are needed to detect the hardware; the sandbox
# hides all but public information about other processes.
_SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/opt", "/nix", "/etc", "/proc", "/sys", "/run/nvidia")
# Includes GPUs and shared memory. File permissions still apply.
_DEVICES = "/dev"


def prefix(settings: Settings, command: Sequence[str], temporary: str, *, network: bool) -> list[str]:
    """Command prefix that starts the trainer in the sandbox; empty if isolation is off or not supported."""
    if settings.trainer_isolation == "off" or sys.platform != "linux":
        return []
    if shutil.which(command[0]) is None:
        return []  # starting it then fails with a clear error
    settings.work_dir.mkdir(parents=True, exist_ok=True)
    rules = {
        "read": _existing([*_SYSTEM, *_programs(command), *map(str, settings.data_roots)]),
        "write": _existing([str(settings.work_dir), temporary, _DEVICES, *_hub()]),
        "network": network,
        "file_bytes": max(settings.teacher_store_max_bytes, settings.data_cache_max_bytes),
    }
    return [sys.executable, "-I", "-S", confine.__file__, json.dumps(rules)]


def _programs(command: Sequence[str]) -> list[str]:
    """Paths of Python, its packages, this project and the files named in the command."""
    engine = importlib.util.find_spec("ttm_core")
    ours = [] if engine is None else [os.path.dirname(path) for path in engine.submodule_search_locations or ()]
    named = [part for part in command if part.startswith("/")]
    libraries = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    return [sys.prefix, sys.base_prefix, *sys.path, os.getcwd(), *ours, *named, *libraries]


def _hub() -> list[str]:
    """Cache directory of Hugging Face Hub, which contains timm's pretrained weights."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return [os.path.expanduser(os.environ.get("HF_HOME") or f"{cache}/huggingface")]


def _existing(paths: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(os.path.realpath(path) for path in paths if path and os.path.exists(path)))
