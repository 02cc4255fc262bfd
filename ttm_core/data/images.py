"""Random access to decoded images: arrays in memory, or files decoded on access."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

from ttm_core.data.encoded.decoding import Box, center_square, decode, decode_box
from ttm_core.data.encoded.headers import Source

_T = TypeVar("_T")
_AHEAD = 1024


def map_ordered(pool: ThreadPoolExecutor, call: Callable[[int], _T], count: int) -> Iterator[_T]:
    """Yields `call(0)` to `call(count - 1)` in order, with a bounded number of futures. Executor.map submits all at
    once.
    """
    for start in range(0, count, _AHEAD):
        yield from pool.map(call, range(start, min(start + _AHEAD, count)))


class Sources(Protocol):
    """N encoded images. Threads may read them concurrently."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Source: ...


class Images(Protocol):
    """N images with C channels."""

    @property
    def channels(self) -> int: ...

    def __len__(self) -> int: ...

    def center_squares(self, indices: NDArray[np.int64], size: int) -> torch.Tensor:
        """Center squares of the images, resized: uint8 [B, C, size, size]."""
        ...

    def crops(self, indices: NDArray[np.int64], boxes: "Boxes", size: int) -> torch.Tensor:
        """One box of each image, resized to a square: uint8 [B, C, size, size]."""
        ...

    def fingerprint(self) -> str:
        """A hash of the content of all images, in order, at the size that they were read in. Computed once, because it
        reads all of them.
        """
        ...


Boxes = Callable[[int, int, int], Box]
"""(position in the batch, width, height) -> (left, upper, right, lower) in pixels."""


@dataclass(frozen=True)
class ArrayImages:
    """Images of equal size in memory."""

    pixels: torch.Tensor  # uint8 [N, C, H, W]
    source: Images | None = None
    """The images that the pixels were resized from, if they were: other sizes are made of them."""

    @property
    def channels(self) -> int:
        return self.pixels.shape[1]

    def __len__(self) -> int:
        return self.pixels.shape[0]

    def is_on(self, device: torch.device) -> bool:
        """Whether `on` needs no further memory of the device."""
        return device in self._copies

    def on(self, device: torch.device) -> torch.Tensor:
        """The pixels on a device. The device keeps one copy as long as the images exist."""
        if device not in self._copies:
            # Training uses the copy of an evaluation, but could not use tensors of inference mode.
            with torch.inference_mode(False):
                self._copies[device] = self.pixels.to(device)
        return self._copies[device]

    @cached_property
    def _copies(self) -> dict[torch.device, torch.Tensor]:
        return {self.pixels.device: self.pixels}

    def center_squares(self, indices: NDArray[np.int64], size: int) -> torch.Tensor:
        batch = self.pixels[torch.from_numpy(indices)]
        if batch.shape[-2:] == (size, size):
            return batch
        if self.source is not None:
            return self.source.center_squares(indices, size)
        return torch.stack([_to_tensor(center_square(_to_image(x), size), self.channels) for x in batch])

    def crops(self, indices: NDArray[np.int64], boxes: Boxes, size: int) -> torch.Tensor:
        height, width = self.pixels.shape[-2:]
        out = torch.empty((len(indices), self.channels, size, size), dtype=torch.uint8)
        for position, index in enumerate(indices):
            left, upper, right, lower = boxes(position, width, height)
            out[position] = _resized(self.pixels[index, :, upper:lower, left:right], size)
        return out

    def fingerprint(self) -> str:
        return self._fingerprint if self.source is None else self.source.fingerprint()

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256(repr(tuple(self.pixels.shape)).encode())
        digest.update(self.pixels.contiguous().numpy().data)
        return digest.hexdigest()


