"""Datasets of encoded images (JPEG, PNG, ...). Every image is decoded once per content, then at every access."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ttm_core.data.dataset import Dataset, Split, Unreadable, full_split
from ttm_core.data.encoded.headers import Source
from ttm_core.data.encoded.manifest import Reading, manifests_of
from ttm_core.data.encoded.slices import Slices
from ttm_core.data.formats.layout import NO_LABEL, SplitName
from ttm_core.data.images import EncodedImages, Sources
from ttm_core.errors import BadDataset

MAX_CLASSES = 100_000


@dataclass(frozen=True)
class EncodedSplit:
    """N encoded images of one split, before validation."""

    name_of: Callable[[int], str]  # of an image, for error messages
    sources: Sequence[Path] | Slices
    labels: NDArray[np.int64]  # [N]


@dataclass(frozen=True)
class _Readable:
    """The decodable images among the sources, renumbered."""

    sources: Sources
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int, /) -> Source:
        return self.sources[int(self.rows[index])]


def build_dataset(found: Mapping[SplitName, EncodedSplit], class_names: list[str], reading: Reading) -> Dataset:
    """Builds a dataset of all images that can be decoded.

    Raises:
        BadDataset: more images than `reading` allows cannot be decoded.
    """
    manifests, decoded = manifests_of({name: split.sources for name, split in found.items()}, reading)
    unreadable = [
        Unreadable(split.name_of(index), reason)
        for name, split in found.items()
        for index, reason in manifests[name].reasons.items()
    ]
    total = sum(len(split.sources) for split in found.values())
    if total and len(unreadable) > reading.max_unreadable * total:
        listed = "; ".join(f"{bad.name}: {bad.reason}" for bad in unreadable[:5])
        raise BadDataset(
            f"{len(unreadable)} of {total} images cannot be read: {listed}. dataset.max_unreadable allows a share of "
            f"{reading.max_unreadable:g}: repair or remove these images, or raise it."
        )

    kept = {name: manifest.readable for name, manifest in manifests.items()}
    # The labelled images determine size and channels.
    deciding = [name for name in found if name != "unlabelled"]
    gray = np.concatenate([manifests[name].gray[kept[name]] for name in deciding])
    sizes = np.unique(np.concatenate([manifests[name].sizes[kept[name]] for name in deciding]), axis=0)
    channels = 1 if len(gray) and gray.all() else 3
    width, height = sizes[0].tolist() if len(sizes) == 1 else (0, 1)

    def build_split(name: SplitName) -> Split | None:
        if name not in found:
            return None
        split, rows = found[name], kept[name]
        digests = manifests[name].digests[rows]
        images = EncodedImages(_Readable(split.sources, rows), digests, channels, reading.pool)
        labels = split.labels[rows]
        return full_split(images, torch.from_numpy(np.full_like(labels, NO_LABEL) if name == "unlabelled" else labels))

    train = build_split("train")
    assert train is not None, "readers reject datasets without training images"
    return Dataset(
        train=train,
        validation=build_split("validation"),
        test=build_split("test"),
        unlabelled=build_split("unlabelled"),
        class_names=class_names,
        image_size=width if width == height else None,
        unreadable=unreadable,
        checked=decoded,
        warnings=_shared_images({name: manifest.digests[kept[name]] for name, manifest in manifests.items()}),
    )


def _shared_images(digests: Mapping[str, NDArray[np.uint8]]) -> list[str]:
    """Sentences about evaluated images that are also training images. `digests` has SHA-256 of each image, [N, 32]."""
    # The first 64 bits of SHA-256 are enough to distinguish millions of images.
    keys = {name: each[:, :8].copy().view(np.uint64).ravel() for name, each in digests.items()}
    evaluated: list[SplitName] = ["validation", "test"]
    counts = {name: int(np.isin(keys[name], keys["train"]).sum()) for name in evaluated if name in keys}
    return [
        f"{count:,} of {len(keys[name]):,} {name} images are also training images: the {name} accuracy does not show "
        "how well models do on new images"
        for name, count in counts.items()
        if count
    ]


def class_numbers(found: Mapping[SplitName, EncodedSplit]) -> list[str]:
    """Class names "0", "1", ... for a format with numbered classes. Raises BadDataset for a label out of range."""
    highest = max(int(split.labels.max(initial=-1)) for name, split in found.items() if name != "unlabelled")
    if highest >= MAX_CLASSES:
        raise BadDataset(
            f"Label {highest} is out of range: labels must be 0..K-1, with at most {MAX_CLASSES:,} classes."
        )
    return [str(label) for label in range(highest + 1)]
