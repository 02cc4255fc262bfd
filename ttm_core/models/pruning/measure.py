"""Writes `ttm_core/spec/student/prunable.json`: `python -m ttm_core.models.pruning.measure`.

Each family is represented by its model with the fewest multiply-accumulates.
"""

import json

import torch

from ttm_core.models.build import build
from ttm_core.models.build_catalogue import time_limit
from ttm_core.models.pruning.cut import cut
from ttm_core.models.pruning.graph import example_input
from ttm_core.spec import catalogue
from ttm_core.spec.catalogue import Architecture
from ttm_core.spec.structure import ModelStructure
from ttm_core.spec.student.prunable import TABLE

_SECONDS_PER_FAMILY = 120
_MAX_PARAMETERS = 100_000_000
_RATIO = 0.5
_FEWEST_REMOVED = 0.2  # a family of which less can be removed does not count as prunable


def representatives() -> dict[str, Architecture]:
    """The cheapest model of each family."""
    cheapest: dict[str, Architecture] = {}
    for row in catalogue.all():
        # timm's test_* models and mini/ have too few channels to be pruned in multiples of 8.
        if row.macs is None or row.parameters > _MAX_PARAMETERS or row.name.startswith(("test_", "mini/")):
            continue
        known = cheapest.get(row.key)
        if known is None or known.macs is None or row.macs < known.macs:
            cheapest[row.key] = row
    return cheapest


def reason(row: Architecture) -> str | None:
    """Why a model cannot be pruned; None if it can be."""
    channels, size, _ = row.input_size
    structure = ModelStructure(architecture=row.name, num_classes=10, in_chans=channels, image_size=size)
    try:
        with time_limit(_SECONDS_PER_FAMILY):
            torch.manual_seed(0)
            model = build(structure).eval()
            x = example_input(model, channels, size)
            pruned, steps = cut(model, x, _RATIO, taylor=False, round_to=8)
            rebuilt = build(structure.model_copy(update={"pruning": steps})).eval()
            rebuilt.load_state_dict(pruned.state_dict())
            image = torch.randn(2, channels, size, size)
            with torch.no_grad():
                same = torch.equal(pruned(image), rebuilt(image))
    except Exception:  # the library and the models raise exceptions of any type
        return "its layers have dependencies that Torch-Pruning does not support"
    if not same:
        return "a pruned model cannot be rebuilt from its pruning history"
    removed = 1 - _parameters(pruned) / _parameters(model)
    return None if removed >= _FEWEST_REMOVED else "too few of its channels can be removed"


def _parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def main() -> None:
    torch.set_num_threads(1)
    table = {}
    for family, row in sorted(representatives().items()):
        table[family] = reason(row)
        print(f"{family} ({row.name}): {table[family] or 'prunable'}", flush=True)
    TABLE.write_text(json.dumps(table, indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
