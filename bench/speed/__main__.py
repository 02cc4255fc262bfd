"""Compares the training speed of the engine with other libraries.

    python -m bench.speed [--pair NAME]... [--precision bfloat16]... [--repeats 3] [--json FILE]

Each contender runs in its own process, alternating, several times, in float32 and in bfloat16. The tables have medians:
images per CPU-second of the process tree, or images per second on a GPU; and ratios within the run. torchdistill is
included if it is installed; `make bench` installs it.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bench.speed.pairs import CONTENDERS, CPU_CONTENDERS, GPU_CONTENDERS, GPU_IMAGES, PAIRS
from bench.speed.tables import summary, table
from ttm_core.precision import Precision
from ttm_core.training.devices import choose_device
from ttm_measure.machine import cpu_model

PRECISIONS = ("float32", "bfloat16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", action="append", choices=list(PAIRS))
    parser.add_argument("--contender", action="append", choices=list(CONTENDERS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", action="append", choices=PRECISIONS, help="of every contender; default: both")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=3, metavar=("CONTENDER", "PAIR", "PRECISION"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_one(*options.one, options.threads)))
        return
    device = choose_device()
    on_gpu = device.type == "cuda"
    contenders = options.contender or list(GPU_CONTENDERS if on_gpu else CPU_CONTENDERS)
    if importlib.util.find_spec("torchdistill") is None:
        contenders = [name for name in contenders if name != "torchdistill"]
        print("torchdistill is not installed; skipped\n")
    name = torch.cuda.get_device_name(device) if on_gpu else cpu_model()
    unit = "images/s" if on_gpu else "images per CPU-second"
    print(f"{name}, torch {torch.__version__}, {options.threads} CPU threads, medians of {options.repeats}\n")
    precisions = options.precision or PRECISIONS
    results: dict[str, dict[str, dict[str, list[float]]]] = {}
    for pair in options.pair or PAIRS:
        rates: dict[str, dict[str, list[float]]] = {
            precision: {name: [] for name in contenders} for precision in precisions
        }
        for _ in range(options.repeats):
            for contender in contenders:
                for precision in precisions:
                    measured = _measure(contender, pair, precision, options.threads, on_gpu=on_gpu)
                    rates[precision][contender].append(measured)
        results[pair] = rates
        print(table(pair, rates, unit), flush=True)
    print(summary(results))
    if options.json:
        document: dict[str, Any] = {"device": name, "unit": unit, "threads": options.threads, "pairs": results}
        options.json.write_text(json.dumps(document, indent=2) + "\n")


def _one(contender: str, pair: str, precision: Precision, threads: int) -> dict[str, float]:
    if contender.startswith("ours-"):
        from bench.speed.ours import run
    else:
        from bench.speed.baselines import run
    device, chosen = choose_device(), PAIRS[pair]
    if device.type == "cuda":
        chosen = replace(chosen, images=GPU_IMAGES)
    return run(contender, chosen, threads, precision, device)


def _measure(contender: str, pair: str, precision: str, threads: int, *, on_gpu: bool) -> float:
    """Images per CPU-second, or images per second on a GPU."""
    command = [sys.executable, "-m", "bench.speed", "--one", contender, pair, precision, "--threads", str(threads)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
    found = json.loads(done.stdout.splitlines()[-1])
    return float(found["images"] / found["seconds" if on_gpu else "cpu_seconds"])


if __name__ == "__main__":
    main()
