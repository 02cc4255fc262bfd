"""A small run of the `make scale` simulation."""

import pytest

from bench.scale.__main__ import table
from bench.scale.simulation import Plan, Simulation


@pytest.mark.timeout(120)
@pytest.mark.thorough
def test_no_job_is_claimed_twice_and_projects_are_scheduled_fairly() -> None:
    plan = Plan(large=500, seconds=5, trainer_timeout_seconds=0.5, heartbeat_seconds=0.2, pool_size=6)
    with Simulation(plan).running() as simulation:
        figures = simulation.measure(12)
    assert figures.processes == 2
    assert figures.claimed_twice == 0
    # The 500 jobs of the large project have higher priority, were queued first, and would take 20 s.
    assert 0 < figures.claims - figures.small_jobs < 500
    assert figures.small_jobs >= 2
    assert figures.statements_per_job < 60
    assert "**claimed twice** | **0** |" in table([figures])
