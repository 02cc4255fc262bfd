"""Every dataset format is read as written; damaged and hostile files are refused."""

import gzip
import math
import os
import pickle
import shutil
import struct
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest

from tests.ttm_core.data import formats
from tests.ttm_core.data.formats import png, sample, samples, shard, write_parquet
from ttm_core.data.build import detect, read_dataset
from ttm_core.data.cache import DataCache
from ttm_core.data.formats.layout import root
from ttm_core.errors import BadDataset
from ttm_core.spec.dataset import DatasetSpec


@pytest.fixture(scope="module")
def pool():
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture
def opened(tmp_path, pool):
    with DataCache(tmp_path / "cache") as cache:
        yield lambda path, **fields: read_dataset(DatasetSpec(uri="file:///x", **fields), path, cache, pool)


WRITERS = {
    "cifar_binary": formats.cifar_binary,
    "cifar_binary of 100": lambda folder: formats.cifar_binary(folder, hundred=True),
    "cifar_python": formats.cifar_python,
    "cifar_python of 100": lambda folder: formats.cifar_python(folder, hundred=True, protocol=4),
    "webdataset": formats.webdataset,
    "webdataset with json": lambda folder: formats.webdataset(folder, label="json"),
    "parquet": formats.parquet_folder,
}


@pytest.mark.parametrize("case", WRITERS)
def test_format_is_detected_and_read(tmp_path, opened, case):
    folder = WRITERS[case](tmp_path / "outer" / "set")
    assert detect(root(tmp_path / "outer")) == case.split()[0]
    dataset = opened(tmp_path / "outer")  # one folder that holds all
    assert dataset.class_names == ["zero", "one", "two"]
    assert (dataset.channels, dataset.image_size, dataset.unreadable) == (3, 32, [])
    if case.startswith("cifar"):
        assert (len(dataset.train) + len(dataset.validation), len(dataset.test)) == (12, 6)
    else:
        assert (len(dataset.train), len(dataset.validation), dataset.test) == (12, 6, None)
    one_file = "100" in case
    images, labels = (
        sample(12) if one_file else (np.concatenate(x) for x in zip(sample(6), sample(6, start=4), strict=True))
    )
    assert np.array_equal(dataset.train.images.center_squares(np.arange(12), 32).numpy(), images)
    assert dataset.train.labels.tolist() == list(labels)
    archive = shutil.make_archive(str(tmp_path / "packed"), "gztar", tmp_path / "outer", "set")
    assert opened(tmp_path / archive).train.images.fingerprint() == dataset.train.images.fingerprint()
    assert folder.exists()


def test_single_shard_is_a_dataset(tmp_path, opened):
    dataset = opened(shard(tmp_path / "digits.tar", samples(12)))
    assert (len(dataset.train), len(dataset.validation), dataset.class_names) == (9, 3, ["0", "1", "2"])


def test_folders_of_shards_are_splits(tmp_path, opened):
    shard(tmp_path / "set/train/000.tar", samples(6))
    shard(tmp_path / "set/val/000.tar", samples(3, start=5))
    dataset = opened(tmp_path / "set")
    assert (len(dataset.train), len(dataset.validation)) == (6, 3)


def test_parquet_with_string_labels_and_plain_bytes(tmp_path, opened):
    images, labels = sample(9)
    column = [png(image) for image in images]
    write_parquet(tmp_path / "set/a.parquet", {"img": column, "fine_label": [f"digit {2 - label}" for label in labels]})
    dataset = opened(tmp_path / "set")
    assert dataset.class_names == ["digit 0", "digit 1", "digit 2"]
    assert dataset.train.labels.tolist() == [2 - label for label in labels]


def test_a_single_parquet_file_is_a_training_split(tmp_path, opened):
    images, labels = sample(12)
    column = [{"bytes": png(image), "path": None} for image in images]
    # Uploads and cached downloads have no file extension.
    file = write_parquet(tmp_path / "upload", {"image": column, "label": labels}, ["zero", "one", "two"])
    dataset = opened(file)
    assert (len(dataset.train) + len(dataset.validation), dataset.test) == (12, None)
    assert dataset.class_names == ["zero", "one", "two"]
    with pytest.raises(BadDataset, match=r"a single file of the format parquet, but dataset\.format is image_folder"):
        opened(file, format="image_folder")


