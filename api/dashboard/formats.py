"""Formatting of numbers, times and names on the pages."""

import json
import shlex
from datetime import datetime
from typing import Any

from markupsafe import Markup, escape

from ttm_core.spec.speed.verdict import PRECISION_NAMES

_NONE = "\N{EN DASH}"


def percent(share: float | None, decimals: int = 2) -> str:
    """A share in [0, 1] as a percentage."""
    return _NONE if share is None else f"{share:.{decimals}%}"


def points(value: float | None) -> str:
    """A difference in percentage points with its sign: -1.25."""
    return _NONE if value is None else f"{value:+.2f}"


def against_teacher(change: float | None) -> str:
    """An accuracy change in percentage points in words: "1.3 points below the teacher"."""
    if change is None:
        return _NONE
    if abs(change) < 0.05:
        return "as accurate as the teacher"
    return f"{abs(change):.1f} points {'above' if change > 0 else 'below'} the teacher"


def size(count: float) -> str:
    """Bytes in decimal units with three significant digits, as in the limits of studies: 1.5 MB."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def duration(seconds: float | None) -> str:
    """Seconds as 12 s, 3 min 05 s, or 2 h 07 min."""
    if seconds is None:
        return _NONE
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def milliseconds(value: float | None) -> str:
    """Milliseconds with three significant digits."""
    return _NONE if value is None else f"{value:,.0f} ms" if value >= 100 else f"{value:.3g} ms"


def timestamp(at: datetime | None) -> Markup:
    """A <time> element in UTC. live.js rewrites it in the browser's time zone."""
    return _time(at, Markup('<time datetime="{}">{}</time>'))


def ago(at: datetime | None) -> Markup:
    """A <time> element that live.js rewrites as an age; the exact time is its title."""
    return _time(at, Markup('<time data-age datetime="{}">{}</time>'))


def _time(at: datetime | None, element: Markup) -> Markup:
    return Markup(_NONE) if at is None else element.format(at.isoformat(), f"{at:%Y-%m-%d %H:%M:%S} UTC")


def short(address: str) -> str:
    """An upload or job with only the end of its id, the last part of any other URI, and other text unchanged."""
    if "://" in address:
        return address.rstrip("/").rpartition("/")[2] or address
    kind, colon, rest = address.partition(":")
    return f"{kind} \N{HORIZONTAL ELLIPSIS}{rest[-6:]}" if colon and kind in ("upload", "job") else address


def count(number: int | None) -> str:
    """A number of parameters or MACs with three significant digits and a unit: 11.7 M."""
    if number is None:
        return _NONE
    value = float(number)
    for unit in ("", " k", " M", " G"):
        if value < 999.5:
            return f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:.3g} T"


def thousands(number: int) -> str:
    """An exact number with separators: 10,000."""
    return f"{number:,}"


def compression_text(ratio: float | None) -> str:
    """A compression ratio, teacher over student: "3.1× smaller" above 1, "larger" below."""
    if ratio is None:
        return _NONE
    written = f"{ratio:.1f}" if ratio < 9.95 else f"{ratio:,.0f}"
    if written == "1.0":
        return "same size"
    return f"{written}× smaller" if ratio > 1 else "larger"


def shell(text: str) -> str:
    """A word quoted for a shell."""
    return shlex.quote(text)


def precision_name(name: str) -> str:
    """The name of a file's precision on the pages, which is that of PyTorch: float32 for fp32."""
    return PRECISION_NAMES.get(name, name)


def humanize(name: str) -> str:
    """An error code or a phase with spaces in place of underscores."""
    return name.replace("_", " ")


def basename(address: str) -> str:
    """The last part of a URI."""
    return short(address) if address.startswith(("upload:", "job:")) else address.rstrip("/").rpartition("/")[2]


def pretty_json(value: Any) -> str:
    """Indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False)


_LINES, _CHARACTERS = 6, 500


def excerpt(text: str) -> str:
    """The first lines of a long text, with an ellipsis; a short text unchanged."""
    kept = "\n".join(text.splitlines()[:_LINES])[:_CHARACTERS].rstrip()
    return text if len(text.rstrip()) <= len(kept) else f"{kept} \N{HORIZONTAL ELLIPSIS}"


def prose(text: str) -> Markup:
    """Plain text, with words between backticks as <code>."""
    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else escape(part) for index, part in enumerate(parts)
    )
