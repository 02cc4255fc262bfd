"""The headers of encoded images, which are read before memory for their pixels is allocated.

Imports no NumPy, because a reader process reads the headers of every dataset.
"""

import io
import struct
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from ttm_core.data.encoded.jpeg import MAX_SCANS, has_many_scans
from ttm_core.data.encoded.tiff import tile_pixels

# 100 megapixels are 300 MB decoded; a larger image is treated as a decompression bomb.
MAX_PIXELS = 100_000_000
# A second of decoding in Python, during which other threads wait.
_MAX_SCALED_PIXELS = 1_000_000
WIDE_MODES = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N", "F"})
_GRAY_MODES = {"1", "L", "LA", *WIDE_MODES}

# Raster formats only, whatever the file name: Pillow would pass EPS files, which are programs, to Ghostscript.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")

Source = Path | bytes
"""An encoded image: a file or bytes."""

RECORD = struct.Struct("<32sii?160s")
"""What a reader process writes for each image: SHA-256, width, height, whether it is gray, and why it is unreadable."""


@dataclass(frozen=True)
class Header:
    """Size in pixels, and whether the image has one channel."""

    width: int
    height: int
    gray: bool


def opened(source: Source) -> Image.Image:
    """Opens an image and reads its header only.

    Raises:
        OSError: its format is not one of `FORMATS`.
        ValueError: it is a PPM file of decimal numbers, because Pillow needs quadratic time for comments, or a large
            one of other numbers than bytes, which Pillow decodes in Python.
    """
    image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS)
    if any(tile.codec_name == "ppm_plain" for tile in image.tile):
        image.close()
        raise ValueError("PPM files of decimal numbers (P1, P2, P3) are not supported; save the image as PNG")
    if any(tile.codec_name == "ppm" for tile in image.tile) and image.width * image.height > _MAX_SCALED_PIXELS:
        image.close()
        raise ValueError(
            f"PPM files with values from 0 to other than 255 have at most {_MAX_SCALED_PIXELS:,} pixels; save as PNG"
        )
    return image


def read_header(source: Source) -> Header:
    """The header of an image.

    Raises:
        OSError: it is not an image.
        ValueError: the image or one of its tiles has too many pixels, or it has too many scans.
    """
    with opened(source) as image:
        decoded_pixels(image)
        if image.format in ("JPEG", "MPO"):
            content = source if isinstance(source, bytes) else source.read_bytes()
            if has_many_scans(content):
                raise ValueError(f"the JPEG image has more than {MAX_SCANS} scans")
        return Header(image.width, image.height, image.mode in _GRAY_MODES)


def decoded_pixels(image: Image.Image) -> int:
    """The pixels for which decoding allocates memory. Raises ValueError if they are too many."""
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"the image has {image.width} x {image.height} pixels, more than {MAX_PIXELS}")
    pixels = max(image.width * image.height, _tile_pixels(image))
    if pixels > MAX_PIXELS:
        raise ValueError(f"a tile of the image has more than {MAX_PIXELS} pixels")
    return pixels


def _tile_pixels(image: Image.Image) -> int:
    """The pixels that the decoder keeps for one tile, which may be larger than the image."""
    if not isinstance(image, TiffImageFile):
        return 0
    file = image.fp
    assert file is not None, "the image is not loaded yet"
    position = file.tell()
    try:
        return tile_pixels(file)
    finally:
        file.seek(position)
