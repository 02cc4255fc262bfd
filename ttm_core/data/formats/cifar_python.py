"""CIFAR's python version: pickled dicts of pixels and labels, read without running what a pickle may ask for."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttm_core.data.dataset import Dataset, Split
from ttm_core.data.formats import cifar
from ttm_core.errors import BadDataset


def is_cifar_python(root: Path) -> bool:
    return bool(_files(root))


def read(root: Path) -> Dataset:
    """Training and, where present, test images, with the names of `batches.meta` or `meta`.

    Raises BadDataset for a pickle that asks for anything but arrays, bytes, text, numbers, lists and dicts.
    """
    train = _files(root)
    if not train:
        raise BadDataset("no data_batch_* (CIFAR-10) and no train with meta (CIFAR-100) in the folder")
    hundred = train[0].name == "train"
    test = root / ("test" if hundred else "test_batch")
    return cifar.dataset(
        _split(train),
        _split([test]) if test.is_file() else None,
        _class_names(root / ("meta" if hundred else "batches.meta")),
    )


def _files(root: Path) -> list[Path]:
    batches = [path for path in sorted(root.glob("data_batch_*")) if path.is_file() and not path.suffix]
    if batches or not (root / "meta").is_file():
        return batches
    return [root / "train"] if (root / "train").is_file() else []


def _split(paths: list[Path]) -> Split:
    pixels, labels = [], []
    for path in paths:
        told = _load(path)
        numbers = told.get("fine_labels", told.get("labels"))
        images = told.get("data")
        if not isinstance(images, _Array) or not isinstance(numbers, list):
            raise BadDataset(f"{path.name} holds no data with labels")
        if not all(type(number) is int and 0 <= number < 2**31 for number in numbers):
            raise BadDataset(f"{path.name} has labels that are not numbers from 0")
        data = images.pixels(path.name)
        if len(data) != len(numbers) or not len(data):
            raise BadDataset(f"{path.name} has {len(data)} images and {len(numbers)} labels")
        pixels.append(data)
        labels.append(np.array(numbers, dtype=np.int64))
    return cifar.split(pixels, labels)


def _class_names(path: Path) -> list[str]:
    if not path.is_file():
        return []
    told = _load(path)
    names = told.get("fine_label_names", told.get("label_names"))
    if not isinstance(names, list) or not all(isinstance(name, str | bytes) for name in names):
        raise BadDataset(f"{path.name} names no classes")
    return [_text(name) for name in names]


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _load(path: Path) -> dict[str, Any]:
    try:
        told = _Unpickler(io.BytesIO(cifar.content(path)), encoding="bytes").load()
    except Exception as error:  # a damaged pickle makes its reader stumble over anything
        raise BadDataset(f"{path.name} is not a pickle of CIFAR's: {error}") from error
    if not isinstance(told, dict):
        raise BadDataset(f"{path.name} does not hold a dict")
    return {_text(key): value for key, value in told.items() if isinstance(key, str | bytes)}


class _Array:
    """Stands for a numpy array that a pickle describes: numpy itself trusts such a description with memory."""

    def __init__(self, *ignored: object) -> None:
        self._state: object = None

    def __setstate__(self, state: object) -> None:
        self._state = state

    def pixels(self, name: str) -> NDArray[np.uint8]:
        """[n, 3072], if the description is that of such an array of bytes. Raises BadDataset."""
        match self._state:
            case (
                _,
                (int() as count, cifar.PIXELS),
                _Dtype(kind="u1" | b"u1"),
                bool() | int() as fortran,
                bytes() as data,
            ):
                if not fortran and len(data) == count * cifar.PIXELS:
                    return np.frombuffer(data, np.uint8).reshape(count, cifar.PIXELS)
        raise BadDataset(f"{name} holds no array of bytes [n, {cifar.PIXELS}]")


class _Dtype:
    """Stands for a numpy dtype."""

    def __init__(self, kind: object = None, *ignored: object) -> None:
        self.kind = kind

    def __setstate__(self, state: object) -> None:
        pass


class _Latin1(bytes):
    """Stands for `_codecs.encode`, by which Python 3 writes bytes in the pickles of Python 2."""

    def __new__(cls, text: str, encoding: str) -> "_Latin1":
        return super().__new__(cls, text.encode("latin1"))


_ALLOWED: dict[tuple[str, str], type] = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _Latin1,
}


# The reader written in Python: the one in C makes room for as many objects as a hostile file claims to remember.
class _Unpickler(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> type:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None
