"""Small datasets of the digits in every format, as their publishers write them."""

import io
import json
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image
from pyarrow import parquet

from tests.ttm_core.factories import digits


def sample(count: int, classes: int = 3, start: int = 0) -> tuple[NDArray[np.uint8], list[int]]:
    """Digits as uint8 [count, 3, 32, 32], the classes in turn, with their labels."""
    images, labels = digits()
    rows = [np.flatnonzero(labels == number % classes)[start + number // classes] for number in range(count)]
    grown = images[rows].repeat(4, axis=1).repeat(4, axis=2)
    return np.stack([grown, 255 - grown, grown // 2], axis=1), [int(labels[row]) for row in rows]


def png(pixels: NDArray[np.uint8]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))).save(out, "png")
    return out.getvalue()


def cifar_binary(folder: Path, *, hundred: bool = False) -> Path:
    folder.mkdir(parents=True)
    files = (
        {"train.bin": 12, "test.bin": 6}
        if hundred
        else {"data_batch_1.bin": 6, "data_batch_2.bin": 6, "test_batch.bin": 6}
    )
    for number, (name, count) in enumerate(files.items()):
        images, labels = sample(count, start=4 * number)
        records = [
            bytes([7, label] if hundred else [label]) + image.tobytes()
            for image, label in zip(images, labels, strict=True)
        ]
        (folder / name).write_bytes(b"".join(records))
    (folder / ("fine_label_names.txt" if hundred else "batches.meta.txt")).write_text("zero\none\ntwo\n\n")
    return folder


def cifar_python(folder: Path, *, hundred: bool = False, protocol: int = 2) -> Path:
    folder.mkdir(parents=True)
    files = {"train": 12, "test": 6} if hundred else {"data_batch_1": 6, "data_batch_2": 6, "test_batch": 6}
    for number, (name, count) in enumerate(files.items()):
        images, labels = sample(count, start=4 * number)
        batch: dict[bytes, Any] = {
            b"data": images.reshape(count, -1),
            b"fine_labels" if hundred else b"labels": labels,
            b"filenames": [b"x.png"] * count,
        }
        if hundred:
            batch[b"coarse_labels"] = [0] * count
        (folder / name).write_bytes(pickle.dumps(batch, protocol=protocol))
    names = {b"fine_label_names" if hundred else b"label_names": [b"zero", b"one", b"two"]}
    (folder / ("meta" if hundred else "batches.meta")).write_bytes(pickle.dumps(names, protocol=protocol))
    return folder


def shard(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def samples(count: int, *, label: str = "cls", start: int = 0) -> dict[str, bytes]:
    """The files of a shard."""
    found = {}
    for number, (pixels, value) in enumerate(zip(*sample(count, start=start), strict=True)):
        text = str(value) if label == "cls" else json.dumps({"label": value, "caption": "a digit"})
        found[f"part/{number:04}.png"] = png(pixels)
        found[f"part/{number:04}.{label}"] = text.encode()
    return found


def webdataset(folder: Path, *, label: str = "cls") -> Path:
    shard(folder / "train-000.tar", samples(6, label=label))
    shard(folder / "train-001.tar", samples(6, label=label, start=4))
    shard(folder / "val-000.tar", samples(6, label=label, start=8))
    (folder / "classnames.txt").write_text("zero\none\ntwo\n")
    return folder


def write_parquet(path: Path, columns: dict[str, Any], names: list[str] | None = None, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    if names is not None:
        features = {"label": {"names": names, "_type": "ClassLabel"}, "image": {"_type": "Image"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    parquet.write_table(table, path, **options)
    return path


def parquet_folder(folder: Path) -> Path:
    for number, (name, count) in enumerate(
        {"train-00000-of-00002": 6, "train-00001-of-00002": 6, "validation-00000-of-00001": 6}.items()
    ):
        images, labels = sample(count, start=4 * number)
        column = [{"bytes": png(image), "path": f"{row}.png"} for row, image in enumerate(images)]
        write_parquet(folder / "data" / f"{name}.parquet", {"image": column, "label": labels}, ["zero", "one", "two"])
    (folder / "README.md").write_text("a card")
    return folder
