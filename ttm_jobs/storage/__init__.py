"""Object storage: one contract, one file per backend."""

from ttm_jobs.storage.base import Label, Storage, Stored
from ttm_jobs.storage.build import build_storage

__all__ = ["Label", "Storage", "Stored", "build_storage"]
