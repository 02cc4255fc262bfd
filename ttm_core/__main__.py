"""Command line of the engine: `distill` and `evaluate` for local files, `gpus`, and `run`, which a worker starts."""

import argparse
import errno
import gc
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from pydantic import ValidationError

from ttm_core.errors import EngineError, OutOfMemory, StorageFull
from ttm_core.spec import events
from ttm_core.spec.job import DistillSpec
from ttm_core.spec.study.run_options import DEFAULT_OPTIONS, RunOptions
from ttm_core.spec_file import read_spec

if TYPE_CHECKING:
    from ttm_core.pipeline.inputs import Inputs
    from ttm_core.teacher_store.store import Stores

EXIT_FINISHED, EXIT_FAILED, EXIT_USAGE, EXIT_STOPPED = 0, 1, 2, 3

# Environment variables for libraries that read them when they are imported.
_ENVIRONMENT = {
    # Waiting OpenMP threads that spin for long slow each other down on a shared machine (a small student trained five
    # times slower next to two busy processes); threads that never spin wake up too late (twice slower when idle).
    "GOMP_SPINCOUNT": "1000",
    # The log is a file: no color codes.
    "NO_COLOR": "1",
}
_EMIT_SECONDS = 20.0
_HOST_MEMORY = ("not enough memory", "can't allocate memory", "cannot allocate memory")

log = logging.getLogger("ttm_core")


def main(arguments: list[str] | None = None) -> int:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # Nothing that is imported is garbage. Looking for it takes a quarter of the CPU time of the imports.
    gc.disable()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    parser = argparse.ArgumentParser(prog="python -m ttm_core", description=__doc__)
    commands = parser.add_subparsers(required=True)
    local = commands.add_parser("distill", help="run a spec whose URIs are file:// or local paths")
    local.add_argument("spec", type=Path, help="YAML or JSON file")
    local.add_argument("--out", type=Path, required=True, help="work directory; resumes a run interrupted in it")
    local.add_argument("--stores", type=Path, help="folder of teacher stores shared with other runs")
    local.set_defaults(run=lambda options: _distill(options.spec, options.out, options.stores))
    evaluate = commands.add_parser("evaluate", help="evaluate student files; prints one JSON object a line")
    evaluate.add_argument("students", type=Path, nargs="+")
    evaluate.add_argument("--dataset", type=Path, required=True)
    evaluate.add_argument("--split", choices=["test", "validation", "train"], default="test")
    evaluate.set_defaults(run=lambda options: _evaluate(options.students, options.dataset, options.split))
    gpus = commands.add_parser("gpus", help="compute on each GPU and print its name; fails where torch cannot")
    gpus.set_defaults(run=lambda options: _gpus())
    worker = commands.add_parser("run", help="run WORKDIR/run.json and write events to a file descriptor")
    worker.add_argument("workdir", help="work directory, or - to fork a process for each request on a socket")
    worker.add_argument("--events-fd", type=int, default=-1)
    worker.add_argument("--socket-fd", type=int, help="file descriptor of the socket (see ttm_core/fork_server.py)")
    worker.set_defaults(
        run=lambda options: (
            _run(Path(options.workdir), options.events_fd) if options.workdir != "-" else _serve(options.socket_fd)
        )
    )
    options = parser.parse_args(arguments)
    return int(options.run(options))


def _distill(spec_file: Path, out: Path, stores_folder: Path | None) -> int:
    try:
        spec = read_spec(spec_file)
    except (OSError, yaml.YAMLError, ValidationError) as error:
        print(f"{spec_file}: {error}", file=sys.stderr)
        return EXIT_USAGE
    from ttm_core.teacher_store.store import Stores

    out.mkdir(parents=True, exist_ok=True)
    stores = None if stores_folder is None else Stores(stores_folder.resolve())
    arguments = ["distill", str(spec_file), "--out", str(out)]
    arguments += ["--stores", str(stores_folder)] if stores_folder else []
    return _train(spec, out, None, stores, lambda event: None, arguments)


def _evaluate(student_files: list[Path], dataset: Path, split: str) -> int:
    from ttm_core.report.evaluate_file import evaluate_file, open_split

    _enable_garbage_collection()
    current = dataset
    try:
        with open_split(dataset, split) as opened:
            for current in student_files:
                print(json.dumps(evaluate_file(current, opened)))
    except (EngineError, OSError) as error:
        print(f"{current}: {error}", file=sys.stderr)
        return EXIT_FAILED
    return EXIT_FINISHED


def _gpus() -> int:
    from ttm_core.training.devices import check_gpus

    try:
        print(*check_gpus(), sep="\n")
    except EngineError as error:
        print(error, file=sys.stderr)
        return EXIT_FAILED
    return EXIT_FINISHED


def _serve(socket_fd: int) -> int:
    import ttm_core.study.run  # noqa: F401  the libraries of a run
    from ttm_core.fork_server import next_job

    job = next_job(socket_fd)
    return EXIT_FINISHED if job is None else _run(job.workdir, job.events)


