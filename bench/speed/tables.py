"""The tables of the speed benchmark."""

import statistics
from collections.abc import Mapping, Sequence

from bench.speed.pairs import CONTENDERS, PAIRS

Rates = Mapping[str, Sequence[float]]
"""Images per second of each contender's runs."""
ByPrecision = Mapping[str, Rates]

PEERS = ("torchdistill", "timm", "timm-channels-last")
FASTEST, GRAPHS = "fastest peer", "ours-warm-graphs"

# Left, right, and the least that their ratio should be; None where a pair has no such target.
TARGETS: list[tuple[str, str, str, dict[str, float]]] = [
    ("cold", "ours-cold", FASTEST, dict.fromkeys(PAIRS, 1.1)),
    ("cold, a quarter of the views", "ours-quarter", FASTEST, {"resnet34-resnet18": 1.35}),
    (
        "warm",
        "ours-warm",
        FASTEST,
        {
            "resnet34-resnet18": 1.5,
            "resnet50-mobilenetv1": 2.0,
            "resnet32x4-resnet8x4": 2.4,
            "deit3_small-deit_tiny": 2.0,
        },
    ),
    ("warm with CUDA graphs", GRAPHS, FASTEST, {}),
    ("warm with CUDA graphs, relative to torchdistill", GRAPHS, "torchdistill", {"resnet56-resnet20": 5.0}),
    ("warm relative to cross-entropy alone", "ours-warm", "ours-ce", dict.fromkeys(PAIRS, 0.97)),
    ("cross-entropy alone", "ours-ce", "plain-ce", dict.fromkeys(PAIRS, 1.0)),
]


def medians(rates: Rates) -> dict[str, float]:
    """Of each contender, and of the fastest peer."""
    found = {name: statistics.median(runs) for name, runs in rates.items() if runs}
    peers = [rate for name, rate in found.items() if name in PEERS]
    return {**found, FASTEST: max(peers)} if peers else found


def table(pair: str, measured: ByPrecision, unit: str) -> str:
    """Markdown: the median and the range of each contender, by precision."""
    precisions = list(measured)
    lines = [
        f"**{pair}**, {unit}",
        "",
        f"| contender | {' | '.join(precisions)} |",
        "|---" * (len(precisions) + 1) + "|",
    ]
    by_precision = {precision: medians(rates) for precision, rates in measured.items()}
    for name in next(iter(measured.values())):
        cells = []
        for precision in precisions:
            runs = measured[precision][name]
            cells.append(f"{by_precision[precision][name]:.1f} ({min(runs):.1f} to {max(runs):.1f})")
        lines.append(f"| {CONTENDERS[name]} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def summary(pairs: Mapping[str, ByPrecision]) -> str:
    """Markdown: the ratios of all pairs by precision, with their targets in parentheses, and the ratio of the engine in
    bfloat16 to the fastest peer in float32, which are the defaults where the device has bfloat16 units.

    Ratios that were not measured are omitted.
    """
    rows = ["| ratio | precision | " + " | ".join(pairs) + " |", "|---" * (len(pairs) + 2) + "|"]
    precisions = list(next(iter(pairs.values())))
    compared = [
        (f"{title} | {precision}", (precision, left), (precision, right), targets)
        for title, left, right, targets in TARGETS
        for precision in precisions
    ]
    if len(precisions) > 1:
        compared += [
            (f"{title} | bfloat16, peer float32", ("bfloat16", left), ("float32", FASTEST), {})
            for title, left in (("cold", "ours-cold"), ("warm", "ours-warm"), ("warm with CUDA graphs", GRAPHS))
        ]
    for title, left, right, targets in compared:
        cells = [_ratio(measured, left, right, targets.get(pair)) for pair, measured in pairs.items()]
        if any(cells):
            rows.append(f"| {title} | {' | '.join(cell or '-' for cell in cells)} |")
    return "\n".join(rows)


def _ratio(measured: ByPrecision, left: tuple[str, str], right: tuple[str, str], target: float | None) -> str:
    """Empty if one of them was not measured."""
    numerator, denominator = (medians(measured[precision]).get(name) for precision, name in (left, right))
    if numerator is None or denominator is None:
        return ""
    return f"{numerator / denominator:.2f}" + (f" ({target:g})" if target is not None else "")
