"""The tiles of a TIFF file, which libtiff decodes whole, whatever the size of the image."""

import struct
from typing import IO

_TILE_WIDTH, _TILE_LENGTH = 322, 323
# The sizes of the integer types in bytes; libtiff accepts no other type for a tile's size.
_INTEGERS = {1: 1, 3: 2, 4: 4, 6: 1, 8: 2, 9: 4, 16: 8, 17: 8}
_MAX_ENTRIES = 65_535


def tile_pixels(file: IO[bytes]) -> int:
    """The pixels of a tile of the first image; 0 for an image in strips.

    Where a directory repeats an entry, Pillow and libtiff disagree on the one that counts, so the largest does.

    Raises:
        ValueError: the directory is damaged.
    """
    file.seek(0)
    try:
        sizes = _tile_sizes(file)
    except struct.error as error:
        raise ValueError("the directory of the TIFF file is cut") from error
    return sizes[_TILE_WIDTH] * sizes[_TILE_LENGTH]


def _tile_sizes(file: IO[bytes]) -> dict[int, int]:
    header = file.read(16)
    order = "<" if header[:2] == b"II" else ">"
    is_big = 43 in header[2:4]
    (offset,) = struct.unpack_from(f"{order}Q" if is_big else f"{order}I", header, 8 if is_big else 4)
    file.seek(offset)
    (count,) = struct.unpack(f"{order}Q" if is_big else f"{order}H", file.read(8 if is_big else 2))
    if count > _MAX_ENTRIES:
        raise ValueError(f"the directory of the TIFF file has {count} entries")
    entry = struct.Struct(f"{order}HHQ8s" if is_big else f"{order}HHI4s")
    sizes = {_TILE_WIDTH: 0, _TILE_LENGTH: 0}
    for _ in range(count):
        tag, kind, _values, value = entry.unpack(file.read(entry.size))
        if tag not in sizes:
            continue
        length = _INTEGERS.get(kind, 0)
        if length == 0 or length > len(value):
            raise ValueError("the tile size of the TIFF file is not an integer")
        sizes[tag] = max(sizes[tag], int.from_bytes(value[:length], "little" if order == "<" else "big"))
    return sizes
