"""Who enforces the memory limit of trainers: control groups where the worker may create them, always the watchdog."""

import logging
from itertools import count
from pathlib import Path

from ttm_jobs.settings import Settings
from worker.trainer.memory import cgroups
from worker.trainer.memory.cgroups import Group, Unavailable
from worker.trainer.resources import trainer_limit

logger = logging.getLogger(__name__)

_numbers = count()


class TrainerGroups:
    """Creates the control groups of trainers inside `parent`; none without a parent."""

    def __init__(self, limit: int, parent: Path | None) -> None:
        self._limit = limit
        self._parent = parent

    @classmethod
    def of_worker(cls, settings: Settings) -> "TrainerGroups":
        """Those of this worker. Logs what enforces the limit, and removes the groups of ended workers."""
        limit = trainer_limit(settings)
        try:
            if settings.trainer_cgroups == "off":
                raise Unavailable("TTM_TRAINER_CGROUPS=off")
            parent = cgroups.delegated("memory")
        except Unavailable as reason:
            logger.info(
                "Memory limit of a trainer: %d MiB, enforced by the worker, which samples it (%s).", limit >> 20, reason
            )
            return cls(limit, None)
        cgroups.remove_stale(parent)
        logger.info("Memory limit of a trainer: %d MiB, enforced by a control group in %s.", limit >> 20, parent)
        return cls(limit, parent)

    def create(self) -> Group | None:
        """The group of a new trainer; None, with a warning, if it cannot be created."""
        if self._parent is None:
            return None
        # Without swap, as the watchdog counts resident memory. Trainers have several processes, which end together.
        limits = {"memory.max": str(self._limit), "memory.oom.group": "1"}
        try:
            if (self._parent / "memory.swap.max").exists():
                limits["memory.swap.max"] = "0"
            return cgroups.create(self._parent, next(_numbers), limits)
        except OSError as error:
            logger.warning("A trainer starts without a control group: %s", error)
            return None
