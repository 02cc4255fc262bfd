"""The number of SQL statements of a page does not grow with the rows in the database."""

from collections import Counter

from fastapi.testclient import TestClient
from sqlalchemy import Engine

from tests.browser.gallery import create_gallery
from tests.support.copies import copy_jobs, copy_study
from tests.support.statements import statements
from tests.support.studies import create_study
from tests.support.study_jobs import end_study
from ttm_jobs.database.engine import create_engine, session_scope
from ttm_jobs.settings import Settings
from ttm_jobs.storage import build_storage

PAGES = (
    *("/", "/ui/studies", "/ui/new-study", "/ui/jobs", "/ui/jobs?sort=-top1", "/ui/jobs?group=student", "/ui/new"),
    *("/ui/teachers", "/ui/datasets", "/ui/uploads", "/ui/workers", "/ui/queue", "/ui/stores", "/ui/devices"),
    *("/ui/keys", "/ui/webhooks", "/ui/audit"),
)


def test_statements_of_a_page_do_not_grow_with_rows(sqlite_client: TestClient, sqlite_settings: Settings) -> None:
    engine = create_engine(sqlite_settings.database_url)
    jobs = create_gallery(engine, build_storage(sqlite_settings.storage_url))
    study_id = create_study(engine, students=["cifar/resnet8", "cifar/resnet20"], seeds=1)
    end_study(engine, study_id)
    pages = [*PAGES, f"/ui/studies/{study_id}", *(f"/ui/jobs/{job_id}" for job_id in jobs["succeeded"][:1])]
    few = _statements(sqlite_client, pages)
    with session_scope(engine) as session:
        copy_jobs(session, [*jobs["succeeded"], jobs["failed"], jobs["running"], jobs["queued"]], 200)
        copy_study(session, study_id, 40)
    many = _statements(sqlite_client, pages)
    engine.dispose()
    assert {address: many[address] - few[address] for address in pages if many[address] > few[address]} == {}


def _statements(client: TestClient, addresses: list[str]) -> Counter[str]:
    """The fewest statements of three loads of each page: tasks in the background of the service send some, too."""
    counts: Counter[str] = Counter()
    for address in addresses:
        sizes = []
        for _ in range(3):
            with statements(Engine) as sent:
                response = client.get(address)
            assert response.status_code == 200, address
            sizes.append(len(sent))
        counts[address] = min(sizes)
    return counts
