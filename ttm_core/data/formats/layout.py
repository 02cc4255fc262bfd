"""How a dataset lies in its folder: where it begins, and which files are of which split."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, get_args

from ttm_core.errors import BadDataset

SplitName = Literal["train", "validation", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = get_args(SplitName)
SPLITS: dict[SplitName, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
_NAMES = {name: split for split, names in SPLITS.items() for name in names}
_FIRST_WORD = re.compile(r"[a-z]+")


def root(folder: Path) -> Path:
    """Where the dataset begins: archives often hold one folder that holds everything."""
    for _ in range(3):
        inside = [entry for entry in folder.iterdir() if not entry.name.startswith((".", "__MACOSX"))]
        if len(inside) != 1 or not inside[0].is_dir() or inside[0].name.lower() in _NAMES:
            break
        folder = inside[0]
    return folder


def split_folder(folder: Path, split: SplitName) -> Path | None:
    """The folder within that bears the split's name."""
    entries = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    return next((entry for entry in entries if entry.name.lower() in SPLITS[split]), None)


def split_files(folder: Path, suffix: str) -> dict[SplitName, list[Path]]:
    """Files of a suffix, by the split that their name begins with (`train-00000.tar`) or their folder has
    (`train/00000.tar`); all are of training where none names a split. Empty where there are no such files.

    Raises BadDataset where only some name a split, none is of training, or one is a link that leads out of the dataset.
    """
    files = sorted(
        path for path in (*folder.glob(f"*{suffix}"), *folder.glob(f"*/*{suffix}")) if not path.name.startswith(".")
    )
    within(folder, files)
    found: dict[SplitName, list[Path]] = {}
    strangers = []
    for path in files:
        split = _split_of(path.name) or (_split_of(path.parent.name) if path.parent != folder else None)
        if split is None:
            strangers.append(path)
        else:
            found.setdefault(split, []).append(path)
    if not found:
        return {"train": strangers} if strangers else {}
    if strangers:
        raise BadDataset(f"{strangers[0].name} is of no split: its name should begin with train, validation or test")
    if "train" not in found:
        raise BadDataset("there are files for validation or test, but none for training")
    return found


def within(folder: Path, files: Iterable[Path]) -> None:
    """Raises BadDataset for a file that is a link out of the folder."""
    resolved = folder.resolve()
    for path in files:
        if not path.resolve().is_relative_to(resolved):
            raise BadDataset(f"{path.relative_to(folder)} is a link that leads out of the dataset")


def _split_of(name: str) -> SplitName | None:
    word = _FIRST_WORD.match(name.lower())
    return _NAMES.get(word[0]) if word else None
