"""Rules that the synchronous and the asyncio client share: address, headers, retries, and errors from problem
documents.
"""

import hashlib
import json
import math
import operator
import os
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote
from urllib.request import getproxies, proxy_bypass
from uuid import uuid4

import httpx2
from tenacity import RetryCallState

from ttm_client.errors import (
    Conflict,
    ConnectionFailed,
    FieldError,
    InvalidRequest,
    NotFound,
    UnexpectedResponse,
    error_class,
)

DEFAULT_URL = "http://127.0.0.1:8000"
_RETRIED_STATUSES = frozenset({429, 502, 503, 504})
_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE"})
_MAX_RETRY_AFTER = 60.0
_MAX_SECONDS = 1e9
RECONNECT_SECONDS = 300.0
"""By default, how long a method that follows something waits for a service that cannot be reached."""

Http = TypeVar("Http")
Params = Mapping[str, str | int | list[str] | None]
Advance = Callable[[int, int], None]
"""Called with the number of bytes transferred and the total number of bytes."""


class StoreFailed(Exception):
    """The object store that the service redirected to did not send the file."""


def address(base_url: str | None) -> str:
    """The service's base URL: the argument, TTM_URL, or http://127.0.0.1:8000. Raises ValueError if it is none."""
    if not isinstance(base_url, str | None):
        raise TypeError(f"The URL of the service must be a string, not {type(base_url).__name__}.")
    text = (base_url or os.environ.get("TTM_URL") or DEFAULT_URL).rstrip("/")
    try:
        url = httpx2.URL(text)
        valid = url.scheme in ("http", "https") and bool(url.host) and not url.query and not url.fragment
    except httpx2.InvalidURL:
        valid = False
    if not valid:
        raise ValueError(f"{text!r} is not the URL of a service, such as {DEFAULT_URL}.")
    return text


def default_headers(api_key: str | None) -> dict[str, str]:
    """Headers of every request. `api_key` falls back to TTM_API_KEY. An empty key is no key. Raises ValueError for a
    key that cannot be in a header.
    """
    headers = {"User-Agent": "ttm-client", "Accept": "application/json, application/problem+json;q=0.9, */*;q=0.8"}
    if not isinstance(api_key, str | None):
        raise TypeError(f"The API key must be a string, not {type(api_key).__name__}.")
    key = (api_key or os.environ.get("TTM_API_KEY") or "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ValueError("The API key has characters that no API key has.")
    return headers if not key else {**headers, "Authorization": f"Bearer {key}"}


def opened(http: Callable[..., Http], timeout: float) -> Http:
    """A new HTTP client. Raises ValueError for a timeout that is not positive, and unreadable certificates."""
    limit = positive_seconds(timeout, "timeout")
    try:
        return http(timeout=httpx2.Timeout(limit, connect=5.0))
    except ImportError as error:
        raise ValueError("ALL_PROXY, HTTP_PROXY or HTTPS_PROXY names a SOCKS proxy: pip install socksio") from error
    except OSError as error:  # has no file name
        named = [f"{name}={os.environ[name]}" for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if name in os.environ]
        where = f" of {' and '.join(named)}" if named else ""
        raise ValueError(f"The certificates{where} cannot be read: {error}") from error


def seconds(value: float, name: str) -> float:
    """A duration as a float. Raises TypeError unless it is a number, and ValueError for NaN and negative ones."""
    number = _as_seconds(value, name)
    if not number >= 0:
        raise ValueError(f"The {name} must be at least 0 s, not {number:g} s.")
    return number


def positive_seconds(value: float, name: str) -> float:
    """A duration as a float. Raises TypeError unless it is a number, and ValueError unless it is positive."""
    number = _as_seconds(value, name)
    if not number > 0:
        raise ValueError(f"The {name} must be positive, not {number:g} s.")
    return number


def _as_seconds(value: float, name: str) -> float:
    try:
        # Scalars of NumPy and PyTorch are numbers, but `sleep` takes none of them.
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"The {name} must be a number of seconds, not {value!r}.") from None
    # `sleep` and sockets refuse much longer ones.
    return number if math.isnan(number) else min(number, _MAX_SECONDS)


def event_id(value: str | int | None) -> dict[str, str]:
    """The header with which a stream resumes after an event. Raises TypeError unless it is a string or an integer, and
    InvalidRequest for a string that no event has.
    """
    if value is None:
        return {}
    text = value if isinstance(value, str) else number_segment(value)
    if not (text.isascii() and text.isprintable()):
        detail = f"{text!r} is not the id of an event."
        raise InvalidRequest(status=422, code="invalid_request", title="Not sent", detail=detail)
    return {"Last-Event-ID": text}


def path_too_long(path: str, error: Exception) -> InvalidRequest:
    """The error of a URL that cannot be sent."""
    detail = f"The name in {path[:40]}... cannot be sent: {error}."
    return InvalidRequest(status=422, code="invalid_request", title="Not sent", detail=detail)


