"""Downloads of several files at once."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

# Every file costs one or two round trips, so small files are downloaded concurrently.
_CONCURRENCY = 8


def run_all(tasks: Iterable[Callable[[], object]], *, name: str) -> None:
    """Runs the tasks in threads called `name`. The first error cancels the tasks that have not begun, and is raised."""
    with ThreadPoolExecutor(_CONCURRENCY, thread_name_prefix=name) as pool:
        running = [pool.submit(task) for task in tasks]
        try:
            for each in running:
                each.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
