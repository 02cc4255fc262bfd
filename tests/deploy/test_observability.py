"""Dashboards and alerts use only metrics that the processes export."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from fastapi.testclient import TestClient
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from api.app import create_app
from tests.api.conftest import make_settings
from tests.support.factories import queued, running
from ttm_jobs.database.engine import create_engine, session_scope
from ttm_jobs.repositories import workers
from worker import metrics

ROOT = Path(__file__).parents[2]
RULES = [
    rule
    for group in yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
PANELS: list[dict[str, Any]] = json.loads((ROOT / "deploy/grafana/dashboards/ttm.json").read_text())["panels"]
QUERIES = {
    **{f"alert {rule['alert']}": rule["expr"] for rule in RULES},
    **{f"panel {panel['title']} {target['refId']}": target["expr"] for panel in PANELS for target in panel["targets"]},
}
# Prometheus adds these series to every target.
BUILT_IN = {"up": {"job", "instance"}}


@pytest.fixture(scope="module")
def exported(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The labels of each series that an API, a worker and a dispatcher export."""
    folder = tmp_path_factory.mktemp("api")
    database = folder / "ttm.db"
    database.write_bytes(sqlite_template.read_bytes())
    engine = create_engine(f"sqlite:///{database}")
    running(engine)
    queued(engine)
    with session_scope(engine) as session:
        workers.register(session, "w", kind="worker", hostname="h", pid=1, devices=[], job_id=None)
    engine.dispose()
    with TestClient(create_app(make_settings(f"sqlite:///{database}", folder))) as client:
        client.get("/jobs")
        texts = [client.get("/metrics").text]
    texts += [generate_latest(registry).decode() for registry in (metrics.WORKER, metrics.DISPATCHER)]
    found: dict[str, set[str]] = dict(BUILT_IN)
    for family in (family for text in texts for family in text_string_to_metric_families(text)):
        # A family without samples (no GPU, no attempt yet) still has a name.
        found.setdefault(family.name, {"gpu"} if family.name.startswith("ttm_gpu_") else set())
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_the_guide_lists_all_metrics(exported: dict[str, set[str]]) -> None:
    guide = (ROOT / "docs/how-to/observe.md").read_text()
    listed = {name.removesuffix("_total") for name in re.findall(r"`(ttm_[a-z_]+)`", guide)}
    samples = ("_total", "_created", "_bucket", "_count", "_sum")
    assert {name for name in exported if name.startswith("ttm_") and not name.endswith(samples)} == listed


def selectors(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Yields each series of a query with the labels that it filters by."""
    promql_parser.parse(expression)  # raises ValueError for invalid PromQL
    for name, labels in re.findall(r"\b((?:ttm|process)_\w+|up)\b(?:\{([^}]*)\})?", expression):
        yield name, set(re.findall(r"(\w+)\s*[=!]~?", labels))


@pytest.mark.parametrize("name", QUERIES)
def test_query_is_valid_and_uses_exported_metrics(name: str, exported: dict[str, set[str]]) -> None:
    used_series = list(selectors(QUERIES[name]))
    assert used_series
    for series, labels in used_series:
        assert series in exported, series
        assert labels - {"job", "instance"} <= exported[series], (series, labels, exported[series])
    grouped = {
        label.strip() for labels in re.findall(r"\bby \(([^)]*)\)", QUERIES[name]) for label in labels.split(",")
    }
    assert grouped - {"job", "instance", "le"} <= set().union(*(exported[series] for series, _ in used_series))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_each_alert_links_to_its_runbook_entry(rule: dict[str, Any]) -> None:
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^## (\w+)$", (ROOT / page).read_text(), re.MULTILINE)
    assert anchor == rule["alert"].lower()
    assert rule["alert"] in headings
    assert re.fullmatch(r"\d+m", rule["for"])
    assert rule["labels"]["severity"] in ("page", "ticket")


def test_runbook_has_no_entry_without_an_alert() -> None:
    headings = re.findall(r"^## (\w+)$", (ROOT / "docs/how-to/runbook.md").read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(rule["alert"] for rule in RULES)


def test_every_own_metric_is_used_by_a_dashboard_or_an_alert(exported: dict[str, set[str]]) -> None:
    used = {re.sub(r"_(bucket|total)$", "", name) for query in QUERIES.values() for name, _ in selectors(query)}
    own_metrics = {
        re.sub(r"_(bucket|count|sum|created|total)$", "", name) for name in exported if name.startswith("ttm_")
    }
    assert own_metrics - used <= {"ttm_dispatcher_round_timestamp_seconds"}


def test_prometheus_targets_match_the_compose_file() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for job in yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]:
        [found] = job["dns_sd_configs"]
        for name in found["names"]:
            port = services[name]["environment"].get("TTM_METRICS_PORT", "8000")
            assert int(port) == found["port"], name
