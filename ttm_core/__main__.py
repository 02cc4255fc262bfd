"""The engine at a prompt: `python -m ttm_core distill spec.yaml --out DIR`, and `run` as a worker starts it."""

import argparse
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from pydantic import ValidationError

from ttm_core.spec import events
from ttm_core.spec.job import DistillSpec

if TYPE_CHECKING:
    from ttm_core.pipeline.inputs import Inputs
    from ttm_core.teacher_store.store import Stores

EXIT_FINISHED, EXIT_FAILED, EXIT_USAGE, EXIT_STOPPED = 0, 1, 2, 3

log = logging.getLogger("ttm_core")


def main(arguments: list[str] | None = None) -> int:
    # Read when torch is imported, which is later. Waiting threads that spin for long starve each other on a shared
    # machine (a small student was five times slower beside two busy processes), and such as do not spin at all wake too
    # late (twice slower on an idle one).
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    parser = argparse.ArgumentParser(prog="python -m ttm_core", description=__doc__)
    commands = parser.add_subparsers(required=True)
    alone = commands.add_parser("distill", help="run a spec whose URIs are file:// or local paths")
    alone.add_argument("spec", type=Path, help="YAML or JSON")
    alone.add_argument("--out", type=Path, required=True, help="work directory; an interrupted run in it resumes")
    alone.add_argument("--stores", type=Path, help="folder where teachers' logits are kept for other runs")
    alone.set_defaults(run=lambda options: _distill(options.spec, options.out, options.stores))
    evaluator = commands.add_parser("evaluate", help="test students' files on a dataset; a JSON object a line for each")
    evaluator.add_argument("students", type=Path, nargs="+")
    evaluator.add_argument("--dataset", type=Path, required=True)
    evaluator.add_argument("--split", choices=["test", "validation", "train"], default="test")
    evaluator.set_defaults(run=lambda options: _evaluate(options.students, options.dataset, options.split))
    worker = commands.add_parser("run", help="run WORKDIR/run.json and write events to a file descriptor")
    worker.add_argument("workdir", help="- to import what a run needs, and then read it from standard input")
    worker.add_argument("--events-fd", type=int, required=True)
    worker.set_defaults(run=lambda options: _run(_told_workdir(options.workdir), options.events_fd))
    options = parser.parse_args(arguments)
    return int(options.run(options))


def _distill(spec_file: Path, out: Path, stores: Path | None) -> int:
    from ttm_core.pipeline.inputs import read_spec
    from ttm_core.teacher_store.store import Stores

    try:
        spec = read_spec(spec_file)
    except (OSError, yaml.YAMLError, ValidationError) as error:
        print(f"{spec_file}: {error}", file=sys.stderr)
        return EXIT_USAGE
    out.mkdir(parents=True, exist_ok=True)
    kept = None if stores is None else Stores(stores.resolve())
    again = ["distill", str(spec_file), "--out", str(out), *(["--stores", str(stores)] if stores else [])]
    return _work(spec, out, None, kept, lambda event: None, again)


def _evaluate(student_files: list[Path], dataset: Path, split: str) -> int:
    from ttm_core.errors import EngineError
    from ttm_core.pipeline.inputs import evaluate_file, open_split

    looked_at = dataset
    try:
        with open_split(dataset, split) as on:
            for looked_at in student_files:
                print(json.dumps(evaluate_file(looked_at, on)))
    except (EngineError, OSError) as error:
        print(f"{looked_at}: {error}", file=sys.stderr)
        return EXIT_FAILED
    return EXIT_FINISHED


def _told_workdir(told: str) -> Path:
    """As told, or as somebody will tell on standard input; until then, what every run needs is imported."""
    if told != "-":
        return Path(told)
    import ttm_core.pipeline.distill  # noqa: F401

    line = sys.stdin.buffer.readline()
    if not line:
        sys.exit(EXIT_FINISHED)  # there will be no work
    return Path(os.fsdecode(line.removesuffix(b"\n")))


