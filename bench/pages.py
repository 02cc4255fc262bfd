"""First contentful paint of every dashboard page, with 10,000 jobs and 200 studies, in headless Chromium.

    python -m bench.pages [--postgresql] [--jobs 10000] [--studies 200] [--loads 5]

Needs Chromium (`make browser-setup`, or its path in TTM_CHROMIUM). The API is a process of its own, and the HTTP
cache is off. Prints a table.
"""

import argparse
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Page, sync_playwright
from sqlalchemy import Engine, text

from tests.browser.gallery import create_gallery
from tests.support.api_server import api_process
from tests.support.chromium import CHROMIUM, FLAGS
from tests.support.copies import copy_jobs, copy_study
from tests.support.damaged import record_largest_damage
from tests.support.servers import PostgresServer
from tests.support.studies import create_study
from tests.support.study_jobs import end_study
from ttm_jobs.database.engine import create_engine, session_scope
from ttm_jobs.database.migrate import upgrade
from ttm_jobs.settings import Settings
from ttm_jobs.storage import build_storage

_OTHERS = (
    *("teachers", "datasets", "uploads", "architectures", "recipes"),
    *("workers", "queue", "stores", "devices"),
    *("keys", "webhooks", "audit"),
)
_TIMES = """() => {
  const [paint] = performance.getEntriesByName("first-contentful-paint");
  const [load] = performance.getEntriesByType("navigation");
  return paint ? [paint.startTime, load.responseEnd - load.requestStart] : null;
}"""


@dataclass(frozen=True)
class Paint:
    """Milliseconds until the first contentful paint, and until the HTML has arrived."""

    paint: float
    response: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--postgresql", action="store_true", help="use PostgreSQL instead of SQLite")
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--loads", type=int, default=5, help="of each page, after one that is reported separately")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, _database(Path(folder), options.postgresql) as database_url:
        settings = Settings(
            database_url=database_url, storage_url=f"file:{folder}/storage", broker_url="redis://127.0.0.1:1/0"
        )
        upgrade(database_url)
        engine = create_engine(database_url)
        addresses = pages(engine, settings, options.jobs, options.studies)
        engine.dispose()
        with api_process(settings, {"TTM_REQUESTS_PER_SECOND": "1e9"}) as (url, _):
            report(url, addresses, options.loads)


def pages(engine: Engine, settings: Settings, jobs: int, studies: int) -> dict[str, str]:
    """Fills the database. Returns the address of every page by its title."""
    storage = build_storage(settings.storage_url)
    gallery = create_gallery(engine, storage)
    record_largest_damage(engine, storage, gallery["succeeded"][0])
    study_id = create_study(
        engine, limits={"retention": 0.5, "bytes": 1_500_000}, search={"method.beta": [1, 2, 4]}, name="flowers"
    )
    end_study(engine, study_id)
    with session_scope(engine) as session:
        copy_jobs(session, [*gallery["succeeded"], gallery["failed"], gallery["queued"]], jobs)
        copy_study(session, study_id, studies)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # Tables that were just filled have no statistics.
        connection.execute(text("ANALYZE"))
    succeeded = gallery["succeeded"]
    return {
        "home": "/",
        "studies": "/ui/studies",
        "study of 12 candidates": f"/ui/studies/{study_id}",
        "form for a study": "/ui/new-study",
        "jobs": "/ui/jobs",
        "jobs by top-1": "/ui/jobs?sort=-top1",
        "jobs grouped by student": "/ui/jobs?group=student",
        "jobs grouped by study": "/ui/jobs?group=study&study=all",
        "jobs by a part of their name": "/ui/jobs?name=copy",
        "running job, curves of 80 steps": f"/ui/jobs/{gallery['running']}",
        "finished job": f"/ui/jobs/{succeeded[0]}",
        "damage report, 1,000 classes": f"/ui/jobs/{succeeded[0]}/damage",
        "damage report, all classes": f"/ui/jobs/{succeeded[0]}/damage?classes=all",
        "comparison of five jobs": "/ui/compare?" + "&".join(f"job={job_id}" for job_id in succeeded),
        "form for a job": "/ui/new",
        **{name: f"/ui/{name}" for name in _OTHERS},
        "API reference": "/docs",
    }


def report(url: str, addresses: dict[str, str], loads: int) -> None:
    """Loads each page and prints a table."""
    print(
        "| page | first contentful paint, median | range | first load | HTML complete, median |\n|---|---|---|---|---|"
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        window = browser.new_page(viewport={"width": 1280, "height": 900})
        window.context.new_cdp_session(window).send("Network.setCacheDisabled", {"cacheDisabled": True})
        for title, address in addresses.items():
            first, *rest = [_load(window, url + address) for _ in range(1 + loads)]
            paints = [each.paint for each in rest]
            print(
                f"| {title} | {statistics.median(paints):.0f} ms | {min(paints):.0f} to {max(paints):.0f} ms "
                f"| {first.paint:.0f} ms | {statistics.median(each.response for each in rest):.0f} ms |",
                flush=True,
            )
        browser.close()


def _load(window: Page, address: str) -> Paint:
    response = window.goto(address)
    if response is None or response.status != 200:
        raise SystemExit(f"{address} did not load")
    return Paint(*window.wait_for_function(_TIMES).json_value())


@contextmanager
def _database(folder: Path, postgresql: bool) -> Iterator[str]:
    if not postgresql:
        yield f"sqlite:///{folder / 'ttm.db'}"
        return
    with PostgresServer() as server:
        yield server.create_database("pages")


if __name__ == "__main__":
    main()
