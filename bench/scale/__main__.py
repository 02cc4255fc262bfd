"""`python -m bench.scale`: claims with 10, 100 and 1,000 workers and 100,000 queued jobs. Prints JSON; `--page
docs/scale.md`
also updates the table of that page.
"""

import argparse
import json
import os
import platform
from dataclasses import asdict
from pathlib import Path

from bench.scale.simulation import Figures, Plan, Simulation

_BEGIN, _END = "<!-- scale: begin -->", "<!-- scale: end -->"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--jobs", type=int, default=Plan.large)
    parser.add_argument("--seconds", type=float, default=Plan.seconds)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--page", type=Path)
    arguments = parser.parse_args()
    plan = Plan(large=arguments.jobs, seconds=arguments.seconds)
    load = os.getloadavg()[0]
    with Simulation(plan).running() as simulation:
        found = [simulation.measure(workers) for workers in arguments.workers]
    record = {
        "plan": asdict(plan),
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "load_before": round(load, 2)},
        "figures": [asdict(figures) for figures in found],
    }
    text = json.dumps(record, indent=2)
    print(text)
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(text + "\n")
    if arguments.page is not None:
        page = arguments.page.read_text(encoding="utf-8")
        head, _, rest = page.partition(_BEGIN)
        arguments.page.write_text(f"{head}{_BEGIN}\n{table(found)}\n{_END}{rest.partition(_END)[2]}", encoding="utf-8")


def table(found: list[Figures]) -> str:
    """Returns a Markdown table with a column per number of workers."""
    rows = [
        ("worker threads in processes", lambda f: f"{f.workers:,} in {f.processes}"),
        ("jobs per second that they could finish", lambda f: f"{f.asked_per_second:g}"),
        ("**claims per second**", lambda f: f"**{f.claims_per_second:.1f}**"),
        ("claims", lambda f: f"{f.claims:,}"),
        ("**claimed twice**", lambda f: f"**{f.claimed_twice}**"),
        ("one claim, median and p99, ms", lambda f: f"{f.claim_p50 * 1e3:.0f}, {f.claim_p99 * 1e3:.0f}"),
        ("submit to claim of the small project, median and p99, s", lambda f: f"{f.small_p50:.2f}, {f.small_p99:.2f}"),
        ("its jobs claimed", lambda f: f"{f.small_jobs:,}"),
        ("statements per job", lambda f: f"{f.statements_per_job:.1f}"),
        ("time of the statements per job, ms", lambda f: f"{f.statement_seconds_per_job * 1e3:.0f}"),
        ("CPU time of PostgreSQL per job, ms", lambda f: f"{f.postgres_cpu_seconds_per_job * 1e3:.1f}"),
        ("CPU time of the workers per job, ms", lambda f: f"{f.pool_cpu_seconds_per_job * 1e3:.0f}"),
        ("updates of `jobs` that touch no index", lambda f: f"{f.hot_updates:.0%}"),
        ("claims without a database connection", lambda f: f"{f.database_unavailable}"),
    ]
    head = f"| | {' | '.join('workers' for _ in found)} |\n|---|{'---|' * len(found)}\n"
    return head + "\n".join(f"| {name} | {' | '.join(show(figures) for figures in found)} |" for name, show in rows)


if __name__ == "__main__":
    main()
