"""Views depend only on augmentation, seed, image and view number."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ttm_core.factories import digits, digits_folder
from ttm_core.data.cache import DataCache
from ttm_core.data.dataset import Split, full_split
from ttm_core.data.encoded.manifest import Reading
from ttm_core.data.formats.image_folder import read
from ttm_core.data.images import ArrayImages
from ttm_core.data.random import hash_key, permutation, uniform
from ttm_core.data.views import Views, placement
from ttm_core.data.views.noise import hash_ranges
from ttm_core.data.views.placement import fits, resident_pixels
from ttm_core.spec.dataset import (
    AugmentationSpec,
    CropFlip,
    Mixing,
    NoAugmentation,
    RandAugment,
    RandomErasing,
    ResizedCrop,
)
from ttm_core.transfer import pack

AUGMENTATIONS: list[AugmentationSpec] = [
    NoAugmentation(),
    CropFlip(padding=2),
    CropFlip(padding=0, flip=False),
    ResizedCrop(max_aspect=1.5),
    CropFlip(padding=1, rand_augment=RandAugment(layers=3, probability=0.9)),
    CropFlip(padding=1, erasing=RandomErasing(probability=0.5)),
    CropFlip(padding=1, mix=Mixing(mixup_alpha=0.8)),
    ResizedCrop(mix=Mixing(cutmix_alpha=1.0, probability=0.7)),
    ResizedCrop(
        rand_augment=RandAugment(), erasing=RandomErasing(), mix=Mixing(mixup_alpha=0.8, cutmix_alpha=1.0, switch=0.3)
    ),
]


def name_of(augmentation: AugmentationSpec) -> str:
    extras = augmentation.model_dump(exclude_none=True).keys() & {"rand_augment", "erasing", "mix"}
    return "+".join([augmentation.kind, *sorted(extras)])


def gray_digits() -> Split:
    images, labels = digits()
    return full_split(ArrayImages(torch.from_numpy(images[:64])[:, None]), torch.from_numpy(labels[:64]))


@pytest.mark.parametrize("augmentation", AUGMENTATIONS, ids=name_of)
@settings(max_examples=25, deadline=None)
@given(
    order=st.lists(st.integers(0, 63), min_size=1, max_size=20),
    seed=st.integers(0, 2**63 - 1),
    view=st.integers(0, 1000),
)
def test_a_view_does_not_depend_on_its_batch(augmentation: AugmentationSpec, order: list[int], seed: int, view: int):
    views = Views(gray_digits(), 10, augmentation, 8, seed)
    together, targets = views.batch(np.array(order), view), views.targets(np.array(order), view)
    for position, index in enumerate(order):
        assert torch.equal(together[position], views.batch(np.array([index]), view)[0])
        assert torch.equal(targets[position], views.targets(np.array([index]), view)[0])


@pytest.mark.parametrize("augmentation", AUGMENTATIONS, ids=name_of)
def test_large_batches_of_odd_sizes_show_the_views_of_small_ones(augmentation):
    """Vectors of a CPU end within rows, and batches have several pieces."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (100, 3, 61, 61), dtype=torch.uint8, generator=generator)
    views = Views(full_split(ArrayImages(pixels), torch.arange(100) % 10), 10, augmentation, 61, 1)
    order = np.random.default_rng(0).permutation(100)
    together = views.batch(np.arange(100), 4)
    assert torch.equal(views.batch(order, 4), together[torch.from_numpy(order)])
    parts = [views.batch(part, 4) for part in np.split(np.arange(100), [1, 2, 9])]
    assert torch.equal(torch.cat(parts), together)
    if not isinstance(augmentation, ResizedCrop):
        assert torch.equal(views.images.pixels, pixels)  # type: ignore[attr-defined]


@pytest.mark.parametrize("augmentation", AUGMENTATIONS, ids=name_of)
def test_a_device_makes_views_from_one_copy_and_without_waiting(augmentation):
    """The device "meta" has no values that a CPU could wait for: reading one is an error."""
    meta, indices = torch.device("meta"), np.arange(40)
    split = gray_digits()
    views = Views(split, 10, augmentation, 8, 3)
    prepared = pack(views.prepare(indices, 2))
    on_cpu = prepared.on(torch.device("cpu"))
    assert torch.equal(views.finish(on_cpu), views.batch(indices, 2))
    assert torch.equal(on_cpu.targets, views.targets(indices, 2))
    assert isinstance(split.images, ArrayImages)
    split.images.on(meta)
    made = replace(views, device=meta).finish(prepared.on(meta))
    assert (made.device, made.dtype, made.shape) == (meta, torch.uint8, (40, 1, 8, 8))


