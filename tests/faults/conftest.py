"""The table of faults: one row per fault and stack.

`make test` runs the quick part. `make faults` runs all tests, including those marked `thorough`, and prints the table.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.stack import Stack
from ttm_jobs.broker.embedded import EmbeddedBroker

_STACKS = {"postgresql": "PostgreSQL, Redis", "sqlite": "SQLite, embedded broker"}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "fault(name): the test's row in the table of faults")
    config.addinivalue_line("markers", "stack_settings(**settings): settings of the processes that a test starts")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if (marker := item.get_closest_marker("fault")) is not None:
            item.user_properties.append(("fault", marker.args[0]))
            item.user_properties.append(("stack", _stack(item)))


def _stack(item: pytest.Item) -> str:
    if (declared := getattr(item.getparent(pytest.Module).obj, "STACK", None)) is not None:
        return str(declared)
    callspec = getattr(item, "callspec", None)
    names: Sequence[object] = () if callspec is None else list(callspec.params.values())
    return next((_STACKS[name] for name in names if isinstance(name, str) and name in _STACKS), "trainer only")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows: dict[tuple[str, str], tuple[list[str], float]] = {}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            # Reports of failed collections have no properties.
            properties = dict(getattr(report, "user_properties", ()))
            if "fault" in properties and (report.when == "call" or outcome != "passed"):
                outcomes, seconds = rows.setdefault((properties["fault"], properties["stack"]), ([], 0.0))
                rows[properties["fault"], properties["stack"]] = ([*outcomes, outcome], seconds + report.duration)
    if not rows:
        return
    terminalreporter.section("faults")
    terminalreporter.line(f"{'fault':58} {'stack':26} {'tests':>5} {'result':12} {'seconds':>7}")
    for (fault, stack), (outcomes, seconds) in sorted(rows.items()):
        result = (
            "passed"
            if set(outcomes) == {"passed"}
            else "skipped"
            if set(outcomes) <= {"passed", "skipped"}
            else "FAILED"
        )
        terminalreporter.line(f"{fault:58} {stack:26} {len(outcomes):5} {result:12} {seconds:7.1f}")


@pytest.fixture(params=["postgresql", pytest.param("sqlite", marks=pytest.mark.thorough)])
def database_url(request: pytest.FixtureRequest) -> str:
    """PostgreSQL, as in production, and SQLite in the thorough run."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def stack(request: pytest.FixtureRequest, tmp_path: Path, database_url: str, redis: EmbeddedBroker) -> Iterator[Stack]:
    """Manages real service processes. None is started yet."""
    marker = request.node.get_closest_marker("stack_settings")
    with Stack(tmp_path, database_url, redis, **(marker.kwargs if marker else {})) as stack:
        yield stack
