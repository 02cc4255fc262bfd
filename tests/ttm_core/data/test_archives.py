"""Untrusted archives: unsafe content is refused and leaves no files."""

import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from ttm_core.data.archives.unpack import Limits, unpack
from ttm_core.errors import BadDataset


def make_tar(path: Path, *members: tarfile.TarInfo | str, mode: str = "w", content: bytes = b"x") -> Path:
    with tarfile.open(path, mode) as archive:
        for member in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            if info.isreg():
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def make_zip(path: Path, *names: str, content: bytes = b"x", attributes: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            info = zipfile.ZipInfo(name)
            info.external_attr = attributes << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return path


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tar_unpacks(tmp_path, mode):
    archive = make_tar(tmp_path / "a", "train/cat/1.png", "train/dog/2.png", mode=mode, content=b"pixels")
    unpack(archive, tmp_path / "out")
    assert (tmp_path / "out/train/cat/1.png").read_bytes() == b"pixels"
    assert (tmp_path / "out/train/dog/2.png").read_bytes() == b"pixels"


def test_zip_unpacks(tmp_path):
    unpack(make_zip(tmp_path / "a.zip", "a/1.png", "b/2.png", content=b"pixels"), tmp_path / "out")
    assert (tmp_path / "out/b/2.png").read_bytes() == b"pixels"


HOSTILE_NAMES = [
    "../up.png",
    "/etc/absolute.png",
    "a/../../up.png",
    "a\\..\\b.png",
    "C:/x.png",
    "bad\nname.png",
    "d/" * 20 + "x",
]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_unsafe_member_names_are_refused(tmp_path, make, name):
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(BadDataset, match="unsafe name"):
        unpack(make(inside / "a", "good/1.png", name), inside / "out")
    assert sorted(os.listdir(inside)) == ["a"]
    assert sorted(os.listdir(tmp_path)) == ["inside"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind):
    archive = make_tar(tmp_path / "a.tar", special("link", kind, "/etc/passwd"), "link/1.png")
    with pytest.raises(BadDataset, match="link or device"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_links_in_a_zip_are_refused(tmp_path):
    archive = make_zip(tmp_path / "a.zip", "link", content=b"/etc/passwd", attributes=stat.S_IFLNK | 0o777)
    with pytest.raises(BadDataset, match="link or device"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize(
    "make", [lambda path, **k: make_tar(path, "0", mode="w:gz", **k), lambda path, **k: make_zip(path, "0", **k)]
)
def test_decompression_bomb_is_refused(tmp_path, make):
    archive = make(tmp_path / "a", content=bytes(40_000_000))
    assert archive.stat().st_size < 100_000
    with pytest.raises(BadDataset, match="bomb"):
        unpack(archive, tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == ["a"]


def test_too_many_members_are_refused(tmp_path):
    archive = make_tar(tmp_path / "a.tar", *(f"{n}.png" for n in range(20)))
    with pytest.raises(BadDataset, match="more than 10 members and folders"):
        unpack(archive, tmp_path / "out", Limits(members=10))


def test_duplicate_member_is_refused(tmp_path):
    with pytest.raises(BadDataset, match="twice"):
        unpack(make_tar(tmp_path / "a.tar", "1.png", "1.png"), tmp_path / "out")


def test_member_used_as_file_and_folder_is_refused(tmp_path):
    with pytest.raises(BadDataset, match="both as a file and as a folder"):
        unpack(make_tar(tmp_path / "a.tar", "a", "a/1.png"), tmp_path / "out")


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_truncated_tar_is_refused(tmp_path, mode):
    archive = make_tar(tmp_path / "a", *(f"{n}.png" for n in range(30)), mode=mode, content=os.urandom(2000))
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(BadDataset):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_damaged_zip_is_refused(tmp_path):
    archive = make_zip(tmp_path / "a.zip", "1.png", content=os.urandom(5000))
    damaged = bytearray(archive.read_bytes())
    damaged[100:200] = bytes(100)
    archive.write_bytes(bytes(damaged))
    with pytest.raises(BadDataset):
        unpack(archive, tmp_path / "out")


def test_folders_implied_by_names_count_as_members(tmp_path):
    archive = make_tar(tmp_path / "a.tar", "a/b/c/d/e/f/g/h/1.png", "i/j/k/2.png")
    with pytest.raises(BadDataset, match="members and folders"):
        unpack(archive, tmp_path / "out", Limits(members=10))
    unpack(archive, tmp_path / "out", Limits(members=14))


def test_long_names_within_the_limit_are_read(tmp_path):
    name = "/".join(["n" * 200] * 5) + "/1.png"
    for number, kind in enumerate((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)):
        with tarfile.open(tmp_path / f"{number}.tar", "w", format=kind) as archive:
            info = tarfile.TarInfo(name)
            info.size = 1
            archive.addfile(info, io.BytesIO(b"x"))
        unpack(tmp_path / f"{number}.tar", tmp_path / f"out{number}")
        assert (tmp_path / f"out{number}" / name).read_bytes() == b"x"
