"""The hashes of `ttm_core.data.random` on any device, for one random number per pixel."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ttm_core.data.random import FACTORS, GOLDEN


def hash_ranges(states: Tensor, lengths: Tensor, counts: Sequence[int]) -> Tensor:
    """Hashes of each key with each of 0 to its count - 1 as one more part, one key after the other.

    Args:
        states: int64 [K] `hash_key` of the parts before, as two's complement.
        lengths: int64 [K] the counts, on the device.
        counts: the same on the CPU, because reading them from a GPU would make the CPU wait.

    Returns:
        int64 [sum of counts] with the bits of `hash_key`.
    """
    golden = _signed(GOLDEN)
    parts = _mix(torch.arange(max(counts), device=states.device).add_(golden))
    keys = states.repeat_interleave(lengths, output_size=sum(counts))
    return _mix(keys.bitwise_xor_(torch.cat([parts[:count] for count in counts])).add_(golden))


def _mix(x: Tensor) -> Tensor:
    """SplitMix64's finalizer of int64, in place. Sums and products wrap around."""
    for bits, factor in zip((30, 27), FACTORS, strict=True):
        x.bitwise_xor_(_shifted(x, bits)).mul_(_signed(factor))
    return x.bitwise_xor_(_shifted(x, 31))


def _shifted(x: Tensor, bits: int) -> Tensor:
    """The logical right shift; torch's shift of int64 repeats the sign."""
    return (x >> bits).bitwise_and_((1 << 64 - bits) - 1)


def _signed(word: np.uint64) -> int:
    return int(word.astype(np.int64))
