"""Architectures of packages that are installed next to the engine. Does not import torch."""

import json
import logging
import subprocess
import sys
from importlib.metadata import entry_points

from ttm_core.spec.catalogue import ENTRY_POINTS
from ttm_jobs.models.base import Json
from ttm_jobs.repositories.installed import key
from ttm_jobs.settings import Settings
from worker.trainer.sandbox import run_confined

logger = logging.getLogger(__name__)

_COMMAND = (sys.executable, "-m", "ttm_core.models.installed.report")


def find(settings: Settings) -> dict[str, Json]:
    """The rows of the architectures of installed packages by key; {} with a line in the log if they cannot be read.

    Runs in the trainer's sandbox, because it executes the code of the packages. Entry points that are omitted are
    printed to standard error.
    """
    if not entry_points(group=ENTRY_POINTS):
        return {}
    try:
        done = run_confined(settings, _COMMAND)
        done.check_returncode()
        rows: list[Json] = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        logger.warning("The architectures of installed packages cannot be read: %s", error)
        return {}
    found = {key(row["name"], row["origin"]): row for row in rows}
    logger.info("architectures of installed packages: %s", ", ".join(found) or "none")
    return found