def _run(workdir: Path, events_fd: int) -> int:
    from ttm_core.pipeline.inputs import Inputs
    from ttm_core.teacher_store.store import Stores

    run = json.loads((workdir / "run.json").read_text())
    spec = DistillSpec.model_validate(run["spec"])
    given = run["inputs"]
    inputs = Inputs(
        dataset=Path(given["dataset"]),
        unlabelled=[Path(path) for path in given.get("unlabelled", [])],
        teachers=[None if path is None else Path(path) for path in given["teachers"]],
        student=Path(given["student"]) if given.get("student") else None,
        data_cache=Path(given["data_cache"]) if given.get("data_cache") else None,
        data_cache_max_bytes=given.get("data_cache_max_bytes"),
    )
    stores = Stores(Path(run["stores"]["root"]), run["stores"]["max_bytes"]) if run.get("stores") else None
    answers = run["stores"].get("answers") if run.get("stores") else None
    options = RunOptions.model_validate(run.get("options", {}))
    arguments = ["run", str(workdir), "--events-fd", "-1"]
    if events_fd < 0:
        return _train(spec, workdir, inputs, stores, lambda event: None, arguments, options)
    with open(events_fd, "wb", buffering=0) as stream:
        lock = threading.Lock()  # keepalives come from another thread

        def emit(event: events.Event) -> None:
            with lock:
                _write(stream.fileno(), events.encode(event))

        if stores is not None and answers is not None:
            stores = replace(stores, fetch=lambda digest: _request_store(emit, Path(answers), digest))
        return _train(spec, workdir, inputs, stores, emit, arguments, options)


def _request_store(emit: Callable[[events.Event], None], answers: Path, digest: str) -> None:
    """Asks the worker for a teacher store and waits for its answer, a file named like the store.

    The wait has no time limit, since this process ends with its worker. Log events keep the run alive meanwhile.
    """
    emit(events.StoreRequested(digest=digest))
    started = emitted = time.monotonic()
    while not (answers / digest).exists():
        time.sleep(0.05)
        now = time.monotonic()
        if now - emitted >= _EMIT_SECONDS:
            emitted = now
            emit(events.Log(message=f"still waiting for the teacher store after {now - started:.0f} s"))


def _train(
    spec: DistillSpec,
    workdir: Path,
    inputs: "Inputs | None",
    stores: "Stores | None",
    emit: Callable[[events.Event], None],
    arguments: Sequence[str],
    options: RunOptions = DEFAULT_OPTIONS,
) -> int:
    """Runs a spec to its end and returns the exit code; SIGTERM and SIGINT stop it after saving a checkpoint.

    `arguments` start the processes of the other devices.
    """
    from ttm_core.study.run import run
    from ttm_core.training.devices import keep_freed_memory
    from ttm_core.training.launch import other_processes
    from ttm_core.training.trainer import Interrupted, ReachedEpoch

    _enable_garbage_collection()
    signals: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, frame: signals.append(received))
    keep_freed_memory()

    def log_and_emit(event: events.Event) -> None:
        _log(event)
        emit(event)

    try:
        with other_processes(spec.training.devices, arguments):
            run(
                spec,
                workdir,
                inputs=inputs,
                stores=stores,
                on_event=log_and_emit,
                should_stop=lambda: bool(signals),
                options=options,
            )
    except ReachedEpoch as reached:
        log_and_emit(events.Stopped(step=reached.step, epoch=reached.epoch, best_top1=reached.best_top1))
        return EXIT_STOPPED
    except Interrupted as stopped:
        log_and_emit(events.Stopped(step=stopped.step))
        return EXIT_STOPPED
    except Exception as error:
        failure = as_engine_error(error)
        log.error("%s: %s", failure.code, failure.message, exc_info=error if failure.origin == "system" else None)
        emit(
            events.Failed(
                code=failure.code, message=failure.message, origin=failure.origin, retryable=failure.retryable
            )
        )
        return EXIT_FAILED
    return EXIT_FINISHED


def _enable_garbage_collection() -> None:
    """Turns the garbage collector on, for objects that are made from now on."""
    gc.freeze()
    gc.enable()


def as_engine_error(error: Exception) -> EngineError:
    """Converts any exception to an EngineError; unknown ones have the origin system and are retryable."""
    import torch

    match error:
        case EngineError():
            return error
        case torch.OutOfMemoryError() | MemoryError():
            return OutOfMemory(_memory_advice(error))
        case RuntimeError() if any(words in str(error).lower() for words in _HOST_MEMORY):
            return OutOfMemory(_memory_advice(error))
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return StorageFull(f"no space left on the device: {error.filename or error}")
        case OSError(errno=errno.EFBIG):
            return StorageFull(f"a file exceeds the limit on file sizes (ulimit -f): {error.filename or error}")
        case _:
            return EngineError(f"{type(error).__name__}: {error}")


def _memory_advice(error: Exception) -> str:
    first = (str(error) or type(error).__name__).splitlines()[0][:300]
    return f"out of memory: {first}. Lower training.batch_size or student.image_size, or raise gradient_accumulation."


def _log(event: events.Event) -> None:
    match event:
        case events.Log(level="warning", message=message):
            log.warning(message)
        case events.Log(message=message):
            log.info(message)
        case events.Resolved():
            log.info("resolved %s", event.model_dump_json(exclude={"kind"}))
        case events.Finished(result=result):
            log.info("finished %s", result.model_dump_json())
        case _:
            fields = event.model_dump(exclude={"kind"})
            log.info("%s %s", event.kind, " ".join(f"{name}={_short(value)}" for name, value in fields.items()))


def _short(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={_short(inner)}" for name, inner in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _write(descriptor: int, line: bytes) -> None:
    while line:
        line = line[os.write(descriptor, line) :]


if __name__ == "__main__":
    sys.exit(main())
