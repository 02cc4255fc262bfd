"""The simulation of `make scale`, small: what it promises must hold at any size."""

import pytest

from bench.scale.__main__ import table
from bench.scale.simulation import Plan, Simulation


@pytest.mark.timeout(120)
def test_nothing_is_claimed_twice_and_the_small_project_does_not_wait_for_the_large_one() -> None:
    plan = Plan(large=500, seconds=5, trainer_timeout_seconds=0.5, heartbeat_seconds=0.2, crew_size=6)
    with Simulation(plan).running() as simulation:
        figures = simulation.measure(12)
    assert figures.processes == 2
    assert figures.claims > 20
    assert figures.claimed_twice == 0
    # All of the 500 are more urgent by their own word, and were there first: together they would take 20 s.
    assert figures.small_jobs >= 2
    assert figures.small_p99 < 5
    assert figures.statements_per_job < 60
    assert "**claimed twice** | **0** |" in table([figures])
