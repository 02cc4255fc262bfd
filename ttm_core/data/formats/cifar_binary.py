"""The binary version of CIFAR: records of label bytes (one in CIFAR-10, coarse and fine in CIFAR-100) and 3,072
pixels.
"""

from pathlib import Path

import numpy as np

from ttm_core.data.dataset import Dataset, Split
from ttm_core.data.formats import cifar
from ttm_core.errors import BadDataset
from ttm_core.spec.names import read_class_names


def is_cifar_binary(root: Path) -> bool:
    return bool(_files(root))


def read(root: Path) -> Dataset:
    """Reads training and test images, with class names from `batches.meta.txt` or `fine_label_names.txt`."""
    train = _files(root)
    if not train:
        raise BadDataset("The folder has neither data_batch_*.bin (CIFAR-10) nor train.bin (CIFAR-100).")
    is_cifar100 = train[0].name == "train.bin"
    test = root / ("test.bin" if is_cifar100 else "test_batch.bin")
    return cifar.dataset(
        _split(train, label_bytes=2 if is_cifar100 else 1),
        _split([test], label_bytes=2 if is_cifar100 else 1) if test.is_file() else None,
        _class_names(root / ("fine_label_names.txt" if is_cifar100 else "batches.meta.txt")),
    )


def _files(root: Path) -> list[Path]:
    return sorted(root.glob("data_batch_*.bin")) or sorted(root.glob("train.bin"))


def _split(paths: list[Path], *, label_bytes: int) -> Split:
    pixels, labels = [], []
    for path in paths:
        data = np.frombuffer(cifar.content(path), np.uint8)
        record = label_bytes + cifar.PIXELS
        if not len(data) or len(data) % record:
            raise BadDataset(
                f"{path.name} has {len(data):,} bytes, which is not a multiple of the record size of {record:,}."
            )
        records = data.reshape(-1, record)
        pixels.append(records[:, label_bytes:])
        labels.append(records[:, label_bytes - 1].astype(np.int64))
    return cifar.split(pixels, labels)


def _class_names(path: Path) -> list[str]:
    if not path.is_file():
        return []
    return [name for name in read_class_names(cifar.content(path), path.name) if name]
