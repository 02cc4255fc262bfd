"""A folder per module, with a valid dataset, and the database of a module's `settings`."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.ttm_core.data.formats import png, sample
from ttm_jobs.database.engine import create_engine
from ttm_jobs.settings import Settings


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def pets(folder: Path) -> str:
    """A valid dataset."""
    for number, pixels in enumerate(sample(16)[0]):
        label = folder / "data" / "pets" / "train" / ("cat", "dog")[number % 2]
        label.mkdir(parents=True, exist_ok=True)
        (label / f"{number}.png").write_bytes(png(pixels))
    return (folder / "data" / "pets").as_uri()


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    engine = create_engine(settings.database_url)
    yield engine
    engine.dispose()
