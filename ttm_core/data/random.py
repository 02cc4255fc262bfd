"""Random numbers as pure functions of a key, without generator state, so that every draw is reproducible."""

import numpy as np
from numpy.typing import NDArray

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FACTORS = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finalizer (Steele, Lea & Flood 2014): every input bit reaches every output bit."""
    x = (x ^ (x >> np.uint64(30))) * FACTORS[0]
    x = (x ^ (x >> np.uint64(27))) * FACTORS[1]
    return x ^ (x >> np.uint64(31))


def hash_key(*parts: int | NDArray[np.integer]) -> NDArray[np.uint64]:
    """Hashes integers and integer arrays, broadcast against each other, to uint64. The order of the parts matters."""
    state: NDArray[np.uint64] = np.zeros(1, np.uint64)
    with np.errstate(over="ignore"):
        for part in parts:
            word = np.asarray(part).astype(np.uint64)
            state = _mix((state ^ _mix(word + GOLDEN)) + GOLDEN)
    return state


def uniform(*key: int | NDArray[np.integer]) -> NDArray[np.float64]:
    """Uniform float64 in [0, 1), one per element of the broadcast key."""
    return (hash_key(*key) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permutation(n: int, *key: int) -> NDArray[np.int64]:
    """A permutation of range(n) that depends only on the key."""
    return np.argsort(hash_key(*key, np.arange(n)), kind="stable")


def seed(*key: int) -> int:
    """A non-negative 63-bit seed for a random generator."""
    return int(hash_key(*key)[0] >> np.uint64(1))
