"""GET /jobs/{id} and GET /studies/{id} with a prefix of the id or a name, and the same in `ttm`."""

from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine
from typer.testing import CliRunner

from tests.support.api_server import served
from tests.support.factories import queued, spec
from tests.support.studies import create_study
from ttm_client.cli.main import app
from ttm_jobs.database.engine import create_engine
from ttm_jobs.settings import Settings


def test_job_is_found_by_prefix_and_name(client: TestClient, engine: Engine) -> None:
    job_id = queued(engine, spec=spec(name="r56 to r20"))
    for reference in (job_id, job_id[:13], job_id[:8], "r56 to r20"):
        found = client.get(f"/jobs/{reference}")
        assert (found.status_code, found.json()["id"]) == (200, job_id)
    same = client.get(f"/jobs/{job_id[:13]}", headers={"If-None-Match": found.headers["etag"]})
    assert same.status_code == 304


def test_ambiguous_and_unknown_references_are_rejected(client: TestClient, engine: Engine) -> None:
    for _ in range(2):
        queued(engine, spec=spec(name="sweep"))
    several = client.get("/jobs/sweep")
    assert (several.status_code, several.json()["code"]) == (409, "ambiguous_job")
    for unknown in ("swee", "01", "ffffffff", "x" * 201, "a%0Ab", "a%00"):
        answer = client.get(f"/jobs/{unknown}")
        assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")


def test_study_is_found_by_prefix_and_name(client: TestClient, engine: Engine) -> None:
    study_id = create_study(engine, name="kiosk at 97 %")
    for reference in (study_id, study_id[:13], study_id[:8], quote("kiosk at 97 %")):
        assert client.get(f"/studies/{reference}").json()["id"] == study_id
    create_study(engine, name="kiosk at 97 %")
    several = client.get(f"/studies/{quote('kiosk at 97 %')}")
    assert (several.status_code, several.json()["code"]) == (409, "ambiguous_study")
    for unknown in ("kiosk", "01", "ffffffff", "x" * 201, "a%0Ab", "a%00"):
        answer = client.get(f"/studies/{unknown}")
        assert (answer.status_code, answer.json()["code"]) == (404, "study_not_found")


NAMES = {
    "an ideographic space": "\u6a21\u578b\u3000\u84b8\u7559",
    "a no-break space": "r56\u00a0to\u00a0r20",
    "emoji with joiners": "\U0001f469\u200d\U0001f52c trial",
    "a joiner within a word": "\u0646\u0645\u06cc\u200c\u062f\u0627\u0646\u0645",
    "a soft hyphen": "Destil\u00adlation",
    "a change of direction": "a\u202eb",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_every_accepted_name_is_found(client: TestClient, settings: Settings, name: str) -> None:
    body = {"student": "resnet18", "dataset": settings.data_roots[0].as_uri(), "method": "ce", "name": name}
    created = client.post("/jobs", json=body)
    assert created.status_code == 201
    job_id = created.json()["id"]
    assert client.patch(f"/jobs/{job_id}", json={"name": name}).status_code == 200
    assert client.get(f"/jobs/{quote(name)}").json()["id"] == job_id
    assert [job["id"] for job in client.get("/jobs", params={"name": name}).json()["items"]] == [job_id]
    selected = client.post("/jobs/cancel", json={"filter": {"name": name}, "dry_run": True})
    assert [item["id"] for item in selected.json()["items"]] == [job_id]
    assert job_id in client.get("/ui/jobs", params={"name": name}).text


# Neither slashes nor dots can be in a path.
@pytest.mark.parametrize("name", ["baseline", "a name with as many letters as an id", "sweep/lr 0.1", ".."])
def test_ttm_accepts_a_prefix_and_a_name(sqlite_settings: Settings, name: str) -> None:
    with served(sqlite_settings) as url:
        job_id = queued(create_engine(sqlite_settings.database_url), spec=spec(name=name))
        for command in (("show", name), ("show", job_id[:13]), ("cancel", name)):
            ended = CliRunner().invoke(app, [*command, "--url", url])
            assert (ended.exit_code, job_id in ended.output) == (0, True), ended.output


def test_ttm_finds_studies_and_refuses_names_that_match_no_or_several_jobs(sqlite_settings: Settings) -> None:
    with served(sqlite_settings) as url:
        engine = create_engine(sqlite_settings.database_url)
        study_id = create_study(engine, name="kiosk/left")
        for _ in range(2):
            queued(engine, spec=spec(name="sweep/1"))
        queued(engine, spec=spec(name="other sweep/1"))
        for command, code, text in (
            (("study", "show", "kiosk/left"), 0, study_id),
            (("study", "show", "kiosk/right"), 4, "No study has the id, id prefix or name"),
            (("show", "sweep/1"), 5, "matches more than one job"),
            (("show", "weep/1"), 4, "No job has the id, id prefix or name"),
            (("show", ""), 4, "No job has the id, id prefix or name ''"),
            (("study", "show", ""), 4, "No study has the id, id prefix or name ''"),
        ):
            ended = CliRunner().invoke(app, [*command, "--url", url])
            assert (ended.exit_code, text in ended.output) == (code, True), ended.output
