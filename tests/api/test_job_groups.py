"""Groups of the jobs page: mean and deviation over seeds, several tags, and an address for the comparison."""

from fastapi.testclient import TestClient
from sqlalchemy import Engine

from tests.support.runs import claim, succeed
from ttm_jobs.settings import Settings
from ttm_jobs.storage import Storage


def test_groups_by_tag_have_mean_and_deviation(
    client: TestClient, settings: Settings, engine: Engine, storage: Storage
) -> None:
    data = settings.data_roots[0].as_uri()
    for seed, top1 in ((0, 0.90), (1, 0.92)):
        body = {
            "student": "resnet18",
            "dataset": data,
            "method": "ce",
            "tags": ["night", "pets"],
            "training": {"seed": seed},
        }
        job = client.post("/jobs", json=body).json()["id"]
        succeed(engine, storage, claim(engine, job), test_top1=top1)
    client.post("/jobs", json={"student": "resnet34", "dataset": data, "method": "ce"})
    html = client.get("/ui/jobs?group=tag").text
    assert [html.count(f'aria-label="Tag {tag}"') for tag in ("night", "pets", "(none)")] == [1, 1, 1]
    assert html.count("91.00%") == 2
    assert html.count("± 1.41") == 2
    assert "91.00%" in client.get("/ui/jobs?group=dataset&name=&tag=night").text
    assert client.get("/ui/jobs?group=owner").status_code == 422
