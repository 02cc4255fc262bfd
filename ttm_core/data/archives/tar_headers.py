"""Reads tar headers with a bound on extended headers, which tarfile reads completely into memory."""

import tarfile
from typing import Any, NoReturn

from ttm_core.errors import BadDataset

# Names and pax records. Paths have at most 4,096 bytes on Linux.
_MAX_HEADER_BYTES = 2**16
_EXTENDED = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)


def check_end(archive: tarfile.TarFile) -> None:
    """Raises BadDataset unless the members that have been read end at an end-of-archive block.

    tarfile ends silently at a damaged header and at the end of a truncated file.
    """
    assert archive.fileobj is not None
    archive.fileobj.seek(archive.offset)
    block = archive.fileobj.read(tarfile.BLOCKSIZE)
    if not block:
        raise BadDataset("The archive is truncated: it has no end-of-archive block.")
    if any(block):
        raise BadDataset(f"The archive is damaged: it has no valid header at byte {archive.offset:,}.")


class BoundedTarInfo(tarfile.TarInfo):
    """A member with small extended headers that is not sparse. Pass it as `tarinfo` to tarfile.open.

    Raises BadDataset while the header is read.
    """

    def _proc_member(self, archive: tarfile.TarFile) -> Any:
        if self.type in _EXTENDED and self.size > _MAX_HEADER_BYTES:
            raise BadDataset(
                f"The archive has a member whose name or header has {self.size:,} bytes; the limit is "
                f"{_MAX_HEADER_BYTES:,}."
            )
        return super()._proc_member(archive)  # type: ignore[misc]

    def _refuse_sparse(self, *arguments: object) -> NoReturn:
        raise BadDataset("The archive contains a sparse file.")

    _proc_sparse = _refuse_sparse
    _proc_gnusparse_00 = _refuse_sparse
    _proc_gnusparse_01 = _refuse_sparse
    _proc_gnusparse_10 = _refuse_sparse