@pytest.mark.parametrize("augmentation", AUGMENTATIONS, ids=name_of)
def test_views_do_not_depend_on_the_number_of_threads(augmentation, tmp_path):
    folder = digits_folder(tmp_path / "set")
    indices = np.arange(20)
    seen = []
    for workers in (1, 3):
        with ThreadPoolExecutor(workers) as pool, DataCache(tmp_path / "cache") as cache:
            split = read(folder, Reading(max_unreadable=0, pool=pool, cache=cache)).train
            seen.append(Views(split, 3, augmentation, 16, 7).batch(indices, 3))
    assert torch.equal(seen[0], seen[1])


@pytest.mark.parametrize("augmentation", AUGMENTATIONS[1:2] + AUGMENTATIONS[3:], ids=name_of)
def test_other_views_and_other_seeds_differ(augmentation):
    split = gray_digits()
    indices = np.arange(64)
    first = Views(split, 10, augmentation, 8, 0)
    assert not torch.equal(first.batch(indices, 0), first.batch(indices, 1))
    assert not torch.equal(first.batch(indices, 0), Views(split, 10, augmentation, 8, 1).batch(indices, 0))


def test_another_process_draws_the_same_numbers():
    code = "import numpy as np; from ttm_core.data.random import uniform; print(uniform(1, 2, np.arange(5)).tolist())"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == str(uniform(1, 2, np.arange(5)).tolist())


def test_images_stay_on_a_device_with_room_for_four_times_their_size():
    assert fits(image_bytes=50_000 * 3 * 32 * 32, free_bytes=2**30)  # CIFAR needs 154 MB
    assert not fits(image_bytes=2**28 + 1, free_bytes=2**30)
    assert not fits(image_bytes=1, free_bytes=0)


def test_images_are_copied_to_a_device_once_and_only_at_the_size_of_the_views():
    images, cpu, meta = gray_digits().images, torch.device("cpu"), torch.device("meta")
    assert isinstance(images, ArrayImages)
    assert resident_pixels(images, 8, cpu) is images.pixels
    assert resident_pixels(images, 16, cpu) is None
    assert not images.is_on(meta)
    assert images.on(meta) is images.on(meta) is resident_pixels(images, 8, meta)


def test_images_that_do_not_fit_on_a_device_are_sent_with_each_batch(monkeypatch):
    meta, indices, split = torch.device("meta"), np.array([5, 2]), gray_digits()
    views = Views(split, 10, CropFlip(padding=1), 8, 3, meta)
    monkeypatch.setattr(placement, "_free_bytes", lambda device: 3 * 64 * 8 * 8)
    prepared = views.prepare(indices, 0)
    assert prepared.indices is None
    assert isinstance(split.images, ArrayImages)
    assert torch.equal(prepared.pixels, split.images.pixels[[5, 2]])
    assert not split.images.is_on(meta)
    assert views.finish(pack(prepared).on(meta)).shape == (2, 1, 8, 8)


def test_a_device_computes_the_hashes_of_numpy():
    keys, counts = hash_key(3, np.arange(5) - 2), [4, 1, 1000, 0, 7]
    states = torch.from_numpy(keys.astype(np.int64))
    expected = np.concatenate([hash_key(3, key, np.arange(n)) for key, n in zip(range(-2, 3), counts, strict=True)])
    assert np.array_equal(hash_ranges(states, torch.tensor(counts), counts).numpy().astype(np.uint64), expected)


def test_crop_flip_moves_and_mirrors_the_padded_image():
    """Against a plain loop over images."""
    split, padding = gray_digits(), 3
    assert isinstance(split.images, ArrayImages)
    images = split.images
    views = Views(split, 10, CropFlip(padding=padding), 8, seed=5)
    batch = views.batch(np.arange(64), view=2)
    found = 0
    for index in range(64):
        padded = np.pad(images.pixels[index, 0].numpy(), padding)
        windows = [padded[r : r + 8, c : c + 8] for r in range(2 * padding + 1) for c in range(2 * padding + 1)]
        seen = batch[index, 0].numpy()
        found += any((seen == window).all() or (seen == window[:, ::-1]).all() for window in windows)
    assert found == 64


def test_uniform_numbers_are_uniform():
    numbers = uniform(9, np.arange(100_000))
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert abs(numbers.mean() - 0.5) < 5 * (1 / 12 / 100_000) ** 0.5
    counts, _ = np.histogram(numbers, 100, (0, 1))
    assert ((counts - 1000) ** 2 / 1000).sum() < 160  # chi-squared, 99 degrees of freedom, p about 1e-4


def test_neighboring_keys_are_independent():
    numbers = np.stack([uniform(stream, 0, 0, np.arange(10_000)) for stream in range(1, 6)])
    correlation = np.corrcoef(numbers)[~np.eye(5, dtype=bool)]
    assert np.abs(correlation).max() < 0.05


@given(n=st.integers(1, 500), key=st.integers(0, 2**63 - 1))
def test_a_permutation_holds_every_number_once(n: int, key: int):
    assert sorted(permutation(n, key)) == list(range(n))
