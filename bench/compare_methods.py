"""Trains a recipe's pair with several methods and seeds and prints a table of test accuracies.

    python -m bench.compare_methods --dataset DIR --teacher FILE --pair cifar100/resnet56-resnet20 \
        --methods ce,kd,ttm,wttm --seeds 3 --epochs 6 --out var/results/resnet56-resnet20

A recipe shortened to `--epochs` keeps its batch, optimizer and augmentation; the epochs at which its learning rate
drops shrink in proportion. All methods of a seed see the same views, so they share one teacher store. Finished runs in
`--out` are not repeated, so the command can be interrupted.
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
    parser.add_argument("--teacher-architecture", help="default: that of the recipe")
    parser.add_argument("--allow-chance", action="store_true", help="accept a teacher that is not above chance")
    parser.add_argument("--pair", required=True, help="folder of recipes, such as cifar100/resnet56-resnet20")
    parser.add_argument("--methods", default="ce,kd,ttm,wttm")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="default: that of the recipe")
    parser.add_argument("--views", type=int, help="different views of an image; default: one per epoch")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()

    runs = []
    for seed in range(options.seeds):
        for method in options.methods.split(","):
            spec = _spec(options, method, seed)
            runs.append(_run(spec, options.out / f"{method}-{seed}", options.out / "stores", method, seed))
    options.out.mkdir(parents=True, exist_ok=True)
    results = {
        "pair": options.pair,
        "teacher_architecture": options.teacher_architecture,
        "epochs": runs[0]["epochs"],
        "train_images": runs[0]["train_images"],
        "command": " ".join(["python -m bench.compare_methods", *sys.argv[1:]]),
        "runs": runs,
    }
    (options.out / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    print(table(runs))


def _spec(options: argparse.Namespace, method: str, seed: int) -> dict[str, Any]:
    """The recipe of a method, shortened; cross-entropy takes the baseline's and leaves the teacher out."""
    baseline = "kd" if method == "ce" else method
    spec = copy.deepcopy(dict(recipes.find(f"{options.pair}/{baseline}").spec))
    spec["dataset"] = {**spec.get("dataset", {}), "uri": str(options.dataset.resolve())}
    spec["teacher"] = {**spec["teacher"], "checkpoint": str(options.teacher.resolve())}
    if options.allow_chance:
        spec["teacher"]["allow_chance"] = True
    if options.teacher_architecture is not None:
        spec["teacher"]["architecture"] = options.teacher_architecture
    if method == "ce":
        del spec["teacher"]
        spec["method"] = "ce"
    training = spec["training"]
    if options.epochs is not None:
        share = options.epochs / training["epochs"]
        milestones = training["schedule"]["milestones"]
        shrunk = sorted({min(max(round(epoch * share), 1), options.epochs - 1) for epoch in milestones})
        training["schedule"] = {**training["schedule"], "milestones": shrunk}
        training["epochs"] = options.epochs
    if options.views is not None:
        training["views"] = options.views
    return {**spec, "exports": [], "training": {**training, "seed": seed, "threads": options.threads}}


def _run(spec: dict[str, Any], workdir: Path, stores: Path, method: str, seed: int) -> dict[str, Any]:
    cached = workdir / "result.json"
    if not cached.exists():
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
        cached.write_text(json.dumps(found, indent=2))
    return dict(json.loads(cached.read_text()))


def _cpu_seconds() -> float:
    """CPU time of the finished runs; other load on the machine affects it less than wall time."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def table(results: list[dict[str, Any]]) -> str:
    """A Markdown table with one row per method: accuracies in %, mean and standard deviation over the seeds."""
    lines = ["| method | top-1 | seeds | n | CPU-minutes per run |", "|---|---|---|---|---|"]
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
