"""The catalogue of architectures with their size and cost. Torch-free.

The rows come from `catalogue.json`, which `python -m ttm_core.models.build_catalogue` writes.
"""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from ttm_core.errors import UserError

# timm families whose `forward_intermediates` returns patch tokens, the same number for every block.
_TOKEN_FAMILIES = frozenset(
    (
        *("beit", "cait", "convit", "deit", "eva", "naflexvit", "tnt", "xcit"),
        *("vision_transformer", "vision_transformer_relpos"),
    )
)


SMALLEST_IMAGE = 8
"""Side in pixels of the smallest images that a spec allows."""

ENTRY_POINTS = "ttm.architectures"
"""The group of entry points by which packages add architectures."""


class UnknownArchitecture(UserError, ValueError):
    """No architecture has this name. `nearest` lists similar names, the closest first."""

    code = "unknown_architecture"

    def __init__(self, name: str, nearest: Sequence[str]) -> None:
        self.name = name
        self.nearest = list(nearest)
        hint = f"; did you mean {' or '.join(self.nearest)}?" if self.nearest else ""
        super().__init__(
            f"unknown architecture {name!r}{hint}; the architecture of a package requires that its entry point in the "
            f"group {ENTRY_POINTS} is installed on this machine"
        )


@dataclass(frozen=True, slots=True)
class Architecture:
    """An architecture with its default number of classes and channels."""

    name: str
    family: str
    parameters: int
    macs: int | None
    """Multiply-accumulates of one image of `input_size`; None if they could not be counted."""
    input_size: tuple[int, int, int]
    """Channels, height, width."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    num_classes: int
    pretrained: bool
    """Whether the Hugging Face Hub has weights."""
    interpolation: str
    crop_pct: float
    tags: Mapping[str, Mapping[str, Any]]
    """timm's published weights by tag (`a1_in1k`), each with the fields that differ from this row."""
    min_size: int = SMALLEST_IMAGE
    """Side in pixels of the smallest images that it can process. It may not process all larger ones."""
    origin: str | None = None
    """The installed package that has the model, with its version; None for the models of the service."""

    @property
    def source(self) -> str:
        """Where the model comes from: its installed package with the version, else timm, torchvision, cifar or
        mini.
        """
        return self.origin or (self.name.partition("/")[0] if "/" in self.name else "timm")

    @property
    def key(self) -> str:
        """The family with the project's folder, since the project's models share names of families with timm's."""
        # The models of mini/ are those of cifar/ with fewer channels.
        return f"cifar/{self.family}" if "/" in self.name else self.family


def all() -> tuple[Architecture, ...]:
    """All architectures: the project's, then timm's in timm's order, then those of installed packages."""
    return tuple(_catalogue().values())


def has(name: str) -> bool:
    """Whether an architecture has this name, without a tag."""
    return name in _catalogue()


def add(row: Architecture) -> None:
    """Adds the architecture of an installed package to this process's catalogue."""
    _catalogue()[row.name] = row


def find(name: str, installed: Mapping[str, Architecture] | None = None) -> Architecture:
    """The architecture with this name, optionally with a tag: `resnet18.a1_in1k`.

    Args:
        name: the name.
        installed: further architectures by name, such as those of packages on other machines.

    Raises:
        UnknownArchitecture: there is none.
    """
    base, dot, tag = name.partition(".")
    further = installed or {}
    row = _catalogue().get(base) or further.get(base)
    if row is None or (dot and tag not in row.tags):
        raise UnknownArchitecture(name, nearest(name, also=tuple(further.values())))
    return replace(row, name=name, **row.tags[tag]) if dot else row


def nearest(name: str, n: int = 3, *, also: Sequence[Architecture] = ()) -> list[str]:
    """Up to `n` names similar to `name`, the closest first, among the catalogue and the architectures of `also`.

    Ignores case and timm tags (`.a1_in1k`). `resnet20` matches `cifar/resnet20` exactly.
    """
    known: dict[str, str] = {}
    for row in (*all(), *also):
        lowered = row.name.lower()
        known[lowered] = row.name
        known.setdefault(lowered.rpartition("/")[2], row.name)
    # The same name may match with and without its folder.
    close = difflib.get_close_matches(name.lower().partition(".")[0], known, 2 * n, cutoff=0.4)
    return list(dict.fromkeys(known[spelling] for spelling in close))[:n]


def search(
    query: str = "",
    *,
    family: str | None = None,
    pretrained: bool | None = None,
    max_parameters: int | None = None,
    max_macs: int | None = None,
    also: Sequence[Architecture] = (),
) -> list[Architecture]:
    """The architectures that meet every given condition, in the order of `all`, then of `also`.

    Args:
        query: words that must all occur in the name, in any order and case.
        family: the module of the architecture, such as `efficientnet`.
        pretrained: select architectures with (True) or without (False) published weights.
        max_parameters: upper bound on the parameters.
        max_macs: upper bound on the multiply-accumulates; excludes architectures with unknown numbers.
        also: further architectures, such as those of packages on other machines.
    """
    words = query.lower().split()
    return [
        row
        for row in (*all(), *also)
        if not any(word not in row.name.lower() for word in words)
        and (family is None or row.family == family)
        and (pretrained is None or row.pretrained == pretrained)
        and (max_parameters is None or row.parameters <= max_parameters)
        and (max_macs is None or (row.macs is not None and row.macs <= max_macs))
    ]


def has_tokens(name: str) -> bool:
    """Returns whether a model exposes the patch tokens of each block, as ViTKD requires.

    Raises:
        UnknownArchitecture: no architecture has this name.
    """
    return find(name).family in _TOKEN_FAMILIES


def published_name(uri: str) -> str | None:
    """The architecture of published weights, `timm:NAME`; None for any other URI."""
    scheme, colon, name = uri.partition(":")
    return name if colon and scheme == "timm" else None


def from_json(row: dict[str, Any]) -> Architecture:
    """The architecture of a row in JSON."""
    return Architecture(**_with_tuples({"tags": {}, **row}))


@cache
def _catalogue() -> dict[str, Architecture]:
    rows = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"), object_hook=_with_tuples)
    return {row["name"]: Architecture(**{"tags": {}, **row}) for row in rows}


def _with_tuples(row: dict[str, Any]) -> dict[str, Any]:
    """Converts lists to tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
