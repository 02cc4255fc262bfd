"""Lists in sentences."""

from collections.abc import Sequence


def listed(words: Sequence[str]) -> str:
    """Words as a part of a sentence: a, b and c."""
    *first, last = words or [""]
    return f"{', '.join(first)} and {last}" if first else last
