"""Dashboard and alerts ask for what the processes tell, and for nothing else."""

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
# Prometheus makes these itself, for whatever it reads.
ITS_OWN = {"up": {"job", "instance"}}


@pytest.fixture(scope="module")
def told(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The labels of each series that an API, a worker and a dispatcher tell."""
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
    found: dict[str, set[str]] = dict(ITS_OWN)
    for family in (family for text in texts for family in text_string_to_metric_families(text)):
        # A family without a GPU or an attempt so far has no series yet, but a name.
        found.setdefault(family.name, {"gpu"} if family.name.startswith("ttm_gpu_") else set())
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def selectors(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Each series that a query names, with the labels by which it chooses."""
    promql_parser.parse(expression)  # ValueError for what Prometheus would not read
    for name, labels in re.findall(r"\b((?:ttm|process)_\w+|up)\b(?:\{([^}]*)\})?", expression):
        yield name, set(re.findall(r"(\w+)\s*[=!]~?", labels))


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_is_well_formed_and_asks_for_what_is_told(name: str, told: dict[str, set[str]]) -> None:
    asked = list(selectors(QUERIES[name]))
    assert asked
    for series, labels in asked:
        assert series in told, series
        assert labels - {"job", "instance"} <= told[series], (series, labels, told[series])
    grouped = {
        label.strip() for labels in re.findall(r"\bby \(([^)]*)\)", QUERIES[name]) for label in labels.split(",")
    }
    assert grouped - {"job", "instance", "le"} <= set().union(*(told[series] for series, _ in asked))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_each_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^## (\w+)$", (ROOT / page).read_text(), re.MULTILINE)
    assert anchor == rule["alert"].lower()
    assert rule["alert"] in headings
    assert re.fullmatch(r"\d+m", rule["for"])
    assert rule["labels"]["severity"] in ("page", "ticket")


def test_the_runbook_has_no_entry_without_an_alert() -> None:
    headings = re.findall(r"^## (\w+)$", (ROOT / "docs/how-to/runbook.md").read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(rule["alert"] for rule in RULES)


def test_every_metric_of_ours_is_on_the_dashboard_or_in_an_alert(told: dict[str, set[str]]) -> None:
    used = {re.sub(r"_(bucket|total)$", "", name) for query in QUERIES.values() for name, _ in selectors(query)}
    of_ours = {re.sub(r"_(bucket|count|sum|created|total)$", "", name) for name in told if name.startswith("ttm_")}
    assert of_ours - used <= {"ttm_dispatcher_round_timestamp_seconds"}


def test_prometheus_finds_the_processes_of_the_compose_file() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for job in yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]:
        [found] = job["dns_sd_configs"]
        for name in found["names"]:
            port = services[name]["environment"].get("TTM_METRICS_PORT", "8000")
            assert int(port) == found["port"], name
