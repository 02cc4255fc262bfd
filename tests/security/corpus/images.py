"""Invalid or damaged images, and decompression bombs. Each case is a dataset with only this image."""

import io
import struct
import zlib
from collections.abc import Callable

from PIL import Image

Make = Callable[[], bytes]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, *extra: bytes, data: bytes | None = None) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes((width * 3 + 1) * height)) if data is None else data
    return (
        b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + b"".join(extra) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")
    )


def _jpeg(width: int, height: int) -> bytes:
    """A red square whose header tells another size."""
    whole = _saved("jpeg")
    at = whole.index(b"\xff\xc0") + 5
    return whole[:at] + struct.pack(">HH", height, width) + whole[at + 4 :]


def _tiff(entries: dict[int, int], following: int = 0) -> bytes:
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(entries.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + struct.pack("<I", following)


def _icon(inside: bytes) -> bytes:
    return struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 0, 0, 0, 0, 1, 32, len(inside), 22) + inside


def _saved(kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(out, kind, **options)  # type: ignore[arg-type]
    return out.getvalue()


CASES: dict[str, tuple[str, Make]] = {
    "png, cut": ("png", lambda: _saved("png")[:60]),
    "png, no data": ("png", lambda: _png(32, 32, data=b"")),
    "png, damaged data": ("png", lambda: _png(32, 32, data=b"\0" * 50)),
    "png, too little data": ("png", lambda: _png(32, 32, data=zlib.compress(b"\0"))),
    "png, a billion pixels": ("png", lambda: _png(40_000, 40_000, data=zlib.compress(bytes(1000)))),
    "png, as wide as can be": ("png", lambda: _png(2**31 - 1, 1, data=zlib.compress(bytes(1000)))),
    "png, no width": ("png", lambda: _png(0, 10, data=zlib.compress(bytes(10)))),
    "png, text bomb": (
        "png",
        lambda: _png(32, 32, _chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(20_000_000))), data=b""),
    ),
    "png, bytes of nothing": ("png", lambda: b""),
    "png, text": ("png", lambda: b"<script>alert(1)</script>"),
    "jpeg, cut": ("jpg", lambda: _saved("jpeg")[:200]),
    "jpeg, a header alone": ("jpg", lambda: b"\xff\xd8\xff\xe0" + bytes(12)),
    "gif, cut": ("gif", lambda: _saved("gif")[:20]),
    "bmp, lying": ("bmp", lambda: _saved("bmp")[:18] + struct.pack("<ii", 30_000, 30_000) + _saved("bmp")[26:]),
    "webp, cut": ("webp", lambda: _saved("webp")[:30]),
    "tiff, cut": ("tiff", lambda: _saved("tiff")[:100]),
    "jpeg, as large as can be": ("jpg", lambda: _jpeg(65_535, 65_535)),
    "gif, a screen of four billion": ("gif", lambda: _saved("gif")[:6] + b"\xff" * 4 + _saved("gif")[10:]),
    "tiff, a billion pixels": (
        "tiff",
        lambda: _tiff({256: 40_000, 257: 40_000, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 40_000, 279: 9}),
    ),
    "tiff, a directory that is its own next": ("tiff", lambda: _tiff({256: 32, 257: 32}, following=8)),
    "tiff, an endless strip": (
        "tiff",
        lambda: _tiff({256: 32, 257: 32, 258: 8, 259: 5, 262: 1, 273: 8, 277: 1, 278: 32, 279: 2**32 - 1}),
    ),
    "ppm, a size of many digits": ("ppm", lambda: b"P6\n" + b"9" * 5000 + b" 1\n255\n"),
    "ico, a bomb inside": ("png", lambda: _icon(_png(40_000, 40_000, data=zlib.compress(bytes(1000))))),
    "fits, an array of a terabyte": (
        "png",
        lambda: b"".join(
            line.ljust(80).encode()
            for line in ("SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 2", "NAXIS1  = 1000000", "NAXIS2  = 1000000", "END")
        ).ljust(2880),
    ),
    "eps, a program": ("png", lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd)(r) file\n"),
    "svg, an entity": (
        "png",
        lambda: b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>',
    ),
    "pickle": ("png", lambda: b"cposix\nsystem\n(S'true'\ntR."),
}
