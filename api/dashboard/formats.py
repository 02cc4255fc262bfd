"""How numbers and times are written on pages."""

import json
import shlex
from datetime import datetime
from functools import cache
from typing import Any

from markupsafe import Markup, escape

from ttm_core.spec import catalogue

_NONE = "\N{EN DASH}"


def percent(share: float | None) -> str:
    """A share in [0, 1] with two decimals of a percent."""
    return _NONE if share is None else f"{share:.2%}"


def size(count: int) -> str:
    """Bytes in the largest unit that leaves at least 1."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


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


def moment(at: datetime | None) -> Markup:
    """A time element in UTC; a module writes it in the reader's zone."""
    if at is None:
        return Markup(_NONE)
    return Markup('<time datetime="{}">{}</time>').format(at.isoformat(), f"{at:%Y-%m-%d %H:%M:%S} UTC")


def short(address: str) -> str:
    """An address with only the end of its id; anything else as it is."""
    kind, colon, rest = address.partition(":")
    return f"{kind} \N{HORIZONTAL ELLIPSIS}{rest[-6:]}" if colon and kind in ("upload", "job") else address


def count(number: int | None) -> str:
    """A number of parameters or MACs with three digits and its unit: 11.7 M."""
    if number is None:
        return _NONE
    value = float(number)
    for unit in ("", " k", " M", " G"):
        if value < 999.5:
            return f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:.3g} T"


def ratio(value: float | None) -> str:
    """How many times smaller."""
    return _NONE if value is None else f"{value:.3g}\N{MULTIPLICATION SIGN}"


def shell(text: str) -> str:
    """A word of a shell's line."""
    return shlex.quote(text)


def words(name: str) -> str:
    """A code or a phase as people write it."""
    return name.replace("_", " ")


def tail(address: str) -> str:
    """The last part of an address, which tells datasets apart."""
    return short(address) if address.startswith(("upload:", "job:")) else address.rstrip("/").rpartition("/")[2]


def pretty_json(value: Any) -> str:
    """Indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def prose(text: str) -> Markup:
    """Plain text in which `words` between backticks are code."""
    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else escape(part) for index, part in enumerate(parts)
    )


def parameters(architectures: str | None) -> int | None:
    """Parameters of an architecture, or of several written `a + b`, with default classes; None where one is unknown."""
    if architectures is None:
        return None
    # Not `catalogue.find`: a teacher is an address until it is loaded, and that would seek the names nearest to it.
    counts = [_counts().get(name.partition(".")[0]) for name in architectures.split(" + ")]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def compression(teacher: str | None, student: str) -> float | None:
    """Parameters of the teacher over those of the student; None while the teacher's architecture is not known."""
    large, small = parameters(teacher), parameters(student)
    return large / small if large and small else None


@cache
def _counts() -> dict[str, int]:
    return {row.name: row.parameters for row in catalogue.all()}
