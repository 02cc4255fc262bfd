"""Buckets of Google Cloud Storage and Azure for a test."""

import pytest

from tests.support.azure_server import AzureServer
from tests.support.gcs_server import GcsServer

# The schemes, with the fixtures of their servers.
CLOUDS = {"gs": "gcs_server", "az": "azure_server"}


def new_bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, scheme: str) -> str:
    """Creates a bucket, sets the credentials in the environment and returns the bucket's URI."""
    server: GcsServer | AzureServer = request.getfixturevalue(CLOUDS[scheme])
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return f"{scheme}://{server.new_bucket()}"
