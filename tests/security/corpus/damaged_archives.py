"""Archives with damaged checksums, headers, offsets or labels, and names that no file system takes."""

import bz2
import gzip
import io
import json
import lzma
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
from pyarrow import parquet

from tests.ttm_core.data.formats import png, sample

Make = Callable[[Path], None]
_LONG = "/".join("n" * 255 for _ in range(16))


def _whole_tar(*names: str) -> bytes:
    """A tar of images in two classes, and of the files `names`. Incompressible, as photographs are."""
    pixels = png(sample(1)[0][0])
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name in (*(f"train/{label}/{number}.png" for label in ("cat", "dog") for number in range(8)), *names):
            info = tarfile.TarInfo(name)
            info.size = len(pixels)
            archive.addfile(info, io.BytesIO(pixels))
    return out.getvalue()


def _tar(*names: str) -> Make:
    return lambda path: _write(path, _whole_tar(*names))


def _packed(pack: Callable[[bytes], bytes], change: Callable[[bytearray], object]) -> Make:
    return lambda path: _write(path, pack(_whole_tar()), change)


def _write(path: Path, content: bytes, change: Callable[[bytearray], object] = lambda content: None) -> None:
    changed = bytearray(content)
    change(changed)
    path.write_bytes(changed)


def _zip(name: str = "train/dog/1.png", change: Callable[[bytearray], object] = lambda content: None) -> Make:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_BZIP2) as archive:
        for each in ("train/cat/1.png", name):
            archive.writestr(each, png(sample(1)[0][0]))
    return lambda path: _write(path, out.getvalue(), change)


def _directory(offset: int, value: int) -> Callable[[bytearray], None]:
    """Sets a number in the record that ends a zip."""
    return lambda content: struct.pack_into("<I", content, content.rindex(b"PK\5\6") + offset, value)


def _set(start: int, value: bytes) -> Callable[[bytearray], None]:
    """Sets bytes; from the end if `start` is negative."""

    def change(content: bytearray) -> None:
        first = start % len(content)
        content[first : first + len(value)] = value

    return change


def _flipped(content: bytearray) -> None:
    content[len(content) // 2] ^= 0xFF


def _shard(size: bytes) -> Make:
    """A WebDataset shard whose third header states this size, or is damaged."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for number in range(4):
            for kind, data in (("cls", b"%d" % (number % 2)), ("png", png(sample(1)[0][0]))):
                info = tarfile.TarInfo(f"{number}.{kind}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    content = bytearray(out.getvalue())
    at = content.index(b"1.cls")
    header = content[at : at + 512]
    header[124:136] = size
    if size.startswith(b"\xff"):
        header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:]))
    content[at : at + 512] = header
    return lambda path: _write(path, content)


def _parquet(labels: list[Any], names: int = 0) -> Make:
    """A zip with a Parquet file of images with these labels, and a number of class names in its schema."""

    def make(path: Path) -> None:
        table = pa.table({"image": [png(sample(1)[0][0])] * len(labels), "label": labels})
        if names:
            feature = {"_type": "ClassLabel", "names": [f"{number:0250}" for number in range(names)]}
            table = table.replace_schema_metadata(
                {"huggingface": json.dumps({"info": {"features": {"label": feature}}})}
            )
        inner = io.BytesIO()
        parquet.write_table(table, inner, compression="zstd")
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("train-00000-of-00001.parquet", inner.getvalue())

    return make


CASES: dict[str, Make] = {
    "parquet, no rows": _parquet([]),
    "parquet, a label of 50 MB": _parquet(["x" * 50_000_000, "y"] * 2),
    "parquet, labels below zero": _parquet([-5, 1, 0, 1]),
    "parquet, labels that are lists": _parquet([[0], [1]]),
    "parquet, 8,400 class names of 250 characters": _parquet([0, 1] * 2, names=8_400),
    "tar, wrong checksum, gzip": _packed(gzip.compress, _set(-8, bytes(4))),
    "tar, wrong length, gzip": _packed(gzip.compress, _set(-4, bytes(4))),
    "tar, damaged, bzip2": _packed(bz2.compress, _flipped),
    "tar, damaged, xz": _packed(lzma.compress, _flipped),
    "tar, bytes after the end, gzip": _packed(gzip.compress, lambda content: content.extend(b"more")),
    "tar, a damaged header": _packed(bytes, lambda content: _set(content.index(b"train/dog/0.png"), b"?")(content)),
    "tar, a file without a name": _tar(""),
    "tar, a file with the name of a folder": _tar("."),
    "zip, a file with the name of a folder": _zip("./."),
    "tar, a path of 4,095 characters": _tar(_LONG),
    "zip, a path of 4,095 characters": _zip(_LONG),
    "tar, a file within a file": _tar("train/cat/1.png/1.png"),
    "zip, damaged, bzip2": _zip(change=_set(60, bytes(20))),
    "zip, directory outside": _zip(change=_directory(16, 2**31)),
    "zip, directory of 2 GiB": _zip(change=_directory(12, 2**31)),
    "shard, a damaged header": _shard(b"00000000001?"),
    "shard, a size below zero": _shard(b"\xff" * 11 + b"\x00"),
}