def proxy_of(url: str) -> str | None:
    """The address, without its password, of the proxy that the environment sets for a URL. None without a proxy."""
    found = httpx2.URL(url)
    proxies = getproxies()
    address = proxies.get(found.scheme) or proxies.get("all")
    if not address or proxy_bypass(found.host):
        return None
    try:
        proxy = httpx2.URL(address if "://" in address else f"http://{address}")
    except httpx2.InvalidURL:  # httpx2 ignores it as well
        return None
    return str(proxy.copy_with(username=None, password=None)).rstrip("/")


def connection_failed(what: str, error: Exception | str, proxy: str | None) -> ConnectionFailed:
    """The error of a request that received no response, with the reason and the proxy."""
    reason = str(error) or type(error).__name__
    failed = ConnectionFailed(f"{what}{f' through the proxy {proxy}' if proxy else ''}: {reason}")
    failed.proxy = proxy
    return failed


def idempotency_key() -> dict[str, str]:
    """A new Idempotency-Key header, with which the service executes a repeated request only once."""
    return {"Idempotency-Key": str(uuid4())}


def segment(reference: str) -> str:
    """An id or name as a segment of a path. Raises TypeError unless it is a string, and InvalidRequest for an empty one
    and for dots, with which the path would be that of another resource.
    """
    _check_text(reference)
    if reference in ("", ".", ".."):
        detail = f"{reference!r} is not an id or a name."
        raise InvalidRequest(status=422, code="invalid_request", title="Not sent", detail=detail)
    return quote(reference, safe="")


def segments(name: str) -> str:
    """A name with slashes as segments of a path. Raises the errors of `segment`."""
    _check_text(name)
    return "/".join(map(segment, name.split("/")))


def number_segment(number: int) -> str:
    """A version or an index as a segment of a path. Raises TypeError unless it is an integer."""
    try:
        return str(operator.index(number))
    except TypeError:
        raise TypeError(f"Expected an integer, not {number!r}.") from None


def version_number(version: int | None) -> int:
    """The version of a registered name to delete. Raises TypeError without one."""
    if version is None:
        raise TypeError("Name the version to delete, or pass the registered teacher or dataset itself.")
    return version


def _check_text(reference: object) -> None:
    if not isinstance(reference, str):
        raise TypeError(f"Expected a name, which is a string, not {type(reference).__name__}.")


def fits_in_path(reference: str) -> bool:
    """Whether a path can have the reference as one segment. Servers decode slashes and resolve dots. Raises TypeError
    unless the reference is a string.
    """
    _check_text(reference)
    return "/" not in reference and reference not in ("", ".", "..")


def only_id(ids: Sequence[str], kind: str, name: str) -> str:
    """The id of the only job or study with this name. Raises NotFound or Conflict, as the service does."""
    if not ids:
        detail = f"No {kind} has the id, id prefix or name {name!r}."
        raise NotFound(status=404, code=f"{kind}_not_found", title="Not Found", detail=detail)
    if len(ids) > 1:
        detail = f"{name!r} matches more than one {kind}: {', '.join(ids[:5])}. Use a full id."
        raise Conflict(status=409, code=f"ambiguous_{kind}", title="Conflict", detail=detail)
    return ids[0]


def without_redirect(path: str) -> str:
    """The path of a file with `redirect=false`: the service sends the bytes itself."""
    return f"{path}{'&' if '?' in path else '?'}redirect=false"


def json_body(body: Any) -> Any:
    """The body with types of JSON: scalars and arrays without dimensions of NumPy and PyTorch as numbers, paths as
    strings. Raises InvalidRequest for NaN and infinity, which JSON cannot represent, and TypeError for other types,
    with their field.
    """
    infinite: list[str] = []
    converted = _as_json(body, "", infinite)
    if infinite:
        errors = tuple(FieldError(pointer, "Input should be a finite number") for pointer in infinite)
        detail = "A request cannot contain NaN or infinity."
        raise InvalidRequest(status=422, code="invalid_request", title="Not sent", detail=detail, errors=errors)
    return converted


def _as_json(value: Any, pointer: str, infinite: list[str]) -> Any:
    """The value with types of JSON. Adds the pointers of numbers that are not finite to `infinite`."""
    found = _scalar(value)
    match found:
        case float() if not math.isfinite(found):
            infinite.append(pointer)
        case None | str() | int() | float():
            pass
        case os.PathLike():
            return os.fsdecode(found)
        case Mapping():
            return {
                _as_key(name, pointer): _as_json(part, f"{pointer}/{_escaped(name)}", infinite)
                for name, part in found.items()
            }
        case list() | tuple():
            return [_as_json(part, f"{pointer}/{index}", infinite) for index, part in enumerate(found)]
        case _:
            raise TypeError(f"{pointer or 'The body'}: JSON has no {_kind(value)}. {_advice(value)}")
    return found


