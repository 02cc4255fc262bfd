"""Dataset archives with path traversal, wrong sizes, or members that no dataset has."""

import bz2
import gzip
import io
import lzma
import pickle
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
from pyarrow import parquet

from tests.security.corpus import damaged_archives
from tests.security.corpus.pickles import nested_keys
from tests.ttm_core.data.formats import png, sample

Make = Callable[[Path], None]
_NAMES = {
    "upwards": "../up.png",
    "absolute": "/tmp/absolute.png",
    "upwards within": "a/../../up.png",
    "backslashes": "a\\..\\b.png",
    "a drive": "C:/x.png",
    "a line end": "bad\nname.png",
    "an escape": "\x1b[2J.png",
    "deep": "d/" * 20 + "x.png",
    "long": "n" * 300 + ".png",
}


def _pixels() -> bytes:
    return png(sample(1)[0][0])


def _tar(*members: tarfile.TarInfo | str, mode: str = "w", content: bytes | None = None) -> Make:
    def make(path: Path) -> None:
        data = _pixels() if content is None else content
        with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
            for member in members:
                info = tarfile.TarInfo(member) if isinstance(member, str) else member
                if info.isreg():
                    info.size = len(data)
                archive.addfile(info, io.BytesIO(data) if info.isreg() else None)

    return make


def _zip(*names: str, content: bytes | None = None, attributes: int = 0) -> Make:
    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in names:
                info = zipfile.ZipInfo(name)
                info.external_attr = attributes << 16
                info.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(info, _pixels() if content is None else content)

    return make


def _special(kind: bytes, target: str = "/etc/passwd") -> tarfile.TarInfo:
    info = tarfile.TarInfo("train/cat/link.png")
    info.type, info.linkname = kind, target
    return info


def _changed(make: Make, change: Callable[[bytes], bytes]) -> Make:
    def make_changed(path: Path) -> None:
        make(path)
        path.write_bytes(change(path.read_bytes()))

    return make_changed


def _wrong_size(content: bytes) -> bytes:
    """Sets the size of the first member to 1, in its local header and in the central directory."""
    local, directory = content.index(b"PK\3\4"), content.index(b"PK\1\2")
    changed = bytearray(content)
    struct.pack_into("<I", changed, local + 22, 1)
    struct.pack_into("<I", changed, directory + 24, 1)
    return bytes(changed)


def _method(content: bytes) -> bytes:
    local, directory = content.index(b"PK\3\4"), content.index(b"PK\1\2")
    changed = bytearray(content)
    struct.pack_into("<H", changed, local + 8, 77)
    struct.pack_into("<H", changed, directory + 10, 77)
    return bytes(changed)


def _encrypted(content: bytes) -> bytes:
    local, directory = content.index(b"PK\3\4"), content.index(b"PK\1\2")
    changed = bytearray(content)
    changed[local + 6] |= 1
    changed[directory + 8] |= 1
    return bytes(changed)


def _overlapping(path: Path) -> None:
    """All entries of the central directory refer to the same bytes."""
    _zip(*(f"train/cat/{number}.png" for number in range(3)))(path)
    content = bytearray(path.read_bytes())
    at = -1
    while (at := content.find(b"PK\1\2", at + 1)) >= 0:
        struct.pack_into("<I", content, at + 42, 0)
    path.write_bytes(content)


def _nested(path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("train/cat/1.png", _pixels())
    _zip("train/cat/1.zip", "train/dog/1.zip", content=inner.getvalue())(path)


def _sparse() -> tarfile.TarInfo:
    info = tarfile.TarInfo("train/cat/sparse.png")
    info.type = tarfile.GNUTYPE_SPARSE
    info.size = 0
    return info


_PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": partial(lzma.compress, preset=0),
}


