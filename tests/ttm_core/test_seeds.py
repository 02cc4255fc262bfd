"""The random numbers of a training step."""

import pytest
import torch

from ttm_core.training.devices import choose_device, seed_generators


@pytest.mark.parametrize("device", sorted({"cpu", choose_device().type}))
def test_a_seed_gives_the_numbers_of_torch(device: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        expected = torch.rand(4), torch.rand(4, device=device)
        seed_generators(torch.device(device), 8)
        assert not torch.equal(torch.rand(4), expected[0])
        seed_generators(torch.device(device), 7)
        assert torch.equal(torch.rand(4), expected[0])
        assert torch.equal(torch.rand(4, device=device), expected[1])
