"""Wrapping of paragraphs."""

import textwrap

_WIDTH = 120


def wrapped(text: str, indent: str = "") -> str:
    """A paragraph in lines of at most 120 characters; later lines start with `indent`."""
    filled = textwrap.fill(text, _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return f"{filled}\n"
