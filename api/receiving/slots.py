"""Limits concurrent uploads per process. One project gets at most half of them."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from anyio import CapacityLimiter

from api.http.errors import TooManyUploads


class UploadSlots:
    """`total` uploads at once, each with a thread of its own. Call its methods on the event loop."""

    def __init__(self, total: int) -> None:
        self.threads = CapacityLimiter(total)
        self._total = total
        self._used: Counter[str] = Counter()

    @contextmanager
    def taken(self, project_id: str) -> Iterator[None]:
        """Holds a slot within this block. Raises TooManyUploads immediately if the project or the process has none."""
        if self._used[project_id] >= max(self._total // 2, 1):
            raise TooManyUploads("This project has too many uploads in progress. Wait for the time in `Retry-After`.")
        if self._used.total() >= self._total:
            raise TooManyUploads
        self._used[project_id] += 1
        try:
            yield
        finally:
            self._used[project_id] -= 1
            if not self._used[project_id]:
                del self._used[project_id]
