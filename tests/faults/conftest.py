"""The table of faults: a row for each test, on each stack.

`make test` runs the quick part; `make faults` runs all of it and prints the table. A test or a parameter marked
`thorough` belongs to the second alone.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.stack import Stack
from ttm_jobs.broker.embedded import EmbeddedBroker

_HERE = Path(__file__).parent
_STACKS = {"postgresql": "PostgreSQL, Redis", "sqlite": "SQLite, embedded broker"}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "fault(name): the row of the table of faults that a test stands for")
    config.addinivalue_line("markers", "stack_settings(**settings): of the processes that a test starts")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    thorough = [item for item in items if _HERE in item.path.parents and item.get_closest_marker("thorough")]
    # Whoever names a marker chooses for himself.
    if thorough and not config.option.markexpr:
        config.hook.pytest_deselected(items=thorough)
        items[:] = [item for item in items if item not in thorough]
    for item in items:
        if (marker := item.get_closest_marker("fault")) is not None:
            item.user_properties.append(("fault", marker.args[0]))
            item.user_properties.append(("stack", _stack(item)))


def _stack(item: pytest.Item) -> str:
    if (named := getattr(item.getparent(pytest.Module).obj, "STACK", None)) is not None:
        return str(named)
    callspec = getattr(item, "callspec", None)
    names: Sequence[object] = () if callspec is None else list(callspec.params.values())
    return next((_STACKS[name] for name in names if isinstance(name, str) and name in _STACKS), "the trainer alone")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows: dict[tuple[str, str], tuple[list[str], float]] = {}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            told = dict(report.user_properties)
            if "fault" in told and (report.when == "call" or outcome != "passed"):
                seen, seconds = rows.setdefault((told["fault"], told["stack"]), ([], 0.0))
                rows[told["fault"], told["stack"]] = ([*seen, outcome], seconds + report.duration)
    if not rows:
        return
    terminalreporter.section("faults")
    terminalreporter.line(f"{'fault':58} {'stack':26} {'tests':>5} {'seen':12} {'seconds':>7}")
    for (fault, stack), (outcomes, seconds) in sorted(rows.items()):
        seen = (
            "as promised"
            if set(outcomes) == {"passed"}
            else "skipped"
            if set(outcomes) <= {"passed", "skipped"}
            else "NOT"
        )
        terminalreporter.line(f"{fault:58} {stack:26} {len(outcomes):5} {seen:12} {seconds:7.1f}")


@pytest.fixture(params=["postgresql", pytest.param("sqlite", marks=pytest.mark.thorough)])
def database_url(request: pytest.FixtureRequest) -> str:
    """PostgreSQL, as in production, and SQLite in the thorough run."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def stack(request: pytest.FixtureRequest, tmp_path: Path, database_url: str, redis: EmbeddedBroker) -> Iterator[Stack]:
    """Real processes, none of them started yet."""
    marker = request.node.get_closest_marker("stack_settings")
    with Stack(tmp_path, database_url, redis, **(marker.kwargs if marker else {})) as stack:
        yield stack
