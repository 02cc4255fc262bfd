"""The speed benchmark runs each contender that needs no further package."""

import pytest

from bench.speed import baselines, ours
from bench.speed.pairs import CONTENDERS, EPOCHS, Pair
from bench.speed.tables import summary, table
from ttm_core.precision import Precision

# Peers train without the engine's workaround for narrow students, which crash on some CPUs.
PAIR = Pair(teacher="cifar/resnet8", student="cifar/resnet8", size=16, classes=10, batch=16, images=32)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("contender", [name for name in CONTENDERS if name != "torchdistill"])
def test_contender_trains(contender: str, precision: Precision) -> None:
    run = ours.run if contender.startswith("ours-") else baselines.run
    measured = run(contender, PAIR, 1, precision)
    assert measured["images"] == 32 * EPOCHS
    assert measured["cpu_seconds"] > 0


def test_tables_compare_precisions_and_the_fastest_peer() -> None:
    rates = {
        "float32": {"torchdistill": [9.0, 10.0, 11.0], "timm": [8.0], "ours-cold": [12.0], "ours-warm": [20.0]},
        "bfloat16": {"torchdistill": [15.0], "timm": [16.0], "ours-cold": [24.0], "ours-warm": [40.0]},
    }
    lines = summary({"resnet34-resnet18": rates}).splitlines()
    assert "| cold | float32 | 1.20 (1.1) |" in lines
    assert "| cold | bfloat16 | 1.50 (1.1) |" in lines
    assert "| warm | bfloat16, peer float32 | 4.00 |" in lines
    assert not any(line.startswith("| cross-entropy alone |") for line in lines), "it was not measured"
    assert "| torchdistill's DistillationBox | 10.0 (9.0 to 11.0) | 15.0 (15.0 to 15.0) |" in table("pair", rates, "x")
