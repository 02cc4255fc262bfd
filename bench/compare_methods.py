"""Distils pairs of a recipe with several methods over several seeds, and prints their test accuracies side by side.

    python -m bench.compare_methods --dataset DIR --teacher FILE --pair cifar100/resnet56-resnet20 \
        --methods ce,kd,ttm,wttm --seeds 3 --epochs 6 --out var/results/resnet56-resnet20

A recipe shortened to `--epochs` keeps its batch, optimizer and augmentation; the epochs at which its learning rate
drops shrink in proportion. All methods of a seed see the same views, so they share one teacher store. A run that stands
in `--out` is not run again: stop it and go on when you like.
"""

import argparse
import copy
import json
import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from ttm_core.spec import recipes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, required=True, help="the teacher's weights")
    parser.add_argument("--teacher-architecture", help="another than the recipe's")
    parser.add_argument("--pair", required=True, help="folder of recipes, such as cifar100/resnet56-resnet20")
    parser.add_argument("--methods", default="ce,kd,ttm,wttm")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="the recipe's own when left out")
    parser.add_argument("--views", type=int, help="different views of an image; one an epoch when left out")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()

    results = []
    for seed in range(options.seeds):
        for method in options.methods.split(","):
            spec = _spec(options, method, seed)
            results.append(_run(spec, options.out / f"{method}-{seed}", options.out / "stores", method, seed))
    options.out.mkdir(parents=True, exist_ok=True)
    told = {
        "pair": options.pair,
        "teacher_architecture": options.teacher_architecture,
        "epochs": results[0]["epochs"],
        "train_images": results[0]["train_images"],
        "command": " ".join(["python -m bench.compare_methods", *sys.argv[1:]]),
        "runs": results,
    }
    (options.out / "results.json").write_text(json.dumps(told, indent=2) + "\n")
    print(table(results))


def _spec(options: argparse.Namespace, method: str, seed: int) -> dict[str, Any]:
    """The recipe of a method, shortened; cross-entropy takes the baseline's and leaves the teacher out."""
    baseline = "kd" if method == "ce" else method
    told = copy.deepcopy(dict(recipes.find(f"{options.pair}/{baseline}").spec))
    told["dataset"] = {**told.get("dataset", {}), "uri": str(options.dataset.resolve())}
    told["teacher"] = {**told["teacher"], "checkpoint": str(options.teacher.resolve())}
    if options.teacher_architecture is not None:
        told["teacher"]["architecture"] = options.teacher_architecture
    if method == "ce":
        del told["teacher"]
        told["method"] = "ce"
    training = told["training"]
    if options.epochs is not None:
        share = options.epochs / training["epochs"]
        milestones = training["schedule"]["milestones"]
        shrunk = sorted({min(max(round(epoch * share), 1), options.epochs - 1) for epoch in milestones})
        training["schedule"] = {**training["schedule"], "milestones": shrunk}
        training["epochs"] = options.epochs
    if options.views is not None:
        training["views"] = options.views
    return {**told, "exports": [], "training": {**training, "seed": seed, "threads": options.threads}}


def _run(spec: dict[str, Any], workdir: Path, stores: Path, method: str, seed: int) -> dict[str, Any]:
    told = workdir / "told.json"
    if not told.exists():
        workdir.mkdir(parents=True, exist_ok=True)
        (workdir / "spec.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
        started = _cpu_seconds()
        command = [sys.executable, "-m", "ttm_core", "distill", str(workdir / "spec.yaml"), "--out", str(workdir)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(spec["training"]["threads"])}
        subprocess.run([*command, "--stores", str(stores)], check=True, env=environment)
        report = json.loads((workdir / "out" / "report.json").read_text())
        test, run = report["test"] or report["validation"], report["run"]
        found = {
            "method": method,
            "seed": seed,
            "student": test["student"]["top1"],
            "teacher": test["teacher"]["top1"] if test["teacher"] else None,
            "epochs": run["epochs"],
            "train_images": run["train_images"],
            "cpu_minutes": (_cpu_seconds() - started) / 60,
        }
        told.write_text(json.dumps(found, indent=2))
    return dict(json.loads(told.read_text()))


def _cpu_seconds() -> float:
    """Of the runs so far. Other work on the machine stretches the hours of a run, and these hardly."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def table(results: list[dict[str, Any]]) -> str:
    """A Markdown table: a method a row, accuracies in per cent, mean and deviation over the seeds."""
    lines = ["| method | top-1 | seeds | n | CPU-minutes a run |", "|---|---|---|---|---|"]
    for method in dict.fromkeys(result["method"] for result in results):
        runs = [result for result in results if result["method"] == method]
        tops = [100 * run["student"] for run in runs]
        spread = f" ± {statistics.stdev(tops):.2f}" if len(tops) > 1 else ""
        minutes = statistics.median(run["cpu_minutes"] for run in runs)
        each = ", ".join(f"{top:.2f}" for top in tops)
        lines.append(f"| {method} | {statistics.mean(tops):.2f}{spread} | {each} | {len(tops)} | {minutes:.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
