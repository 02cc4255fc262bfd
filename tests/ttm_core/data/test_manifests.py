"""Every image of a content is decoded for its readability and hashed once; later runs and processes read the manifest."""

import hashlib
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from tests.ttm_core.data.formats import parquet_folder, samples, shard, webdataset
from tests.ttm_core.factories import digits_folder, spec
from ttm_core.data.build import read_dataset
from ttm_core.data.cache import DataCache
from ttm_core.data.dataset import Dataset
from ttm_core.data.encoded.header_reading import read_headers
from ttm_core.errors import BadDataset
from ttm_core.pipeline.distill import distill
from ttm_core.pipeline.inputs import Inputs
from ttm_core.spec.dataset import DatasetSpec
from ttm_core.spec.events import Event, Log

LONG_AGO_NS = 10**18


def settled(folder: Path) -> Path:
    """Makes all files old: a file that has just changed could change again without another modification time."""
    for path in (folder, *folder.rglob("*")):
        if path.is_file():
            os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))
    return folder


@pytest.fixture
def read(tmp_path):
    """Reads a dataset as one run does; all runs share the cache."""

    def one_run(path: Path, **fields: object) -> Dataset:
        with ThreadPoolExecutor(1) as pool, DataCache(tmp_path / "cache") as cache:
            return read_dataset(DatasetSpec(uri="file:///x", **fields), path, cache, pool)

    return one_run


def zipped(folder: Path) -> Path:
    return Path(shutil.make_archive(str(folder), "zip", digits_folder(folder)))


def shard_folder(folder: Path) -> Path:
    return webdataset(folder)


@pytest.mark.parametrize("write", [digits_folder, zipped, shard_folder, parquet_folder])
def test_second_run_decodes_nothing_and_has_the_same_fingerprint(tmp_path, read, write):
    path = settled(write(tmp_path / "set"))
    first, second = read(path), read(path)
    assert first.checked >= len(first.train) + len(first.validation)
    assert second.checked == 0
    assert second.train.images.fingerprint() == first.train.images.fingerprint()
    assert (second.image_size, second.channels, len(second.train)) == (
        first.image_size,
        first.channels,
        len(first.train),
    )


def test_manifest_replaces_decoding(tmp_path, read):
    """A file that is damaged without another time, size and inode is found only when it is used."""
    folder = settled(digits_folder(tmp_path / "set"))
    before = read(folder).train.images.fingerprint()
    image = folder / "train/digit-0/000.png"
    image.write_bytes(b"x" * image.stat().st_size)
    settled(folder)
    again = read(folder)
    assert again.unreadable == []
    assert again.train.images.fingerprint() == before


def test_changed_file_is_checked_again(tmp_path, read):
    folder = settled(digits_folder(tmp_path / "set"))
    before = read(folder)
    image = folder / "train/digit-0/000.png"
    content = image.read_bytes()
    image.write_bytes(content[:-20] + bytes(20))
    os.utime(image, ns=(LONG_AGO_NS, LONG_AGO_NS + 1))
    changed = read(folder, max_unreadable=1)
    assert changed.checked == before.checked == 36
    assert changed.train.images.fingerprint() != before.train.images.fingerprint()
    image.unlink()
    assert read(folder).checked == 35


def test_shards_of_the_same_names_have_indexes_of_their_own(tmp_path, read):
    """The index of the shards in a folder depends on their content, not on their names."""
    first, second = webdataset(tmp_path / "first"), webdataset(tmp_path / "second")
    shard(second / "train-000.tar", samples(4, start=9))
    expected, other = read(settled(first)).train, read(settled(second)).train
    assert (len(expected), len(other)) == (12, 10)
    assert read(first).train.images.fingerprint() == expected.images.fingerprint()

    shutil.copy(second / "train-000.tar", first / "train-000.tar")
    os.utime(first / "train-000.tar", ns=(LONG_AGO_NS, LONG_AGO_NS + 1))
    changed = read(first).train
    assert changed.images.fingerprint() == other.images.fingerprint()
    assert changed.labels.tolist() == other.labels.tolist()


