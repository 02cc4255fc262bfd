"""Reads the pickles of CIFAR's Python archives as data."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttm_core.errors import BadDataset
from ttm_core.files.full_disk import save_array
from ttm_core.reader.pickles.data_unpickler import DataUnpickler

PIXELS = 3 * 32 * 32


def convert(paths: list[Path], target: Path) -> None:
    """Concatenates the images and labels of the files into `pixels.npy` (uint8 [N, 3072]) and `labels.npy` (int64 [N]).

    Raises:
        BadDataset: a pickle contains anything but arrays, bytes, text, numbers, lists and dicts.
    """
    pixels, labels = [], []
    for path in paths:
        content = _load(path)
        numbers = content.get("fine_labels", content.get("labels"))
        images = content.get("data")
        if not isinstance(images, _Array) or not isinstance(numbers, list):
            raise BadDataset(f"{path.name} contains no images with labels.")
        if not all(type(number) is int and 0 <= number < 2**31 for number in numbers):
            raise BadDataset(f"{path.name} contains labels that are not non-negative integers.")
        data = images.pixels(path.name)
        if len(data) != len(numbers) or not len(data):
            raise BadDataset(f"{path.name} has {len(data)} images but {len(numbers)} labels.")
        pixels.append(data)
        labels.append(np.array(numbers, dtype=np.int64))
    save_array(target / "pixels.npy", np.concatenate(pixels))
    save_array(target / "labels.npy", np.concatenate(labels))


def class_names(path: Path) -> list[str]:
    """The class names in `batches.meta` or `meta`."""
    content = _load(path)
    names = content.get("fine_label_names", content.get("label_names"))
    if not isinstance(names, list) or not all(isinstance(name, str | bytes) for name in names):
        raise BadDataset(f"{path.name} contains no class names.")
    return [_text(name) for name in names]


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _load(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            content = _Unpickler(stream, encoding="bytes").load()
    except MemoryError:
        raise
    except Exception as error:  # damaged pickles raise exceptions of any type
        raise BadDataset(f"{path.name} is not a CIFAR pickle: {error}") from error
    if not isinstance(content, dict):
        raise BadDataset(f"{path.name} does not contain a dict.")
    return {_text(key): value for key, value in content.items() if isinstance(key, str | bytes)}


class _Array:
    """Replaces numpy arrays in a pickle: numpy would allocate whatever size the pickle claims."""

    def __init__(self, *ignored: object) -> None:
        self._state: object = None

    def __setstate__(self, state: object) -> None:
        self._state = state

    def pixels(self, name: str) -> NDArray[np.uint8]:
        """The array uint8 [n, 3072]. Raises BadDataset if the pickle describes another array."""
        match self._state:
            case (
                _,
                (int() as count, 3072),
                _Dtype(kind="u1" | b"u1"),
                bool() | int() as fortran,
                bytes() as data,
            ):
                if not fortran and len(data) == count * PIXELS:
                    return np.frombuffer(data, np.uint8).reshape(count, PIXELS)
        raise BadDataset(f"{name} contains no uint8 array of shape [n, {PIXELS}].")


class _Dtype:
    """Replaces numpy dtypes in a pickle."""

    def __init__(self, kind: object = None, *ignored: object) -> None:
        self.kind = kind

    def __setstate__(self, state: object) -> None:
        pass


class _Latin1(bytes):
    """Replaces `_codecs.encode`, which protocol-2 pickles use for bytes."""

    def __new__(cls, text: str, encoding: str) -> "_Latin1":
        return super().__new__(cls, text.encode("latin1"))


_ALLOWED: dict[tuple[str, str], Any] = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _Latin1,
}


class _Unpickler(DataUnpickler):
    def find_class(self, module: str, name: str) -> type:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it references {module}.{name}") from None

    def may_call(self, function: object) -> bool:
        return any(function is allowed for allowed in _ALLOWED.values())
