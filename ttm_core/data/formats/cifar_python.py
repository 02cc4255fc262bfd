"""The Python version of CIFAR: pickled dicts of pixels and labels, read without executing code from the pickle."""

import tempfile
from pathlib import Path

import numpy as np

from ttm_core.data.dataset import Dataset, Split
from ttm_core.data.formats import cifar
from ttm_core.errors import BadDataset
from ttm_core.reader.process import read_untrusted


def is_cifar_python(root: Path) -> bool:
    return bool(_files(root))


def read(root: Path) -> Dataset:
    """Reads training and test images, with class names from `batches.meta` or `meta`.

    Raises:
        BadDataset: a pickle contains anything but arrays, bytes, text, numbers, lists and dicts.
    """
    train = _files(root)
    if not train:
        raise BadDataset("The folder has neither data_batch_* (CIFAR-10) nor train and meta (CIFAR-100).")
    is_cifar100 = train[0].name == "train"
    test = root / ("test" if is_cifar100 else "test_batch")
    return cifar.dataset(
        _split(train),
        _split([test]) if test.is_file() else None,
        _class_names(root / ("meta" if is_cifar100 else "batches.meta")),
    )


def _files(root: Path) -> list[Path]:
    batches = [path for path in sorted(root.glob("data_batch_*")) if path.is_file() and not path.suffix]
    if batches or not (root / "meta").is_file():
        return batches
    return [root / "train"] if (root / "train").is_file() else []


def _split(paths: list[Path]) -> Split:
    size = sum(cifar.size(path) for path in paths)
    with tempfile.TemporaryDirectory(prefix="ttm-cifar-") as folder:
        read_untrusted(
            "cifar",
            {"files": [str(path.resolve()) for path in paths], "target": folder},
            input_bytes=size,
            file_bytes=size + 2**20,
            error=BadDataset,
            subject="The CIFAR batch",
            reads=paths,
            writes=[folder],
        )
        pixels, labels = np.load(Path(folder) / "pixels.npy"), np.load(Path(folder) / "labels.npy")
    return cifar.split([pixels], [labels])


def _class_names(path: Path) -> list[str]:
    if not path.is_file():
        return []
    names: list[str] = read_untrusted(
        "cifar_names",
        {"source": str(path.resolve())},
        input_bytes=cifar.size(path),
        file_bytes=0,
        error=BadDataset,
        subject=path.name,
        reads=[path],
    )
    return names