def test_files_that_have_just_changed_are_checked_by_every_run(tmp_path, read):
    folder = digits_folder(tmp_path / "set")
    assert read(folder).checked == read(folder).checked == 36
    assert not list((tmp_path / "cache").glob("manifest-*"))


def test_manifest_keeps_unreadable_images_and_the_limit_applies_to_every_run(tmp_path, read):
    folder = digits_folder(tmp_path / "set")
    (folder / "train/digit-0/bad.png").write_bytes(b"no image")
    settled(folder)
    first, second = read(folder, max_unreadable=0.1), read(folder, max_unreadable=0.1)
    assert first.unreadable == second.unreadable
    assert [bad.name for bad in second.unreadable] == ["train/digit-0/bad.png"]
    with pytest.raises(BadDataset, match="1 of 37 images cannot be read"):
        read(folder)


def test_archive_that_is_unpacked_again_has_its_manifest(tmp_path, read):
    archive = zipped(tmp_path / "set")
    read(archive)
    for folder in (tmp_path / "cache").glob("archive-*"):
        shutil.rmtree(folder)
    assert read(archive).checked == 0


def test_images_that_stop_their_reader_are_unreadable(tmp_path, monkeypatch):
    """The first has a comment of 16 MiB, which Pillow reads byte by byte; the second is a pipe without an end."""
    folder = digits_folder(tmp_path / "set") / "train/digit-0"
    slow, endless, last = folder / "slow.ppm", folder / "endless.png", folder / "001.png"
    slow.write_bytes(b"P6\n#" + b"a" * 2**24 + b"\n8 8 255\n" + bytes(192))
    os.mkfifo(endless)
    monkeypatch.setenv("TTM_READER_SECONDS", "4")
    [headers] = read_headers([folder / "000.png", slow, endless, last])
    assert headers.sizes.tolist() == [[24, 24], [0, 0], [0, 0], [24, 24]]
    assert headers.digests[3].tobytes() == hashlib.sha256(last.read_bytes()).digest()
    assert headers.reasons[0] == headers.reasons[3] == ""
    assert "reading the header takes more than 1 s" in headers.reasons[1]
    assert "TTM_READER_SECONDS" in headers.reasons[2]


def test_images_behind_links_inside_the_dataset_are_read(tmp_path, read):
    folder = digits_folder(tmp_path / "set")
    for name in ("files", "links"):
        (folder / "unlabelled" / name).mkdir(parents=True)
    (folder / "train/digit-0/000.png").rename(folder / "unlabelled/files/image")
    (folder / "unlabelled/links/image.png").symlink_to("../files/image")
    assert read(folder).unreadable == []


def test_index_of_shards_is_kept(tmp_path, read):
    folder = settled(webdataset(tmp_path / "set"))
    read(folder)
    index = next((tmp_path / "cache").glob("shards-*"))
    made = index.stat().st_ino
    read(folder)
    assert next((tmp_path / "cache").glob("shards-*")).stat().st_ino == made


def test_interrupted_check_leaves_no_manifest(tmp_path, read, monkeypatch):
    folder = settled(digits_folder(tmp_path / "set"))
    with ThreadPoolExecutor(1) as pool, DataCache(tmp_path / "cache") as cache:
        pool.shutdown()
        with pytest.raises(RuntimeError, match="shutdown"):
            read_dataset(DatasetSpec(uri="file:///x"), folder, cache, pool)
    assert read(folder).checked == 36


def test_jobs_share_the_manifest_of_the_workers_cache(tmp_path):
    folder = settled(digits_folder(tmp_path / "set", each=10, size=32))
    logs = []
    for name in ("one", "two"):
        events: list[Event] = []
        inputs = Inputs(dataset=folder, data_cache=tmp_path / "cache")
        described = spec(folder, training={"epochs": 1, "batch_size": 16})
        distill(described, tmp_path / name, inputs=inputs, on_event=events.append, device=torch.device("cpu"))
        logs.append([event.message for event in events if isinstance(event, Log) and "decoded" in event.message])
    assert logs == [["decoded 45 images once to find unreadable ones; later runs skip this"], []]
