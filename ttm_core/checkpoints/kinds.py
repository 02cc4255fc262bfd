"""The kind of a file by its first bytes."""

import struct
from pathlib import Path
from typing import Literal

Kind = Literal["safetensors", "torch", "onnx", "archive", "unknown"]


def kind_of(source: Path) -> Kind:
    """The kind of a file from its first bytes."""
    with source.open("rb") as stream:
        head = stream.read(512)
    if len(head) > 8 and head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] <= source.stat().st_size:
        return "safetensors"
    if head.startswith(b"PK\3\4"):
        # torch.save stores its pickle first.
        return "torch" if b"/data.pkl" in head[:300] or b"/version" in head[:300] else "archive"
    if head.startswith(b"\x80"):
        return "torch"
    if head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ")) or head[257:262] == b"ustar":
        return "archive"
    # An ONNX model starts with its version, field 1 of the message, as a small number.
    return "onnx" if len(head) > 2 and head[0] == 8 and head[1] < 32 else "unknown"
