"""Requests that a key with scope `measure` may send."""

import re

_READ = (
    r"/jobs/[^/]+/artifacts",
    # The teacher is no file to ship.
    r"/jobs/[^/]+/artifacts/(?!teacher\.onnx)[^/]+\.onnx",
    r"/jobs/[^/]+/measurements",
    r"/devices",
    r"/devices/[^/]+/requests/[^/]+/model",
)
_WRITE = (
    r"/jobs/[^/]+/measurements",
    r"/devices/[^/]+/claim",
    r"/devices/[^/]+/requests/[^/]+/(?:result|failure)",
)
_PATHS = {method: re.compile("|".join(paths)) for method, paths in (("GET", _READ), ("HEAD", _READ), ("POST", _WRITE))}


def allows(method: str, path: str) -> bool:
    """Whether scope `measure` is sufficient for a request."""
    return method in _PATHS and _PATHS[method].fullmatch(path) is not None
