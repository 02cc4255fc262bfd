"""Text from the service on a terminal: names and messages are written by other users."""

import re
from typing import Any

from rich.console import Console

# C0 except tab and newline, C1 (U+009B starts an escape sequence), and characters that change the direction of text.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def neutralized(text: str) -> str:
    """The text with control characters written as escapes, such as `\\x9b` and `\\u202e`."""
    return _UNSAFE.sub(lambda match: ascii(match[0])[1:-1], text)


def json_escaped(document: str) -> str:
    """A JSON document with the same characters as JSON escapes. It has the same value."""
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", document)


class SafeConsole(Console):
    """A console that neutralizes the strings that it prints."""

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*(neutralized(each) if isinstance(each, str) else each for each in objects), **options)
