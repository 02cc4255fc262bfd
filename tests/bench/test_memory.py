"""A run's memory does not grow with the images that it streams."""

from bench.memory import peak_memory


def test_memory_does_not_grow_with_the_number_of_images():
    few, many = peak_memory(40), peak_memory(400)
    assert many < few + 64 * 2**20  # decoded, 360 more would be 270 MiB
