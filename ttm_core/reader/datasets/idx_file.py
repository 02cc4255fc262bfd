"""Reads IDX files of unsigned bytes."""

import gzip
import math
import struct
import zlib
from pathlib import Path

from ttm_core.data.archives.unpack import Limits
from ttm_core.errors import BadDataset

_UBYTE = 0x08
# Published IDX files are far smaller; a header that claims more is damaged or hostile.
_MAX_BYTES = 16 * 2**30
_COPY_BYTES = 2**20


def max_bytes(path: Path) -> int:
    """The bytes that a file may contain."""
    return min(Limits().budget(path.stat().st_size), _MAX_BYTES)


def convert(files: list[Path], target: Path) -> list[list[int]]:
    """Copies the elements of each file to `<its name>.bytes` in a folder. Returns the shapes.

    Raises:
        BadDataset: a file is damaged, or claims or contains too many bytes.
    """
    return [_convert(path, target / f"{path.name}.bytes") for path in files]


def _convert(path: Path, target: Path) -> list[int]:
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as stream:
            zeros, kind, dimensions = struct.unpack(">HBB", stream.read(4))
            if zeros != 0 or kind != _UBYTE or not 1 <= dimensions <= 4:
                raise BadDataset(f"{path.name} is not an IDX file of unsigned bytes.")
            shape = struct.unpack(f">{dimensions}I", stream.read(4 * dimensions))
            size, limit = math.prod(shape), max_bytes(path)
            if size > limit:
                raise BadDataset(f"{path.name} claims {size:,} bytes in its header; the limit is {limit:,}.")
            left = size
            with target.open("wb") as out:
                while chunk := stream.read(min(_COPY_BYTES, left + 1)):
                    left -= len(chunk)
                    if left < 0:
                        break
                    out.write(chunk)
    except (struct.error, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise BadDataset(f"{path.name} cannot be read: {error}") from error
    if left:
        raise BadDataset(f"{path.name} contains {'more' if left < 0 else 'fewer'} bytes than its header states.")
    return list(shape)
