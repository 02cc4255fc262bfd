"""Encodings of a row of logits: float32, float16, or int8 with a scale per row."""

from typing import Literal, Protocol, assert_never

import numpy as np
from numpy.typing import NDArray

Encoding = Literal["float16", "int8"]
_LARGEST = float(np.finfo(np.float16).max)


class Codec(Protocol):
    """Converts float32 logits [B, classes] to records [B] and back."""

    dtype: np.dtype[np.void]

    def encode(self, logits: NDArray[np.float32]) -> NDArray[np.void]: ...

    def decode(self, records: NDArray[np.void]) -> NDArray[np.float32]: ...


class Float32:
    """Exact."""

    def __init__(self, classes: int) -> None:
        self.dtype = np.dtype([("logits", "<f4", (classes,))])

    def encode(self, logits: NDArray[np.float32]) -> NDArray[np.void]:
        records = np.empty(len(logits), self.dtype)
        records["logits"] = logits
        return records

    def decode(self, records: NDArray[np.void]) -> NDArray[np.float32]:
        return records["logits"].astype(np.float32)


class Float16:
    """Half precision: logits between 8 and 16 have an error of at most 0.004. Logits beyond 65,504 are clipped."""

    def __init__(self, classes: int) -> None:
        self.dtype = np.dtype([("logits", "<f2", (classes,))])

    def encode(self, logits: NDArray[np.float32]) -> NDArray[np.void]:
        records = np.empty(len(logits), self.dtype)
        records["logits"] = np.clip(logits, -_LARGEST, _LARGEST)
        return records

    def decode(self, records: NDArray[np.void]) -> NDArray[np.float32]:
        return records["logits"].astype(np.float32)


class Int8:
    """255 levels between the minimum and maximum of a row: the error is at most half a level. Half the size of float16.

    The rounding of `middle` has no effect, because all methods read logits through a softmax or a standardization.
    """

    def __init__(self, classes: int) -> None:
        self.dtype = np.dtype([("middle", "<f4"), ("step", "<f4"), ("levels", "i1", (classes,))])

    def encode(self, logits: NDArray[np.float32]) -> NDArray[np.void]:
        clipped = np.clip(logits, -_LARGEST, _LARGEST).astype(np.float64)
        low, high = clipped.min(1), clipped.max(1)
        records = np.empty(len(logits), self.dtype)
        records["middle"] = (low + high) / 2
        records["step"] = np.maximum((high - low) / 254, np.finfo(np.float32).tiny)
        # Uses the rounded middle and step, which are what `decode` reads.
        scaled = (clipped - records["middle"][:, None].astype(np.float64)) / records["step"][:, None].astype(np.float64)
        records["levels"] = np.clip(np.rint(scaled), -127, 127)
        return records

    def decode(self, records: NDArray[np.void]) -> NDArray[np.float32]:
        levels: NDArray[np.float32] = records["levels"].astype(np.float32)
        return levels * records["step"][:, None] + records["middle"][:, None]


def build_codec(encoding: Encoding, classes: int) -> Codec:
    """Returns the codec for rows of `classes` logits."""
    match encoding:
        case "float16":
            return Float16(classes)
        case "int8":
            return Int8(classes)
        case _:
            assert_never(encoding)
