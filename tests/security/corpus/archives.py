"""Dataset archives with path traversal, wrong sizes, or members that no dataset has."""

import io
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

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


CASES: dict[str, Make] = {
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
    "no archive": lambda path: path.write_bytes(b"\x7fELF" + bytes(500)),  # type: ignore[dict-item, return-value]
}
