"""Query plans of lists other than jobs: each page is an index range on both databases."""

from datetime import UTC, datetime, timedelta

from fastapi.testclient import TestClient
from sqlalchemy import Engine, insert, text

from tests.api.test_job_lists import explain
from tests.support.statements import statements
from ttm_jobs.database.ids import new_id
from ttm_jobs.models import RegistryEntry, Upload, Webhook, WebhookDelivery

_ROWS = 3000


def fill(engine: Engine) -> str:
    """Inserts rows into every listed table. Returns the id of a webhook."""
    times = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number) for number in range(_ROWS)]
    hooks = [
        {"id": new_id(), "url": "https://x/", "events": [], "secret": "whsec_", "created_at": at} for at in times[:30]
    ]
    project = {"project_id": "default"}
    with engine.begin() as connection:
        connection.execute(insert(Webhook.__table__), [hook | project for hook in hooks])
        connection.execute(
            insert(WebhookDelivery.__table__),
            [
                {
                    **project,
                    "id": new_id(),
                    "webhook_id": hooks[number % 30]["id"],
                    "event": "job.queued",
                    "body": "{}",
                    "state": "delivered",
                    "attempts": 1,
                    "created_at": at,
                }
                for number, at in enumerate(times)
            ],
        )
        connection.execute(
            insert(Upload.__table__),
            [
                {
                    **project,
                    "id": new_id(),
                    "media_type": "x/y",
                    "state": "complete",
                    "key": "k",
                    "size": 1,
                    "sha256": "0" * 64,
                    "received": 0,
                    "created_at": at,
                }
                for at in times
            ],
        )
        connection.execute(
            insert(RegistryEntry.__table__),
            [
                {
                    **project,
                    "kind": "dataset",
                    "name": f"name-{number % 500:03}",
                    "version": 1 + number // 500,
                    "spec": {"uri": "file:///x"},
                    "created_at": at,
                }
                for number, at in enumerate(times)
            ],
        )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))
    return str(hooks[0]["id"])


def test_each_list_is_read_from_an_index(client: TestClient, engine: Engine) -> None:
    webhook_id = fill(engine)
    own: Engine = client.app.state.services.engine  # type: ignore[attr-defined]
    with statements(own, lambda sql: "ORDER BY" in sql) as executed:
        for path, index in (
            ("/uploads", "ix_uploads_newest"),
            (f"/webhooks/{webhook_id}/deliveries", "ix_webhook_deliveries_newest"),
            ("/datasets", "pk_registry_entries"),
            ("/datasets/name-007/versions", "pk_registry_entries"),
        ):
            cursor = None
            for _ in range(2):
                executed.clear()
                page = client.get(path, params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
                cursor = page["next_cursor"]
                assert len(page["items"]) == 2
                assert executed
                for statement, parameters in executed:
                    plan = explain(engine, statement, parameters)
                    assert index in plan or "sqlite_autoindex_registry_entries" in plan, (path, plan)
                    assert "TEMP B-TREE" not in plan, (path, plan)
                    assert "Sort" not in plan.replace("Incremental Sort", ""), (path, plan)
                    assert "Seq Scan" not in plan, (path, plan)
