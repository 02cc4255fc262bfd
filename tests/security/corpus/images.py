"""Invalid or damaged images, and decompression bombs. Each case is a dataset with only this image."""

import io
import struct
import zlib
from collections.abc import Callable

from PIL import Image

from tests.support.bombs import zlib_bomb

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
    """A red square whose header states another size."""
    whole = _saved("jpeg")
    at = whole.index(b"\xff\xc0") + 5
    return whole[:at] + struct.pack(">HH", height, width) + whole[at + 4 :]


def _scans(count: int) -> bytes:
    """A progressive JPEG that repeats its last scan."""
    out = io.BytesIO()
    Image.new("RGB", (32, 32)).save(out, "jpeg", progressive=True)
    whole = out.getvalue()
    at = whole.rindex(b"\xff\xda")
    return whole[:at] + whole[at:-2] * count + whole[-2:]


def _tiff(entries: dict[int, int], following: int = 0) -> bytes:
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(entries.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + struct.pack("<I", following)


def _tiled(side: int, *, repeated: bool = False) -> bytes:
    """A TIFF file of 32 x 32 pixels whose only tile is a square of another size. The file ends within the tile's data.

    With `repeated`, the directory has two sizes: Pillow reads the small one, libtiff the large one.
    """
    entries = [(256, 32), (257, 32), (258, 8), (259, 8), (262, 1), (277, 1), (322, side), (323, side)]
    if repeated:
        entries += [(322, 32), (323, 32)]
    data = zlib.compress(bytes(2**20))
    entries += [(324, 8 + 2 + 12 * (len(entries) + 2) + 4), (325, len(data))]
    directory = b"".join(
        struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(entries, key=lambda each: each[0])
    )
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4) + data


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
        lambda: _png(32, 32, _chunk(b"zTXt", b"k\0\0" + zlib_bomb(20_000_000)), data=b""),
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
    "tiff, a tile of 1.6 billion pixels for an image of 1,024": ("tiff", lambda: _tiled(40_000)),
    "tiff, a tile with two sizes": ("tiff", lambda: _tiled(40_000, repeated=True)),
    "tiff, 100 megapixels of 16 bits, no data": (
        "tiff",
        lambda: _tiff(
            {256: 9_984, 257: 9_984, 258: 16, 259: 8, 262: 1, 277: 1, 322: 9_984, 323: 9_984, 324: 8, 325: 9}
        ),
    ),
    "jpeg, 65,535 pixels wide, no data": ("jpg", lambda: _jpeg(65_535, 1_500)),
    "png, a color profile bomb": (
        "png",
        lambda: _png(32, 32, _chunk(b"iCCP", b"k\0\0" + zlib_bomb(200_000_000))),
    ),
    "png, 200 text bombs": (
        "png",
        lambda: _png(32, 32, _chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(1_000_000))) * 200),
    ),
    "gif, 100,000 extensions and no image": (
        "gif",
        lambda: _saved("gif")[: _saved("gif").index(b"," + bytes(4))] + (b"!\xfe\x01a\0") * 100_000,
    ),
    "gif, no image": ("gif", lambda: _saved("gif")[: _saved("gif").index(b"," + bytes(4))] + b";"),
    "png, a color profile bomb after the pixels": (
        "png",
        lambda: _png(32, 32)[:-12] + _chunk(b"iCCP", b"k\0\0" + zlib_bomb(200_000_000)) + _png(32, 32)[-12:],
    ),
    "gif, a frame larger than its screen": (
        "gif",
        lambda: (
            b"GIF89a\1\0\1\0\x80\0\0"
            + bytes(6)
            + b","
            + struct.pack("<HHHHB", 0, 0, 65_535, 65_535, 0)
            + b"\2\2\x4c\1\0;"
        ),
    ),
    "webp, a large canvas and no frame": (
        "webp",
        lambda: b"RIFF\x16\0\0\0WEBPVP8X\n\0\0\0\2\0\0\0" + b"\xff\x3f\0" * 2,
    ),
    "jpeg, 200 scans": ("jpg", lambda: _scans(200)),
    "ppm, decimal numbers and 20,000 comments": ("ppm", lambda: b"P3\n4 4\n255\n" + b"#a\n" * 20_000 + b"1 " * 48),
    "ppm, a million values from 0 to 254": ("ppm", lambda: b"P5\n1001 1000\n254\n" + bytes(1_001_000)),
    "ico as jpg": ("jpg", lambda: _icon(_saved("png"))),
    "eps as jpg": ("jpg", lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd)(r) file\n"),
    "psd as jpg": ("jpg", lambda: b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 30_000, 30_000, 8, 3) + bytes(14)),
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
