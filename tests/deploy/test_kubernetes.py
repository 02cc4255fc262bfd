"""Checks the Kubernetes manifests, the systemd unit and the Slurm script without a cluster."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient

from api.app import create_app
from tests.api.conftest import make_settings
from ttm_jobs.settings import Settings

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/kubernetes"
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
OBJECTS: dict[str, dict[str, Any]] = {
    f"{each['kind']}/{each['metadata']['name']}": each
    for name in KUSTOMIZATION["resources"]
    for each in yaml.safe_load_all((FOLDER / name).read_text())
}
PODS = {name: each["spec"]["template"] for name, each in OBJECTS.items() if "template" in each.get("spec", {})}
SETTINGS = dict(line.split("=", 1) for line in (FOLDER / "settings.env").read_text().splitlines() if line)


def container(name: str) -> dict[str, Any]:
    (one,) = PODS[name]["spec"]["containers"]
    found: dict[str, Any] = one
    return found


def environment(name: str) -> dict[str, str]:
    return SETTINGS | {each["name"]: each["value"] for each in container(name).get("env", [])}


@pytest.mark.parametrize("name", [name for name in OBJECTS if not name.startswith("ScaledObject/")])
def test_manifests_are_valid_and_have_no_unknown_field(name: str) -> None:
    import kubernetes_validate  # here, with jsonschema: takes a second, in every process that collects tests

    kubernetes_validate.validate(OBJECTS[name], "1.34", strict=True)


def strict(schema: Any) -> Any:
    """The schema without unknown fields."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {"additionalProperties": False} if isinstance(schema.get("properties"), dict) else {}
    # An object without properties accepts any, such as the metadata.
    return closed | {name: strict(each) for name, each in schema.items()}


@pytest.mark.parametrize("name", [name for name in OBJECTS if name.startswith("ScaledObject/")])
def test_scaled_objects_are_valid_and_have_no_unknown_field(name: str) -> None:
    import jsonschema

    schema = json.loads((ROOT / "tests/data/keda/scaled_object.json").read_text())
    jsonschema.validate(OBJECTS[name], strict(schema))
    wrong = OBJECTS[name] | {"spec": OBJECTS[name]["spec"] | {"minReplicas": 0}}
    with pytest.raises(jsonschema.ValidationError, match="minReplicas"):
        jsonschema.validate(wrong, strict(schema))


def test_every_file_is_a_resource() -> None:
    files = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}
    assert files == set(KUSTOMIZATION["resources"])


def test_images_and_commands_equal_those_of_compose() -> None:
    tags = {each["name"]: each["newTag"] for each in KUSTOMIZATION["images"]}
    for service, pod in {
        "migrate": "Job/ttm-migrate",
        "api": "Deployment/ttm-api",
        "dispatcher": "Deployment/ttm-dispatcher",
        "worker-cpu": "Deployment/ttm-worker-cpu",
        "worker-gpu": "Deployment/ttm-worker-gpu",
    }.items():
        image = container(pod)["image"]
        assert f"{image}:{tags[image]}" == COMPOSE["services"][service]["image"]
        assert container(pod).get("command") == COMPOSE["services"][service].get("command")


