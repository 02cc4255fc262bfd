"""`ttm stores`: teacher stores."""

from itertools import islice

from ttm_client import TeacherStore
from ttm_client.cli.output import JsonOption, LimitOption, UrlOption, count, print_json, print_rows, service, size


def stores(
    limit: LimitOption = 20,
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """List the teacher stores that jobs of the project filled or read."""
    with service(url) as client:
        found = list(islice(client.teacher_stores.list(), limit))
    if json:
        print_json(found)
    else:
        print_rows(
            ("KEY", "TEACHER", "DATASET", "JOBS", "CACHE HITS", "SIZE", "HOSTS"),
            [_row(store) for store in found],
            optional=("KEY", "JOBS"),
        )


def _row(store: TeacherStore) -> tuple[str, ...]:
    images = store.cache_hits + store.forwards
    return (
        store.key[:12],
        store.teacher or "",
        store.dataset,
        str(store.jobs),
        f"{count(store.cache_hits)} of {count(images)} images" if images else "",
        size(store.size),
        ", ".join(host.hostname for host in store.hosts),
    )
