"""HTTP to the identity provider: only to the configured origins, with bounded responses and without redirects."""

import ssl
from collections.abc import Collection

import httpx2

_MAX_BYTES = 1 << 20


class UnexpectedAnswer(Exception):
    """The provider named an address at which it is not configured, or its answer is too large."""


class ProviderTransport(httpx2.AsyncBaseTransport):
    """Refuses requests to other origins than `origins`, and responses of more than 1 MiB."""

    def __init__(self, origins: Collection[str], context: ssl.SSLContext) -> None:
        self._origins = {_origin(httpx2.URL(origin)) for origin in origins}
        self._inner = httpx2.AsyncHTTPTransport(verify=context)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Sends a request. Raises UnexpectedAnswer, or httpx2.TransportError if the provider is unreachable."""
        if _origin(request.url) not in self._origins:
            raise UnexpectedAnswer(f"{request.url.host} is neither the issuer's host nor listed in TTM_OIDC_HOSTS")
        # Without compression, the limit on received bytes is a limit on memory.
        request.headers["Accept-Encoding"] = "identity"
        response = await self._inner.handle_async_request(request)
        try:
            if response.headers.get("content-encoding", "identity") != "identity":
                raise UnexpectedAnswer("a compressed answer, which was not requested")
            content = b""
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            async for chunk in response.stream:
                content += chunk
                if len(content) > _MAX_BYTES:
                    raise UnexpectedAnswer(f"an answer of more than {_MAX_BYTES} bytes")
        finally:
            await response.aclose()
        return httpx2.Response(response.status_code, headers=response.headers, content=content, request=request)

    async def aclose(self) -> None:
        await self._inner.aclose()


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
