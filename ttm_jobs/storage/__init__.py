"""Objects under keys: one contract, a file a backend."""

from ttm_jobs.storage.base import Storage, Stored
from ttm_jobs.storage.build import build_storage

__all__ = ["Storage", "Stored", "build_storage"]
