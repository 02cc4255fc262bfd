# From asynchronous/specs.py by `python -m ttm_client.codegen.make_synchronous`: edit that.
"""Uploads the local files that a spec names."""

from typing import Any

from ttm_client.local_files import folder_uri, local_paths, replace_paths
from ttm_client.references import with_references
from ttm_client.synchronous.resources.inputs.uploads import Uploads
from ttm_client.synchronous.transport import Transport


def with_uploads(transport: Transport, spec: dict[str, Any]) -> dict[str, Any]:
    """The spec with local paths and responses replaced by URIs. Raises FileNotFoundError for a path that does not
    exist.
    """
    spec = with_references(spec)
    uploads = Uploads(transport)
    uris = {path: folder_uri(path) or (uploads.ensure(path)).uri for path in local_paths(spec)}
    return replace_paths(spec, uris.__getitem__)
