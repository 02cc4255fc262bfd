"""Decodes untrusted images with a bound on the memory of all threads together."""

import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from PIL import Image

from ttm_core.data.encoded.headers import WIDE_MODES, Source, decoded_pixels, opened

# Memory of all images that are decoded at the same time. A larger image is decoded alone.
_MAX_DECODING_BYTES = 2**29
# Pillow stores RGB in four bytes. A progressive JPEG also keeps its coefficients, in six, and a WebP animation further
# canvases.
_BYTES_PER_PIXEL = 16
_STRIP_PIXELS = 2**20

Box = tuple[int, int, int, int]
"""(left, upper, right, lower) in pixels."""


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


def decode(source: Source, channels: int) -> Image.Image:
    """Decodes an image to mode "L" or "RGB". Raises OSError or ValueError if it is unreadable."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # unusual EXIF blocks and palettes do not affect the pixels
        with opened(source) as image, _budget.taken(decoded_pixels(image) * _BYTES_PER_PIXEL):
            return converted(image, channels)


def decode_box(source: Source, channels: int, box_of: Callable[[int, int], Box], size: int) -> Image.Image:
    """Decodes a part of an image that is to be resized to `size` pixels, to mode "L" or "RGB".

    `box_of` returns the part of an image of (width, height). A JPEG is decoded at a half, a quarter or an eighth of its
    size where the part keeps twice the pixels it is resized to: what is left out would be averaged away.

    Raises:
        OSError, ValueError: it is unreadable.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with opened(source) as image, _budget.taken(decoded_pixels(image) * _BYTES_PER_PIXEL):
            width, height = image.size
            left, upper, right, lower = box_of(width, height)
            reduction = min(right - left, lower - upper) // (2 * size)
            if reduction > 1:
                image.draft(None, (width // reduction, height // reduction))
            by = round(width / image.width)
            box = (round(left / by), round(upper / by), round(right / by), round(lower / by))
            return converted(image, channels).crop(box)


def center_square(image: Image.Image, size: int) -> Image.Image:
    """Resizes the center square to `size` pixels in one resampling."""
    side = min(image.width, image.height)
    left, upper = (image.width - side) / 2, (image.height - side) / 2
    return image.resize((size, size), Image.Resampling.BICUBIC, box=(left, upper, left + side, upper + side))


def converted(image: Image.Image, channels: int) -> Image.Image:
    """The image in mode "L" or "RGB". Raises ValueError if it has NaN or infinite values."""
    mode = "L" if channels == 1 else "RGB"
    if image.mode in WIDE_MODES:
        image = _to_8_bits(image)
    if image.mode != mode:
        return image.convert(mode)
    image.load()
    return image


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Scales wide gray to 8 bits, where Pillow would clip at 255. 32-bit images may contain 8-bit or 16-bit values, and
    those of floats also values from 0 to 1.

    Converts strips of rows, because float64 needs eight bytes per pixel.

    Raises:
        ValueError: it has NaN or infinite values.
    """
    image.load()
    rows = max(_STRIP_PIXELS // image.width, 1)
    boxes = [(0, top, image.width, min(top + rows, image.height)) for top in range(0, image.height, rows)]
    scale = 1 / 257 if image.mode.startswith("I;16") else _scale(image, boxes)
    out = np.empty((image.height, image.width), np.uint8)
    for box in boxes:
        wide = np.asarray(image.crop(box), dtype=np.float64)
        out[box[1] : box[3]] = np.clip(np.rint(wide * scale), 0, 255).astype(np.uint8)
    return Image.fromarray(out)


def _scale(image: Image.Image, boxes: Sequence[Box]) -> float:
    """The factor from the values of a 32-bit image to 8 bits, by its largest value."""
    strips = (np.asarray(image.crop(box)) for box in boxes)
    extremes = [(strip.min(), strip.max()) for strip in strips]  # NaN if any value is
    if not np.isfinite(extremes).all():
        raise ValueError("the image has NaN or infinite values")
    largest = max(high for _, high in extremes)
    if largest > 255:
        return 1 / 257
    return 255.0 if image.mode == "F" and largest <= 1 else 1.0
