"""One rule for class names, whatever the format they come from."""

import json
import re
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.ttm_core.data.formats import cifar_binary, png, sample, webdataset, write_parquet
from ttm_core.data.build import read_dataset
from ttm_core.data.cache import DataCache
from ttm_core.errors import BadCheckpoint, BadDataset
from ttm_core.export.student import read_description
from ttm_core.models.teachers.classes import names_in_file
from ttm_core.reader.checkpoints.onnx_file import _class_names
from ttm_core.spec.dataset import DatasetSpec
from ttm_core.spec.names import check_class_names

UNSAFE = ["a\x1b[31mred", "a\rb", "a\x85b", "a\u2028b", "user\u202egnp.exe", "\u2066a\u2069", "a\x7f", " ", "\u200d"]
# A family of emoji with joiners, a non-joiner in Persian, a no-break space, a mark of the writing direction, markup.
SAFE = [
    "\U0001f469\u200d\U0001f469\u200d\U0001f467",
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    "a\xa0b",
    "\u200f\u05e2\u05d1\u05e8\u05d9\u05ea",
    "<script>|`*_",
    "-rf",
]


@pytest.fixture(scope="module")
def pool():
    with ThreadPoolExecutor(1) as made:
        yield made


def folder(path: Path, name: str) -> Path:
    images, labels = sample(12)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        target = path / "train" / ("other" if label else name)
        target.mkdir(parents=True, exist_ok=True)
        (target / f"{number}.png").write_bytes(png(image))
    return path


def archive(path: Path, name: str) -> Path:
    images, labels = sample(12)
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path.with_suffix(".zip"), "w") as out:
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            out.writestr(f"train/{'other' if label else name}/{number}.png", png(image))
    return path.with_suffix(".zip")


def shards(path: Path, name: str) -> Path:
    webdataset(path)
    (path / "classnames.txt").write_text(f"{name}\none\ntwo\n", newline="")
    return path


def cifar(path: Path, name: str) -> Path:
    cifar_binary(path)
    (path / "batches.meta.txt").write_text(f"{name}\none\ntwo\n", newline="")
    return path


def parquet_labels(path: Path, name: str) -> Path:
    path.mkdir()
    images, labels = sample(12)
    columns = {"image": [png(image) for image in images], "label": ["other" if label else name for label in labels]}
    write_parquet(path / "train.parquet", columns)
    return path


def parquet_metadata(path: Path, name: str) -> Path:
    path.mkdir()
    images, labels = sample(12)
    columns = {"image": [png(image) for image in images], "label": labels}
    write_parquet(path / "train.parquet", columns, names=[name, "one", "two"])
    return path


def read(tmp_path: Path, path: Path, pool) -> list[str]:
    with DataCache(tmp_path / "cache") as cache:
        return read_dataset(DatasetSpec(uri="file:///x"), path, cache, pool).class_names


@pytest.mark.parametrize("name", UNSAFE)
@pytest.mark.parametrize("write", [folder, archive, shards, cifar, parquet_labels, parquet_metadata])
def test_unsafe_class_names_are_refused(tmp_path, pool, write, name):
    with pytest.raises(BadDataset) as caught:
        read(tmp_path, write(tmp_path / "set", name), pool)
    assert re.search("class name|unsafe name|has label 2, outside", caught.value.message)
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("name", SAFE)
@pytest.mark.parametrize("write", [folder, archive, shards, cifar, parquet_labels, parquet_metadata])
def test_other_class_names_are_kept(tmp_path, pool, write, name):
    assert name in read(tmp_path, write(tmp_path / "set", name), pool)


@pytest.mark.parametrize("name", UNSAFE)
def test_unsafe_class_names_in_metadata_are_refused(name):
    metadata = {
        "format": 2,
        "structure": {"architecture": "mini/resnet8_025", "num_classes": 2, "in_chans": 1, "image_size": 8},
        "class_names": [name, "b"],
        "normalization": {"mean": [0.0], "std": [1.0]},
    }
    with pytest.raises(BadCheckpoint, match="class name"):
        names_in_file([name, "b"], 2)
    with pytest.raises(BadCheckpoint, match="class name"):
        read_description(metadata, "student.safetensors")
    with pytest.raises(BadCheckpoint, match="class name"):
        _class_names({"ttm": json.dumps(metadata)})


def test_long_class_names_are_refused():
    check_class_names(["x" * 256])
    with pytest.raises(BadDataset, match="has 257 characters; the limit is 256"):
        check_class_names(["x" * 257])
    with pytest.raises(BadDataset, match="characters together"):
        check_class_names([f"{number:0256}" for number in range(10_000)])


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path, pool):
    shards(tmp_path / "set", "\ufeffzero")
    assert read(tmp_path, tmp_path / "set", pool)[0] == "zero"


def test_names_with_spaces_are_one_name_each(tmp_path, pool):
    cifar(tmp_path / "set", "maple tree")
    assert read(tmp_path, tmp_path / "set", pool) == ["maple tree", "one", "two"]


def test_empty_lines_at_the_end_are_no_names(tmp_path, pool):
    shards(tmp_path / "set", "zero")
    with (tmp_path / "set/classnames.txt").open("ab") as file:
        file.write(b"\r\n\n")
    assert read(tmp_path, tmp_path / "set", pool) == ["zero", "one", "two"]