@pytest.mark.parametrize("missing", [-1, None])
def test_parquet_test_split_with_secret_labels_has_none(tmp_path, opened, missing):
    """As on the Hugging Face Hub."""
    images = [png(image) for image in sample(12)[0]]
    write_parquet(tmp_path / "set/train.parquet", {"image": images, "label": [0, 1, 2] * 4}, ["zero", "one", "two"])
    secret = pa.array([missing] * 6, pa.int64())
    write_parquet(tmp_path / "set/test.parquet", {"image": images[:6], "label": secret}, ["zero", "one", "two"])
    dataset = opened(tmp_path / "set")
    assert dataset.class_names == ["zero", "one", "two"]
    assert (dataset.train.labelled, len(dataset.test), dataset.test.labelled) == (True, 6, False)


def test_unreadable_image_in_shard_is_named(tmp_path, opened):
    files = {**samples(9), "part/9.png": b"not an image", "part/9.cls": b"0"}
    dataset = opened(shard(tmp_path / "digits.tar", files), max_unreadable=0.2)
    assert [bad.name for bad in dataset.unreadable] == ["digits.tar/part/9"]
    assert len(dataset.train) + len(dataset.validation) == 9


class Evil:
    """A pickle of it runs a command when it is read."""

    def __reduce__(self):
        return os.system, ("touch ran",)


HOSTILE_PICKLES = {
    "a command": (pickle.dumps(Evil()), "posix.system"),
    "a command within": (pickle.dumps({b"data": Evil(), b"labels": [0]}, protocol=2), "posix.system"),
    "builtins": (b"cbuiltins\neval\n(S'1'\ntR.", "builtins.eval"),
    "numpy's own loader": (b"cnumpy\nload\n(S'x'\ntR.", "numpy.load"),
    "a name with dots": (b"\x80\x04\x8c\x05numpy\x8c\x0edtype.__init__\x93.", "numpy.dtype.__init__"),
    "a person's id": (b"P1\n.", "persistent"),
    "not a pickle": (b"hello", "not a CIFAR pickle"),
    "cut short": (pickle.dumps({b"data": np.zeros((6, 3072), np.uint8)}, protocol=2)[:500], "not a CIFAR pickle"),
    "a memo of two billion": (
        b"N" + pickle.LONG_BINPUT + struct.pack("<I", 2**31 - 1) + b".",
        "does not contain a dict",
    ),
    "a claim of many bytes": (b"\x80\x05\x8e" + struct.pack("<Q", 2**60) + b"x.", "needs more than .* of memory"),
    "an array of objects": (pickle.dumps({b"data": np.array([[{}]]), b"labels": [0]}, protocol=2), "no uint8 array"),
    "an array of floats": (
        pickle.dumps({b"data": np.zeros((2, 3072)), b"labels": [0, 1]}, protocol=2),
        "no uint8 array",
    ),
    "another shape": (
        pickle.dumps({b"data": np.zeros((2, 7), np.uint8), b"labels": [0, 1]}, protocol=2),
        "no uint8 array",
    ),
    "fewer labels": (
        pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0]}, protocol=2),
        "2 images but 1 labels",
    ),
    "odd labels": (
        pickle.dumps({b"data": np.zeros((1, 3072), np.uint8), b"labels": ["x"]}, protocol=2),
        "not non-negative integers",
    ),
    "no labels": (pickle.dumps({b"data": np.zeros((1, 3072), np.uint8)}, protocol=2), "no images with labels"),
}


@pytest.mark.parametrize("case", HOSTILE_PICKLES)
def test_hostile_pickle_is_refused_without_execution(tmp_path, opened, monkeypatch, case):
    content, words = HOSTILE_PICKLES[case]
    monkeypatch.chdir(tmp_path)
    folder = formats.cifar_python(tmp_path / "set")
    (folder / "data_batch_1").write_bytes(content)
    with pytest.raises(BadDataset, match=words):
        opened(folder)
    assert not (tmp_path / "ran").exists()


