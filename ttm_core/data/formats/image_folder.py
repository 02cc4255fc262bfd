"""One folder per class, as in torchvision: `<split>/<class>/image.jpg`, or `<class>/image.jpg` without splits.

A split without labels is a folder of images, `<split>/image.jpg`. A dataset without labels may be a folder of images.
A folder `unlabelled` next to the splits contains further training images, in folders of any depth.
"""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ttm_core.data.archives.unpack import Limits
from ttm_core.data.dataset import Dataset
from ttm_core.data.encoded.dataset import EncodedSplit, build_dataset
from ttm_core.data.encoded.manifest import Reading
from ttm_core.data.formats import layout
from ttm_core.data.formats.layout import NO_LABEL, SPLITS, SplitName
from ttm_core.errors import BadDataset


def is_image_folder(root: Path) -> bool:
    return has_classes(root) or _is_unlabelled(_train_folder(root))


def has_classes(root: Path) -> bool:
    """Returns whether there is a folder of images per class."""
    return bool(_classes(_train_folder(root)) or _classes(root))


def read(root: Path, reading: Reading) -> Dataset:
    """Reads the images. Classes are the folder names in alphabetical order.

    Raises:
        BadDataset: a split has a class that the training split lacks, or more images than `reading` allows
            cannot be decoded.
    """
    folders = {split: layout.split_folder(root, split) for split in layout.SPLIT_NAMES}
    folders["train"] = _train_folder(root)
    nested = folders.pop("unlabelled")
    split_classes = [(folder, _class_folders(folder, root)) for folder in folders.values() if folder is not None]
    train, class_names = split_classes[0]
    if not class_names and _is_unlabelled(train):
        class_names = next((names for _, names in split_classes if names), [])
    elif not class_names:
        raise BadDataset(
            "No class folders were found. Expected train/<class>/image or <class>/image, or train/image or image for "
            "unlabelled data."
        )
    found: dict[SplitName, EncodedSplit] = {}
    for split, folder in folders.items():
        if folder is not None:
            unlabelled = not _class_folders(folder, root) and _is_unlabelled(folder)
            found[split] = (
                _unlabelled_files(folder, root) if unlabelled else _labelled_files(folder, class_names, split, root)
            )
    if nested is not None:
        found["unlabelled"] = _nested_files(nested, root)
    return build_dataset(found, class_names, reading)


def read_nested(root: Path, reading: Reading) -> Dataset:
    """Reads the training images of a folder without labels, whatever their folders. Without a folder of training
    images, these are all images.

    Raises:
        BadDataset: more images than `reading` allows cannot be decoded.
    """
    found: dict[SplitName, EncodedSplit] = {"train": _nested_files(_train_folder(root), root)}
    return build_dataset(found, [], reading)


def is_image(path: Path) -> bool:
    """Returns whether a path is a visible image file, by its name."""
    return _has_image_name(path.name) and path.is_file()


def _images(folder: Path) -> list[Path]:
    """The visible images directly in a folder, sorted by name."""
    with os.scandir(folder) as entries:  # knows which entries are files without asking for each
        names = [entry.name for entry in entries if _has_image_name(entry.name) and entry.is_file()]
    return [folder / name for name in sorted(names)]


def _has_image_name(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in layout.IMAGE_EXTENSIONS and not name.startswith(".")


def _classes(folder: Path) -> list[str]:
    """The sorted names of folders that directly contain an image."""
    if not folder.is_dir():
        return []
    return sorted(
        entry.name
        for entry in folder.iterdir()
        if entry.is_dir() and not entry.name.startswith(".") and _is_unlabelled(entry)
    )


def _class_folders(folder: Path, root: Path) -> list[str]:
    """The class folders of a split. If the root is the training split, folders of other splits are not classes."""
    reserved = {name for names in SPLITS.values() for name in names} if folder == root else set()
    return [name for name in _classes(folder) if name.lower() not in reserved]


def _train_folder(root: Path) -> Path:
    return layout.split_folder(root, "train") or root


def _is_unlabelled(folder: Path) -> bool:
    return any(map(is_image, folder.iterdir()))


def _unlabelled_files(folder: Path, root: Path) -> EncodedSplit:
    return _without_labels(_images(folder), folder, root)


def _nested_files(folder: Path, root: Path) -> EncodedSplit:
    """The visible images in a folder and all folders in it."""
    paths: list[Path] = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        paths += [path for name in files if is_image(path := Path(parent, name))]
        if len(paths) > Limits.members:
            raise BadDataset(f"The folder {folder.name} has more than {Limits.members:,} images.")
    return _without_labels(sorted(paths), folder, root)


def _without_labels(paths: list[Path], folder: Path, root: Path) -> EncodedSplit:
    layout.within(folder, paths)
    return _encoded(paths, np.full(len(paths), NO_LABEL, dtype=np.int64), root)


def _encoded(paths: list[Path], labels: NDArray[np.int64], root: Path) -> EncodedSplit:
    return EncodedSplit(lambda index: str(paths[index].relative_to(root)), paths, labels)


def _labelled_files(folder: Path, class_names: list[str], split: SplitName, root: Path) -> EncodedSplit:
    unknown = sorted(set(_classes(folder)) - set(class_names))
    if split != "train" and unknown:
        raise BadDataset(f"The {split} split has classes that the training split lacks: {', '.join(unknown[:5])}")
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(class_names):
        if (folder / name).is_dir():
            images = _images(folder / name)
            layout.within(folder, images)
            paths += images
            labels += [label] * len(images)
    return _encoded(paths, np.array(labels, dtype=np.int64), root)
