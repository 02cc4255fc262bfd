"""Compares the training speed of the engine with other libraries.

    python -m bench.speed [--pair NAME]... [--precision bfloat16] [--repeats 3] [--json FILE]

Each contender runs in its own process, alternating, several times. The table has medians of images per CPU-second of
the process tree, and ratios within the run. torchdistill is included if it is installed; `make bench` installs it.
"""

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.speed.pairs import CONTENDERS, PAIRS
from ttm_core.precision import Precision

Rates = dict[str, list[float]]

# Left, right, and the least that their ratio should be; None where a pair has no such target.
TARGETS: list[tuple[str, str, str, dict[str, float]]] = [
    ("cold", "ours-cold", "best baseline", dict.fromkeys(PAIRS, 1.1)),
    ("cold, a quarter of the views", "ours-quarter", "best baseline", {"resnet34-resnet18": 1.35}),
    (
        "warm",
        "ours-warm",
        "best baseline",
        {
            "resnet34-resnet18": 1.5,
            "resnet50-mobilenetv1": 2.0,
            "resnet32x4-resnet8x4": 2.4,
            "deit3_small-deit_tiny": 2.0,
        },
    ),
    ("warm relative to cross-entropy alone", "ours-warm", "ours-ce", dict.fromkeys(PAIRS, 0.97)),
    ("cross-entropy alone", "ours-ce", "plain-ce", dict.fromkeys(PAIRS, 1.0)),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", action="append", choices=list(PAIRS))
    parser.add_argument("--contender", action="append", choices=list(CONTENDERS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32", help="of every contender")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=2, metavar=("CONTENDER", "PAIR"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_one(*options.one, options.threads, options.precision)))
        return
    contenders = options.contender or list(CONTENDERS)
    if importlib.util.find_spec("torchdistill") is None:
        contenders = [name for name in contenders if name != "torchdistill"]
        print("torchdistill is not installed; skipped\n")
    results: dict[str, Any] = {
        "machine": platform.machine(),
        "threads": options.threads,
        "precision": options.precision,
        "pairs": {},
    }
    for pair in options.pair or PAIRS:
        rates: Rates = {name: [] for name in contenders}
        for _ in range(options.repeats):
            for name in contenders:
                rates[name].append(_measure(name, pair, options.threads, options.precision))
        results["pairs"][pair] = rates
        print(table(pair, rates), flush=True)
    print(summary(results["pairs"]))
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


def _one(contender: str, pair: str, threads: int, precision: Precision) -> dict[str, float]:
    if contender.startswith("ours-"):
        from bench.speed.ours import run
    else:
        from bench.speed.baselines import run
    return run(contender, PAIRS[pair], threads, precision)


def _measure(contender: str, pair: str, threads: int, precision: Precision) -> float:
    """Images per CPU-second."""
    command = [sys.executable, "-m", "bench.speed", "--one", contender, pair, "--threads", str(threads)]
    command += ["--precision", precision]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
    found = json.loads(done.stdout.splitlines()[-1])
    return float(found["images"] / found["cpu_seconds"])


def table(pair: str, rates: Rates) -> str:
    """Markdown: medians and ranges, then the targets with the measured ratios."""
    medians = _medians(rates)
    lines = [f"**{pair}**", "", "| contender | images / CPU-second | range |", "|---|---|---|"]
    lines += [
        f"| {CONTENDERS[name]} | {medians[name]:.1f} | {min(found):.1f} to {max(found):.1f} |"
        for name, found in rates.items()
        if found
    ]
    lines += ["", "| ratio | measured | target |", "|---|---|---|"]
    for title, left, right, targets in TARGETS:
        if left in medians and right in medians:
            ratio, target = medians[left] / medians[right], targets.get(pair)
            wanted = "-" if target is None else f"{target:g}{'' if ratio >= target else ', missed'}"
            lines.append(f"| {title} | {ratio:.2f} | {wanted} |")
    return "\n".join(lines) + "\n"


def summary(pairs: dict[str, Rates]) -> str:
    """Markdown: the ratios of all pairs, with their targets in parentheses."""
    lines = ["| | " + " | ".join(pairs) + " |", "|---" * (len(pairs) + 1) + "|"]
    for title, left, right, targets in TARGETS:
        cells = []
        for pair, rates in pairs.items():
            medians = _medians(rates)
            ratio = f"{medians[left] / medians[right]:.2f}" if left in medians and right in medians else "-"
            cells.append(f"{ratio} ({targets[pair]:g})" if pair in targets else ratio)
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _medians(rates: Rates) -> dict[str, float]:
    """Of each contender, and of the best baseline."""
    medians = {name: statistics.median(found) for name, found in rates.items() if found}
    peers = {name: rate for name, rate in medians.items() if name in ("torchdistill", "timm", "timm-channels-last")}
    if peers:
        medians["best baseline"] = max(peers.values())
    return medians


if __name__ == "__main__":
    main()
