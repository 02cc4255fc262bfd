"""Uploads the local files that a spec names."""

from typing import Any

from ttm_client.asynchronous.resources.inputs.uploads import AsyncUploads
from ttm_client.asynchronous.transport import AsyncTransport
from ttm_client.local_files import folder_uri, local_paths, replace_paths
from ttm_client.references import with_references


async def with_uploads(transport: AsyncTransport, spec: dict[str, Any]) -> dict[str, Any]:
    """The spec with local paths and responses replaced by URIs. Raises FileNotFoundError for a path that does not
    exist.
    """
    spec = with_references(spec)
    uploads = AsyncUploads(transport)
    uris = {path: folder_uri(path) or (await uploads.ensure(path)).uri for path in local_paths(spec)}
    return replace_paths(spec, uris.__getitem__)
