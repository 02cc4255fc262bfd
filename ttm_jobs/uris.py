"""URIs in a spec: upload:ID, job:ID (its student), file:// under an allowed root, https:// of an allowed host, s3://,
gs:// and az:// of an allowed bucket, timm:NAME, hf:OWNER/REPO and hf://datasets/OWNER/NAME. All others are rejected.
"""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from ttm_jobs.errors import UriNotAllowed

_ID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_UPLOAD = re.compile(rf"upload:({_ID})")
_JOB = re.compile(rf"job:({_ID})")
_TIMM = re.compile(r"timm:([a-z0-9][a-z0-9_]{0,99}(?:\.[a-z0-9_]{1,99})?)")
_HF_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*"
_HF = re.compile(rf"hf:(?=[^@]{{1,96}}(?:@|$))({_HF_NAME}/{_HF_NAME})(?:@([A-Za-z0-9][A-Za-z0-9_.-]{{0,99}}))?")
_HF_DATASET = re.compile(
    rf"hf://datasets/({_HF_NAME}/{_HF_NAME})(?:@([A-Za-z0-9][A-Za-z0-9_.-]{{0,99}}))?(?:/([^?#@\\%\x00-\x1f\x7f]{{0,1024}}))?"
)
# One spelling of a path: no host, user, query, fragment or chained scheme, and no character that another parser could
# interpret as one of them.
_FILE = re.compile(r"file://(/[^?#\\\x00-\x1f\x7f]*)")
_HTTP = re.compile(
    r"(https?)://([a-z0-9.-]{1,253}|\[[0-9a-f:]{2,39}\])(?::([1-9][0-9]{0,4}))?"
    r"((?:/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?(?:\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?)(?:#sha256=([0-9a-f]{64}))?"
)
_BUCKET = re.compile(r"([a-z0-9]+)://([^/]+)/([^?#\\%\x00-\x1f\x7f]{0,1024})")
BucketScheme = Literal["s3", "gs", "az"]
# Names of buckets, and of containers at Azure, by the providers' rules.
_BUCKET_NAMES: dict[BucketScheme, re.Pattern[str]] = {
    "s3": re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"),
    "gs": re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]"),
    "az": re.compile(r"(?=.{3,63}$)[a-z0-9]+(?:-[a-z0-9]+)*"),
}
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")


@dataclass(frozen=True)
class UploadUri:
    upload_id: str


@dataclass(frozen=True)
class JobUri:
    """The student of a successful job."""

    job_id: str


@dataclass(frozen=True)
class FileUri:
    """An absolute path, not yet resolved."""

    path: str


@dataclass(frozen=True)
class HttpUri:
    """A file on another host. `target` is its path and query; `sha256` is the required hash, if given."""

    scheme: Literal["http", "https"]
    host: str
    port: int
    target: str
    sha256: str | None

    @property
    def origin(self) -> str:
        """Scheme, host and port, without the scheme's default port."""
        is_default = self.port == (443 if self.scheme == "https" else 80)
        return f"{self.scheme}://{self.host}" + ("" if is_default else f":{self.port}")

    @property
    def url(self) -> str:
        """The URL without its fragment."""
        return self.origin + self.target


@dataclass(frozen=True)
class BucketUri:
    """An object, or all objects under a prefix if the key is empty or ends with a slash.

    Args:
        scheme: Amazon S3 (s3), Google Cloud Storage (gs) or Azure Blob Storage (az).
        bucket: name of the bucket; at Azure, of the container in the worker's account.
        key: name of the object, or the prefix.
    """

    scheme: BucketScheme
    bucket: str
    key: str

    @property
    def root(self) -> str:
        """The URI of the bucket without a slash at the end."""
        return f"{self.scheme}://{self.bucket}"

    @property
    def is_prefix(self) -> bool:
        return self.key == "" or self.key.endswith("/")


@dataclass(frozen=True)
class TimmUri:
    """Published weights of a timm model."""

    name: str


@dataclass(frozen=True)
class HfUri:
    """A model repository on the Hugging Face Hub, at a branch, tag or commit if given."""

    repository: str
    revision: str | None


@dataclass(frozen=True)
class HfDatasetUri:
    """A dataset repository on the Hugging Face Hub, at a branch, tag or commit if given. `path` is a file of it, a
    folder with a slash at the end, or empty for all files.
    """

    repository: str
    revision: str | None
    path: str

    @property
    def text(self) -> str:
        """The URI."""
        at = f"@{self.revision}" if self.revision else ""
        return f"hf://datasets/{self.repository}{at}" + (f"/{self.path}" if self.path else "")

    @property
    def is_folder(self) -> bool:
        return self.path == "" or self.path.endswith("/")


Uri = UploadUri | JobUri | FileUri | HttpUri | BucketUri | TimmUri | HfUri | HfDatasetUri


def uploads_in(text: str) -> set[str]:
    """The ids of all uploads in a text, for example the JSON of a spec."""
    return set(_UPLOAD.findall(text))