def _run(workdir: Path, events_fd: int) -> int:
    from ttm_core.pipeline.inputs import Inputs
    from ttm_core.teacher_store.store import Stores

    told = json.loads((workdir / "run.json").read_text())
    spec = DistillSpec.model_validate(told["spec"])
    given = told["inputs"]
    inputs = Inputs(
        dataset=Path(given["dataset"]),
        teachers=[None if path is None else Path(path) for path in given["teachers"]],
        student=Path(given["student"]) if given.get("student") else None,
        data_cache=Path(given["data_cache"]) if given.get("data_cache") else None,
        data_cache_max_bytes=given.get("data_cache_max_bytes"),
    )
    stores = Stores(Path(told["stores"]["root"]), told["stores"]["max_bytes"]) if told.get("stores") else None
    answers = told["stores"].get("answers") if told.get("stores") else None
    again = ["run", str(workdir), "--events-fd", "-1"]
    if events_fd < 0:
        return _work(spec, workdir, inputs, stores, lambda event: None, again)
    with open(events_fd, "wb", buffering=0) as stream:

        def tell(event: events.Event) -> None:
            _write(stream.fileno(), events.encode(event))

        if stores is not None and answers is not None:
            stores = replace(stores, fetch=lambda digest: _ask_for_store(tell, Path(answers), digest))
        return _work(spec, workdir, inputs, stores, tell, again)


def _ask_for_store(tell: Callable[[events.Event], None], answers: Path, digest: str) -> None:
    """BlockedReason for the answer. A supervisor that cannot give one any more takes this process with it."""
    tell(events.StoreRequested(digest=digest))
    while not (answers / digest).exists():
        time.sleep(0.05)


def _work(
    spec: DistillSpec,
    workdir: Path,
    inputs: "Inputs | None",
    stores: "Stores | None",
    tell: Callable[[events.Event], None],
    again: Sequence[str],
) -> int:
    """Run to an end, telling each event; SIGTERM and SIGINT stop it with a checkpoint.

    `again` are the arguments that start this process once more, for another device.
    """
    from ttm_core.pipeline.distill import distill
    from ttm_core.pipeline.failures import as_engine_error
    from ttm_core.pipeline.launch import follow_leader, peers
    from ttm_core.training.devices import keep_freed_memory
    from ttm_core.training.trainer import Interrupted

    follow_leader()
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, frame: asked.append(received))
    keep_freed_memory()

    def both(event: events.Event) -> None:
        _log(event)
        tell(event)

    try:
        with peers(spec.training.devices, again):
            distill(spec, workdir, inputs=inputs, stores=stores, on_event=both, should_stop=lambda: bool(asked))
    except Interrupted as stopped:
        both(events.Stopped(step=stopped.step))
        return EXIT_STOPPED
    except Exception as error:
        known = as_engine_error(error)
        log.error("%s: %s", known.code, known.message, exc_info=error if known.origin == "system" else None)
        tell(events.Failed(code=known.code, message=known.message, origin=known.origin, retryable=known.retryable))
        return EXIT_FAILED
    return EXIT_FINISHED


def _log(event: events.Event) -> None:
    match event:
        case events.Log(level="warning", message=message):
            log.warning(message)
        case events.Log(message=message):
            log.info(message)
        case events.Resolved():
            log.info("planned %s", event.model_dump_json(exclude={"kind"}))
        case events.Finished(result=result):
            log.info("finished %s", result.model_dump_json())
        case _:
            told = event.model_dump(exclude={"kind"})
            log.info("%s %s", event.kind, " ".join(f"{k}={_short(v)}" for k, v in told.items()))


def _short(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={_short(inner)}" for name, inner in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _write(descriptor: int, line: bytes) -> None:
    while line:
        line = line[os.write(descriptor, line) :]


if __name__ == "__main__":
    sys.exit(main())
