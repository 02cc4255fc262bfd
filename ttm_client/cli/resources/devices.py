"""`ttm devices`."""

from ttm_client.cli.output import JsonOption, UrlOption, local_time, print_json, print_rows, service


def devices(json: JsonOption = False, url: UrlOption = None) -> None:
    """List the devices that measured ONNX files, with what they measured and when they were last seen."""
    with service(url) as client:
        found = list(client.devices.list())
    if json:
        print_json({"items": found})
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
