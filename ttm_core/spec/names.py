"""Rules for names: of runs, of classes, and of files in archives and remote folders."""

import re
import unicodedata
from collections.abc import Collection

from ttm_core.errors import BadDataset, UserError

_MAX_NAME, _MAX_NAMES = 256, 2**21
# Unicode's categories of separators, control and format characters.
_INVISIBLE = ("Zs", "Zl", "Zp", "Cc", "Cf")
# Control characters, separators of lines and paragraphs, overrides of the writing direction, and lone surrogates. They
# change what a terminal, a log or a report shows next to them. Other invisible characters, such as joiners and marks of
# the writing direction, are part of writing.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def is_invisible(text: str) -> bool:
    """Whether a text has no visible character."""
    return all(unicodedata.category(character) in _INVISIBLE for character in text)


def has_unsafe_characters(name: str) -> bool:
    """Whether a name has control characters, line ends, overrides of the writing direction or lone surrogates."""
    return _UNSAFE.search(name) is not None


def read_class_names(content: bytes, file: str) -> list[str]:
    """The names in a text file with one name per line, without spaces around them. Lines end with LF or CR LF.

    Raises:
        BadDataset: it is not UTF-8.
    """
    try:
        names = [line.strip(" \t\r") for line in content.decode("utf-8-sig").split("\n")]
    except UnicodeDecodeError as error:
        raise BadDataset(f"{file} is not a UTF-8 text file.") from error
    while names and not names[-1]:
        names.pop()
    return names


def check_class_names(names: Collection[str], error: type[UserError] = BadDataset) -> None:
    """Raises `error` if class names are too long, have unsafe characters or no visible ones.

    Reports, metadata of students, logs and the dashboard contain all of them.
    """
    for name in names:
        if len(name) > _MAX_NAME:
            raise error(f"The class name {name[:40]!a}... has {len(name):,} characters; the limit is {_MAX_NAME}.")
        if is_invisible(name):
            raise error(f"The class name {name!a} has no visible character. Rename the class.")
        if has_unsafe_characters(name):
            raise error(
                f"The class name {name!a} has a control character, a line end or an override of the writing direction. "
                "Rename the class."
            )
    if sum(map(len, names)) > _MAX_NAMES:
        raise error(f"The class names have more than {_MAX_NAMES:,} characters together.")
