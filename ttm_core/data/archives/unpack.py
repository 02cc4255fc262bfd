"""Unpacks untrusted archives: regular files only, inside the target folder only, within limits."""

import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from ttm_core.data.archives.tar_headers import BoundedTarInfo, check_end
from ttm_core.errors import BadDataset
from ttm_core.reader.placeholders import PLACEHOLDERS
from ttm_core.spec.names import has_unsafe_characters

_COPY_BYTES = 1 << 20
_UNREADABLE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,  # a compression method that this Python lacks
    RuntimeError,  # an encrypted zip
    UnicodeError,
)


@dataclass(frozen=True)
class Limits:
    """Limits on the contents of an archive."""

    members: int = 5_000_000
    total_bytes: int = 500 * 2**30
    # Photographs hardly compress, arrays of digits compress 20 times, decompression bombs 1,000 times.
    ratio: int = 200
    depth: int = 16
    name_bytes: int = 2048  # a path may have 4,096 with that of the work directory

    @property
    def entry_bytes(self) -> int:
        """The bytes that each member and each folder of a member's name counts, as each has a header in a tar."""
        return 512

    def budget(self, packed_bytes: int) -> int:
        """The bytes that an archive of this size may unpack to."""
        return min(self.total_bytes, self.ratio * packed_bytes + (1 << 20))


_REPACK = "Pack the files into a tar (plain, gz, bz2, xz) or zip archive"
# Files that are mistaken for archives, by their first bytes, and what to do.
_OTHERS = {
    b"\x28\xb5\x2f\xfd": f"compressed with Zstandard. {_REPACK}",
    b"7z\xbc\xaf": f"a 7z archive. {_REPACK}",
    b"Rar!": f"a RAR archive. {_REPACK}",
    **PLACEHOLDERS,
}


def _check_kind(archive: Path) -> None:
    """Raises BadDataset for a file of another kind that its first bytes show."""
    with archive.open("rb") as stream:
        head = stream.read(32)
    for start, kind in _OTHERS.items():
        if head.startswith(start):
            raise BadDataset(f"The dataset is {kind}.")


def unpack(archive: Path, target: Path, limits: Limits | None = None) -> None:
    """Unpacks into `target`, which appears only when it is complete. Raises BadDataset for unsafe content."""
    limits = limits or Limits()
    budget = limits.budget(archive.stat().st_size)
    if target.exists():
        return
    _check_kind(archive)
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                _write(_zip_files(opened), partial, budget, limits)
        else:
            with tarfile.open(archive, "r:*", tarinfo=BoundedTarInfo) as opened:
                _write(_tar_files(opened, budget, limits), partial, budget, limits)
        partial.rename(target)
    except _UNREADABLE as error:
        # tarfile lists the error of every compression in a line of its own.
        reason = str(error).partition("\n")[0].rstrip(":")
        raise BadDataset(f"The dataset is a file but neither a tar nor a zip archive: {reason}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


_Member = tuple[str, int, IO[bytes] | None]


def _zip_files(opened: zipfile.ZipFile) -> Iterator[_Member]:
    for info in opened.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise BadDataset(f"The archive contains a link or device: {info.filename!r}")
        if info.is_dir():
            yield info.filename, 0, None
        else:
            with opened.open(info) as stream:
                yield info.filename, info.file_size, stream


def _tar_files(opened: tarfile.TarFile, budget: int, limits: Limits) -> Iterator[_Member]:
    for info in opened:
        opened.members = []  # type: ignore[attr-defined]  # otherwise tarfile keeps the headers of all members
        # The position in the unpacked archive, which includes headers that belong to no member.
        if info.offset_data > budget + limits.entry_bytes:
            raise _bomb(limits)
        if not (info.isreg() or info.isdir()):
            raise BadDataset(f"The archive contains a link or device: {info.name!r}")
        yield info.name, info.size, opened.extractfile(info) if info.isreg() else None
    check_end(opened)
    # The checksums of compressed files are at their end.
    assert opened.fileobj is not None
    while chunk := opened.fileobj.read(_COPY_BYTES):
        budget -= len(chunk)
        if budget < 0:
            raise _bomb(limits)


def _bomb(limits: Limits) -> BadDataset:
    return BadDataset(
        f"The archive unpacks to more than {limits.ratio} times its size and may be a decompression bomb."
    )


def _write(members: Iterator[_Member], target: Path, budget: int, limits: Limits) -> None:
    folders = {target}
    for count, (name, size, stream) in enumerate(members, start=1):
        path = target / _safe_name(name, limits)
        if path == target and stream is not None:
            raise BadDataset("The archive contains a file without a name.")
        folder = path if stream is None else path.parent
        made = []
        while folder not in folders:
            made.append(folder)
            folder = folder.parent
        folders.update(made)
        if count + len(folders) > limits.members:
            raise BadDataset(f"The archive has more than {limits.members:,} members and folders.")
        budget -= size + limits.entry_bytes * (1 + len(made))
        if budget < 0:
            raise _bomb(limits)
        if made:
            _make_folder(made[0], name)
        if stream is None:
            continue
        try:
            with path.open("xb") as out:
                while chunk := stream.read(_COPY_BYTES):
                    size -= len(chunk)  # counted while reading, because the size in the header may be wrong
                    if size < 0:
                        raise BadDataset(f"Member {name!r} unpacks to more bytes than its header states.")
                    out.write(chunk)
        except FileExistsError as error:
            raise BadDataset(f"The archive contains {name!r} twice.") from error
        if size:
            raise BadDataset(f"The archive is truncated inside member {name!r}.")


def _make_folder(path: Path, name: str) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise BadDataset(f"The archive contains {name!r} both as a file and as a folder.") from error


def _safe_name(name: str, limits: Limits) -> PurePosixPath:
    path = PurePosixPath(name)
    unsafe = (
        path.is_absolute()
        or ".." in path.parts
        or "\\" in name
        or has_unsafe_characters(name)
        or ":" in name.split("/")[0]
    )
    too_long = len(name.encode()) > limits.name_bytes or any(len(part.encode()) > 255 for part in path.parts)
    if unsafe or too_long or len(path.parts) > limits.depth:
        raise BadDataset(f"The archive contains a member with an unsafe name: {name!r}")
    return path