def _scalar(value: Any) -> Any:
    """The Python number of a scalar, or of an array without dimensions, of NumPy, PyTorch and similar packages. Other
    values, and times, which would become nanoseconds, are returned unchanged.
    """
    if isinstance(value, str | int | float | None) or getattr(value, "shape", None) != ():
        return value
    item = getattr(value, "item", None)
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    number = value if item is None or kind in ("m", "M") else item()
    return number if isinstance(number, str | int | float) else value


def _as_key(name: Any, pointer: str) -> Any:
    found = _scalar(name)
    if not isinstance(found, str | int | float | None):
        raise TypeError(f"{pointer or 'The body'}: the keys of a JSON object are strings, not {_kind(name)}.")
    return found


def _escaped(name: Any) -> str:
    return str(name).replace("~", "~0").replace("/", "~1")


def _kind(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__name__}".removeprefix("builtins.")


def _advice(value: object) -> str:
    if getattr(value, "shape", ()) and hasattr(value, "tolist"):
        return "Convert it with .tolist()."
    if hasattr(value, "isoformat"):
        return "Convert it with .isoformat()."
    return "Convert it, for example with int(), str() or list()."


def is_repeatable(method: str, *, once: bool) -> bool:
    """Whether a request that the service may have received can be sent again."""
    return once or method in _IDEMPOTENT


def is_busy(response: httpx2.Response, *, once: bool) -> bool:
    """Whether the same request may succeed after a short wait."""
    # An earlier attempt with the same Idempotency-Key reached the service; its response was lost.
    in_flight = once and response.status_code == 409 and b'"request_in_flight"' in response.content
    return response.status_code in _RETRIED_STATUSES or in_flight


def retry_after(response: httpx2.Response) -> float | None:
    """The seconds in Retry-After, at most 60; None without the header."""
    try:
        seconds = float(response.headers["retry-after"])
    except (KeyError, ValueError):
        return None
    return None if math.isnan(seconds) else min(max(seconds, 0.0), _MAX_RETRY_AFTER)


def pause(first: float, attempt: int) -> float:
    """Seconds before the next attempt: exponential from `first`, at most 10, with jitter. `attempt` counts from 0."""
    return min(first * 2.0**attempt, 10.0) * random.uniform(0.75, 1.25)


def last_outcome(state: RetryCallState) -> Any:
    """Returns the last response or raises the last error, once all attempts are used."""
    assert state.outcome is not None
    return state.outcome.result()


def check(response: httpx2.Response) -> None:
    """Raises the ApiError for an error response. The body must have been read."""
    if not response.is_error:
        return
    try:
        problem = json.loads(response.content)
    except ValueError:
        problem = None
    # A proxy may return an error that is not a problem document.
    fields: dict[str, Any] = problem if isinstance(problem, dict) else {}
    errors = fields.get("errors")
    raise error_class(response.status_code)(
        status=response.status_code,
        code=str(fields.get("code", "http_error")),
        title=str(fields.get("title", response.reason_phrase)),
        detail=str(fields.get("detail", "")) or f"{response.status_code} {response.reason_phrase}",
        errors=tuple(
            FieldError(str(entry.get("pointer", "")), str(entry.get("detail", "")))
            for entry in (errors if isinstance(errors, list) else ())
            if isinstance(entry, dict)
        ),
        request_id=response.headers.get("x-request-id"),
    )


def check_source(response: httpx2.Response, path: str, *, media_type: str | None = None) -> None:
    """Raises UnexpectedResponse if a proxy or another program answered a request for `path`: for a redirect, a web
    page, and content of another type than `media_type`.
    """
    asked = str(response.request.url)
    if response.is_redirect:
        location = response.headers.get("location", "")
        target = location.partition("?")[0]
        if path and target != path and target.endswith(path):
            advice = f"Use {target.removesuffix(path)} as the URL of the service."
        else:
            advice = "Use the URL of the service itself. A proxy may require that you sign in."
        raise UnexpectedResponse(f"{asked} redirects to {location}. {advice}")
    found = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if found == "text/html" or (media_type is not None and found != media_type):
        what = "a web page" if found == "text/html" else found or "no content"
        raise UnexpectedResponse(
            f"{asked} answered with {what} instead of {media_type or 'data'}: the URL is not that of this service, "
            "or a proxy answered."
        )


def without_none(params: Params | None) -> dict[str, str | int | list[str]]:
    """The parameters that are not None."""
    return {name: value for name, value in (params or {}).items() if value is not None}


def content_size(response: httpx2.Response) -> int | None:
    """The size in bytes of the whole content, even if the response has a part of it. None if it is not known."""
    if response.status_code == 206:
        total = response.headers.get("content-range", "").rpartition("/")[2]
    elif "content-encoding" in response.headers:
        # A proxy compressed it: Content-Length is the compressed size.
        return None
    else:
        total = response.headers.get("content-length", "")
    return int(total) if total.isdecimal() else None


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
