"""No container engine is needed to see that the deployment files name what exists."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ttm_jobs.settings import Settings

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}


def environment(service: dict[str, Any]) -> dict[str, str]:
    told = dict(service.get("environment", {}))
    return {**told.pop("<<", {}), **told}


@pytest.mark.parametrize("name", OURS)
def test_every_setting_that_is_given_is_read(name):
    for variable in environment(OURS[name]):
        assert variable.removeprefix("TTM_").lower() in Settings.model_fields, variable


@pytest.mark.parametrize("name", OURS)
def test_the_settings_are_valid(name, monkeypatch):
    for variable, value in environment(OURS[name]).items():
        monkeypatch.setenv(variable, re.sub(r"\$\{[^}]+\}", "x", value))
    assert Settings().database_url.startswith("postgresql")


@pytest.mark.parametrize("name", [name for name, service in OURS.items() if "command" in service])
def test_commands_start_modules_that_exist(name):
    python, flag, module = OURS[name]["command"]
    assert (python, flag) == ("python", "-m")
    assert importlib.util.find_spec(module) is not None


@pytest.mark.parametrize("name", OURS)
def test_images_copy_what_exists_and_start_what_they_hold(name):
    dockerfile = (ROOT / OURS[name]["build"]["dockerfile"]).read_text()
    copied = re.findall(r"^COPY (?!--from)(\S+) (\S+)$", dockerfile, re.MULTILINE)
    assert copied
    for source, _ in copied:
        assert (ROOT / source).exists(), source
    module = re.search(r'CMD \["python", "-m", "(\w+)"\]', dockerfile)[1]
    assert f"{module}/" in {source for source, _ in copied}


def test_the_apis_lock_holds_no_training_stack_and_agrees_with_the_whole_lock():
    def pins(path: str) -> dict[str, str]:
        return dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / path).read_text(), re.MULTILINE))

    light, whole = pins("deploy/api.lock"), pins("requirements.lock")
    assert not {"torch", "timm", "celery", "torchvision"} & light.keys()
    assert light.items() <= whole.items()


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned(name):
    image = SERVICES[name].get("image")
    assert image is None or re.search(r":\d+\.\d+", image), image
