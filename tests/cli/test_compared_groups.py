"""The lines of `ttm compare`: one for each group of jobs."""

from typing import Any

import pytest

from ttm_client.cli.jobs.compare import print_groups
from ttm_client.models.comparisons import Comparison


def job(number: int, **fields: Any) -> dict[str, Any]:
    unknown = ("name", "started_at", "top1", "interval", "teacher", "teacher_top1", "change_points", "retention")
    unknown += ("parameters", "macs", "bytes", "latency_ms", "latency_p90_ms")
    known = {"id": str(number), "state": "running", "student": "resnet18", "dataset": "d", "seed": number}
    return dict.fromkeys(unknown) | known | {"against": "labels"} | fields


def test_values_of_a_group_are_those_of_all_its_jobs(capsys: pytest.CaptureFixture[str]) -> None:
    done = {"state": "succeeded", "parameters": 11_000_000, "macs": 2_000_000, "bytes": 44_000_000}
    jobs = [
        job(0),
        job(1, **done, change_points=-1.0, latency_ms=3.0),
        job(2, **done, change_points=-2.0, latency_ms=5.0),
    ]
    group = {"label": "resnet18", "jobs": ["0", "1", "2"], "count": 2, "mean": 0.9, "deviation": 0.01}
    print_groups(
        Comparison.model_validate(
            {
                "split": "test",
                "jobs": jobs,
                "groups": [{**group, "difference": None}],
                "baseline": 0,
                "verdict": "",
                "problem": None,
                "differences": [],
                "metrics": [],
            }
        )
    )
    [line] = capsys.readouterr().out.splitlines()
    assert line.split("\t")[-5:] == ["-1.50", "11 M", "2 M", "44 MB", "4.00 ms"]
