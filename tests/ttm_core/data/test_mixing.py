"""Mixup, CutMix, random erasing and RandAugment: pixels and labels."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from ttm_core.data.dataset import Split, full_split
from ttm_core.data.images import ArrayImages
from ttm_core.data.random import hash_key
from ttm_core.data.views import Views
from ttm_core.data.views.draws import Draws, Stream
from ttm_core.data.views.erasing import draw_erasing
from ttm_core.data.views.mixing import draw_mixture
from ttm_core.spec.dataset import CropFlip, Mixing, RandAugment, RandomErasing
from ttm_core.spec.job import DistillSpec

SIZE = 16


def flat_images(count: int = 200, classes: int = 5) -> Split:
    """Each image is of one color, its number; its class is the number modulo `classes`."""
    numbers = torch.arange(count)
    pixels = numbers.to(torch.uint8)[:, None, None, None].expand(count, 3, SIZE, SIZE).contiguous()
    return full_split(ArrayImages(pixels), numbers % classes)


def views(**augmentation: object) -> Views:
    return Views(flat_images(), 5, CropFlip.model_validate({"padding": 0, "flip": False, **augmentation}), SIZE, seed=3)


def test_cutmix_pastes_a_patch_of_the_partner_and_labels_by_its_area():
    seen = views(mix={"cutmix_alpha": 1.0})
    indices = np.arange(200)
    pixels, targets = seen.batch(indices, 0), seen.targets(indices, 0)
    mixture = draw_mixture(Mixing(cutmix_alpha=1.0), seen.split, SIZE, Draws(3, 0, indices))
    assert torch.allclose(targets.sum(1), torch.ones(200))
    for i in range(200):
        own = (pixels[i, 0] == i).float().mean().item()
        partner = int(mixture.partners[i])
        assert set(pixels[i].unique().tolist()) <= {i, partner}
        if partner == i:
            continue
        expected = torch.zeros(5)
        expected[i % 5] += own
        expected[partner % 5] += 1 - own
        assert torch.allclose(targets[i], expected, atol=1e-6)


def test_mixup_blends_by_the_share_of_the_label():
    seen = views(mix={"mixup_alpha": 0.8})
    indices = np.arange(200)
    pixels, targets = seen.batch(indices, 1).double(), seen.targets(indices, 1)
    mixture = draw_mixture(Mixing(mixup_alpha=0.8), seen.split, SIZE, Draws(3, 1, indices))
    expected = torch.from_numpy(mixture.share * indices + (1 - mixture.share) * mixture.partners)
    assert (pixels[:, 0, 0, 0] - expected).abs().max() <= 0.51
    own = targets[torch.arange(200), torch.arange(200) % 5]
    same = torch.from_numpy(mixture.partners % 5 == indices % 5)
    assert torch.allclose(own[~same], torch.from_numpy(mixture.share).float()[~same])
    assert torch.allclose(own[same], torch.ones(int(same.sum())))


def many_images(count: int = 20_000) -> Split:
    """Images without content, for their draws."""
    return full_split(ArrayImages(torch.empty((count, 1, 0, 0), dtype=torch.uint8)), torch.zeros(count).long())


@pytest.mark.parametrize("alpha", [0.2, 0.8, 1.0, 4.0])
def test_shares_follow_beta(alpha):
    from scipy import stats  # here: takes half a second, in every process that collects tests

    split = many_images()
    mixture = draw_mixture(Mixing(mixup_alpha=alpha), split, SIZE, Draws(0, 0, split.indices))
    assert stats.kstest(mixture.share, stats.beta(alpha, alpha).cdf).pvalue > 1e-3


def test_switch_and_probability_match_the_observed_shares():
    split = many_images()
    mixing = Mixing(mixup_alpha=1.0, cutmix_alpha=1.0, switch=0.3, probability=0.6)
    mixture = draw_mixture(mixing, split, SIZE, Draws(0, 0, split.indices))
    drawn = mixture.share < 1
    assert abs(drawn.mean() - 0.6) < 0.02
    assert abs(mixture.cut[drawn].mean() - 0.3) < 0.02


def test_partners_come_from_the_split_only():
    split = replace(flat_images(), indices=np.arange(0, 200, 7))
    seen = Views(split, 5, CropFlip(padding=0, flip=False, mix=Mixing(cutmix_alpha=1.0)), SIZE, seed=0)
    shown = set(seen.batch(split.indices, 0).unique().tolist())
    assert shown <= set(split.indices.tolist())


def test_erasing_fills_a_rectangle_of_the_requested_area():
    seen = views(erasing={"probability": 0.5, "min_area": 0.1, "max_area": 0.2})
    pixels = seen.batch(np.arange(200), 0)
    changed = (pixels != torch.arange(200)[:, None, None, None]).any(1)  # noise may equal the pixel by chance
    erased = changed.flatten(1).any(1)
    assert 70 < int(erased.sum()) < 130
    for mask in changed[erased]:
        rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
        area = float((rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)) / SIZE**2
        assert 0.05 < area < 0.3


def test_erasing_noise_is_the_hash_of_the_image_and_the_position_in_the_rectangle():
    """Against a loop over images."""
    spec, size, channels = RandomErasing(probability=0.7), 23, 3
    draws = Draws(5, 1, np.arange(100, 164))
    pixels = torch.zeros((64, channels, size, size), dtype=torch.uint8)
    erased = draws.uniform(Stream.ERASE) < spec.probability
    area, aspect = draws.uniform(Stream.ERASE_AREA), draws.uniform(Stream.ERASE_ASPECT)
    row, column = draws.uniform(Stream.ERASE_ROW), draws.uniform(Stream.ERASE_COLUMN)
    expected = pixels.clone()
    for i in erased.nonzero()[0]:
        target = (spec.min_area + area[i] * (spec.max_area - spec.min_area)) * size * size
        ratio = spec.max_aspect ** (2 * aspect[i] - 1)
        tall, wide = (min(max(round(side**0.5), 1), size) for side in (target * ratio, target / ratio))
        top, left = int(row[i] * (size - tall + 1)), int(column[i] * (size - wide + 1))
        noise = hash_key(int(Stream.ERASE_NOISE), 5, 1, 100 + i, np.arange(channels * tall * wide)) >> np.uint64(56)
        rectangle = torch.from_numpy(noise.astype(np.uint8)).view(channels, tall, wide)
        expected[i, :, top : top + tall, left : left + wide] = rectangle
    assert 0 < erased.sum() < 64
    assert torch.equal(draw_erasing(spec, draws, channels, size).apply(pixels), expected)
    assert not pixels.any()


def test_rand_augment_probability():
    plain, changed = views(), views(rand_augment={"layers": 1, "probability": 0.5})
    indices = np.arange(10, 200)
    gradient = torch.arange(SIZE, dtype=torch.uint8).repeat(SIZE, 1)
    for side in (plain, changed):
        side.split.images.pixels.add_(gradient)  # a flat image looks the same after most operations
    same = (plain.batch(indices, 0) == changed.batch(indices, 0)).flatten(1).all(1)
    assert 0.4 < same.float().mean() < 0.75


@pytest.mark.parametrize("method", ["dkd", "wkd", {"kind": "kd", "features": "crd"}])
def test_methods_without_mixing_support_refuse_it(method):
    fields = {
        "teacher": "file:///t",
        "student": "mini/resnet8_025",
        "dataset": "file:///d",
        "method": method,
        "training": {"augmentation": {"kind": "crop_flip", "mix": {"mixup_alpha": 0.8}}},
    }
    with pytest.raises(ValidationError, match="mix is not supported"):
        DistillSpec.model_validate(fields)
    DistillSpec.model_validate({**fields, "method": "wttm"})


def test_short_forms_and_errors():
    assert CropFlip(erasing=0.25).erasing == RandomErasing(probability=0.25)  # type: ignore[arg-type]
    assert CropFlip(rand_augment={}).rand_augment == RandAugment()  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="mixup_alpha, cutmix_alpha, or both"):
        Mixing()
    with pytest.raises(ValidationError, match="larger than max_area"):
        RandomErasing(min_area=0.5, max_area=0.2)
