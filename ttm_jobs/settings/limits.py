"""Limits of projects that have none of their own."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pydantic import BeforeValidator, Field, NonNegativeInt

from ttm_jobs.settings.base import SettingsGroup, none_as_null


@dataclass(frozen=True)
class Limits:
    """Limits of a project. None means no limit."""

    running_jobs: int | None = None
    queued_jobs: int | None = None
    stored_bytes: int | None = None
    device_hours: float | None = None


_Count = Annotated[Annotated[int, Field(ge=0, le=2**31 - 1)] | None, BeforeValidator(none_as_null)]
_Bytes = Annotated[NonNegativeInt | Literal["auto"] | None, BeforeValidator(none_as_null)]
_Hours = Annotated[Annotated[float, Field(ge=0, le=1e9)] | None, BeforeValidator(none_as_null)]


class ProjectLimits(SettingsGroup):
    """Limits that hold for each project unless `ttm projects set` sets others for it."""

    project_max_queued_jobs: _Count = Field(
        default=10_000,
        description=(
            "Queued jobs of a project. `none`: no limit. `ttm projects set` sets other limits for a project, also of "
            "the next three settings, which API, dispatcher and workers read."
        ),
    )
    project_max_running_jobs: _Count = Field(default=None, description="Running jobs of a project. `none`: no limit.")
    project_max_stored_bytes: _Bytes = Field(
        default="auto",
        description=(
            "Bytes of a project's uploads, artifacts and checkpoints. `auto`: half of the file system of a `file:` "
            "storage, and no limit for buckets. `none`: no limit."
        ),
    )
    project_max_device_hours: _Hours = Field(
        default=None, description="Device hours of all ended attempts of a project's jobs. `none`: no limit."
    )

    def project_limits(self, storage_url: str) -> Limits:
        """The limits of projects without limits of their own, for a service with this storage."""
        stored = self.project_max_stored_bytes
        return Limits(
            running_jobs=self.project_max_running_jobs,
            queued_jobs=self.project_max_queued_jobs,
            stored_bytes=_half_of_file_system(storage_url) if stored == "auto" else stored,
            device_hours=self.project_max_device_hours,
        )


def _half_of_file_system(storage_url: str) -> int | None:
    parts = urlsplit(storage_url)
    if parts.scheme != "file":
        return None
    folder = Path(url2pathname(parts.path)).absolute()
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    return shutil.disk_usage(existing).total // 2
