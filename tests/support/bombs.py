"""Decompression bombs of one compressed block that repeats. To compress all of their bytes takes seconds for each."""

import bz2
import lzma
import struct
import tempfile
import zipfile
import zlib
from functools import cache
from itertools import repeat

import torch

_BLOCK = bytes(500_000)
_LZMA1 = {"id": lzma.FILTER_LZMA1, "preset": 0, "nice_len": 273}
_BZIP2_END = f"{0x177245385090:048b}"


def zlib_bomb(size: int) -> bytes:
    """A zlib stream of zeros. `size` is a multiple of 500,000."""
    checksum = 1
    for block in repeat(_BLOCK, size // len(_BLOCK)):
        checksum = zlib.adler32(block, checksum)
    return b"\x78\x9c" + _deflated(size // len(_BLOCK)) + struct.pack(">I", checksum)


@cache
def checkpoint_bomb(elements: int, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """The zip archive that torch.save writes for a tensor of float32 zeros, with compressed entries.

    Args:
        elements: the number of zeros, a multiple of 125,000.
        method: the compression method of `zipfile`: deflate, bzip2 or LZMA.
    """
    with tempfile.TemporaryFile() as stored, tempfile.TemporaryFile() as out:
        with torch.serialization.skip_data():  # a hole in the file instead of the zeros
            torch.save({"a": torch.zeros(elements)}, stored)
        with zipfile.ZipFile(stored) as source, zipfile.ZipFile(out, "w", method) as bomb:
            for info in source.infolist():
                if info.file_size == 4 * elements:
                    _write_zeros(bomb, info.filename, info.file_size // len(_BLOCK), method)
                else:
                    bomb.writestr(info.filename, source.read(info))
        out.seek(0)
        return out.read()


def _write_zeros(archive: zipfile.ZipFile, name: str, blocks: int, method: int) -> None:
    info = zipfile.ZipInfo(name)
    archive.writestr(info, _PACK[method](blocks), zipfile.ZIP_STORED)
    checksum = 0
    for block in repeat(_BLOCK, blocks):
        checksum = zlib.crc32(block, checksum)
    info.compress_type, info.file_size, info.CRC = method, blocks * len(_BLOCK), checksum
    if method == zipfile.ZIP_LZMA:
        info.flag_bits |= 2  # the stream has an end marker
    assert archive.fp is not None
    archive.fp.seek(info.header_offset)
    archive.fp.write(info.FileHeader())
    archive.fp.seek(archive.start_dir)


def _deflated(blocks: int) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    block = packer.compress(_BLOCK) + packer.flush(zlib.Z_FULL_FLUSH)
    return block * blocks + packer.flush()


def _bzip2(blocks: int) -> bytes:
    """A single stream, whose blocks do not begin at bytes."""
    content = bz2.compress(_BLOCK)[4:]
    bits = f"{int.from_bytes(content):0{8 * len(content)}b}"
    block = bits[: bits.rindex(_BZIP2_END)]
    checksum, whole = int(block[48:80], 2), 0
    for _ in range(blocks):
        whole = (whole << 1 & 0xFFFFFFFF | whole >> 31) ^ checksum
    stream = block * blocks + _BZIP2_END + f"{whole:032b}"
    stream += "0" * (-len(stream) % 8)
    return b"BZh9" + int(stream, 2).to_bytes(len(stream) // 8)


def _lzma(blocks: int) -> bytes:
    packer = lzma.LZMACompressor(lzma.FORMAT_RAW, filters=[_LZMA1])
    properties = lzma._encode_filter_properties(_LZMA1)  # type: ignore[attr-defined]  # as zipfile does
    head = struct.pack("<BBH", 9, 4, len(properties)) + properties
    return head + b"".join(map(packer.compress, repeat(_BLOCK, blocks))) + packer.flush()


_PACK = {zipfile.ZIP_DEFLATED: _deflated, zipfile.ZIP_BZIP2: _bzip2, zipfile.ZIP_LZMA: _lzma}
