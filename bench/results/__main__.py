"""Runs the experiments of docs/results.md through the service, and writes the page.

    python -m bench.results --data DIR --teacher FILE [--unlabelled DIR] [--only NAME]...
    python -m bench.results --quick

DIR has CIFAR-10 photographs in `train/CLASS/` and `test/CLASS/`; FILE is a ResNet-56 for CIFAR-10. Each run is a
job with one thread on one worker. Finished runs are in docs/results/*.json and are not repeated, so you can stop and
restart.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

from bench.results import quick, settings
from bench.results.exhaustive import run_exhaustive
from bench.results.experiments import TABLES
from bench.results.experiments.experiment import Setting
from bench.results.experiments.int8 import int8
from bench.results.experiments.study import study
from bench.results.int8 import run_int8
from bench.results.page.page import RESULTS, page, write
from bench.results.record import Record
from bench.results.runner import run_study, run_table
from bench.results.service import RunFailed, Service, service
from bench.results.ten_students import run_ten_students

EXPERIMENTS = (*TABLES, "int8", "study", "ten_students", "exhaustive")
_INPUTS: dict[str, tuple[type, str]] = {
    "data": (Path, "folder with train/ and test/"),
    "teacher": (Path, "weights of a ResNet-56 for CIFAR-10"),
    "unlabelled": (Path, "folder of further images without labels"),
    "photographs": (Path, "folder of photographs of ten ImageNet classes"),
    "photograph_teacher": (Path, "weights of an EfficientNet-Lite0 for ImageNet"),
    "more_classes": (Path, "a dataset of more classes, such as CIFAR-100 (binary)"),
    "onnx_teacher": (Path, "the same EfficientNet-Lite0 in ONNX, for 128 pixels"),
    "hub_student": (str, "published weights, such as timm:tf_efficientnet_lite0.in1k"),
    "package_student": (str, "an architecture of an installed package"),
}
"""The inputs of the experiments, as fields of their setting, with the type and the help of their options."""


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    if options.quick:
        with tempfile.TemporaryDirectory() as folder:
            return _quick(options, Path(folder))
    if options.data is None or options.teacher is None:
        sys.exit("--data and --teacher are required; --quick needs neither.")
    inputs = _inputs(options)
    roots = tuple(value.parent for value in inputs.values() if isinstance(value, Path))
    setting = _at_most(settings.cifar10(**inputs), options.seeds)
    with service(options.url, options.var, roots) as running:
        failures = run(setting, running, RESULTS, options.only, _command(inputs))
    write(RESULTS)
    return failures


def _quick(options: argparse.Namespace, folder: Path) -> int:
    with service(None, folder / "var", (folder,)) as running:
        setting = _at_most(quick.setting(folder), options.seeds)
        failures = run(setting, running, folder / "results", options.only or ["methods"], "--quick")
    print(page(folder / "results"))
    return failures


def _at_most(setting: Setting, seeds: int | None) -> Setting:
    return replace(setting, seeds=min(setting.seeds, seeds or setting.seeds))


def run(setting: Setting, running: Service, out: Path, only: list[str] | None, paths: str) -> int:
    """Runs the experiments named in `only`, by default all. Returns the number of experiments with a failed run.

    `paths` are the options that the recorded commands have before `--only`.
    """

    def record(name: str) -> Record:
        command = f"python -m bench.results {paths} --only {name}"
        return Record.open(out / f"{name}.json", experiment=name, data=setting.data_name, command=command)

    failures = 0
    for name in only or EXPERIMENTS:
        try:
            if name == "exhaustive":
                run_exhaustive(record(name), 2 * setting.seeds)
            elif name == "int8":
                run_int8(list(int8(setting)), running, record(name))
            elif name == "ten_students":
                run_ten_students(setting, running, record(name))
            elif name == "study":
                run_study(study(setting), running, record(name))
            elif (experiment := TABLES[name](setting)) is not None:
                run_table(experiment, running, record(name))
        except (RunFailed, CalledProcessError) as error:
            failures += 1
            print(error, file=sys.stderr, flush=True)
    return failures


def _inputs(options: argparse.Namespace) -> dict[str, Any]:
    """The files and students that the options name."""
    given = {name: getattr(options, name) for name in _INPUTS}
    named = {name: value for name, value in given.items() if value is not None}
    return {name: value.resolve() if isinstance(value, Path) else value for name, value in named.items()}


def _command(inputs: Mapping[str, Any]) -> str:
    """The inputs as options, with only the last part of each path."""
    shown = {name: value.name if isinstance(value, Path) else value for name, value in inputs.items()}
    return " ".join(f"--{name.replace('_', '-')} {value}" for name, value in shown.items())


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, (kind, text) in _INPUTS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help=text)
    parser.add_argument("--only", action="append", choices=EXPERIMENTS, help="experiment to run; repeatable")
    parser.add_argument("--quick", action="store_true", help="digits, one epoch, two seeds, in a temporary folder")
    parser.add_argument("--url", help="a running service that can read the files; default: start one")
    parser.add_argument("--var", type=Path, default=Path("var/results"), help="data folder of the service")
    parser.add_argument("--seeds", type=int, help="at most this many seeds; a later run adds the others")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
