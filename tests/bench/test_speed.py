"""The speed benchmark runs each contender that needs no further package."""

import pytest

from bench.speed import baselines, ours
from bench.speed.pairs import CONTENDERS, EPOCHS, Pair
from ttm_core.precision import Precision

PAIR = Pair(teacher="cifar/resnet8", student="mini/resnet8_025", size=32, classes=10, batch=16, images=32)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("contender", [name for name in CONTENDERS if name != "torchdistill"])
def test_contender_trains(contender: str, precision: Precision) -> None:
    run = ours.run if contender.startswith("ours-") else baselines.run
    measured = run(contender, PAIR, 1, precision)
    assert measured["images"] == 32 * EPOCHS
    assert measured["cpu_seconds"] > 0
