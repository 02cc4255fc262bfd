"""Downloads single files from the Hugging Face Hub into the data cache."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from ttm_core.data.cache import DataCache
from ttm_core.errors import BadSpec, HubUnreachable


@dataclass(frozen=True)
class HubFile:
    """A file of a repository, at a revision or at the newest commit."""

    repository: str
    name: str
    revision: str | None = None


def download(file: HubFile, cache: DataCache, field: str, *, max_bytes: int | None = None) -> Path:
    """The path of the file, downloaded unless the cache has the same commit.

    If the Hub cannot be reached, a copy in the Hub's own cache (`HF_HOME`) is used, where an operator can place files.

    Args:
        file: the file.
        cache: limits the total size of its entries.
        field: the field of the spec for messages.
        max_bytes: limit on the size of the file; None for none besides that of the cache.

    Raises:
        BadSpec: there is no such repository or file, or the file is too large.
        HubUnreachable: the Hub cannot be reached, and the file is not in its cache.
    """
    try:
        return _download(file, cache, field, max_bytes)
    except BadSpec:
        raise
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        return _already_present(file, error)
    except GatedRepoError as error:
        raise BadSpec(f"{field}: the Hugging Face repository {file.repository!r} requires access rights.") from error
    except (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError, HFValidationError) as error:
        place = f"{file.repository!r} at {file.revision!r}" if file.revision else repr(file.repository)
        raise BadSpec(f"{field}: the Hugging Face Hub has no {file.name} in {place}.") from error
    except Exception as error:  # the errors of the Hub's HTTP client have no base class that it exports
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the local disk
        return _already_present(file, error)


def _download(file: HubFile, cache: DataCache, field: str, max_bytes: int | None) -> Path:
    found = get_hf_file_metadata(hf_hub_url(file.repository, file.name, revision=file.revision))
    limit = min((each for each in (max_bytes, cache.max_bytes) if each is not None), default=None)
    if limit is not None and (found.size or 0) > limit:
        raise BadSpec(
            f"{field}: {file.name} in {file.repository!r} has {found.size:,} bytes, more than the limit of {limit:,}."
        )

    def make(folder: Path) -> None:
        hf_hub_download(file.repository, file.name, revision=found.commit_hash, local_dir=folder)

    content = f"{file.repository} {file.name} {found.commit_hash} {found.etag}"
    return cache.folder(f"hub-{hashlib.sha256(content.encode()).hexdigest()}", make) / file.name


def _already_present(file: HubFile, error: Exception) -> Path:
    try:
        return Path(hf_hub_download(file.repository, file.name, revision=file.revision, local_files_only=True))
    except (LocalEntryNotFoundError, OSError, ValueError):
        raise HubUnreachable(
            f"The weights {file.repository!r} are on the Hugging Face Hub, which this worker cannot reach "
            f"({type(error).__name__}). Upload the file instead, or add it to the Hub's cache on the worker."
        ) from error
