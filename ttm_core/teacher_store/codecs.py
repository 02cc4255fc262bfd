"""How a row of logits is kept: half precision, or bytes with a scale of their own."""

from typing import Literal, Protocol, assert_never

import numpy as np
from numpy.typing import NDArray

Encoding = Literal["float16", "int8"]
_LARGEST = float(np.finfo(np.float16).max)


class Codec(Protocol):
    """Rows of float32 logits [B, classes] to records [B] and back."""

    dtype: np.dtype[np.void]

    def encode(self, logits: NDArray[np.float32]) -> NDArray[np.void]: ...

    def decode(self, records: NDArray[np.void]) -> NDArray[np.float32]: ...


class Float16:
    """A logit between 8 and 16 comes back within 0.004; one beyond 65,504 would become infinite and is held there."""

    def __init__(self, classes: int) -> None:
        self.dtype = np.dtype([("logits", "<f2", (classes,))])

    def encode(self, logits: NDArray[np.float32]) -> NDArray[np.void]:
        records = np.empty(len(logits), self.dtype)
        records["logits"] = np.clip(logits, -_LARGEST, _LARGEST)
        return records

    def decode(self, records: NDArray[np.void]) -> NDArray[np.float32]:
        return records["logits"].astype(np.float32)


class Int8:
    """255 levels between a row's least and greatest logit: each comes back within half a level, whatever its size.

    Half the bytes of float16. All methods here read logits through a softmax or a standardization, which the rounding
    of a row's middle does not touch.
    """

    def __init__(self, classes: int) -> None:
        self.dtype = np.dtype([("middle", "<f4"), ("step", "<f4"), ("levels", "i1", (classes,))])

    def encode(self, logits: NDArray[np.float32]) -> NDArray[np.void]:
        held = np.clip(logits, -_LARGEST, _LARGEST).astype(np.float64)
        least, greatest = held.min(1), held.max(1)
        records = np.empty(len(logits), self.dtype)
        records["middle"] = (least + greatest) / 2
        records["step"] = np.maximum((greatest - least) / 254, np.finfo(np.float32).tiny)
        # From the rounded middle and step, since those are what a reader has.
        scaled = (held - records["middle"][:, None].astype(np.float64)) / records["step"][:, None].astype(np.float64)
        records["levels"] = np.clip(np.rint(scaled), -127, 127)
        return records

    def decode(self, records: NDArray[np.void]) -> NDArray[np.float32]:
        levels: NDArray[np.float32] = records["levels"].astype(np.float32)
        return levels * records["step"][:, None] + records["middle"][:, None]


def build_codec(encoding: Encoding, classes: int) -> Codec:
    """The codec of rows of so many classes."""
    match encoding:
        case "float16":
            return Float16(classes)
        case "int8":
            return Int8(classes)
        case _:
            assert_never(encoding)