def parse_uri(uri: str) -> Uri:
    """Parses a URI. Raises UriNotAllowed for any other text."""
    if (match := _UPLOAD.fullmatch(uri)) is not None:
        return UploadUri(match[1])
    if (match := _JOB.fullmatch(uri)) is not None:
        return JobUri(match[1])
    if (match := _TIMM.fullmatch(uri)) is not None:
        return TimmUri(match[1])
    if (match := _HF.fullmatch(uri)) is not None:
        return HfUri(match[1], match[2])
    parsed = _file(uri) or _http(uri) or _bucket(uri) or _hf_dataset(uri)
    if parsed is None:
        raise UriNotAllowed(
            "A URI is upload:ID, job:ID, timm:NAME, hf:OWNER/REPO, hf://datasets/OWNER/NAME, file:///PATH in an "
            "allowed folder, https://HOST/PATH of an allowed host, or s3://BUCKET/KEY, gs://BUCKET/KEY or "
            "az://CONTAINER/KEY of an allowed bucket."
        )
    return parsed


def local_path(uri: FileUri, roots: Sequence[Path]) -> Path:
    """Returns the resolved path if it exists under one of the roots. Raises UriNotAllowed otherwise, with the same
    message whether the path exists or not.
    """
    try:
        real = Path(uri.path).resolve(strict=True)
    except (OSError, RuntimeError):
        real = None
    if real is None or not any(real.is_relative_to(root.resolve()) for root in roots):
        raise UriNotAllowed("The path does not exist or is outside the allowed folders.")
    return real


def check_origin(uri: HttpUri, allowed: Sequence[str]) -> None:
    """Raises UriNotAllowed unless the scheme, host and port are allowed."""
    if uri.origin not in allowed:
        raise UriNotAllowed(f"{uri.origin} is not an allowed host.")


def check_bucket(uri: BucketUri, allowed: Sequence[str]) -> None:
    """Raises UriNotAllowed unless the bucket is allowed. `allowed` has names of S3 buckets, gs://BUCKET and
    az://CONTAINER: equal names at two providers are different buckets.
    """
    if (uri.bucket if uri.scheme == "s3" else uri.root) not in allowed:
        raise UriNotAllowed(f"{uri.root} is not an allowed bucket.")


def parse_origin(text: str) -> str:
    """Normalizes an origin to the form of `HttpUri.origin`. Raises ValueError."""
    parsed = _http(text)
    if parsed is None or parsed.target != "/" or parsed.sha256 is not None:
        raise ValueError(f"{text!r} is not https://HOST, https://HOST:PORT or the same with http")
    return parsed.origin


def _file(uri: str) -> FileUri | None:
    match = _FILE.fullmatch(uri)
    if match is None or urlsplit(uri).netloc != "" or not _plain_escapes(match[1]):
        return None
    return FileUri(unquote(match[1]))


def _http(uri: str) -> HttpUri | None:
    match = _HTTP.fullmatch(uri)
    if match is None or not _is_host(match[2]) or not _plain_escapes(match[4]):
        return None
    scheme: Literal["http", "https"] = "https" if match[1] == "https" else "http"
    port = int(match[3]) if match[3] else (443 if scheme == "https" else 80)
    target = match[4] if match[4].startswith("/") else "/" + match[4]
    return HttpUri(scheme, match[2], port, target, match[5]) if port < 65_536 else None


def _bucket(uri: str) -> BucketUri | None:
    match = _BUCKET.fullmatch(uri)
    if match is None or "::" in match[3]:
        return None
    parts = match[3].removesuffix("/").split("/") if match[3] else []
    if any(part in ("", ".", "..") for part in parts):
        return None
    for scheme, names in _BUCKET_NAMES.items():
        if match[1] == scheme and names.fullmatch(match[2]):
            return BucketUri(scheme, match[2], match[3])
    return None


def _hf_dataset(uri: str) -> HfDatasetUri | None:
    match = _HF_DATASET.fullmatch(uri)
    if match is None or len(match[1]) > 96 or "::" in (match[3] or ""):
        return None
    path = match[3] or ""
    parts = path.removesuffix("/").split("/") if path else []
    return None if any(part in ("", ".", "..") for part in parts) else HfDatasetUri(match[1], match[2], path)


def _is_host(host: str) -> bool:
    """Whether this is a host name, or an IP address in canonical form (not 2130706433, 0x7f.1 or 0177.0.0.1)."""
    if host.startswith("["):
        try:
            return str(ipaddress.IPv6Address(host[1:-1])) == host[1:-1]
        except ValueError:
            return False
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return str(ipaddress.IPv4Address(host)) == host
        except ValueError:
            return False
    return all(_LABEL.fullmatch(label) for label in labels)


def _plain_escapes(text: str) -> bool:
    """Whether all escapes are valid UTF-8 without slashes and control characters, and no scheme is chained."""
    if text.count("%") != len(_ESCAPE.findall(text)) or "::" in text:
        return False
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        return False
    escaped = {escape.lower() for escape in _ESCAPE.findall(text)}
    return not {"%2f", "%5c"} & escaped and not any(ord(char) < 32 or ord(char) == 127 for char in decoded)


# Prefixes of IPv6 addresses that embed an IPv4 address (RFC 6052, RFC 8215).
_TRANSLATED = [ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48")]

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_public(address: str) -> bool:
    """Whether an IP address, or the one embedded in it, is public. Raises ValueError for other text."""
    ip: IpAddress = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        within = ip.ipv4_mapped or ip.sixtofour
        if within is None and ip in _TRANSLATED[0]:
            within = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if within is not None:
            return is_public(str(within))
        if ip in _TRANSLATED[1] or ip.teredo is not None or ip.is_site_local:
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved and not ip.is_unspecified


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to a host name or IP address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
