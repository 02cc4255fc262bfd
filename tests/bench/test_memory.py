"""The memory of a run does not grow with the number of streamed images."""

import pytest

from bench.memory import peak_memory


@pytest.mark.thorough
def test_memory_does_not_grow_with_the_number_of_images():
    few, many = peak_memory(20), peak_memory(200)
    assert many < few + 48 * 2**20  # decoded, 180 more would be 135 MiB
