"""The version of the API and deprecated operations in response headers."""

from datetime import UTC, datetime

from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.responses import Response

from api.app import create_app
from api.http.headers.versions import API_VERSION, deprecated
from ttm_jobs.errors import JobNotFound
from ttm_jobs.settings import Settings

OLD = deprecated(
    since=datetime(2027, 1, 1, tzinfo=UTC), sunset=datetime(2027, 7, 1, 12, tzinfo=UTC), page="/docs#section/old"
)
HEADERS = {
    "deprecation": "@1798761600",
    "sunset": "Thu, 01 Jul 2027 12:00:00 GMT",
    "link": '</docs#section/old>; rel="deprecation"; type="text/html"',
}


def with_old_routes(settings: Settings) -> FastAPI:
    app = create_app(settings)

    @app.get("/old/response", **OLD)
    def respond() -> Response:
        return Response("x")

    @app.get("/old/missing", **OLD)
    def miss() -> None:
        raise JobNotFound

    return app


def test_every_response_names_the_version(sqlite_client: TestClient) -> None:
    for path in ("/healthz", "/jobs", "/jobs/none", "/nowhere", "/static/style.css", "/home"):
        assert sqlite_client.get(path).headers["ttm-version"] == API_VERSION, path
    assert sqlite_client.get("/openapi.json").json()["info"]["version"] == API_VERSION


def test_deprecated_operations_announce_it_in_every_response(sqlite_settings: Settings) -> None:
    app = with_old_routes(sqlite_settings)
    with TestClient(app) as client:
        for path, status in (("/old/response", 200), ("/old/missing", 404)):
            response = client.get(path)
            assert response.status_code == status
            assert HEADERS.items() <= dict(response.headers).items()
        assert "deprecation" not in client.get("/jobs").headers
    assert app.openapi()["paths"]["/old/response"]["get"]["deprecated"] is True
