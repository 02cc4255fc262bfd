"""Decodes untrusted images with a bound on the memory of all threads together."""

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from ttm_core.data.encoded.tiff import tile_pixels

# 100 megapixels are 300 MB decoded; a larger image is treated as a decompression bomb.
MAX_PIXELS = 100_000_000
_WIDE_MODES = {"I", "I;16", "I;16B", "I;16L", "I;16N", "F"}
_GRAY_MODES = {"1", "L", "LA", *_WIDE_MODES}

# Raster formats only, whatever the file name: Pillow would pass EPS files, which are programs, to Ghostscript.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")

# Memory of all images that are decoded at the same time. A larger image is decoded alone.
_MAX_DECODING_BYTES = 2**29
# Pillow stores RGB in four bytes. A progressive JPEG also keeps its coefficients, in six, and a WebP animation further
# canvases.
_BYTES_PER_PIXEL = 16
_STRIP_PIXELS = 2**20

Source = Path | bytes
"""An encoded image: a file or bytes."""


class _Budget:
    """Bytes that threads share. A thread that needs more than all of it waits until it is alone."""

    def __init__(self, total: int) -> None:
        self._total = self._left = total
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, amount: int) -> Iterator[None]:
        amount = min(amount, self._total)
        with self._changed:
            self._changed.wait_for(lambda: self._left >= amount)
            self._left -= amount
        try:
            yield
        finally:
            with self._changed:
                self._left += amount
                self._changed.notify_all()


_budget = _Budget(_MAX_DECODING_BYTES)


def opened(source: Source) -> Image.Image:
    """Opens an image and reads its header only. Raises OSError if its format is not one of `FORMATS`."""
    return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS)


def decode(source: Source, channels: int) -> Image.Image:
    """Decodes an image to mode "L" or "RGB". Raises OSError or ValueError if it is unreadable."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # unusual EXIF blocks and palettes do not affect the pixels
        with opened(source) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"the image has {image.width} x {image.height} pixels, more than {MAX_PIXELS}")
            pixels = max(image.width * image.height, _tile_pixels(image))
            if pixels > MAX_PIXELS:
                raise ValueError(f"a tile of the image has more than {MAX_PIXELS} pixels")
            with _budget.taken(pixels * _BYTES_PER_PIXEL):
                return _convert(image, "L" if channels == 1 else "RGB")


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


def center_square(image: Image.Image, size: int) -> Image.Image:
    """Resizes the center square to `size` pixels in one resampling."""
    side = min(image.width, image.height)
    left, upper = (image.width - side) / 2, (image.height - side) / 2
    return image.resize((size, size), Image.Resampling.BICUBIC, box=(left, upper, left + side, upper + side))


def is_gray(image: Image.Image) -> bool:
    """Whether the image has one channel."""
    return image.mode in _GRAY_MODES


def _convert(image: Image.Image, mode: str) -> Image.Image:
    if image.mode in _WIDE_MODES:
        image = _to_8_bits(image)
    if image.mode != mode:
        return image.convert(mode)
    image.load()
    return image


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Scales 16-bit gray to 8 bits, where Pillow would clip at 255. 32-bit images may contain 8-bit or 16-bit values.

    Converts strips of rows, because float64 needs eight bytes per pixel.
    """
    image.load()
    rows = max(_STRIP_PIXELS // image.width, 1)
    boxes = [(0, top, image.width, min(top + rows, image.height)) for top in range(0, image.height, rows)]
    is_16_bit = image.mode.startswith("I;16") or any(np.asarray(image.crop(box)).max(initial=0) > 255 for box in boxes)
    out = np.empty((image.height, image.width), np.uint8)
    for box in boxes:
        wide = np.asarray(image.crop(box), dtype=np.float64)
        out[box[1] : box[3]] = np.clip(np.rint(wide / 257 if is_16_bit else wide), 0, 255).astype(np.uint8)
    return Image.fromarray(out)
