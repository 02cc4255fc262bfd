"""Chooses the images of the gallery, and writes their thumbnails to one archive."""

import io
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from ttm_core.data.images import Images
from ttm_core.spec.damage.schema import Outcome

MAX_IMAGES, MAX_BYTES = 200, 10_000_000
MAX_SIDE = 96

_SHARES: dict[Outcome, int] = {"lost": 100, "gained": 50, "both_wrong": 50, "disagreement": 200}
_LOSSLESS_SIDE = 48
_EPOCH = (1980, 1, 1, 0, 0, 0)  # equal runs give equal archives
_ZIP_HEADER_BYTES = 30


@dataclass(frozen=True)
class Thumbnail:
    """An encoded image in the archive, `offset` bytes after its start."""

    media_type: Literal["image/png", "image/jpeg"]
    offset: int
    size: int
    side: int


def choose(
    outcomes: Iterable[Outcome | None], labels: Sequence[int], confidences: Sequence[float]
) -> list[tuple[int, Outcome]]:
    """Up to 200 images with their outcomes, by outcome.

    Each outcome has a share, and images of other outcomes fill shares that are not used up. Within an outcome, classes
    take turns, and each gives the images first on which the student is most confident.
    """
    by_outcome: dict[Outcome, dict[int, list[int]]] = {name: defaultdict(list) for name in _SHARES}
    for image, outcome in enumerate(outcomes):
        if outcome is not None:
            by_outcome[outcome][labels[image]].append(image)
    ordered = {name: _spread(classes, confidences) for name, classes in by_outcome.items()}
    taken = {name: min(_SHARES[name], len(images)) for name, images in ordered.items()}
    for name, images in ordered.items():
        taken[name] += min(MAX_IMAGES - sum(taken.values()), len(images) - taken[name])
    return [(image, name) for name, images in ordered.items() for image in images[: taken[name]]]


def _spread(classes: dict[int, list[int]], confidences: Sequence[float]) -> list[int]:
    ranked = [
        (rank, -confidences[image], image)
        for images in classes.values()
        for rank, image in enumerate(sorted(images, key=lambda image: (-confidences[image], image)))
    ]
    return [image for _, _, image in sorted(ranked)]


def write_thumbnails(path: Path, images: Images, indices: Sequence[int], side: int) -> list[Thumbnail]:
    """Writes the center squares of images, re-encoded from their pixels, until the archive has 10 MB.

    Args:
        path: the archive to write. Its members are not compressed again, so that parts of it can be served.
        images: the images of the dataset.
        indices: which of them.
        side: of the thumbnails, in pixels.

    Returns:
        The positions of the written thumbnails, in the order of `indices`.
    """
    written: list[Thumbnail] = []
    # All in one call, which decodes them in several threads.
    squares = np.empty(0, np.uint8)
    if indices:
        squares = images.center_squares(np.array(indices), side).permute(0, 2, 3, 1).numpy()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for number, pixels in enumerate(squares):
            content = _encode(np.ascontiguousarray(pixels))
            if sum(each.size for each in written) + len(content) > MAX_BYTES:
                break
            lossless = side <= _LOSSLESS_SIDE
            member = zipfile.ZipInfo(f"{number:03d}.{'png' if lossless else 'jpg'}", _EPOCH)
            archive.writestr(member, content)
            offset = member.header_offset + _ZIP_HEADER_BYTES + len(member.filename)
            written.append(Thumbnail("image/png" if lossless else "image/jpeg", offset, len(content), side))
    return written


def _encode(pixels: "np.typing.NDArray[np.uint8]") -> bytes:
    """PNG for small images, where JPEG's artifacts would be visible."""
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    content = io.BytesIO()
    if max(image.size) <= _LOSSLESS_SIDE:
        image.save(content, "PNG", optimize=True)
    else:
        image.save(content, "JPEG", quality=85, optimize=True)
    return content.getvalue()
