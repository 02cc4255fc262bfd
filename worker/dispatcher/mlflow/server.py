"""A minimal client of MLflow's REST API 2.0 (MLflow 2 and 3). The official client has about a hundred dependencies,
some
with versions that conflict with ours.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2

from ttm_jobs.errors import ServiceError

_BATCH_METRICS = 1000
_BATCH_PARAMS = 100


class TrackingFailed(ServiceError):
    """The MLflow server returned an error."""

    status = 502
    code = "tracking_failed"


class MlflowServer:
    """One MLflow server. Calls raise TrackingFailed for errors and after `timeout` seconds without data."""

    def __init__(self, uri: str, token: str | None = None, *, timeout: float = 15.0) -> None:
        headers = {"User-Agent": "ttm"} | ({} if token is None else {"Authorization": f"Bearer {token}"})
        self._base = uri.rstrip("/")
        self._http = httpx2.Client(timeout=timeout, headers=headers)

    def close(self) -> None:
        self._http.close()

    def experiment(self, name: str) -> str:
        """Returns the id of an experiment. Creates it if it does not exist."""
        for _ in range(2):
            found = self._call("GET", "experiments/get-by-name", {"experiment_name": name}, missing=True)
            if found is not None:
                return str(found["experiment"]["experiment_id"])
            # Another process may create it first.
            self._call("POST", "experiments/create", {"name": name}, exists_ok=True)
        raise TrackingFailed("MLflow could not create the experiment.")

    def run_of(self, experiment_id: str, tag: str, value: str) -> dict[str, Any] | None:
        """Returns the newest run with the tag, or None."""
        body = {
            "experiment_ids": [experiment_id],
            "filter": f"tags.`{tag}` = '{value}'",
            "max_results": 1,
            "order_by": ["attributes.start_time DESC"],
        }
        runs = (self._call("POST", "runs/search", body) or {}).get("runs") or [None]
        run: dict[str, Any] | None = runs[0]
        return run

    def create_run(self, experiment_id: str, name: str, *, start: int, tags: dict[str, str]) -> dict[str, Any]:
        """Creates a run that started at `start` (milliseconds since 1970)."""
        body = {"experiment_id": experiment_id, "run_name": name, "start_time": start, "tags": _pairs(tags)}
        answer = self._call("POST", "runs/create", body) or {}
        run: dict[str, Any] = answer["run"]
        return run

    def log(self, run_id: str, params: dict[str, str], metrics: Sequence[dict[str, Any]]) -> None:
        """Logs params, and metrics of the form {key, value, timestamp, step}. Idempotent."""
        pairs = _pairs(params)
        for start in range(0, len(pairs), _BATCH_PARAMS):
            self._call("POST", "runs/log-batch", {"run_id": run_id, "params": pairs[start : start + _BATCH_PARAMS]})
        for start in range(0, len(metrics), _BATCH_METRICS):
            batch = list(metrics[start : start + _BATCH_METRICS])
            self._call("POST", "runs/log-batch", {"run_id": run_id, "metrics": batch})

    def upload(self, artifact_uri: str, path: str, content: Iterable[bytes]) -> None:
        """Uploads an artifact."""
        folder = urlsplit(artifact_uri).path.strip("/")
        url = f"{self._base}/api/2.0/mlflow-artifacts/artifacts/{quote(f'{folder}/{path}')}"
        self._request("PUT", url, content=iter(content), headers={"Content-Type": "application/octet-stream"})

    def register(self, model: str, run_id: str, source: str, tags: dict[str, str]) -> None:
        """Registers the run's model as a version of `model`. Idempotent."""
        found = self._call("GET", "model-versions/search", {"filter": f"run_id='{run_id}'", "max_results": 1})
        if (found or {}).get("model_versions"):
            return
        self._call("POST", "registered-models/create", {"name": model}, exists_ok=True)
        body = {"name": model, "source": source, "run_id": run_id, "tags": _pairs(tags)}
        self._call("POST", "model-versions/create", body)

    def end(self, run_id: str, *, status: str, at: int) -> None:
        self._call("POST", "runs/update", {"run_id": run_id, "status": status, "end_time": at})

    def _call(
        self, method: str, path: str, fields: dict[str, Any], *, missing: bool = False, exists_ok: bool = False
    ) -> dict[str, Any] | None:
        """Returns the response; None if the resource is `missing` or exists (`exists_ok`)."""
        url = f"{self._base}/api/2.0/mlflow/{path}"
        sent: dict[str, Any] = {"params": fields} if method == "GET" else {"json": fields}
        allowed = {"RESOURCE_DOES_NOT_EXIST": missing, "RESOURCE_ALREADY_EXISTS": exists_ok}
        return self._request(method, url, allowed=[code for code, may in allowed.items() if may], **sent)

    def _request(self, method: str, url: str, *, allowed: Sequence[str] = (), **sent: Any) -> dict[str, Any] | None:
        try:
            response = self._http.request(method, url, **sent)
            body = response.json() if response.content else {}
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            # The message may contain the URL with a password.
            raise TrackingFailed(f"MLflow cannot be used: {type(error).__name__}.") from error
        body = body if isinstance(body, dict) else {}
        if response.is_success:
            return body
        code = str(body.get("error_code", ""))
        if code in allowed:
            return None
        raise TrackingFailed(f"MLflow answered {response.status_code} {code}: {str(body.get('message', ''))[:300]}")


def _pairs(fields: dict[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in fields.items()]


def chunks_of(text: str) -> Iterator[bytes]:
    """Encodes text for `upload`."""
    yield text.encode()
