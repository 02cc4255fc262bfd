"""Crops that are resized agree with Pillow's, whether or not the decoder reduces the image."""

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ttm_core.data.encoded.decoding import Box, decode_box
from ttm_core.data.images import ArrayImages, EncodedImages

WIDTH, HEIGHT, SIZE = 1203, 899, 32


def photograph(mode: str, width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """Smooth, as photographs are at the scale of a pixel."""
    noise = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


JPEG = encoded(photograph("RGB"), "JPEG", quality=95)
DECODED = Image.open(io.BytesIO(JPEG)).convert("RGB")


def difference(one: torch.Tensor, image: Image.Image) -> np.ndarray:
    other = np.asarray(image, dtype=np.int16).reshape(*image.size[::-1], -1).transpose(2, 0, 1)
    return np.abs(one.numpy().astype(np.int16) - other)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["array", "PNG", "WEBP"])
@pytest.mark.parametrize("box", [(3, 5, 250, 140), (0, 0, 11, 7), (100, 20, 101, 21)])
def test_a_crop_is_that_of_pillow(kind: str, channels: int, box: Box) -> None:
    image = photograph("L" if channels == 1 else "RGB", 300, 200)
    with ThreadPoolExecutor(1) as pool:
        if kind == "array":
            images = ArrayImages(torch.from_numpy(np.array(image)).reshape(1, 200, 300, -1).permute(0, 3, 1, 2))
        else:
            images = EncodedImages([encoded(image, kind, lossless=True)], np.zeros((1, 32), np.uint8), channels, pool)
        found = images.crops(np.array([0]), lambda *_: box, SIZE)
    assert found.shape == (1, channels, SIZE, SIZE)
    assert difference(found[0], image.crop(box).resize((SIZE, SIZE), Image.Resampling.BICUBIC)).max() <= 3


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_reduced_jpeg_gives_the_same_crop(data: st.DataObject) -> None:
    left, upper = data.draw(st.integers(0, WIDTH - 8)), data.draw(st.integers(0, HEIGHT - 8))
    box = (left, upper, data.draw(st.integers(left + 8, WIDTH)), data.draw(st.integers(upper + 8, HEIGHT)))
    part = decode_box(JPEG, 3, lambda *_: box, SIZE)
    # At least twice the pixels are left, unless there were fewer.
    assert min(part.size) >= min(2 * SIZE, box[2] - box[0], box[3] - box[1])
    # The edges of the box move by at most half a pixel of the reduced image.
    small = part.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    whole = DECODED.crop(box).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    assert difference(torch.from_numpy(np.array(small)).permute(2, 0, 1), whole).mean() < 3


def test_the_decoder_reduces_a_large_jpeg_by_the_largest_factor() -> None:
    for size, reduction in ((SIZE, 8), (100, 4), (200, 2), (300, 1)):
        part = decode_box(JPEG, 3, lambda width, height: (0, 0, width, height), size)
        assert part.size == (round(WIDTH / reduction), round(HEIGHT / reduction))


def test_a_truncated_jpeg_is_unreadable_at_any_size() -> None:
    for size in (SIZE, 400):
        with pytest.raises(OSError, match="truncated"):
            decode_box(JPEG[: len(JPEG) // 2], 3, lambda width, height: (0, 0, width, height), size)
