"""A folder a class, as in torchvision: `<split>/<class>/image.jpg`, or `<class>/image.jpg` without splits."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from ttm_core.data.dataset import Dataset, Split, Unreadable, whole
from ttm_core.data.images import FileImages, decode, is_grey
from ttm_core.errors import BadDataset

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"})
SPLITS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


@dataclass(frozen=True)
class _File:
    path: Path
    label: int


@dataclass(frozen=True)
class _Header:
    width: int
    height: int
    grey: bool


def is_image_folder(folder: Path) -> bool:
    root = _root(folder)
    return any(_classes(root / name) for name in SPLITS["train"]) or bool(_classes(root))


def read(folder: Path, *, max_unreadable: float, pool: ThreadPoolExecutor) -> Dataset:
    """Read all headers and pixels once, so that what cannot be decoded is known before training.

    Raises BadDataset when a split names a class that training lacks, or when more than `max_unreadable` (a share) of
    the images cannot be decoded.
    """
    root = _root(folder)
    folders = {split: _split_folder(root, names) for split, names in SPLITS.items()}
    train_folder = folders["train"] or root
    class_names = _classes(train_folder)
    if folders["train"] is None:
        reserved = {name for names in SPLITS.values() for name in names}
        class_names = [name for name in class_names if name.lower() not in reserved]
    if not class_names:
        raise BadDataset("no folder of images a class was found: expected train/<class>/... or <class>/...")

    unreadable: list[Unreadable] = []
    found: dict[str, tuple[list[_File], list[_Header]]] = {}
    seen = 0
    for split, where in (("train", train_folder), ("validation", folders["validation"]), ("test", folders["test"])):
        if where is None:
            continue
        files = _files(where, class_names, split)
        seen += len(files)
        found[split] = _inspect(files, root, pool, unreadable)
    if seen and len(unreadable) > max_unreadable * seen:
        listed = "; ".join(f"{bad.name}: {bad.reason}" for bad in unreadable[:5])
        raise BadDataset(f"{len(unreadable)} of {seen} images cannot be read ({listed})")

    headers = [header for _, split_headers in found.values() for header in split_headers]
    channels = 1 if headers and all(header.grey for header in headers) else 3
    sizes = {(header.width, header.height) for header in headers}
    width, height = sizes.pop() if len(sizes) == 1 else (0, 1)

    def split_of(name: str) -> Split | None:
        if name not in found:
            return None
        files = found[name][0]
        labels = torch.tensor([file.label for file in files], dtype=torch.int64)
        return whole(FileImages([file.path for file in files], channels, pool), labels)

    train = split_of("train")
    assert train is not None
    return Dataset(
        train=train,
        validation=split_of("validation"),
        test=split_of("test"),
        class_names=class_names,
        image_size=width if width == height else None,
        unreadable=unreadable,
    )


def _root(folder: Path) -> Path:
    """Archives often hold one folder that holds everything."""
    for _ in range(3):
        inside = [entry for entry in folder.iterdir() if not entry.name.startswith((".", "__MACOSX"))]
        known = {name for names in SPLITS.values() for name in names}
        if len(inside) != 1 or not inside[0].is_dir() or inside[0].name.lower() in known:
            break
        folder = inside[0]
    return folder


def _split_folder(root: Path, names: tuple[str, ...]) -> Path | None:
    return next((entry for entry in sorted(root.iterdir()) if entry.is_dir() and entry.name.lower() in names), None)


def _classes(folder: Path) -> list[str]:
    """Names of the folders that hold an image directly, sorted: the class order of the whole field."""
    if not folder.is_dir():
        return []
    return sorted(
        entry.name
        for entry in folder.iterdir()
        if entry.is_dir() and not entry.name.startswith(".") and any(map(_is_image, entry.iterdir()))
    )


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS and path.is_file() and not path.name.startswith(".")


def _files(folder: Path, class_names: list[str], split: str) -> list[_File]:
    unknown = sorted(set(_classes(folder)) - set(class_names))
    if split != "train" and unknown:
        raise BadDataset(f"the {split} split has classes that training lacks: {', '.join(unknown[:5])}")
    resolved = folder.resolve()
    files = []
    for label, name in enumerate(class_names):
        if (folder / name).is_dir():
            for path in sorted((folder / name).iterdir()):
                if _is_image(path):
                    if not path.resolve().is_relative_to(resolved):
                        raise BadDataset(f"{name}/{path.name} is a link that leads out of the dataset")
                    files.append(_File(path, label))
    return files


def _inspect(
    files: list[_File], root: Path, pool: ThreadPoolExecutor, unreadable: list[Unreadable]
) -> tuple[list[_File], list[_Header]]:
    """Decode each file once; what fails is listed and left out."""
    kept, headers = [], []
    for file, seen in zip(files, pool.map(_header, (file.path for file in files)), strict=True):
        if isinstance(seen, _Header):
            kept.append(file)
            headers.append(seen)
        else:
            unreadable.append(Unreadable(str(file.path.relative_to(root)), seen))
    return kept, headers


def _header(path: Path) -> _Header | str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                header = _Header(image.width, image.height, is_grey(image))
        decode(path, 1)
    except Exception as error:  # Pillow's decoders raise whatever a damaged file makes them stumble over
        return f"{type(error).__name__}: {error}"
    return header
