"""The folders, hosts and buckets that the jobs of a project may name: those of the settings, or some of them."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ttm_jobs.errors import UriNotAllowed
from ttm_jobs.settings import Settings
from ttm_jobs.uris import BucketUri, FileUri, HttpUri, check_bucket, check_origin, local_path


@dataclass(frozen=True)
class AllowedSources:
    """What URIs may refer to.

    Attributes:
        data_roots: the service's folders of file:// URIs.
        origins: hosts of https:// URIs.
        buckets: buckets of s3://, gs:// and az:// URIs, as in TTM_ALLOWED_BUCKETS.
        project_roots: the project's folders; None unless an administrator has restricted the project.
    """

    data_roots: Sequence[Path]
    origins: Sequence[str]
    buckets: Sequence[str]
    project_roots: Sequence[Path] | None = None

    @classmethod
    def of_service(cls, settings: Settings) -> Self:
        """All sources of the settings."""
        return cls(settings.data_roots, settings.allowed_origins, settings.allowed_buckets)

    def restricted_to(self, data_roots: Sequence[str], origins: Sequence[str], buckets: Sequence[str]) -> Self:
        """The listed sources, as far as they are among these. A listed folder may be inside one of these folders."""
        return type(self)(
            self.data_roots,
            [origin for origin in origins if origin in self.origins],
            [bucket for bucket in buckets if bucket in self.buckets],
            [*map(Path, data_roots)],
        )

    def restricted_roots(self) -> Sequence[Path] | None:
        """The folders that a restricted project may read; None for projects without a restriction."""
        if self.project_roots is None:
            return None
        service = [root.resolve() for root in self.data_roots]
        project = [root.resolve() for root in self.project_roots]
        # Of two nested folders, the inner one is allowed by both lists.
        inner = [
            *(root for root in project if _is_below(root, service)),
            *(root for root in service if _is_below(root, project)),
        ]
        return list(dict.fromkeys(inner))

    def resolve(self, uri: FileUri) -> Path:
        """The resolved path of a file or folder. Raises UriNotAllowed."""
        with self._with_hint():
            path = local_path(uri, self.data_roots)
            # Both: a folder of the project may be a link that leads out of the service's folders.
            return path if self.project_roots is None else local_path(uri, self.project_roots)

    def check_links(self, folder: Path, stopping: Callable[[], None]) -> None:
        """Raises UriNotAllowed for a symbolic link in a folder of a restricted project that leads out of its folders.
        Calls `stopping` for each folder inside. Folders of other projects are not read.
        """
        if self.project_roots is None:
            return
        for parent, folders, files in os.walk(folder):
            stopping()
            for name in (*folders, *files):
                path = Path(parent, name)
                if path.is_symlink():
                    self.resolve(FileUri(str(path)))

    def check(self, uri: HttpUri | BucketUri) -> None:
        """Raises UriNotAllowed unless the host or the bucket is allowed."""
        with self._with_hint():
            if isinstance(uri, HttpUri):
                check_origin(uri, self.origins)
            else:
                check_bucket(uri, self.buckets)

    @contextmanager
    def _with_hint(self) -> Iterator[None]:
        try:
            yield
        except UriNotAllowed as error:
            if self.project_roots is None:
                raise
            raise UriNotAllowed(
                f"{error.message} Your project is restricted to some sources; ask an administrator to add this one "
                "with `ttm projects restrict`."
            ) from error


def _is_below(path: Path, roots: Sequence[Path]) -> bool:
    return any(path.is_relative_to(root) for root in roots)
