import io
import struct

import numpy as np
import pytest
from PIL import Image

from ttm_core.data.encoded.decoding import decode

_PIXELS = np.arange(32 * 32, dtype=np.uint8).reshape(32, 32)
_FORMATS = {
    "little-endian": ("<", b"II*\0", "I", "HHI", "I"),
    "big-endian": (">", b"MM\0*", "I", "HHI", "I"),
    # Pillow reads no big-endian BigTIFF.
    "BigTIFF": ("<", b"II+\0\x08\0\0\0", "Q", "HHQ", "Q"),
}


def tiled(name: str, side: int, *, kind: int = 4, entries: int | None = None) -> bytes:
    """An image of 32 x 32 pixels in one tile of `side` x `side`; the tile's size has the type `kind`."""
    order, header, number, head, value = _FORMATS[name]
    count = "H" if number == "I" else "Q"
    sizes = {256: 32, 257: 32, 258: 8, 259: 1, 262: 1, 277: 1, 322: side, 323: side, 324: 0, 325: 32 * 32}
    at = len(header) + struct.calcsize(f"<{number}")
    data = (
        at
        + struct.calcsize(f"<{count}")
        + len(sizes) * struct.calcsize(f"<{head}{value}")
        + struct.calcsize(f"<{number}")
    )
    sizes[324] = data
    rows = [
        struct.pack(f"{order}{head}", tag, kind if tag in (322, 323) else 4, 1)
        + (struct.pack(f"{order}H", each) if kind == 3 and tag in (322, 323) else struct.pack(f"{order}I", each)).ljust(
            struct.calcsize(f"<{value}"), b"\0"
        )
        for tag, each in sizes.items()
    ]
    directory = struct.pack(f"{order}{count}", len(rows) if entries is None else entries) + b"".join(rows)
    return (
        header
        + struct.pack(f"{order}{number}", at)
        + directory
        + struct.pack(f"{order}{number}", 0)
        + _PIXELS.tobytes()
    )


@pytest.mark.parametrize("kind", [3, 4])
@pytest.mark.parametrize("name", _FORMATS)
def test_tiles_are_decoded(name: str, kind: int) -> None:
    assert np.array_equal(np.asarray(decode(tiled(name, 32, kind=kind), 1)), _PIXELS)


@pytest.mark.parametrize("kind", [3, 4])
@pytest.mark.parametrize("name", _FORMATS)
def test_tile_larger_than_the_limit_is_refused(name: str, kind: int) -> None:
    with pytest.raises(ValueError, match="a tile of the image has more than 100000000 pixels"):
        decode(tiled(name, 65_520, kind=kind), 1)


def test_damaged_directories_are_refused() -> None:
    with pytest.raises((OSError, ValueError)):
        decode(tiled("BigTIFF", 32, entries=2**40), 1)
    with pytest.raises(ValueError, match="not an integer"):
        decode(tiled("little-endian", 32, kind=16), 1)


@pytest.mark.parametrize("compression", ["raw", "tiff_adobe_deflate", "tiff_lzw"])
def test_strips_are_decoded(compression: str) -> None:
    file = io.BytesIO()
    Image.fromarray(_PIXELS).save(file, "tiff", compression=compression)
    assert np.array_equal(np.asarray(decode(file.getvalue(), 1)), _PIXELS)
