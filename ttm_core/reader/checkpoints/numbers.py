"""Checks that the numbers of a checkpoint are finite, as the engine requires, without PyTorch."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from ttm_core.checkpoints.kinds import Kind
from ttm_core.errors import beyond_float32, not_finite
from ttm_core.reader.checkpoints.safetensors_file import read_numbers as safetensors_numbers
from ttm_core.reader.pickles.torch_file import read_numbers as torch_numbers

# The type of the bits of an element, and the exponent bits that are all set in NaN and infinite values. E4M3 has no
# infinite values; its NaN has all bits but the sign.
_BITS = {
    "F64": ("<u8", 0x7FF0_0000_0000_0000),
    "F32": ("<u4", 0x7F80_0000),
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
    "F8_E5M2": ("u1", 0x7C),
    "F8_E4M3": ("u1", 0x7F),
}
_AT_ONCE = 1 << 20
# The bits of the smallest float64 that rounds to an infinite float32.
_BEYOND_FLOAT32 = int(np.float64(2.0**128 - 2.0**103).view(np.uint64))
_WITHOUT_SIGN = 0x7FFF_FFFF_FFFF_FFFF


def check_numbers(source: Path, kind: Kind, names: Mapping[str, str]) -> None:
    """Checks the tensors of a model. `names` are their names in the file, by name in the model.

    Raises:
        BadCheckpoint: a tensor has NaN or infinite values, or values beyond float32, or the file is damaged.
    """
    in_model = {full: name for name, full in names.items()}
    tensors = safetensors_numbers(source, in_model) if kind == "safetensors" else torch_numbers(source, in_model)
    for full, element, content in tensors:
        if not _is_finite(element, content):
            raise not_finite(in_model[full])
        if element == "F64" and _exceeds_float32(content):
            raise beyond_float32(in_model[full])


def _is_finite(element: str, content: bytes) -> bool:
    if element not in _BITS:
        return True
    kind, exponent = _BITS[element]
    bits = np.frombuffer(content, kind)
    return not any(((part & exponent) == exponent).any() for part in _parts(bits))


def _exceeds_float32(content: bytes) -> bool:
    # Without the sign, floats are ordered as their bits are.
    bits = np.frombuffer(content, "<u8")
    return any(((part & _WITHOUT_SIGN) >= _BEYOND_FLOAT32).any() for part in _parts(bits))


def _parts(bits: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(bits), _AT_ONCE):
        yield bits[start : start + _AT_ONCE]
