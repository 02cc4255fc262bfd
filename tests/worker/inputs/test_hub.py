"""Datasets from a Hub on this machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hub import COMMIT, hub_of_this_process
from ttm_jobs.errors import FetchStopped, SourceRefused, SourceUnreachable, TooLarge
from ttm_jobs.uris import HfDatasetUri, parse_uri
from worker.inputs.hub import HubFetcher


@pytest.fixture
def pets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the dataset `someone/pets`, which the Hub serves."""
    folder = tmp_path / "hub/datasets/someone/pets"
    (folder / "data").mkdir(parents=True)
    for name in ("data/train.parquet", "data/test.parquet", "README.md"):
        (folder / name).write_text(name)
    with hub_of_this_process(tmp_path / "hub", monkeypatch):
        yield folder


def fetcher(uri: str, max_bytes: int = 1000) -> HubFetcher:
    parsed = parse_uri(uri)
    assert isinstance(parsed, HfDatasetUri)
    return HubFetcher(parsed, max_bytes=max_bytes, seconds=600, check=lambda: None)


def fetched(uri: str, folder: Path) -> dict[str, str]:
    folder.mkdir()
    fetcher(uri).fetch(folder / "files")
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("revision", ["", "@v1", f"@{COMMIT}"])
def test_whole_repository_a_folder_or_a_file_is_downloaded(pets: Path, tmp_path: Path, revision: str) -> None:
    base = f"hf://datasets/someone/pets{revision}"
    data = {"data/train.parquet", "data/test.parquet"}
    whole = fetched(base, tmp_path / "whole")
    assert whole == {f"files/{name}": name for name in (*data, "README.md")}
    assert fetched(f"{base}/data/", tmp_path / "part") == {f"files/{Path(name).name}": name for name in data}
    assert fetched(f"{base}/data/train.parquet", tmp_path / "file") == {"files": "data/train.parquet"}
    assert fetcher(base).name == fetcher("hf://datasets/someone/pets").name
    assert fetcher(f"{base}/data/").name != fetcher(base).name


@pytest.mark.parametrize(
    "uri",
    [
        "hf://datasets/someone/absent",
        "hf://datasets/someone/pets@absent",
        "hf://datasets/someone/pets/absent/",
        "hf://datasets/someone/pets/data",
        "hf://datasets/someone/pets/data/absent",
    ],
)
def test_missing_repository_revision_or_path_is_refused(pets: Path, uri: str) -> None:
    with pytest.raises(SourceRefused):
        fetcher(uri)


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        (401, SourceRefused, "upload it as an archive instead"),
        (403, SourceRefused, "upload it as an archive instead"),
        (410, SourceRefused, "410"),
        (429, SourceUnreachable, "429"),
        (500, SourceUnreachable, "500"),
    ],
)
def test_error_of_the_hub_is_of_the_user_or_retried(
    pets: Path, status: int, kind: type[Exception], message: str
) -> None:
    (pets / ".status").write_text(str(status))
    with pytest.raises(kind, match=message):
        fetcher("hf://datasets/someone/pets")


def test_files_above_the_limit_are_refused(pets: Path) -> None:
    with pytest.raises(TooLarge):
        fetcher("hf://datasets/someone/pets", max_bytes=20)


def test_stop_request_interrupts_the_download(pets: Path, tmp_path: Path) -> None:
    stopping = False

    def check() -> None:
        if stopping:
            raise FetchStopped

    uri = HfDatasetUri("someone/pets", None, "")
    download = HubFetcher(uri, max_bytes=1000, seconds=600, check=check)
    stopping = True
    with pytest.raises(FetchStopped):
        download.fetch(tmp_path / "files")
