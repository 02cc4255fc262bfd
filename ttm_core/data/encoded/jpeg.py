"""Counts the scans of a JPEG file. The decoder processes all pixels again in each scan."""

import re

# A progressive JPEG has about ten. libvips has the same limit.
MAX_SCANS = 100
_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])", re.DOTALL)
_END, _SCAN = 0xD9, 0xDA


def has_many_scans(content: bytes) -> bool:
    """Returns whether the first image of a JPEG file has more than `MAX_SCANS` scans."""
    if content.count(b"\xff\xda") <= MAX_SCANS:  # much faster; other data may contain these bytes too
        return False
    at, scans = 2, 0
    while (marker := _MARKER.search(content, at)) is not None and marker[1][0] != _END:
        scans += marker[1][0] == _SCAN
        if scans > MAX_SCANS:
            return True
        at = marker.end() + int.from_bytes(content[marker.end() : marker.end() + 2], "big")
    return False
