"""Google Cloud Storage on a free loopback port: moto's S3 server, whose protocol is that of the XML API.

Run as a module, it is the server: it decodes escaped slashes and dashes in paths, which moto does not, and accepts
bearer tokens.
"""

import argparse
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

from tests.support.s3_server import S3Server

_SIGNED = "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"


class GcsServer(S3Server):
    """Runs this module as a process. `environment` makes obstore use it."""

    module = "tests.support.gcs_server"

    @property
    def environment(self) -> dict[str, str]:
        return {"GOOGLE_BASE_URL": self.url, "GOOGLE_BEARER_TOKEN": "a-token"}


def serve(host: str, port: int) -> None:
    moto = DomainDispatcherApplication(create_backend_app)

    def gcs(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path, mark, query = environ["RAW_URI"].partition("?")
        environ["RAW_URI"] = environ["REQUEST_URI"] = unquote(path) + mark + query
        environ["HTTP_AUTHORIZATION"] = _SIGNED
        answer: Iterable[bytes] = moto(environ, start_response)
        return answer

    run_simple(host, port, gcs, threaded=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("-H", dest="host")
    parser.add_argument("-p", dest="port", type=int)
    serve(**vars(parser.parse_args()))
