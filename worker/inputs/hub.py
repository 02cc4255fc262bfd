"""Downloads hf://datasets/ URIs: a dataset repository of the Hugging Face Hub, or a file or folder of it."""

import hashlib
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path, PurePosixPath

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import (
    DisabledRepoError,
    EntryNotFoundError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils.tqdm import tqdm

from ttm_jobs.errors import ServiceError, SourceRefused, SourceUnreachable, TooLarge
from ttm_jobs.uris import HfDatasetUri
from worker.inputs.names import check_name
from worker.inputs.parallel import run_all

_WAY_OUT = "Download it with your own account and upload it as an archive instead."


class HubFetcher:
    """Downloads the files that a URI refers to at the commit which its revision has when the fetcher is created.

    Requests are anonymous: the worker's token must not give every project access to private datasets.

    Raises:
        SourceRefused: there is no such dataset, revision or path, or it is not public.
        TooLarge: the files exceed `max_bytes`.
        SourceUnreachable: the Hub is unavailable, limits the rate of requests, or exceeds `seconds`.
    """

    def __init__(self, uri: HfDatasetUri, *, max_bytes: int, seconds: float, check: Callable[[], None]) -> None:
        self._uri = uri
        self._until = time.monotonic() + seconds
        self._stopping = check
        with _hub_errors(uri):
            api = HfApi(token=False)
            self._commit = str(api.dataset_info(uri.repository, revision=uri.revision).sha)
            self._files = list(self._listed(api, max_bytes))
        if not self._files:
            raise SourceRefused(f"{uri.text} has no such file. The URI of a folder ends with a slash.")

    @property
    def name(self) -> str:
        """Directory name that identifies this content."""
        content = f"dataset {self._uri.repository} {self._commit} {self._uri.path}"
        return f"hub-{hashlib.sha256(content.encode()).hexdigest()}"

    def fetch(self, path: Path) -> None:
        """Writes the file to `path`, or the files of a folder below it. Errors of `check` pass through."""
        staging = path.parent / ".hub"
        with _hub_errors(self._uri):
            run_all((partial(self._download, file, staging) for file in self._files), name="hub-fetch")
        (staging / self._uri.path).rename(path)
        shutil.rmtree(staging, ignore_errors=True)
        # The Hub's client leaves its metadata there.
        shutil.rmtree(path / ".cache", ignore_errors=True)

    def _listed(self, api: HfApi, max_bytes: int) -> Iterator[str]:
        uri, total = self._uri, 0
        folder = uri.path.rstrip("/") if uri.is_folder else str(PurePosixPath(uri.path).parent).removeprefix(".")
        for entry in api.list_repo_tree(
            uri.repository, folder or None, recursive=uri.is_folder, revision=self._commit, repo_type="dataset"
        ):
            self._check()
            if not isinstance(entry, RepoFile) or not (uri.is_folder or entry.path == uri.path):
                continue
            check_name(entry.path)
            total += entry.size
            if total > max_bytes:
                raise TooLarge(f"The files exceed the limit of {max_bytes:,} bytes.")
            yield entry.path

    def _download(self, name: str, folder: Path) -> None:
        self._check()
        check = self._check

        class Progress(tqdm):
            """Called for every chunk."""

            def update(self, n: float | None = 1) -> bool | None:
                check()
                return None

        hf_hub_download(
            self._uri.repository,
            name,
            repo_type="dataset",
            revision=self._commit,
            local_dir=folder,
            token=False,
            tqdm_class=Progress,
        )

    def _check(self) -> None:
        self._stopping()
        if time.monotonic() > self._until:
            raise SourceUnreachable("The download exceeded the time limit.")


@contextmanager
def _hub_errors(uri: HfDatasetUri) -> Iterator[None]:
    """Translates errors of the Hub's client."""
    try:
        yield
    except ServiceError:
        raise
    except (RevisionNotFoundError, EntryNotFoundError) as error:
        if isinstance(error, LocalEntryNotFoundError):
            raise SourceUnreachable("The Hugging Face Hub cannot be reached.") from error
        raise SourceRefused(f"The Hugging Face Hub has no {uri.text}: check the revision and the path.") from error
    except (RepositoryNotFoundError, DisabledRepoError) as error:
        # The Hub does not reveal whether a private repository exists.
        raise SourceRefused(f"The dataset {uri.repository!r} does not exist or is not public. {_WAY_OUT}") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise SourceRefused(f"The dataset {uri.repository!r} is not public. {_WAY_OUT}") from error
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            raise SourceUnreachable("The Hugging Face Hub limits the rate of this worker's requests (429).") from error
        if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            raise SourceRefused(f"The Hugging Face Hub returned status {status} for {uri.text}.") from error
        raise SourceUnreachable(f"The Hugging Face Hub returned status {status}.") from error
    except OfflineModeIsEnabled as error:
        raise SourceUnreachable("The worker may not use the Hugging Face Hub (HF_HUB_OFFLINE).") from error