def test_damaged_cifar_binary_is_refused(tmp_path, opened):
    folder = formats.cifar_binary(tmp_path / "set")
    with (folder / "data_batch_2.bin").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(BadDataset, match="not a multiple of the record size"):
        opened(folder)


HOSTILE_SHARDS = {
    "no label": ({"a.png": png(sample(1)[0][0]), "b.cls": b"0"}, "without a label"),
    "a label that is text": ({"a.png": b"x", "a.cls": b"cat"}, "contains no label"),
    "a label below zero": ({"a.png": b"x", "a.cls": b"-1"}, "not a non-negative integer"),
    "a wild label": ({"a.png": b"x", "a.cls": b"1000000000"}, "at most 100,000 classes"),
    "a label of many digits": ({"a.png": b"x", "a.cls": b"9" * 10_000}, "contains no label"),
    "damaged json": ({"a.png": b"x", "a.json": b"{"}, "contains no label"),
    "json that is no object": ({"a.png": b"x", "a.json": b"[1]"}, "contains no label"),
    "dots in every key": ({"a.0.png": b"x", "a.0.cls": b"0"}, "'a.0.png' is not read as an image"),
    "deep json": ({"a.png": b"x", "a.json": b"[" * 100_000}, "contains no label"),
    "a label that is true": ({"a.png": b"x", "a.json": b'{"label": true}'}, "not a non-negative integer"),
}


@pytest.mark.parametrize("case", HOSTILE_SHARDS)
def test_hostile_shard_is_refused(tmp_path, opened, case):
    files, words = HOSTILE_SHARDS[case]
    shard(tmp_path / "set/train-0.tar", files)
    with pytest.raises(BadDataset, match=words):
        opened(tmp_path / "set", format="webdataset")


def test_compressed_or_truncated_shard_is_refused(tmp_path, opened):
    whole = shard(tmp_path / "set/train-0.tar", samples(9)).read_bytes()
    (tmp_path / "set/train-0.tar").write_bytes(whole[:1000])
    with pytest.raises(BadDataset, match=r"truncated|not an uncompressed tar"):
        opened(tmp_path / "set", format="webdataset")
    (tmp_path / "set/train-0.tar").write_bytes(gzip.compress(whole))
    with pytest.raises(BadDataset, match="not an uncompressed tar"):
        opened(tmp_path / "set", format="webdataset")


