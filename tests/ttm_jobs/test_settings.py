from pathlib import Path
from shutil import disk_usage

import pytest
from pydantic import ValidationError

from ttm_jobs.settings import Limits, Settings, database_address


def test_defaults_need_nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings()
    assert settings.database_url == "sqlite:///./var/ttm.db"
    assert settings.lease_seconds == 60
    assert settings.heartbeat_seconds == 15
    assert settings.data_roots == ()


def test_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTM_DATABASE_URL", "postgres://u:secret@db/ttm")
    monkeypatch.setenv("TTM_LEASE_SECONDS", "20")
    monkeypatch.setenv("TTM_DATA_ROOTS", "/data:/mnt/more")
    settings = Settings()
    assert settings.database_url == "postgresql+psycopg://u:secret@db/ttm"
    assert settings.heartbeat_seconds == 5
    assert settings.data_roots == (Path("/data"), Path("/mnt/more"))


def test_data_roots_are_also_read_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTM_DATA_ROOTS", '["/with:colon"]')
    assert Settings().data_roots == (Path("/with:colon"),)


@pytest.mark.parametrize(
    "name", [name for name, field in Settings.model_fields.items() if "Empty:" in (field.description or "")]
)
def test_settings_that_may_be_empty_are_unset_by_an_empty_variable(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"TTM_{name.upper()}", "")
    assert getattr(Settings(), name) == Settings.model_fields[name].default


@pytest.mark.parametrize(
    "name", [name for name, field in Settings.model_fields.items() if "`none`: no limit" in (field.description or "")]
)
def test_none_lifts_a_limit(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"TTM_{name.upper()}", "none")
    assert getattr(Settings(), name) is None


def test_urls_are_hidden_in_repr() -> None:
    settings = Settings(database_url="postgresql://u:concealed@db/ttm", broker_url="redis://:hidden@broker")
    assert "concealed" not in repr(settings)
    assert "hidden" not in repr(settings)


@pytest.mark.parametrize(
    "wrong",
    [
        {"database_url": "mysql://db/ttm"},
        {"database_url": "no address"},
        {"storage_url": "ftp://elsewhere"},
        {"storage_url": "file:"},
        {"storage_url": "gs:///prefix"},
        {"lease_seconds": 0},
        {"lease_seconds": 10, "heartbeat_seconds": 6},
        {"max_attempts": 0},
        {"project_max_queued_jobs": -1},
        {"project_max_stored_bytes": "half"},
        {"port": 70_000},
    ],
)
def test_invalid_settings_are_rejected_at_start(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(wrong)


def test_default_limits_of_projects(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    storage = f"file:{tmp_path}/not/yet/created"
    half = disk_usage(tmp_path).total // 2
    assert Settings().project_limits(storage) == Limits(queued_jobs=10_000, stored_bytes=half)
    assert Settings().project_limits("s3://bucket") == Limits(queued_jobs=10_000)
    monkeypatch.setenv("TTM_PROJECT_MAX_QUEUED_JOBS", "none")
    monkeypatch.setenv("TTM_PROJECT_MAX_STORED_BYTES", "none")
    monkeypatch.setenv("TTM_PROJECT_MAX_DEVICE_HOURS", "1.5")
    assert Settings().project_limits(storage) == Limits(device_hours=1.5)


def test_every_setting_has_a_description() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_explicit_database_driver_is_kept() -> None:
    assert database_address("postgresql+psycopg://db/ttm") == "postgresql+psycopg://db/ttm"


def test_setting_is_read_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "database_url"
    secret.write_text("postgresql://ttm:a-password@db/ttm\n")
    monkeypatch.setenv("TTM_DATABASE_URL_FILE", str(secret))
    monkeypatch.setenv("TTM_QUEUES_FILE", str(tmp_path / "queues"))
    (tmp_path / "queues").write_text("cpu,gpu")
    settings = Settings()
    assert settings.database_url == "postgresql+psycopg://ttm:a-password@db/ttm"
    assert settings.queues == ("cpu", "gpu")


def test_unreadable_file_or_duplicate_setting_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTM_DATABASE_URL_FILE", str(tmp_path / "none"))
    with pytest.raises(ValueError, match="TTM_DATABASE_URL_FILE"):
        Settings()
    monkeypatch.setenv("TTM_DATABASE_URL", "sqlite:///a.db")
    with pytest.raises(ValueError, match="both set"):
        Settings()


@pytest.mark.parametrize("queues", ["", "Cpu", "a b", "a,-b", "x" * 65])
def test_invalid_queue_names_are_rejected(queues: str) -> None:
    with pytest.raises(ValueError, match="queues"):
        Settings.model_validate({"queues": queues})
