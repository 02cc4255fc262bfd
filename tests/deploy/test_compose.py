"""Checks the deployment files without a container engine."""

import importlib.util
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy.engine import make_url

from ttm_jobs.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
BUILT = {name: service for name, service in SERVICES.items() if "build" in service}
ONE_OFF = {"migrate", "bucket"}


def settings_of(service: dict[str, Any]) -> dict[str, str]:
    return {name: value for name, value in service.get("environment", {}).items() if name.startswith("TTM_")}


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The secrets of deploy/make-secrets.sh, which runs twice. The second run must change nothing."""
    folder = tmp_path_factory.mktemp("deploy")
    script = folder / "make-secrets.sh"
    script.write_text((ROOT / "deploy/make-secrets.sh").read_text())
    subprocess.run(["sh", str(script)], check=True)
    made = {path.name: path.read_text() for path in (folder / "secrets").iterdir()}
    subprocess.run(["sh", str(script)], check=True)
    assert made == {path.name: path.read_text() for path in (folder / "secrets").iterdir()}
    return folder / "secrets"


@pytest.mark.parametrize("name", BUILT)
def test_every_given_setting_exists(name):
    for variable in settings_of(BUILT[name]):
        name = variable.removeprefix("TTM_").lower()
        assert {name, name.removesuffix("_file")} & set(Settings.model_fields), variable


@pytest.mark.parametrize("name", BUILT)
def test_settings_are_valid_with_the_generated_secrets(name, monkeypatch, secrets):
    for variable, value in settings_of(BUILT[name]).items():
        if variable.endswith("_FILE"):
            assert Path(value).name in BUILT[name]["secrets"], variable
            value = str(secrets / Path(value).name)
        monkeypatch.setenv(variable, value)
    settings = Settings()
    assert make_url(settings.database_url).password == (secrets / "postgres_password").read_text()
    assert (secrets / "redis_password").read_text() in settings.broker_url
    assert settings.s3.secret_access_key in (secrets / "s3_config.json").read_text()


@pytest.mark.parametrize("name", ["api", "dispatcher"])
def test_secrets_in_the_database_are_encrypted(name):
    assert settings_of(BUILT[name])["TTM_SECRET_KEY_FILE"] == "/run/secrets/secret_key"


def test_the_broker_does_not_run_as_root():
    assert SERVICES["redis"]["user"].split(":")[0] not in ("0", "root")
    assert SERVICES["redis"]["cap_drop"] == ["ALL"]


def test_every_queue_has_a_worker():
    api_queues = settings_of(BUILT["api"])["TTM_QUEUES"].split(",")
    served = {
        queue for name in BUILT if "worker" in name for queue in settings_of(BUILT[name])["TTM_QUEUES"].split(",")
    }
    assert set(api_queues) == served


@pytest.mark.parametrize("name", SERVICES)
def test_secrets_are_generated_files_and_not_in_the_environment(name, secrets):
    service = SERVICES[name]
    for secret in service.get("secrets", []):
        assert (secrets / secret).read_text(), secret
        assert Path(COMPOSE["secrets"][secret]["file"]).name == secret
    for variable, value in service.get("environment", {}).items():
        if variable.endswith("_FILE"):
            assert value.startswith("/run/secrets/"), variable
            continue
        secret = re.search(r"PASSWORD|SECRET|TOKEN|_URL$", variable)
        assert not secret or value == "s3://ttm", variable
    text = yaml.safe_dump(service)
    assert set(re.findall(r"/run/secrets/([\w.]+)", text)) <= set(service.get("secrets", []))


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_has_health_check_restart_policy_and_no_public_port(name):
    service = SERVICES[name]
    assert service["restart"] == ("on-failure" if name in ONE_OFF else "unless-stopped")
    assert "healthcheck" in service or name in ONE_OFF
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), (
        "TLS is terminated by a reverse proxy"
    )
    assert service["mem_limit"]
    assert service["pids_limit"]
    if name in BUILT:
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert "USER 10001" in (ROOT / service["build"]["dockerfile"]).read_text()


@pytest.mark.parametrize("name", [name for name in BUILT if name.startswith("worker")])
def test_stopped_worker_has_time_to_save_its_checkpoint(name):
    minutes = re.fullmatch(r"(\d+)m", BUILT[name]["stop_grace_period"])
    assert minutes is not None
    assert int(minutes[1]) * 60 > 2 * Settings().stop_grace_seconds


@pytest.mark.parametrize("name", [name for name, service in BUILT.items() if "command" in service])
def test_commands_start_modules_that_exist(name):
    python, flag, module = BUILT[name]["command"]
    assert (python, flag) == ("python", "-m")
    assert importlib.util.find_spec(module) is not None


@pytest.mark.parametrize("name", BUILT)
def test_images_copy_existing_files_and_start_included_modules(name):
    dockerfile = (ROOT / BUILT[name]["build"]["dockerfile"]).read_text()
    copied = re.findall(r"^COPY (?!--from)(\S+) (\S+)$", dockerfile, re.MULTILINE)
    assert copied
    for source, _ in copied:
        assert (ROOT / source).exists(), source
    module = re.search(r'CMD \["python", "-m", "(\w+)"\]', dockerfile)[1]
    assert f"{module}/" in {source for source, _ in copied}


def test_api_lock_has_no_training_packages_and_matches_the_full_lock():
    def pins(path: str) -> dict[str, str]:
        return dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / path).read_text(), re.MULTILINE))

    light, full = pins("deploy/api.lock"), pins("requirements.lock")
    assert not {"torch", "timm", "celery", "torchvision"} & light.keys()
    assert light.items() <= full.items()


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned(name):
    assert re.search(r":v?\d+\.\d+", SERVICES[name]["image"]), SERVICES[name]["image"]


@pytest.mark.parametrize("name", SERVICES)
def test_mounted_files_and_dependencies_exist(name):
    service = SERVICES[name]
    for volume in service.get("volumes", []):
        source = volume.partition(":")[0]
        if source.startswith("./"):
            assert (ROOT / source).exists(), source
        elif not source.startswith("$"):
            assert source in COMPOSE["volumes"]
    for other, until in service.get("depends_on", {}).items():
        finished = until["condition"] == "service_completed_successfully"
        assert finished == (other in ONE_OFF)
        assert finished or "healthcheck" in SERVICES[other]