def test_shard_names_are_not_executed(tmp_path, opened, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shard(tmp_path / "set" / "train-pipe:touch ran;.tar", samples(9))
    assert len(opened(tmp_path / "set").class_names) == 3
    assert not (tmp_path / "ran").exists()


IMAGE = png(sample(1)[0][0])
HOSTILE_TABLES = {
    "a path for bytes": (
        {"image": [{"bytes": IMAGE}, {"path": "/etc/passwd"}], "label": [0, 1]},
        "has a row without image bytes",
    ),
    "an address for bytes": (
        {"image": [{"bytes": IMAGE}, {"path": "http://127.0.0.1/"}], "label": [0, 1]},
        "has a row without image bytes",
    ),
    "no images": ({"text": ["x"], "label": [0]}, "one image column .* none among text: string, label: int64"),
    "two image columns": ({"image": [IMAGE], "mask": [IMAGE], "label": [0]}, r"several \(image, mask\)"),
    "a label of floats": ({"image": [IMAGE], "label": [0.5]}, "neither a name nor a non-negative integer"),
    "a missing label": ({"image": [IMAGE] * 3, "label": [0, None, 1]}, r"1 rows without a label .*, and 2 with one"),
    "a missing name": ({"image": [IMAGE] * 2, "label": ["cat", None]}, r"1 rows without a label .*, and 1 with one"),
    "a negative label": ({"image": [IMAGE], "label": [-2]}, "neither a name nor a non-negative integer"),
    "NaN": ({"image": [IMAGE] * 2, "label": [0.0, math.nan]}, "neither a name nor a non-negative integer"),
    "labels in another column": (
        {"image": [IMAGE] * 2, "label": [-1, None], "labels": [0, 1]},
        "Column 'label' of the train split has no labels .*column 'labels'",
    ),
    "a wild label": ({"image": [IMAGE], "label": [10**8]}, "at most 100,000 classes"),
}


@pytest.mark.parametrize("case", HOSTILE_TABLES)
def test_hostile_parquet_is_refused(tmp_path, opened, case):
    columns, words = HOSTILE_TABLES[case]
    write_parquet(tmp_path / "set/train.parquet", columns)
    with pytest.raises(BadDataset, match=words):
        opened(tmp_path / "set")


def test_parquet_decompression_bomb_is_refused(tmp_path, opened):
    column = [os.urandom(2**16)] * 1000
    path = write_parquet(tmp_path / "set/train.parquet", {"image": column, "label": [0] * 1000}, compression="zstd")
    assert path.stat().st_size < 2**18
    with pytest.raises(BadDataset, match="decompression bomb"):
        opened(tmp_path / "set")


def test_damaged_or_inconsistent_parquet_is_refused(tmp_path, opened):
    good = write_parquet(tmp_path / "set/train-0.parquet", {"image": [IMAGE] * 3, "label": [0, 1, 2]})
    (tmp_path / "set/train-1.parquet").write_bytes(good.read_bytes()[:-20])
    with pytest.raises(BadDataset, match="cannot be read"):
        opened(tmp_path / "set")
    write_parquet(tmp_path / "set/train-1.parquet", {"img": [IMAGE], "label": [0]})
    with pytest.raises(BadDataset, match="other columns"):
        opened(tmp_path / "set")


def test_files_with_and_without_split_are_refused(tmp_path, opened):
    for name in ("train-0.parquet", "extra.parquet"):
        write_parquet(tmp_path / "set" / name, {"image": [IMAGE] * 3, "label": [0, 1, 2]})
    with pytest.raises(BadDataset, match=r"extra\.parquet belongs to no split"):
        opened(tmp_path / "set")
    (tmp_path / "set/extra.parquet").unlink()
    (tmp_path / "set/train-0.parquet").rename(tmp_path / "set/test-0.parquet")
    with pytest.raises(BadDataset, match="none for training"):
        opened(tmp_path / "set")


@pytest.mark.parametrize("name", ["pets-{}-0.parquet", "imagenet1k-{}-00000-of-00002.parquet", "{}.parquet"])
def test_a_split_is_a_word_of_the_file_name(tmp_path, opened, name):
    for split, count in (("train", 4), ("validation", 2), ("test", 1)):
        write_parquet(tmp_path / "set" / name.format(split), {"image": [IMAGE] * count, "label": [0, 1, 0, 1][:count]})
    dataset = opened(tmp_path / "set")
    assert [len(split) for split in (dataset.train, dataset.validation, dataset.test)] == [4, 2, 1]


def test_a_file_name_with_two_splits_names_none(tmp_path, opened):
    write_parquet(tmp_path / "set/all-train-test.parquet", {"image": [IMAGE] * 4, "label": [0, 1, 0, 1]})
    dataset = opened(tmp_path / "set")
    assert (len(dataset.train) + len(dataset.validation), dataset.test) == (4, None)


def test_symbolic_link_to_a_file_outside_is_refused(tmp_path, opened):
    outside = write_parquet(tmp_path / "secret.parquet", {"image": [IMAGE], "label": [0]})
    (tmp_path / "set").mkdir()
    (tmp_path / "set/train.parquet").symlink_to(outside)
    with pytest.raises(BadDataset, match="symbolic link out of the dataset"):
        opened(tmp_path / "set")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
@pytest.mark.parametrize("name", [b"cat/caf\xe9.png", b"caf\xe9/0.png"])
def test_names_that_are_not_utf8_are_refused(tmp_path, opened, name):
    for path in (b"cat/0.png", b"dog/0.png", name):
        where = os.path.join(os.fsencode(tmp_path), b"set", b"train", path)
        os.makedirs(os.path.dirname(where), exist_ok=True)
        with open(where, "wb") as file:
            file.write(IMAGE)
    with pytest.raises(BadDataset, match=r"caf\\udce9.* in the dataset is not UTF-8"):
        opened(tmp_path / "set")
