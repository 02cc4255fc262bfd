"""Equal views of an image share a row, and the numbering depends only on the views."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.ttm_core.factories import digits
from ttm_core.data.dataset import Split, full_split
from ttm_core.data.images import ArrayImages
from ttm_core.data.views import Views
from ttm_core.spec.dataset import AugmentationSpec, CropFlip, Mixing, NoAugmentation, RandAugment, ResizedCrop
from ttm_core.teacher_store.rows import Rows

FEW: list[AugmentationSpec] = [
    NoAugmentation(),
    CropFlip(padding=0),
    CropFlip(padding=1),
    CropFlip(padding=1, flip=False),
]
MANY: list[AugmentationSpec] = [
    ResizedCrop(),
    CropFlip(padding=1, mix=Mixing(mixup_alpha=1)),
    CropFlip(padding=1, rand_augment=RandAugment()),
]


def split(count: int = 50) -> Split:
    images, labels = digits()
    found = full_split(ArrayImages(torch.from_numpy(images[:count])[:, None]), torch.from_numpy(labels[:count]))
    return replace(found, indices=np.random.default_rng(0).permutation(count)[: count - 5])


def rows_of(augmentation: AugmentationSpec, count: int, block: int = 16) -> tuple[Views, Rows]:
    views = Views(split(), 10, augmentation, 8, seed=3)
    rows = Rows(views, block)
    rows.number(count)
    return views, rows


@pytest.mark.parametrize("augmentation", FEW, ids=str)
def test_views_share_a_row_exactly_if_their_pixels_are_equal(augmentation):
    views, rows = rows_of(augmentation, 12)
    pixels: dict[tuple[int, int], bytes] = {}
    for view in range(12):
        batch = views.batch(views.split.indices, view)
        for index, row, seen in zip(
            views.split.indices, rows.rows_of(views.split.indices, view), batch.numpy(), strict=True
        ):
            known = pixels.setdefault((int(index), int(row)), seen.tobytes())
            assert known == seen.tobytes()
    assert len(pixels) == rows.count
    assert {row for _, row in pixels} == set(range(rows.count))
    assert views.distinct is not None
    assert rows.count <= 45 * min(views.distinct, 12)


@pytest.mark.parametrize("augmentation", MANY, ids=lambda a: a.kind)
def test_views_without_repetition_have_separate_rows(augmentation):
    views, rows = rows_of(augmentation, 4)
    assert rows.count == 4 * 45
    seen = np.concatenate([rows.rows_of(views.split.indices, view) for view in range(4)])
    assert sorted(seen.tolist()) == list(range(4 * 45))


@pytest.mark.parametrize("augmentation", FEW + MANY, ids=str)
def test_more_views_do_not_renumber_rows(augmentation):
    views, few = rows_of(augmentation, 3)
    _, many = rows_of(augmentation, 9)
    for view in range(3):
        assert (few.rows_of(views.split.indices, view) == many.rows_of(views.split.indices, view)).all()
        assert (few.blocks_of(view) == many.blocks_of(view)).all()


@pytest.mark.parametrize("augmentation", FEW + MANY, ids=str)
def test_blocks_contain_every_row_once(augmentation):
    views, rows = rows_of(augmentation, 6)
    held = []
    for block in range(rows.blocks):
        view, first_row, indices = rows.members(block)
        assert 0 < len(indices) <= 16
        assert rows.ends[block] == first_row + len(indices)
        assert (rows.rows_of(indices, view) == first_row + np.arange(len(indices))).all()
        held += list(range(first_row, first_row + len(indices)))
    assert held == list(range(rows.count))
    for view in range(6):
        inside = {
            first + position
            for _, first, indices in map(rows.members, rows.blocks_of(view).tolist())
            for position in range(len(indices))
        }
        assert set(rows.rows_of(views.split.indices, view).tolist()) <= inside


def test_cifar_crops_halve_the_rows_of_240_epochs():
    """162 views an image: of 240 draws, 162 * (1 - (161 / 162) ** 240) = 125 are expected to be distinct."""
    views = Views(split(), 10, CropFlip(padding=4), 8, seed=0)
    rows = Rows(views, 256)
    rows.number(240)
    assert rows.count / 45 == pytest.approx(125.3, rel=0.03)