def _header_bomb(kind: bytes, size: int, packing: str, *, first: bool = True) -> Make:
    """A tar whose extended header of `kind` has `size` bytes, before or after an image."""

    def make(path: Path) -> None:
        header = tarfile.TarInfo("././@LongLink")
        header.type, header.size = kind, size
        member = io.BytesIO()
        with tarfile.open(fileobj=member, mode="w") as archive:
            info = tarfile.TarInfo("train/cat/1.png")
            info.size = len(_pixels())
            archive.addfile(info, io.BytesIO(_pixels()))
        image = member.getvalue().rstrip(b"\0") + bytes(1024)
        image = image + bytes(-len(image) % 512)
        # All compressed formats allow several streams, one after another.
        pack, chunk = _PACKERS[packing], b"n" * (1 << 20)
        record = b"%d a=" % size if kind in (tarfile.XHDTYPE, tarfile.XGLTYPE) else b""
        before = b"" if first else image[: 512 + -(-len(_pixels()) // 512) * 512]
        assert size % len(chunk) == 0
        path.write_bytes(
            pack(before + header.tobuf(tarfile.GNU_FORMAT) + record + chunk[len(record) :])
            + pack(chunk) * (size // len(chunk) - 1)
            + pack(image)
        )

    return make


def _folders(count: int, packing: str, depth: int = 15) -> Make:
    """A tar of empty files in many folders that only their names imply."""

    def make(path: Path) -> None:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as archive:
            for number in range(count):
                archive.addfile(tarfile.TarInfo(f"{number}/" + "d/" * (depth - 2) + "1.png"))
        path.write_bytes(_PACKERS[packing](out.getvalue()))

    return make


def _parquet(kind: str, value_bytes: int, rows: int) -> Make:
    """A zip with a Parquet file of one image in all rows, which a dictionary page stores once."""

    def make(path: Path) -> None:
        # Memory that is only read stays a hole; pa.array would copy the value.
        buffers = [None, pa.py_buffer(np.array([0, value_bytes], np.int32)), pa.py_buffer(bytes(value_bytes))]
        value = pa.Array.from_buffers(pa.binary(), 1, buffers)
        images = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), value)
        column = images if kind == "binary" else pa.StructArray.from_arrays([images], ["bytes"])
        table = pa.table({"image": column, "label": [row % 2 for row in range(rows)]})
        inner = io.BytesIO()
        # Without statistics, which compare the whole value with itself in each row.
        parquet.write_table(table, inner, compression="zstd", store_schema=False, write_statistics=False)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("train-00000-of-00001.parquet", inner.getvalue())

    return make


def _pickled_batch(content: bytes) -> Make:
    """A zip with a damaged batch of CIFAR's Python archive."""

    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("data_batch_1", content)

    return make


def _class_names(length: int) -> Make:
    names = [f"{letter * length}" for letter in "ab"]

    def make(path: Path) -> None:
        batch = {b"data": np.zeros((4, 3072), np.uint8), b"labels": [0, 1, 0, 1]}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("data_batch_1", pickle.dumps(batch, 2))
            archive.writestr("batches.meta", pickle.dumps({b"label_names": names}, 2))

    return make


CASES: dict[str, Make] = {
    **{
        f"tar, {size >> 20:,} MiB in a {kind}, {packing}{'' if first else ', after an image'}": _header_bomb(
            code, size, packing, first=first
        )
        for kind, code, size, packing, first in (
            ("long name", tarfile.GNUTYPE_LONGNAME, 2**28, "xz", True),
            ("long name", tarfile.GNUTYPE_LONGNAME, 2**28, "xz", False),
            ("long name", tarfile.GNUTYPE_LONGNAME, 2**28, "gzip", True),
            ("long name", tarfile.GNUTYPE_LONGNAME, 2**24, "plain", False),
            ("long link", tarfile.GNUTYPE_LONGLINK, 2**28, "bzip2", True),
            ("pax header", tarfile.XHDTYPE, 2**28, "gzip", True),
            ("pax header", tarfile.XHDTYPE, 2**28, "xz", False),
            ("global pax header", tarfile.XGLTYPE, 2**28, "gzip", False),
            ("Solaris header", tarfile.SOLARIS_XHDTYPE, 2**28, "gzip", True),
        )
    },
    **{f"tar, {count:,} times 15 folders, {packing}": _folders(count, packing) for count, packing in ((20_000, "xz"),)},
    **{
        f"parquet, {kind}, {rows:,} rows of {size >> 20} MiB": _parquet(kind, size, rows)
        for kind, size, rows in (
            ("binary", 30 << 20, 64),
            ("struct", 30 << 20, 64),
            ("binary", 300 << 20, 16),
            ("binary", 2 << 20, 5_000),
        )
    },
    "pickle, keys of nested tuples": _pickled_batch(nested_keys(40, b"dict")),
    "pickle, a set of nested tuples": _pickled_batch(nested_keys(100, b"set")),
    "pickle, ten million lists": _pickled_batch(b"\x80\x02" + b"]" * 10_000_000 + b"."),
    "pickle, nested lists": _pickled_batch(b"\x80\x02" + b"](" * 200_000 + b"N" + b"e" * 200_000 + b"."),
    "pickle, class names of 257 characters": _class_names(257),
    "pickle, class names of 8 MB": _class_names(8_000_000),
    **{f"tar, name {kind}": _tar("train/cat/1.png", name) for kind, name in _NAMES.items()},
    **{f"zip, name {kind}": _zip("train/cat/1.png", name) for kind, name in _NAMES.items()},
    "tar, symbolic link": _tar(_special(tarfile.SYMTYPE)),
    "tar, link upwards": _tar(_special(tarfile.SYMTYPE, "../../../../../etc/passwd")),
    "tar, hard link": _tar(_special(tarfile.LNKTYPE)),
    "tar, character device": _tar(_special(tarfile.CHRTYPE)),
    "tar, block device": _tar(_special(tarfile.BLKTYPE)),
    "tar, pipe": _tar(_special(tarfile.FIFOTYPE)),
    "tar, sparse": _tar(_sparse()),
    "zip, link": _zip("train/cat/1.png", content=b"/etc/passwd", attributes=stat.S_IFLNK | 0o777),
    "zip, device": _zip("train/cat/1.png", attributes=stat.S_IFCHR | 0o777),
    "tar, bomb, gzip": _tar("train/cat/1.png", mode="w:gz", content=bytes(25_000_000)),
    "tar, bomb, bzip2": _tar("train/cat/1.png", mode="w:bz2", content=bytes(25_000_000)),
    "tar, bomb, xz": _tar("train/cat/1.png", mode="w:xz", content=bytes(25_000_000)),
    "zip, bomb": _zip("train/cat/1.png", content=bytes(25_000_000)),
    "zip, wrong size": _changed(_zip("train/cat/1.png", content=bytes(100_000)), _wrong_size),
    "zip, unknown method": _changed(_zip("train/cat/1.png"), _method),
    "zip, encrypted": _changed(_zip("train/cat/1.png"), _encrypted),
    "zip, overlapping": _overlapping,
    "zip within zip": _nested,
    "tar, twice": _tar("train/cat/1.png", "train/cat/1.png"),
    "tar, file and folder": _tar("train/cat", "train/cat/1.png"),
    "tar, cut": _changed(_tar(*(f"train/cat/{n}.png" for n in range(9))), lambda raw: raw[: len(raw) // 2]),
    "tar, cut, gzip": _changed(
        _tar(*(f"train/cat/{n}.png" for n in range(9)), mode="w:gz"), lambda raw: raw[: len(raw) // 2]
    ),
    "zip, cut": _changed(_zip(*(f"train/cat/{n}.png" for n in range(9))), lambda raw: raw[: len(raw) // 2]),
    "zip, damaged": _changed(_zip("train/cat/1.png"), lambda raw: raw[:60] + bytes(20) + raw[80:]),
    "zip, empty": _zip(),
    "tar, empty": _tar(),
    **damaged_archives.CASES,
    "no archive": lambda path: path.write_bytes(b"\x7fELF" + bytes(500)),  # type: ignore[dict-item, return-value]
}
