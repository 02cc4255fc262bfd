"""The paper's results that have not been reproduced."""

from collections import defaultdict

from bench.results.page.text import wrapped
from ttm_core.spec import recipes

_TEXT = """\
## Not reproduced

The paper's tables need the full CIFAR-100 or ImageNet, 100 to 240 epochs and GPU-days. None of their {count} cells was
run in full here. Each is a [recipe](reference/recipes.md) with the published accuracies;
[run a table of the paper](how-to/run-a-table.md) explains how to run one.

"""


def not_reproduced() -> str:
    """A list of the pairs of the paper with the methods of their recipes."""
    methods: dict[str, list[str]] = defaultdict(list)
    for name in recipes.names():
        pair, _, method = name.rpartition("/")
        methods[pair].append(method)
    by_methods: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for pair, names in methods.items():
        by_methods[tuple(names)].append(f"`{pair}`")
    lines = (f"- {', '.join(names)}: {', '.join(pairs)}" for names, pairs in by_methods.items())
    return _TEXT.format(count=len(recipes.names())) + "".join(wrapped(line, indent="  ") for line in lines)
