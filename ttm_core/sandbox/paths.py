"""The paths that every process in a sandbox may read."""

import importlib.util
import os
import sys
from collections.abc import Iterable

# System programs, libraries and their configuration. /proc and /sys are needed to detect the hardware; the sandbox
# hides all but public information about other processes.
_SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/opt", "/nix", "/etc", "/proc", "/sys", "/run/nvidia")
_PACKAGES = ("ttm_core", "ttm_measure")


def programs() -> list[str]:
    """The paths of the system, of Python, of its packages and of the engine, without the working directory."""
    libraries = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    # `python -m` puts the working directory first, which may contain a database and settings.
    packages = (path for path in sys.path if path not in ("", os.getcwd()))
    return existing([*_SYSTEM, sys.prefix, sys.base_prefix, *packages, *_engine(), *libraries])


def listed() -> list[str]:
    """The paths that may be listed, because Python looks for packages there: the working directory."""
    return existing([os.getcwd()])


def existing(paths: Iterable[str]) -> list[str]:
    """The paths that exist, resolved and without repetitions."""
    return list(dict.fromkeys(os.path.realpath(path) for path in paths if path and os.path.exists(path)))


def _engine() -> list[str]:
    found = [importlib.util.find_spec(name) for name in _PACKAGES]
    return [path for spec in found if spec is not None for path in spec.submodule_search_locations or ()]
