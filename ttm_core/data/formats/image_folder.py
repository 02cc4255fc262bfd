"""One folder per class, as in torchvision: `<split>/<class>/image.jpg`, or `<class>/image.jpg` without splits. The
images of a class may be in folders of any depth.

A split without labels is a folder of images, `<split>/image.jpg`. A dataset without labels may be a folder of images.
A folder `unlabelled` next to the splits contains further training images, in folders of any depth.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ttm_core.data.archives.unpack import Limits
from ttm_core.data.dataset import Dataset
from ttm_core.data.encoded.dataset import EncodedSplit, build_dataset
from ttm_core.data.encoded.manifest import Reading
from ttm_core.data.formats import layout
from ttm_core.data.formats.layout import NO_LABEL, SPLITS, SplitName
from ttm_core.errors import BadDataset, listed

_SPLIT_FOLDERS = {name for names in SPLITS.values() for name in names}
_OF_DESKTOPS = {"thumbs.db", "desktop.ini"}


def is_image_folder(root: Path) -> bool:
    return has_classes(root) or _is_unlabelled(_train_folder(root))


def has_classes(root: Path) -> bool:
    """Returns whether there is a folder of images per class."""
    return bool(_class_folders(_train_folder(root), root)) or any(map(_is_unlabelled, _subfolders(root)))


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
    warnings = _unread_folders(root, [*folders.values(), nested])
    for split, folder in folders.items():
        if folder is None:
            continue
        if _is_unlabelled(folder) and not _class_folders(folder, root):
            found[split] = _unlabelled_files(folder, root)
            warnings += _skipped(_files(folder)[1], split, root)
        else:
            found[split], more = _labelled_files(folder, class_names, split, root)
            warnings += more
    if nested is not None:
        found["unlabelled"] = _nested_files(nested, root)
    dataset = build_dataset(found, class_names, reading)
    return replace(dataset, warnings=[*warnings, *dataset.warnings])


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
    return _files(folder)[0]


def _files(folder: Path) -> tuple[list[Path], list[Path]]:
    """The visible images directly in a folder, sorted by name, and what else is there except for folders."""
    images, others = [], []
    with os.scandir(folder) as entries:  # knows which entries are files without asking for each
        for entry in entries:
            if _has_image_name(entry.name) and entry.is_file():
                images.append(entry.name)
            elif _is_visible(entry.name) and (entry.is_symlink() or not entry.is_dir()):
                others.append(entry.name)
    return [folder / name for name in sorted(images)], [folder / name for name in sorted(others)]


def _files_below(folder: Path) -> tuple[list[Path], list[Path]]:
    """The same for a folder and all folders in it, sorted by folder."""
    found = [_files(parent) for parent in sorted(_folders(folder))]
    return [path for images, _ in found for path in images], [path for _, others in found for path in others]


def _folders(folder: Path) -> Iterator[Path]:
    """A folder and the visible folders in it, at any depth. Links to folders are not followed: they may be cycles."""
    for parent, folders, _ in os.walk(folder):
        folders[:] = [name for name in folders if _is_visible(name)]
        yield Path(parent)


def _has_image_name(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in layout.IMAGE_EXTENSIONS and not name.startswith(".")


def _is_visible(name: str) -> bool:
    return not name.startswith((".", "__MACOSX")) and name.lower() not in _OF_DESKTOPS


def _subfolders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and _is_visible(entry.name))


def _possible_classes(folder: Path, root: Path) -> list[Path]:
    """The folders in a split. If the root is the training split, those of other splits are none."""
    return [entry for entry in _subfolders(folder) if folder != root or entry.name.lower() not in _SPLIT_FOLDERS]


def _class_folders(folder: Path, root: Path) -> list[str]:
    """The sorted names of the folders that contain an image, at any depth.

    If the root is the training split, at least one class must contain images directly: otherwise its folders may be
    groups of classes.
    """
    inside = _possible_classes(folder, root)
    if folder == root and not any(map(_is_unlabelled, inside)):
        return []
    # Most class folders contain images directly, so few are walked.
    return [entry.name for entry in inside if _is_unlabelled(entry) or any(map(_is_unlabelled, _folders(entry)))]


def _unread_folders(root: Path, read: Sequence[Path | None]) -> list[str]:
    """A sentence about folders of images next to the training split that no split is named like."""
    if root in read:
        return []
    unread = [entry for entry in _subfolders(root) if entry not in read]
    with_images = [entry.name for entry in unread if any(map(_is_unlabelled, _folders(entry)))]
    if not with_images:
        return []
    return [
        f"folders next to the training split are not read: {listed(with_images)}. Splits are called train, val, test "
        "and unlabelled"
    ]


def _skipped(paths: Sequence[Path], split: SplitName, root: Path) -> list[str]:
    """A sentence about files of a split that are not read, if there are any."""
    if not paths:
        return []
    names = listed([str(path.relative_to(root)) for path in paths])
    return [f"skipped {len(paths):,} files of the {split} split whose names are not those of images: {names}"]


def _train_folder(root: Path) -> Path:
    return layout.split_folder(root, "train") or root


def _is_unlabelled(folder: Path) -> bool:
    return any(map(is_image, folder.iterdir()))


def _unlabelled_files(folder: Path, root: Path) -> EncodedSplit:
    return _without_labels(_images(folder), folder, root)


def _nested_files(folder: Path, root: Path) -> EncodedSplit:
    """The visible images in a folder and all folders in it."""
    paths = sorted(_files_below(folder)[0])
    if len(paths) > Limits.members:
        raise BadDataset(f"The folder {folder.name} has more than {Limits.members:,} images.")
    return _without_labels(paths, folder, root)


def _without_labels(paths: list[Path], folder: Path, root: Path) -> EncodedSplit:
    layout.within(folder, paths)
    return _encoded(paths, np.full(len(paths), NO_LABEL, dtype=np.int64), root)


def _encoded(paths: list[Path], labels: NDArray[np.int64], root: Path) -> EncodedSplit:
    return EncodedSplit(lambda index: str(paths[index].relative_to(root)), paths, labels)


def _labelled_files(
    folder: Path, class_names: list[str], split: SplitName, root: Path
) -> tuple[EncodedSplit, list[str]]:
    """The images of a split of class folders, and sentences about what is there and not read."""
    found = _class_folders(folder, root)
    unknown = sorted(set(found) - set(class_names))
    if split != "train" and unknown:
        raise BadDataset(f"The {split} split has classes that the training split lacks: {', '.join(unknown[:5])}")
    paths: list[Path] = []
    labels: list[int] = []
    skipped: list[Path] = []
    for label, name in enumerate(class_names):
        if (folder / name).is_dir():
            images, others = _files_below(folder / name)
            # Splits may be links to images in a folder next to them.
            layout.within(root, images)
            paths += images
            labels += [label] * len(images)
            skipped += others
    warnings = []
    if empty := sorted({entry.name for entry in _possible_classes(folder, root)} - set(found)):
        warnings.append(f"folders of the {split} split without images are not classes: {listed(empty)}")
    if stray := _images(folder):
        warnings.append(
            f"skipped {len(stray):,} images of the {split} split that are in no class folder: "
            f"{listed([str(path.relative_to(root)) for path in stray])}"
        )
    warnings += _skipped(skipped, split, root)
    return _encoded(paths, np.array(labels, dtype=np.int64), root), warnings
