"""Every architecture that can be made by name, with its size and cost, without loading torch.

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

# timm's families whose `forward_intermediates` gives patch tokens, the same number from every block.
_TOKEN_FAMILIES = frozenset(
    (
        *("beit", "cait", "convit", "deit", "eva", "naflexvit", "tnt", "xcit"),
        *("vision_transformer", "vision_transformer_relpos"),
    )
)


class UnknownArchitecture(UserError, ValueError):
    """A name that no model has; `nearest` holds the names that come closest, the best first."""

    code = "unknown_architecture"

    def __init__(self, name: str, nearest: Sequence[str]) -> None:
        self.name = name
        self.nearest = list(nearest)
        hint = f"; did you mean {' or '.join(self.nearest)}?" if self.nearest else ""
        super().__init__(f"there is no architecture {name!r}{hint}")


@dataclass(frozen=True, slots=True)
class Architecture:
    """One model as it is made with its default number of classes and channels."""

    name: str
    family: str
    parameters: int
    macs: int | None
    """Multiply-accumulates of one image of `input_size`; None where they could not be counted."""
    input_size: tuple[int, int, int]
    """Channels, height, width."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    num_classes: int
    pretrained: bool
    """Whether published weights exist at the hub."""
    interpolation: str
    crop_pct: float
    tags: Mapping[str, Mapping[str, Any]]
    """Of timm's published weights (`a1_in1k`): what they were made with, where that differs from this row."""


def all() -> tuple[Architecture, ...]:
    """Every architecture, ours first, then timm's in its own order."""
    return tuple(_catalogue().values())


def find(name: str) -> Architecture:
    """The architecture of this very name, which may carry one of its tags: `resnet18.a1_in1k`.

    Raises:
        UnknownArchitecture: there is none.
    """
    base, dot, tag = name.partition(".")
    row = _catalogue().get(base)
    if row is None or (dot and tag not in row.tags):
        raise UnknownArchitecture(name, nearest(name))
    return replace(row, name=name, **row.tags[tag]) if dot else row


def nearest(name: str, n: int = 3) -> list[str]:
    """Up to `n` names close to `name`, the closest first.

    Case and a timm tag (`.a1_in1k`) are left out of account, and `resnet20` is as close to `cifar/resnet20` as can be.
    """
    known: dict[str, str] = {}
    for row in all():
        lowered = row.name.lower()
        known[lowered] = row.name
        known.setdefault(lowered.rpartition("/")[2], row.name)
    # Two spellings of one name may both be close.
    close = difflib.get_close_matches(name.lower().partition(".")[0], known, 2 * n, cutoff=0.4)
    return list(dict.fromkeys(known[spelling] for spelling in close))[:n]


def search(
    query: str = "",
    *,
    family: str | None = None,
    pretrained: bool | None = None,
    max_parameters: int | None = None,
    max_macs: int | None = None,
) -> list[Architecture]:
    """The architectures that fit every condition given, in the order of `all`.

    Args:
        query: words that must all occur in the name, in any case and order.
        family: the module of the architecture, such as `efficientnet`.
        pretrained: only those with, or only those without published weights.
        max_parameters: upper bound on the parameters.
        max_macs: upper bound on the multiply-accumulates; leaves out those whose number is not known.
    """
    words = query.lower().split()
    return [
        row
        for row in all()
        if not any(word not in row.name.lower() for word in words)
        and (family is None or row.family == family)
        and (pretrained is None or row.pretrained == pretrained)
        and (max_parameters is None or row.parameters <= max_parameters)
        and (max_macs is None or (row.macs is not None and row.macs <= max_macs))
    ]


def has_tokens(name: str) -> bool:
    """Whether a model works on patch tokens throughout and shows those of each block, as ViTKD asks.

    Raises:
        UnknownArchitecture: there is no such model.
    """
    return find(name).family in _TOKEN_FAMILIES


@cache
def _catalogue() -> dict[str, Architecture]:
    rows = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"), object_hook=_with_tuples)
    return {row["name"]: Architecture(**{"tags": {}, **row}) for row in rows}


def _with_tuples(told: dict[str, Any]) -> dict[str, Any]:
    """JSON's lists as the tuples that they are."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in told.items()}