@dataclass(frozen=True)
class EncodedImages:
    """Encoded images, decoded in a thread pool at every access. Pillow releases the GIL while it decodes and
    resizes."""

    sources: Sources
    digests: NDArray[np.uint8]  # [N, 32] SHA-256 of each encoded image
    channels: int
    pool: ThreadPoolExecutor

    def __len__(self) -> int:
        return len(self.sources)

    def center_squares(self, indices: NDArray[np.int64], size: int) -> torch.Tensor:
        def load(index: np.int64) -> torch.Tensor:
            return _to_tensor(center_square(decode(self.sources[int(index)], self.channels), size), self.channels)

        return torch.stack(list(self.pool.map(load, indices)))

    def crops(self, indices: NDArray[np.int64], boxes: Boxes, size: int) -> torch.Tensor:
        def load(position: int) -> torch.Tensor:
            def box(width: int, height: int) -> Box:
                return boxes(position, width, height)

            image = decode_box(self.sources[int(indices[position])], self.channels, box, size)
            return _resized(_to_tensor(image, self.channels), size)

        return torch.stack(list(self.pool.map(load, range(len(indices)))))

    def fingerprint(self) -> str:
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256(f"{self.channels}".encode())
        digest.update(self.digests.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Selection:
    """A subset of images, renumbered."""

    images: Images
    indices: NDArray[np.int64]

    @property
    def channels(self) -> int:
        return self.images.channels

    def __len__(self) -> int:
        return len(self.indices)

    def center_squares(self, indices: NDArray[np.int64], size: int) -> torch.Tensor:
        return self.images.center_squares(self.indices[indices], size)

    def crops(self, indices: NDArray[np.int64], boxes: Boxes, size: int) -> torch.Tensor:
        return self.images.crops(self.indices[indices], boxes, size)

    def fingerprint(self) -> str:
        return hashlib.sha256(self.images.fingerprint().encode() + self.indices.tobytes()).hexdigest()


@dataclass(frozen=True)
class Concatenation:
    """The images of several sources with equal channels, numbered in their order."""

    parts: Sequence[Images]

    @property
    def channels(self) -> int:
        return self.parts[0].channels

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def center_squares(self, indices: NDArray[np.int64], size: int) -> torch.Tensor:
        return self._gather(indices, size, lambda images, own, _: images.center_squares(own, size))

    def crops(self, indices: NDArray[np.int64], boxes: Boxes, size: int) -> torch.Tensor:
        def crop(images: Images, own: NDArray[np.int64], positions: NDArray[np.int64]) -> torch.Tensor:
            return images.crops(own, lambda i, width, height: boxes(int(positions[i]), width, height), size)

        return self._gather(indices, size, crop)

    def fingerprint(self) -> str:
        return hashlib.sha256("".join(images.fingerprint() for images in self.parts).encode()).hexdigest()

    def _gather(
        self,
        indices: NDArray[np.int64],
        size: int,
        load: Callable[[Images, NDArray[np.int64], NDArray[np.int64]], torch.Tensor],
    ) -> torch.Tensor:
        """Loads each part's images with `load` (images, indices in the part, positions in the batch)."""
        out = torch.empty((len(indices), self.channels, size, size), dtype=torch.uint8)
        first = 0
        for images in self.parts:
            positions = np.flatnonzero((indices >= first) & (indices < first + len(images)))
            if len(positions):
                out[torch.from_numpy(positions)] = load(images, indices[positions] - first, positions)
            first += len(images)
        return out


def with_channels(images: Images, channels: int) -> Images:
    """The same images as gray (one channel) or RGB (three)."""
    if images.channels == channels:
        return images
    match images:
        case EncodedImages():
            return replace(images, channels=channels)
        case ArrayImages() if channels == 3:
            return ArrayImages(images.pixels.expand(-1, 3, -1, -1).contiguous())
        case ArrayImages():
            return gray(images)
        case _:
            raise TypeError(f"{type(images).__name__} cannot change its channels")


def gray(images: ArrayImages) -> ArrayImages:
    """The same images with one channel."""
    if images.channels == 1:
        return images
    return ArrayImages(torch.stack([_to_tensor(_to_image(x).convert("L"), 1) for x in images.pixels]))


def in_memory(images: Images, size: int) -> ArrayImages:
    """Decodes all images to squares of `size` pixels. Other sizes are still made of `images`."""
    if isinstance(images, ArrayImages) and images.pixels.shape[-2:] == (size, size):
        return images
    out = torch.empty((len(images), images.channels, size, size), dtype=torch.uint8)
    for start in range(0, len(images), 256):
        part = np.arange(start, min(start + 256, len(images)))
        out[start : start + len(part)] = images.center_squares(part, size)
    return ArrayImages(out, images)


def _resized(pixels: torch.Tensor, size: int) -> torch.Tensor:
    """Resamples uint8 [C, H, W] to uint8 [C, size, size] with Pillow's filter, three times faster than Pillow."""
    square = functional.interpolate(pixels[None], (size, size), mode="bicubic", antialias=True)
    return square[0]


def _to_tensor(image: Image.Image, channels: int) -> torch.Tensor:
    """uint8 [C, H, W]."""
    pixels = torch.from_numpy(np.array(image, dtype=np.uint8))
    return pixels[None] if channels == 1 else pixels.permute(2, 0, 1)


def _to_image(pixels: torch.Tensor) -> Image.Image:
    array = pixels.numpy()
    return Image.fromarray(array[0] if array.shape[0] == 1 else np.ascontiguousarray(array.transpose(1, 2, 0)))
