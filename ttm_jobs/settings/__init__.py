"""Settings: one typed class, read from TTM_* environment variables and validated at start."""

from functools import lru_cache

from ttm_jobs.settings.base import DEFAULT_QUEUE, PROJECT_NAME, Queue
from ttm_jobs.settings.dispatcher import Dispatcher
from ttm_jobs.settings.limits import Limits, ProjectLimits
from ttm_jobs.settings.locations import POSTGRESQL, SQLITE, Locations, database_address
from ttm_jobs.settings.sign_on import GroupAccess, SignOn
from ttm_jobs.settings.sources import Sources
from ttm_jobs.settings.telemetry import Telemetry
from ttm_jobs.settings.workers import Workers

__all__ = [
    "DEFAULT_QUEUE",
    "POSTGRESQL",
    "PROJECT_NAME",
    "SQLITE",
    "GroupAccess",
    "Limits",
    "Queue",
    "Settings",
    "database_address",
    "get_settings",
]


# The fields of the last class come first.
class Settings(Telemetry, Dispatcher, ProjectLimits, Workers, SignOn, Sources, Locations):
    """Settings of the service. URLs may contain passwords, so `repr` omits them."""


@lru_cache
def get_settings() -> Settings:
    """The settings of this process."""
    return Settings()
