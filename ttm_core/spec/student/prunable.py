"""Which architectures can be pruned, by family. Torch-free.

`python -m ttm_core.models.pruning.measure` writes the table `prunable.json`: it prunes the smallest model of each
family, rebuilds it from its pruning history and compares the outputs.
"""

import json
from functools import cache
from pathlib import Path

from ttm_core.spec import catalogue

TABLE = Path(__file__).with_suffix(".json")


def is_prunable(architecture: str) -> bool | None:
    """Whether an architecture can be pruned; None if its family was not measured.

    Raises:
        UnknownArchitecture: no architecture has this name.
    """
    key = catalogue.find(architecture).key
    return None if key not in _table() else _table()[key] is None


def obstacle(architecture: str) -> str | None:
    """Why an architecture cannot be pruned, as a sentence; None if it can be, or if its family was not measured.

    Raises:
        UnknownArchitecture: no architecture has this name.
    """
    reason = _table().get(catalogue.find(architecture).key)
    if reason is None:
        return None
    return f"{architecture} cannot be pruned: {reason}. Choose a smaller architecture as the student instead."


@cache
def _table() -> dict[str, str | None]:
    table: dict[str, str | None] = json.loads(TABLE.read_text(encoding="utf-8"))
    return table
