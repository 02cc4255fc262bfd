"""Standard streams that are closed, or lack characters of the output in their encoding."""

import codecs
import io
import os
import sys
from contextlib import suppress

_HANDLER = "ttm"
# Characters that commands draw with. Each replacement has the same width, so that columns stay aligned.
_REPLACEMENTS = str.maketrans({"…": "~", "█": "#", "·": ".", "─": "-", "│": "|", "┤": "|", "└": "+", "×": "x"})
# How Python represents the bytes of file names that are not valid UTF-8.
_ESCAPED_BYTES = range(0xDC80, 0xDD00)


def prepare_streams() -> None:
    """Opens closed standard streams on the null device, and lets all of them write every character."""
    codecs.register_error(_HANDLER, _replaced)
    _open_closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def can_write(text: str) -> bool:
    """Whether standard output is UTF-8 and can write the text as it is."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return codecs.lookup(encoding).name == "utf-8"


def discard_output() -> None:
    """Discards what standard output has not written, which would fail again when the interpreter ends."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def _open_closed() -> None:
    """Without this, the next file or socket that the process opens is its standard output."""
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free descriptor: this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(descriptor, mode, encoding="utf-8", closefd=False))


def _replaced(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    after = error.start + 1
    if ord(character) in _ESCAPED_BYTES:
        return bytes([ord(character) - 0xDC00]), after
    replacement = character.translate(_REPLACEMENTS)
    return (replacement if replacement != character else ascii(character)[1:-1]), after