@pytest.mark.parametrize("name", PODS)
def test_settings_exist_and_are_valid(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mount = next(each for each in container(name)["volumeMounts"] if each["name"] == "secrets")
    values = {"database_url": "postgresql+psycopg://ttm@db/ttm", "broker_url": "redis://redis:6379/0"}
    for variable, value in environment(name).items():
        if not variable.startswith("TTM_"):
            continue
        setting = variable.removeprefix("TTM_").lower()
        assert {setting, setting.removesuffix("_file")} & set(Settings.model_fields) or setting.startswith("s3_"), (
            variable
        )
        if variable.endswith("_FILE"):
            assert Path(value).parent == Path(mount["mountPath"]), variable
            secret = tmp_path / Path(value).name
            secret.write_text(values.get(secret.name, "x" * 43 + "="))
            if secret.name == "secret_key":
                continue
            value = str(secret)
        monkeypatch.setenv(variable, value)
    settings = Settings()
    assert settings.database_url == values["database_url"]
    assert settings.storage_url == "s3://ttm"


def test_the_documented_secret_has_every_file() -> None:
    page = (ROOT / "docs/how-to/run-on-kubernetes.md").read_text()
    made = set(re.findall(r"--from-(?:literal|file)=(\w+)=", page))
    read = {
        Path(value).name for name in PODS for variable, value in environment(name).items() if variable.endswith("_FILE")
    }
    assert made == read


@pytest.mark.parametrize("name", PODS)
def test_pods_are_restricted(name: str) -> None:
    spec, one = PODS[name]["spec"], container(name)
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert one["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert one["resources"]["limits"]["memory"]
    assert {each["name"] for each in one["volumeMounts"]} == {each["name"] for each in spec["volumes"]}
    # The user of the images.
    for file in ("api.Dockerfile", "worker.Dockerfile"):
        assert f"--uid {spec['securityContext']['runAsUser']}" in (ROOT / "deploy" / file).read_text()


def test_probes_are_answered_whatever_the_address_of_the_pod(sqlite_url: str, tmp_path: Path) -> None:
    settings = make_settings(sqlite_url, tmp_path).model_copy(update={"host": "0.0.0.0"})
    one = container("Deployment/ttm-api")
    with TestClient(create_app(settings)) as client:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            request = one[probe]["httpGet"]
            headers = {"Host": "10.244.1.7:8000"} | {each["name"]: each["value"] for each in request["httpHeaders"]}
            answer = client.get(request["path"], headers=headers)
            assert answer.status_code == 200, answer.text


def test_selectors_match_their_pods() -> None:
    names = {pod["metadata"]["labels"]["app.kubernetes.io/name"] for pod in PODS.values()}
    for name, each in OBJECTS.items():
        selectors = re.findall(r"'app\.kubernetes\.io/name': '([\w-]+)'", str(each["spec"]) if "spec" in each else "")
        assert set(selectors) <= names, name
    budgets = {name.partition("/")[2] for name in OBJECTS if name.startswith("PodDisruptionBudget/")}
    assert budgets == {name.partition("/")[2] for name in PODS if name.startswith("Deployment/")}


def test_every_queue_has_a_worker_that_scales_by_its_metrics() -> None:
    queues = environment("Deployment/ttm-api")["TTM_QUEUES"].split(",")
    source = (ROOT / "api/metrics/database.py").read_text()
    for queue in queues:
        scaled = OBJECTS[f"ScaledObject/ttm-worker-{queue}"]["spec"]
        assert queue in environment(f"Deployment/{scaled['scaleTargetRef']['name']}")["TTM_QUEUES"].split(",")
        (trigger,) = scaled["triggers"]
        metrics = re.findall(r"(\w+)\{queue=\"(\w+)\"\}", trigger["metadata"]["query"])
        assert len(metrics) == 3
        for metric, of in metrics:
            assert of == queue
            assert f'"{metric}"' in source


def test_workers_have_time_to_save_a_checkpoint() -> None:
    for name in ("worker-cpu", "worker-gpu"):
        assert PODS[f"Deployment/ttm-{name}"]["spec"]["terminationGracePeriodSeconds"] > Settings().stop_grace_seconds


def test_systemd_unit_and_slurm_script_start_a_worker() -> None:
    unit = (ROOT / "deploy/systemd/ttm-worker@.service").read_text()
    script = (ROOT / "deploy/slurm/worker.sh").read_text()
    settings = re.findall(r"\b(TTM_[A-Z_]+)=", unit + script)
    assert {name.removeprefix("TTM_").lower() for name in settings} <= set(Settings.model_fields)
    assert re.search(r"^ExecStart=.*python -m worker$", unit, re.M)
    assert shlex.split(script.splitlines()[-1])[-2:] == ["-m", "worker"]
    stop = int(re.search(r"^TimeoutStopSec=(\d+)$", unit, re.M)[1])  # type: ignore[index]
    assert stop > Settings().stop_grace_seconds
