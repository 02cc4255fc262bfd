"""Batches of full images, from memory and from files."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.ttm_core.factories import digits, digits_folder
from ttm_core.data.batches import full_images
from ttm_core.data.cache import DataCache
from ttm_core.data.dataset import Split, full_split
from ttm_core.data.encoded.manifest import Reading
from ttm_core.data.formats.image_folder import read
from ttm_core.data.images import ArrayImages

CPU = torch.device("cpu")


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Split]:
    """Images that are decoded for each batch."""
    folder = digits_folder(tmp_path / "images", each=14)
    with DataCache(tmp_path / "cache") as cache, ThreadPoolExecutor(1) as pool:
        yield read(folder, Reading(max_unreadable=0, pool=pool, cache=cache)).train


@pytest.fixture
def memory() -> Split:
    images, labels = digits()
    return full_split(ArrayImages(torch.tensor(images[:40])[:, None]), torch.tensor(labels[:40]))


def preparing() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "batches"]


@pytest.mark.parametrize("origin", ["memory", "files"])
@pytest.mark.parametrize("size", [8, 11])
def test_batches_are_the_images_of_each_part_in_order(origin: str, size: int, request: pytest.FixtureRequest) -> None:
    split = request.getfixturevalue(origin)
    parts = np.array_split(split.indices[::-1].copy(), [1, 17])
    batches = list(full_images(split, parts, size=size, device=CPU))
    assert len(batches) == 3
    for part, batch in zip(parts, batches, strict=True):
        assert np.array_equal(batch.indices, part)
        assert torch.equal(batch.pixels, split.images.center_squares(part, size))
        assert torch.equal(batch.labels, split.labels[torch.from_numpy(part)])
    assert not preparing()


def test_an_image_that_disappears_is_reported_to_the_reader(files: Split, tmp_path: Path) -> None:
    parts = [np.array([each]) for each in files.indices[:6]]
    batches = full_images(files, parts, size=8, device=CPU)
    next(batches)
    for path in (tmp_path / "images").rglob("*.png"):
        path.unlink()
    with pytest.raises(FileNotFoundError):
        list(batches)
    assert not preparing()


def test_a_reader_that_stops_early_leaves_no_thread(files: Split) -> None:
    batches = full_images(files, [files.indices[:2]] * 50, size=8, device=CPU)
    next(batches)
    assert preparing()
    batches.close()
    assert not preparing()


def test_copies_of_an_evaluation_can_be_used_in_training(memory: Split) -> None:
    assert isinstance(memory.images, ArrayImages)
    with torch.inference_mode():
        copy = memory.images.on(torch.device("meta"))
    assert not copy.is_inference()
