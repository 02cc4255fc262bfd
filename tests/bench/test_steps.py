"""The benchmark of the parts of a training step."""

from bench.steps import INSIDE, OUTSIDE, measured


def test_shares_of_a_warm_run() -> None:
    shares = measured("float32", epochs=1, repeats=1, images=320)
    outside = shares.pop(OUTSIDE)
    assert min(shares.values()) > 0
    assert abs(sum(shares.values()) - 1) < 1e-9
    assert abs(sum(shares[part] for part in INSIDE) + outside - 1) < 1e-9
