"""`ttm stores` and `ttm devices`."""

from itertools import islice

from ttm_client import TeacherStore
from ttm_client.cli.output import (
    JsonOption,
    LimitOption,
    UrlOption,
    count,
    local_time,
    print_json,
    print_rows,
    service,
    size,
)


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
            whole=("CACHE HITS",),
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


def devices(json: JsonOption = False, url: UrlOption = None) -> None:
    """List the devices that measured ONNX files, with what they measured and when they were last seen."""
    with service(url) as client:
        found = list(client.devices.list())
    if json:
        print_json(found)
        return
    rows = [
        (
            each.name,
            each.cpu or "-",
            local_time(each.last_seen_at),
            str(each.measurements),
            str(each.jobs),
            str(each.pending_requests),
        )
        for each in found
    ]
    print_rows(("NAME", "CPU", "LAST SEEN", "MEASUREMENTS", "JOBS", "WAITING"), rows, optional=("CPU", "JOBS"))
