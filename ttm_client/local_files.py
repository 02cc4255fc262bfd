"""Local paths in a spec: finding them, and replacing them by URIs that the service can read."""

import mimetypes
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

Spec = dict[str, Any]

# A scheme has at least two letters: one letter is a Windows drive.
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path with the home folder instead of ~ at its start, as in specs and on the command line."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # there is no such user: the name starts with ~
        return Path(path)


def local_paths(spec: Mapping[str, Any]) -> Iterator[str]:
    """Yields the local paths in a spec's teachers, data and student checkpoint. URIs and names are not paths."""
    found: list[str] = []
    replace_paths(spec, lambda text: found.append(text) or text)  # type: ignore[func-returns-value]
    yield from dict.fromkeys(found)


def replace_paths(spec: Mapping[str, Any], uri_of: Callable[[str], str]) -> Spec:
    """Returns the spec with `uri_of` applied to every local path."""

    def replace(part: Any, field: str) -> Any:
        if isinstance(part, Mapping) and isinstance(part.get(field), str | os.PathLike):
            return {**part, field: replace(part[field], field)}
        if isinstance(part, os.PathLike):
            return uri_of(os.fspath(part))
        # The path "" would be the working directory. The service refuses the empty field.
        return uri_of(part) if isinstance(part, str) and part and not _URI.match(part) else part

    replaced = dict(spec)
    for part, field in (("teacher", "checkpoint"), ("dataset", "uri")):
        if part in spec:
            replaced[part] = replace(spec[part], field)
    dataset = replaced.get("dataset")
    if isinstance(dataset, Mapping) and isinstance(dataset.get("unlabelled"), list):
        replaced["dataset"] = {**dataset, "unlabelled": [replace(each, "uri") for each in dataset["unlabelled"]]}
    # Any other string is the name of an architecture.
    if isinstance(spec.get("student"), Mapping | os.PathLike):
        replaced["student"] = replace(spec["student"], "checkpoint")
    if isinstance(spec.get("teachers"), list):
        replaced["teachers"] = [replace(teacher, "checkpoint") for teacher in spec["teachers"]]
    return replaced


def folder_uri(text: str) -> str | None:
    """The file:// URI of a local folder; None for a file. Raises FileNotFoundError if neither exists."""
    path = expanded(text)
    if path.is_dir():
        return path.resolve().as_uri()
    if not path.is_file():
        raise FileNotFoundError(f"{text!r} is neither a local file or folder nor a URI.")
    return None


def image_type(path: Path) -> str:
    """The media type of an image file by its suffix."""
    return mimetypes.guess_type(path.name)[0] or "application/octet-stream"
