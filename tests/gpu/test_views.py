"""Views made on a GPU: each depends on its image alone, and differs from a CPU's by at most one gray level."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.ttm_core.data.test_views import AUGMENTATIONS, name_of
from ttm_core.data.batches import PreparedBatch, finished, prefetched, prepared_batches
from ttm_core.data.dataset import full_split
from ttm_core.data.images import ArrayImages
from ttm_core.data.views import Views

SIZE, COUNT = 45, 120


@pytest.fixture(autouse=True)
def deterministic() -> Iterator[None]:
    """Operations without a deterministic implementation raise an error."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(params=AUGMENTATIONS, ids=name_of)
def views(request: pytest.FixtureRequest, device: torch.device) -> Views:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (COUNT, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)
    split = full_split(ArrayImages(pixels), torch.arange(COUNT) % 10)
    return Views(split, 10, request.param, SIZE, 7, device)


def test_views_depend_on_their_image_alone(views: Views) -> None:
    order = np.random.default_rng(0).permutation(COUNT)
    together = views.batch(np.arange(COUNT), 3)
    assert together.device.type == views.device.type
    assert torch.equal(views.batch(np.arange(COUNT), 3), together)
    assert torch.equal(views.batch(order, 3).cpu(), together.cpu()[torch.from_numpy(order)])
    assert torch.equal(torch.cat([views.batch(part, 3) for part in np.split(np.arange(COUNT), [1, 3, 70])]), together)


def test_views_are_those_of_a_cpu_within_one_gray_level(views: Views) -> None:
    on_cpu = replace(views, device=torch.device("cpu")).batch(np.arange(COUNT), 3)
    assert (views.batch(np.arange(COUNT), 3).cpu().int() - on_cpu.int()).abs().max() <= 1


def test_batches_that_a_thread_prepares_are_those_of_one_thread(views: Views) -> None:
    def prepared() -> Iterator[PreparedBatch]:
        return prepared_batches(views, seed=0, epoch=0, view=1, batch_size=16, first=2)

    ahead = list(prefetched(views, prepared()))
    assert len(ahead) == 6
    for first, second in zip(ahead, finished(views, prepared()), strict=True):
        assert torch.equal(first.pixels, second.pixels)
        assert torch.equal(first.labels, second.labels)
