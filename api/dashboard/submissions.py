"""The same job once more, as a line for a shell or for Python."""

import json
from pprint import pformat
from typing import Any

from api.jobs.schemas import JobOut

# What a shell puts in for the key; Python and the command line look for it themselves.
KEY_HEADER = ' -H "Authorization: Bearer $TTM_API_KEY"'


def commands(job: JobOut, base_url: str, *, with_key: bool) -> dict[str, str]:
    """curl, Python and the command line, by name. Each posts the job's spec; a quoted here-document keeps every
    character as it is.
    """
    key = KEY_HEADER if with_key else ""
    spec = _without_none(job.spec)
    # A line of the body that ended it early would have to be the word alone, and JSON has no such line.
    body = json.dumps(spec, indent=2, ensure_ascii=False)
    return {
        "curl": (
            f"curl{key} {base_url}/jobs -H 'Content-Type: application/json' --data-binary @- <<'SPEC'\n{body}\nSPEC"
        ),
        "Python": (
            "from ttm_client import Client\n\n"
            f"spec = {pformat(spec, width=100, sort_dicts=False)}\n"
            f'with Client("{base_url}") as client:\n'
            "    job = client.jobs.create(**spec)\n"
            "    print(client.jobs.wait(job.id).state)"
        ),
        "ttm": f"ttm submit --url {base_url} --watch /dev/stdin <<'SPEC'\n{body}\nSPEC",
    }


def _without_none(value: Any) -> Any:
    """The spec without the fields that it leaves open."""
    match value:
        case dict():
            return {name: _without_none(part) for name, part in value.items() if part is not None}
        case list():
            return [_without_none(part) for part in value]
        case _:
            return value
