"""What a trainer may read, write and reach: the data of the operator, folders of its worker, its own programs.

Told before there is a job, since a trainer may have been started by then.
"""

import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence

from ttm_jobs.settings import Settings
from worker.trainer import confine

# Where systems keep programs, libraries and their settings. /proc and /sys tell of the machine; of other processes a
# confined one learns nothing there that is not public.
_SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/opt", "/nix", "/etc", "/proc", "/sys", "/run/nvidia")
# Its devices, GPUs and shared memory among them, as far as its user may.
_DEVICES = "/dev"


def prefix(settings: Settings, command: Sequence[str], temporary: str, *, network: bool) -> list[str]:
    """What to put before a trainer's command; nothing where it is to run as it is."""
    if settings.trainer_isolation == "off" or sys.platform != "linux":
        return []
    if shutil.which(command[0]) is None:
        return []  # so that the start itself fails, and says why
    settings.work_dir.mkdir(parents=True, exist_ok=True)
    rules = {
        "read": _existing([*_SYSTEM, *_programs(command), *map(str, settings.data_roots)]),
        "write": _existing([str(settings.work_dir), temporary, _DEVICES, *_hub()]),
        "network": network,
        "file_bytes": max(settings.teacher_store_max_bytes, settings.data_cache_max_bytes),
    }
    return [sys.executable, "-I", "-S", confine.__file__, json.dumps(rules)]


def _programs(command: Sequence[str]) -> list[str]:
    """Python, its packages, ours wherever they are installed from, and what the command itself names."""
    engine = importlib.util.find_spec("ttm_core")
    ours = [] if engine is None else [os.path.dirname(path) for path in engine.submodule_search_locations or ()]
    named = [part for part in command if part.startswith("/")]
    libraries = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    return [sys.prefix, sys.base_prefix, *sys.path, os.getcwd(), *ours, *named, *libraries]


def _hub() -> list[str]:
    """Where the weights of timm's authors are kept."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return [os.path.expanduser(os.environ.get("HF_HOME") or f"{cache}/huggingface")]


def _existing(paths: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(os.path.realpath(path) for path in paths if path and os.path.exists(path)))
