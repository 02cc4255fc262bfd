"""What is used of MLflow's REST API, version 2.0, which servers of MLflow 2 and 3 have. Their client brings a hundred
packages with it, and versions of its own of some that we use.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2

from ttm_jobs.errors import ServiceError

_BATCH_METRICS = 1000
_BATCH_PARAMS = 100


class TrackingFailed(ServiceError):
    """The MLflow server does not answer as it should."""

    status = 502
    code = "tracking_failed"


class MlflowServer:
    """One server. Every call raises TrackingFailed for anything but the wanted answer, within `timeout` seconds of
    silence.
    """

    def __init__(self, uri: str, token: str | None = None, *, timeout: float = 15.0) -> None:
        headers = {"User-Agent": "ttm"} | ({} if token is None else {"Authorization": f"Bearer {token}"})
        self._base = uri.rstrip("/")
        self._http = httpx2.Client(timeout=timeout, headers=headers)

    def close(self) -> None:
        self._http.close()

    def experiment(self, name: str) -> str:
        """The id of an experiment, which is made where there is none."""
        for _ in range(2):
            found = self._call("GET", "experiments/get-by-name", {"experiment_name": name}, missing=True)
            if found is not None:
                return str(found["experiment"]["experiment_id"])
            # Another process may be faster; then it is found the next time.
            self._call("POST", "experiments/create", {"name": name}, there=True)
        raise TrackingFailed("MLflow neither has the experiment nor makes it.")

    def run_of(self, experiment_id: str, tag: str, value: str) -> dict[str, Any] | None:
        """The newest run with that tag, or None."""
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
        """A run that has begun at `start`, in milliseconds since 1970."""
        body = {"experiment_id": experiment_id, "run_name": name, "start_time": start, "tags": _pairs(tags)}
        answer = self._call("POST", "runs/create", body) or {}
        run: dict[str, Any] = answer["run"]
        return run

    def log(self, run_id: str, params: dict[str, str], metrics: Sequence[dict[str, Any]]) -> None:
        """Params, and metrics of the form {key, value, timestamp, step}. Told again, they are as before."""
        pairs = _pairs(params)
        for start in range(0, len(pairs), _BATCH_PARAMS):
            self._call("POST", "runs/log-batch", {"run_id": run_id, "params": pairs[start : start + _BATCH_PARAMS]})
        for start in range(0, len(metrics), _BATCH_METRICS):
            batch = list(metrics[start : start + _BATCH_METRICS])
            self._call("POST", "runs/log-batch", {"run_id": run_id, "metrics": batch})

    def upload(self, artifact_uri: str, path: str, content: Iterable[bytes]) -> None:
        """A file among a run's artifacts."""
        folder = urlsplit(artifact_uri).path.strip("/")
        url = f"{self._base}/api/2.0/mlflow-artifacts/artifacts/{quote(f'{folder}/{path}')}"
        self._answer("PUT", url, content=iter(content), headers={"Content-Type": "application/octet-stream"})

    def register(self, model: str, run_id: str, source: str, tags: dict[str, str]) -> None:
        """The run's model as a version of a registered one; nothing where that was done before."""
        found = self._call("GET", "model-versions/search", {"filter": f"run_id='{run_id}'", "max_results": 1})
        if (found or {}).get("model_versions"):
            return
        self._call("POST", "registered-models/create", {"name": model}, there=True)
        body = {"name": model, "source": source, "run_id": run_id, "tags": _pairs(tags)}
        self._call("POST", "model-versions/create", body)

    def end(self, run_id: str, *, status: str, at: int) -> None:
        self._call("POST", "runs/update", {"run_id": run_id, "status": status, "end_time": at})

    def _call(
        self, method: str, path: str, fields: dict[str, Any], *, missing: bool = False, there: bool = False
    ) -> dict[str, Any] | None:
        """The answer; None where what is `missing`, or `there` already, may be so."""
        url = f"{self._base}/api/2.0/mlflow/{path}"
        sent: dict[str, Any] = {"params": fields} if method == "GET" else {"json": fields}
        allowed = {"RESOURCE_DOES_NOT_EXIST": missing, "RESOURCE_ALREADY_EXISTS": there}
        return self._answer(method, url, allowed=[code for code, may in allowed.items() if may], **sent)

    def _answer(self, method: str, url: str, *, allowed: Sequence[str] = (), **sent: Any) -> dict[str, Any] | None:
        try:
            response = self._http.request(method, url, **sent)
            told = response.json() if response.content else {}
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            # Its words may have the address in it, and that a password.
            raise TrackingFailed(f"MLflow cannot be used: {type(error).__name__}.") from error
        told = told if isinstance(told, dict) else {}
        if response.is_success:
            return told
        code = str(told.get("error_code", ""))
        if code in allowed:
            return None
        raise TrackingFailed(f"MLflow answered {response.status_code} {code}: {str(told.get('message', ''))[:300]}")


def _pairs(fields: dict[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in fields.items()]


def chunks_of(text: str) -> Iterator[bytes]:
    """What `upload` takes."""
    yield text.encode()
