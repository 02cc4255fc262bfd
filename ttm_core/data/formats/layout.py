"""The folder layout of a dataset: its root, and the files of each split."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, get_args

from ttm_core.errors import BadDataset

SplitName = Literal["train", "validation", "test", "unlabelled"]
SPLIT_NAMES: tuple[SplitName, ...] = get_args(SplitName)
SPLITS: dict[SplitName, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
    "unlabelled": ("unlabelled", "unlabeled"),
}
NO_LABEL = -1
IMAGE_EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"}
)
_NAMES = {name: split for split, names in SPLITS.items() for name in names}
_WORD = re.compile(r"[a-z]+")


def root(folder: Path) -> Path:
    """The root of the dataset. Archives often contain a single folder with everything in it."""
    for _ in range(3):
        entries = [entry for entry in folder.iterdir() if not entry.name.startswith((".", "__MACOSX"))]
        if len(entries) != 1 or not entries[0].is_dir() or entries[0].name.lower() in _NAMES:
            break
        folder = entries[0]
    return folder


def split_folder(folder: Path, split: SplitName) -> Path | None:
    """The subfolder named after the split, or None."""
    entries = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    return next((entry for entry in entries if entry.name.lower() in SPLITS[split]), None)


def split_files(folder: Path, suffix: str) -> dict[SplitName, list[Path]]:
    """The files with a suffix, by split. The split is a word of the file name (`train-00000.tar`,
    `imagenet-train-00000.tar`) or the first word of the folder's (`train/00000.tar`). If no file names a split, all
    files are training data.

    Raises:
        BadDataset: only some files name a split, none is training data, or a symbolic link leaves the dataset.
    """
    files = sorted(
        path for path in (*folder.glob(f"*{suffix}"), *folder.glob(f"*/*{suffix}")) if not path.name.startswith(".")
    )
    within(folder, files)
    found: dict[SplitName, list[Path]] = {}
    without_split = []
    for path in files:
        split = _split_of(path.name) or (_split_of_folder(path.parent.name) if path.parent != folder else None)
        if split is None:
            without_split.append(path)
        else:
            found.setdefault(split, []).append(path)
    if not found:
        return {"train": without_split} if without_split else {}
    if without_split:
        raise BadDataset(
            f"{without_split[0].name} belongs to no split: its name must contain one of the words train, validation, "
            "test and unlabelled."
        )
    if "train" not in found:
        raise BadDataset("There are files of other splits, but none for training.")
    return found


def within(folder: Path, files: Iterable[Path]) -> None:
    """Raises BadDataset if a file is a symbolic link out of the folder, or its path is not UTF-8."""
    resolved = folder.resolve()
    parents: dict[str, bool] = {}  # resolving every path of a large folder takes seconds
    for path in files:
        parent = os.path.dirname(path)
        if parent not in parents:
            parents[parent] = Path(parent).resolve().is_relative_to(resolved)
        if not parents[parent] or (os.path.islink(path) and not path.resolve().is_relative_to(resolved)):
            raise BadDataset(f"{path.relative_to(folder)} is a symbolic link out of the dataset.")
        if not _is_utf8(str(path)):
            shown = ascii(str(path.relative_to(folder)))
            raise BadDataset(f"The path {shown} in the dataset is not UTF-8. Rename the file or the folder.")


def _is_utf8(path: str) -> bool:
    """Whether a path can be a JSON string. Other bytes are lone surrogates in Python's paths."""
    return path.isascii() or not any("\ud800" <= character <= "\udfff" for character in path)


def _split_of(name: str) -> SplitName | None:
    """The split that the first word of a file's name is, or the only one that another word is."""
    words = _WORD.findall(name.lower())
    if words and words[0] in _NAMES:
        return _NAMES[words[0]]
    named = {_NAMES[word] for word in words if word in _NAMES}
    return named.pop() if len(named) == 1 else None


def _split_of_folder(name: str) -> SplitName | None:
    word = _WORD.match(name.lower())
    return _NAMES.get(word[0]) if word else None
