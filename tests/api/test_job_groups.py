"""Groups of the jobs page: mean and deviation over seeds, several tags, and an address for the comparison."""

from fastapi.testclient import TestClient
from sqlalchemy import Engine

from api.comparisons.labels import field_words
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


def test_row_of_many_jobs_links_the_newest(client: TestClient, settings: Settings) -> None:
    body = {"student": "resnet18", "dataset": settings.data_roots[0].as_uri(), "method": "ce"}
    jobs = [client.post("/jobs", json=body).json()["id"] for _ in range(15)]
    html = client.get("/ui/jobs?group=dataset").text
    assert [job for job in jobs if f'href="/ui/jobs/{job}"' in html] == jobs[3:]
    assert "and 3 more" in html


def test_labels_of_groups_are_words(client: TestClient, settings: Settings, engine: Engine, storage: Storage) -> None:
    data = settings.data_roots[0].as_uri()
    (settings.data_roots[0] / "wide.safetensors").write_bytes(b"x")
    teachers = ({"checkpoint": f"{data}/wide.safetensors", "architecture": "resnet34"}, None)
    for teacher in teachers:
        for seed in (0, 1):
            student = {"architecture": "resnet18", **({"initialize": "teacher"} if teacher else {})}
            body = {"student": student, "dataset": data, "name": f"seed {seed}", "training": {"seed": seed}}
            method = {"method": "kd"} if teacher else {"method": "ce"}
            response = client.post("/jobs", json={**body, **method, **({"teacher": teacher} if teacher else {})})
            assert response.status_code == 201, response.text
    html = client.get("/ui/jobs?group=dataset").text
    assert "resnet18, weights of the teacher, method kd, teacher wide.safetensors" in html
    assert "resnet18, no teacher, method ce" in html
    assert field_words("teacher.checkpoint", "job:01935c5e-8f3a-7c1e-9d55-2f6f0c1b7a10") == "teacher job …1b7a10"
    assert field_words("training.optimizer.learning_rate", "0.1") == "learning rate 0.1"
    assert field_words("dataset.uri", "s3://bucket/pets.tar") == "dataset pets.tar"
    assert field_words("method.kind", "kd") == "method kd"


def test_labels_of_groups_leave_out_defaults(client: TestClient, settings: Settings) -> None:
    for patience in (None, 3):
        for seed in (0, 1):
            training = {"seed": seed, "early_stopping_patience": patience}
            body = {"student": "resnet18", "dataset": settings.data_roots[0].as_uri(), "method": "ce"}
            response = client.post("/jobs", json={**body, "name": f"seed {seed}", "training": training})
            assert response.status_code == 201, response.text
    html = client.get("/ui/jobs?group=dataset").text
    assert html.count('<th scope="row">resnet18</th>') == 1
    assert html.count('<th scope="row">resnet18, early stopping patience 3</th>') == 1
